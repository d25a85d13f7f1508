// The event stream: read with `fetch`, and watched, because a path may hold it back without a word.

import type { Entry, Off } from './api.js'
import { Carrier } from './carrier.js'
import { dataOf } from './entry.js'
import { catchUp, Flow, part } from './flow.js'
import { type Answer, Judge } from './judge.js'
import { lossOf, Loss, type Net } from './net.js'
import { type Frame, parser } from './parser.js'

/** The longest frame that is taken in, in characters. */
const FRAME_MOST = 16 << 20

/** When the events of a canary came, in ms since it was asked for; all three, if it did not fail. */
export async function canary(net: Net, gap: number, signal?: AbortSignal): Promise<number[]> {
  const { env } = net
  const begun = env.now()
  const times: number[] = []
  try {
    const response = await net.stream(`/canary?gap=${gap}`, { signal, ms: 10_000 })
    await read(response, (frame) => frame.event === 'tidewire.canary' && times.push(env.now() - begun))
    return times
  } catch {
    return []
  }
}

/** Reads an event stream to its end. */
async function read(response: Response, hear: (frame: Frame) => void, piece?: () => void): Promise<void> {
  const type = response.headers.get('content-type')
  if (!type?.startsWith('text/event-stream')) throw new Loss('foreign', `an answer of type ${type} in place of a stream: a proxy's page or a sign-in page`)
  const reader = response.body!.getReader()
  const decoder = new TextDecoder()
  const feed = parser(hear, FRAME_MOST)
  for (let part; !(part = await reader.read()).done; ) {
    piece?.()
    feed(decoder.decode(part.value, { stream: true }))
  }
}

export class Stream extends Carrier {
  override readonly name = 'sse'
  // A stream that was known to flow stood still: the first time it is a dead connection.
  #stoodStill = false
  /** Asks the server what it wrote to the stream that is open. */
  #look: (() => Promise<boolean>) | undefined

  protected override async attempt(signal: AbortSignal): Promise<void> {
    const { engine } = this
    const { ready, late } = part(this.subs.values())
    if (late.length) {
      const caught = catchUp(engine, late, signal).then(() => this.again('more topics have caught up'))
      if (!ready.size) return caught
      caught.catch((error: Loss) => this.end(error))
    }
    const isEarly = engine.path.verdict('sse') !== 'clear'
    const judge = new Judge(isEarly)
    const name = Array.from({ length: 16 }, () => Math.floor(engine.env.random() * 36).toString(36)).join('')
    const stop = this.#watch(judge, name, signal)
    try {
      await this.#follow(new Flow(ready), judge, name, signal)
    } finally {
      stop()
    }
  }

  async #follow(flow: Flow, judge: Judge, connection: string, signal: AbortSignal): Promise<void> {
    const { env, net, connectMs } = this.engine
    const begun = env.now()
    const stop = env.after(connectMs, () => this.isOpen || this.end(new Loss('not_opened', `no greeting came within ${connectMs} ms`)))
    const query = flow.query({ connection, ...(judge.isEarly && { beats: 'early' }) })
    try {
      const response = await net.stream(`/sse?${query}`, { signal, ms: connectMs, headers: { Accept: 'text/event-stream' } })
      if (response.status === 204) throw new Loss('stopped', 'the server asked us to stop', 'give_up')
      let count = 0
      const hear = (frame: Frame): void => {
        signal.throwIfAborted()
        const kind = /^tidewire\.(hello|beat)$/.exec(frame.event)?.[1] as 'hello' | 'beat' | undefined
        this.#hear(frame, flow, ++count)
        judge.event(env.now() - begun, kind ?? 'entry', this.beat)
      }
      await read(response, hear, () => {
        judge.piece(env.now() - begun)
        if (this.isOpen) this.heard()
      })
    } finally {
      stop()
    }
  }

  #hear({ event, data, id, topic, encoding, retry }: Frame, flow: Flow, count: number): void {
    if (retry !== undefined) this.told = { ms: retry }
    const kind = event.replace(/^tidewire\./, '')
    if (kind === event) {
      if (!this.isOpen) throw new Loss('foreign', 'an event came before the greeting')
      this.heard(true)
      const entry: Entry = { topic: topic ?? '', event, ...(id && { id }), data: dataOf(encoding ? data : JSON.parse(data), encoding) }
      return flow.entry(entry)
    }
    const said = JSON.parse(data)
    if (kind === 'hello') {
      this.opened(said)
      flow.attached(said)
    } else if (kind === 'gap') {
      // Right after the greeting it was said already.
      if (count > 2) flow.attached({ continuity: 'gap', gap: said })
    } else if (kind === 'beat') {
      this.heard(true)
      flow.beat(said.at)
    } else if (kind === 'plan') this.engine.planIs(said.tag, said.wait_ms)
    else if (kind === 'bye') throw lossOf(said)
  }

  /** Sends what the judge asks for, and obeys it. */
  #watch(judge: Judge, name: string, signal: AbortSignal): Off {
    const { env, net, path } = this.engine
    const begun = env.now()
    const since = (): number => env.now() - begun
    let isAsking = false
    let isSinging = false
    let isKnown = !judge.isEarly

    const ask = async (ms = 5000): Promise<boolean> => {
      isAsking = true
      const sent = since()
      const failed = (error: Loss): Answer => (error.code === 'not_found' ? 'not_found' : 'failed')
      const answer: Answer = await net.json(`/path/${name}`, { signal, ms }).catch(failed)
      isAsking = false
      if (signal.aborted) return true
      judge.answered(since(), since() - sent, answer)
      obey()
      return typeof answer !== 'string'
    }
    const sing = async (gap: number): Promise<void> => {
      isSinging = true
      const times = await canary(net, gap, signal)
      isSinging = false
      if (signal.aborted) return
      judge.canary(gap, times)
      obey()
    }
    const obey = (): void => {
      if (judge.by) return this.#isHeld(judge.by, judge.isProven)
      if (judge.verdict === 'clear' && !isKnown && this.isOpen) {
        isKnown = true
        path.set('sse', 'clear')
      }
      if (judge.isProven && since() > this.beat) this.#stoodStill = false
      if (judge.canaryGap && !isSinging) void sing(judge.canaryGap)
      if (!isAsking && since() >= (judge.probeAt ?? Infinity)) void ask()
    }
    const tick = (): void => {
      obey()
      stop = env.after(judge.verdict === 'clear' ? Math.max(50, (judge.probeAt ?? 60_000) - since()) : 50, tick)
    }
    let stop = env.after(0, tick)
    this.#look = () => ask(2000)
    return () => {
      stop()
      this.#look = undefined
    }
  }

  #isHeld(by: string, isProven: boolean): void {
    if (isProven && !this.#stoodStill) {
      this.#stoodStill = true
      return this.end(new Loss('silent', 'the server writes, and nothing arrives: the connection is dead'))
    }
    const why = by === 'canary' ? 'what the server sends apart comes all at once' : 'the server writes, and nothing arrives'
    this.engine.shut(this, 'buffered', by, why)
    this.end(new Loss('buffered', `something on the way holds event streams back: ${why}`))
  }

  protected override check(): Promise<boolean> {
    return this.#look?.() ?? Promise.resolve(true)
  }
}

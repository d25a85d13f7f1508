// The event stream: read with `fetch`, and watched, because a path may hold it back without a word.

import type { Off } from './api.js'
import { Carrier } from './carrier.js'
import { entryOf } from './entry.js'
import { Flow, part } from './flow.js'
import type { Sub } from './sub.js'
import type { Observer } from './upkeep.js'
import { lossOf, Loss, unreachable } from './net.js'
import { type Frame, parser } from './parser.js'

/** Topics that nobody reads any more leave the stream after so long, in ms. */
const LEAVING = 5000
/** The longest frame that is taken in, in characters. */
const FRAME_MOST = 16 << 20

/** Reads an event stream to its end. A piece is told when its events are. */
export async function read(response: Response, hear: (frame: Frame) => void, piece?: () => void): Promise<void> {
  const type = response.headers.get('content-type')
  if (!type?.startsWith('text/event-stream')) throw new Loss('foreign', `${type} in place of a stream: a proxy's or a sign-in page?`)
  const reader = response.body!.getReader()
  const decoder = new TextDecoder()
  const feed = parser(hear, FRAME_MOST)
  for (let part; !(part = await reader.read().catch((error: unknown) => { throw unreachable(error) })).done; ) {
    feed(decoder.decode(part.value, { stream: true }))
    piece?.()
  }
}

export class Stream extends Carrier {
  override readonly name = 'sse'
  /** When a stream that was known to flow stood still: the first time it is a dead connection. */
  stoodStillAt = -Infinity
  #observer: Observer | undefined
  // What the stream that is open reads.
  #topics: Map<string, Sub> | undefined
  #stopLeaving: Off | undefined

  protected override async attempt(signal: AbortSignal): Promise<void> {
    const { engine } = this
    const { ready, late } = part(this.subs.values())
    if (late.length) {
      const caught = engine.upkeep().then(({ catchUp }) => catchUp(engine, late, signal)).then(() => {
        throw new Loss('again', 'more topics have caught up')
      })
      if (!ready.size) return caught
      // An attempt that ended may not end the one after it.
      caught.catch((error: Loss) => signal.aborted || this.end(error))
    }
    const connection = Array.from({ length: 16 }, () => Math.floor(engine.env.random() * 36).toString(36)).join('')
    const isEarly = engine.path.verdict('sse') !== 'clear'
    const see = this.#watch(connection, isEarly, signal)
    const { env, net, connectMs } = engine
    const stop = env.after(connectMs, () => this.isOpen || this.end(new Loss('not_opened', `no greeting within ${connectMs} ms`)))
    // The flow's own list: who joins later is not in it.
    const flow = new Flow(ready)
    this.#topics = ready
    const query = flow.query({ connection, ...(isEarly && { beats: 'early' }) })
    try {
      const response = await net.stream(`/sse?${query}`, { signal, ms: connectMs, headers: { Accept: 'text/event-stream' } })
      if (response.status === 204) throw new Loss('stopped', 'stopped by the server', 'give_up')
      let count = 0
      const hear = (frame: Frame): void => {
        signal.throwIfAborted()
        this.#hear(frame, flow, ++count)
        see(/^tidewire\.(hello|beat)$/.exec(frame.event)?.[1] ?? 'entry')
      }
      await read(response, hear, () => {
        see()
        if (this.isOpen) this.heard()
      })
    } finally {
      stop()
      this.#stopLeaving?.()
      this.#observer = this.#topics = this.#stopLeaving = undefined
    }
  }

  /** Who only leaves is passed over for a while: the next who comes opens the stream anew anyway. */
  protected override changed(): void {
    const isMore = [...this.subs].some(([topic, sub]) => sub.isStale || this.#topics?.get(topic) !== sub)
    if (isMore || !this.subs.size) super.changed()
    else this.#stopLeaving ??= this.engine.env.after(LEAVING, () => super.changed())
  }

  /** Has the path watched, as soon as the code for it is there. */
  #watch(name: string, isEarly: boolean, signal: AbortSignal): (kind?: string) => void {
    const { engine } = this
    const begun = engine.env.now()
    let seen: [at: number, kind: string | undefined, beat: number][] | undefined = []
    engine.upkeep().then(({ Observer }) => {
      if (signal.aborted) return
      const observer = (this.#observer = new Observer(engine, this, name, isEarly, begun, signal))
      seen?.forEach((what) => observer.saw(...what))
      seen = undefined
    }, () => (seen = undefined))
    return (kind) => {
      const what: [number, string | undefined, number] = [engine.env.now() - begun, kind, this.beat]
      if (seen) seen.push(what)
      else this.#observer?.saw(...what)
    }
  }

  #hear({ event, data, id, topic, item, encoding, retry }: Frame, flow: Flow, count: number): void {
    if (retry !== undefined) this.told = { ms: retry }
    const kind = event.replace(/^tidewire\./, '')
    if (!this.isOpen && !/^(hello|bye)$/.test(kind)) throw new Loss('foreign', 'an event came before the greeting')
    if (kind === event) {
      this.heard(true)
      return flow.entry(entryOf({ topic, event, item, id, encoding, data: encoding ? data : JSON.parse(data) }))
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

  protected override check(): Promise<boolean> {
    return this.#observer?.check() ?? Promise.resolve(true)
  }
}

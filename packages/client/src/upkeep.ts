// What is needed where a path may not let everything through: watching a stream, trying a rung that
// is shut, and the last rung. Loaded beside the first stream, so that it costs that one no time.

// All of the core, so that it stays in one file.
import './connect.js'
import type { HistoryOptions, Off, Page, Report, Transport } from './api.js'
import type { Carrier } from './carrier.js'
import type { Engine } from './engine.js'
import { type Answer, canarySays, Judge } from './judge.js'
import { Loss, type Net } from './net.js'
import { POLICY } from './backoff.js'
import { watch } from './wake.js'
import { catchUp, history } from './pages.js'
import { read, type Stream } from './stream.js'

export { Poll } from './poll.js'

/** When the events of a canary came, in ms since it was asked for; all three, if it did not fail. */
async function canary(net: Net, gap: number, signal?: AbortSignal): Promise<number[]> {
  const { env } = net
  const begun = env.now()
  const times: number[] = []
  try {
    await net.stream(`/canary?gap=${gap}`, { signal }, (response) => read(response, (frame) => frame.event === 'tidewire.canary' && times.push(env.now() - begun)))
    return times
  } catch {
    return []
  }
}

/** How long a stream that is looked at has to be heard, in ms. */
const CHECK = 2000

/** Watches one stream: sends what the judge asks for, and obeys it. */
export class Observer {
  readonly #judge: Judge
  #isAsking = false
  #isSinging = false

  constructor(readonly engine: Engine, readonly stream: Stream, readonly name: string, isEarly: boolean, readonly begun: number, readonly signal: AbortSignal) {
    this.#judge = new Judge(isEarly)
    const tick = (): void => {
      this.#obey()
      if (signal.aborted) return
      const { verdict, probeAt = 60_000 } = this.#judge
      stop = engine.env.after(verdict === 'clear' ? Math.max(50, probeAt - this.#since()) : 50, tick)
    }
    let stop = engine.env.after(0, tick)
    signal.addEventListener('abort', () => stop())
  }

  /** With a `kind` a whole event; without, the bytes in which the last ones came. */
  saw(at: number, kind: string | undefined, beat: number): void {
    if (kind) this.#judge.event(at, kind as 'entry', beat)
    else this.#judge.piece(at)
  }

  /** Does anything still come through? The stream is asked to beat. */
  async check(): Promise<boolean> {
    const { env } = this.engine
    const asked = env.now()
    if (!(await this.look(CHECK, '?beat=now'))) return false
    if (this.signal.aborted) return true
    return new Promise((done) => {
      const stop = env.after(CHECK - (env.now() - asked), () => done(this.stream.heardAt >= asked))
      this.signal.addEventListener('abort', () => (stop(), done(true)))
    })
  }

  /** Asks the server what it wrote. True if it knows the stream. */
  async look(ms: number, wish = ''): Promise<boolean> {
    const { engine, signal } = this
    this.#isAsking = true
    const sent = this.#since()
    const failed = (error: Loss): Answer => (error.code === 'not_found' ? 'not_found' : 'failed')
    const answer: Answer = await engine.net.json(`/path/${this.name}${wish}`, { signal, ms }).catch(failed)
    this.#isAsking = false
    if (signal.aborted) return true
    this.#judge.answered(this.#since(), this.#since() - sent, answer)
    this.#obey()
    return typeof answer !== 'string'
  }

  #since(): number {
    return this.engine.env.now() - this.begun
  }

  async #sing(gap: number): Promise<void> {
    this.#isSinging = true
    const times = await canary(this.engine.net, gap, this.signal)
    this.#isSinging = false
    if (this.signal.aborted) return
    this.#judge.canary(this.#since(), gap, times)
    this.#obey()
  }

  /** The path holds the stream back. One that is known to flow has died, unless it just did so. */
  #held(by: string, isProven: boolean): void {
    const { stream, engine: { env, path } } = this
    const isNew = env.now() - stream.stoodStillAt > STOOD_STILL
    const still = 'the server writes and nothing arrives'
    if ((isProven || path.verdict('sse') === 'clear') && isNew) {
      stream.stoodStillAt = env.now()
      path.forget()
      return stream.end(new Loss('silent', `${still}: a dead connection`))
    }
    const why = by === 'canary' ? 'what is sent apart comes at once' : still
    void this.engine.upkeep().then((upkeep) => upkeep.shut(stream, 'buffered', by, why))
    stream.end(new Loss('buffered', `the path holds streams back: ${why}`))
  }

  #obey(): void {
    const { verdict, by, isProven, canaryGap, probeAt = Infinity } = this.#judge
    const { path } = this.engine
    if (by) return this.#held(by, isProven)
    if (verdict === 'clear' && this.stream.isOpen && path.verdict('sse') !== 'clear') path.set('sse', 'clear')
    if (canaryGap && !this.#isSinging) void this.#sing(canaryGap)
    if (!this.#isAsking && this.#since() >= probeAt) void this.look(5000)
  }
}

/** A stream that stands still again within so long, in ms, is held back. */
const STOOD_STILL = 60_000

/** So many attempts that reach the server but do not open shut a rung. */
const FAILURES = 2

/** What an engine does beside carrying: it finds out what the path lets through, and keeps tokens fresh. */
export class Upkeep {
  readonly Observer = Observer
  readonly catchUp = catchUp
  /** Those that wait for the answer to a fresh token. */
  readonly refreshed = new Set<Carrier>()
  readonly #failures: { [T in Transport]?: number } = {}
  #stopWatching: Off | undefined
  #stopRetesting: Off | undefined
  #stopRenewing: Off | undefined

  constructor(readonly engine: Engine) {
    if (engine.subs.size) this.#stopWatching = watch(engine.env, this)
  }

  opened(carrier: Carrier): void {
    delete this.#failures[carrier.name]
    this.refreshed.delete(carrier)
    this.#stopWatching ??= watch(this.engine.env, this)
    this.#renewAhead()
  }

  /** Nobody listens any more. */
  rest(): void {
    this.#stopWatching?.()
    this.#stopRetesting?.()
    this.#stopRenewing?.()
    this.#stopWatching = this.#stopRetesting = this.#stopRenewing = undefined
  }

  // What the page tells.

  wake(): void {
    this.engine.wake()
  }

  online(): void {
    const { engine } = this
    engine.isOffline = false
    engine.path.forget()
    engine.assign()
    // Thousands may come back with the network.
    engine.env.after(engine.env.random() * 1000, () => engine.wake())
  }

  offline(): void {
    this.engine.isOffline = true
  }

  hide(isKept: boolean): void {
    const { engine } = this
    // Another tab takes over at once.
    engine.relay?.end()
    engine.relay = undefined
    if (!isKept) return
    engine.isHidden = true
    engine.each((carrier) => carrier.again('the page was put away'))
  }

  show(): void {
    this.engine.isHidden = false
    void this.engine.share().then(() => this.engine.reconnect())
  }

  history(topic: string, options?: HistoryOptions): Promise<Page> {
    return history(this.engine, topic, options)
  }

  /** What `explain()` gives. */
  report(): Report {
    const { env, net, status, path, plan, recent, subs } = this.engine
    const topics = [...subs.values()].map(({ topic, carrier, place, seam }) => ({ topic, transport: carrier?.name ?? null, after: place, ...(seam && { seam }) }))
    return { at: new Date(env.now()).toISOString(), server: net.base, status, topics, path: Object.fromEntries((['sse', 'ws', 'poll'] as const).map((rung) => [rung, path.verdict(rung)])), plan, recent: recent.map(([at, what]) => `${new Date(at).toISOString()} ${what}`) }
  }

  /** What follows from a loss: again now, after a wait, or not by itself. */
  async judge(carrier: Carrier, loss: Loss, lasted: number | undefined): Promise<'now' | 'wait' | 'stop'> {
    const { engine, refreshed } = this
    // Its topics are elsewhere now, if anything else works.
    if (loss.code === 'buffered') return carrier.subs.size ? 'wait' : 'now'
    if (loss.next === 'refresh_token') {
      if (refreshed.has(carrier) || (!refreshed.size && !engine.net.forget())) return 'stop'
      refreshed.add(carrier)
      // Who is greeted and sent away again and again does not ask at once.
      return lasted! < POLICY.stable ? 'wait' : 'now'
    }
    if (loss.next === 'give_up') {
      if (!engine.plan) return 'stop'
      await this.sift(carrier, loss)
      return 'now'
    }
    if (lasted === undefined) await this.blame(carrier, loss)
    return 'wait'
  }

  /** A rung does not work on this path. Its topics go on elsewhere, each from its place. */
  shut(carrier: Carrier, verdict: 'buffered' | 'blocked', by: string, why: string): void {
    const from = carrier.name
    this.engine.path.set(from, verdict)
    const to = this.engine.path.pick(from, true)
    this.engine.note(`${from} is ${verdict}: ${why}`)
    this.#tell(verdict, from, to, by, why)
    this.engine.assign()
  }

  /** The server refuses a connection. Those of its topics that it refuses alone too are told; if there is none, all are. */
  async sift(carrier: Carrier, loss: Loss): Promise<void> {
    const { net } = this.engine
    const subs = [...carrier.subs.values()]
    let isFound = false
    for (const sub of subs) {
      const query = new URLSearchParams({ topic: sub.topic, after: sub.place, limit: '1' })
      if (subs.length > 1) {
        await net.json(`/events?${query}`).catch((its: Loss) => {
          // What is not kept has no pages, and this says nothing of reading it live.
          if (its.next !== 'give_up' || its.code === 'no_history') return
          isFound = true
          this.engine.refuse(sub, its)
        })
      }
    }
    if (!isFound) for (const sub of subs) this.engine.refuse(sub, loss)
  }

  /** An attempt did not open. If the server can be reached otherwise, it is the path's fault. */
  async blame(carrier: Carrier, { code, message }: Loss): Promise<void> {
    const { name } = carrier
    if (!this.engine.plan || name === 'poll' || !/not_opened|foreign|unreachable|ended/.test(code)) return
    const isThere = await this.engine.net.json('/plan', { ms: 2000 }).then(() => true, () => false)
    const failures = (this.#failures[name] ?? 0) + (isThere ? 1 : 0)
    this.#failures[name] = failures
    if (failures >= FAILURES) this.shut(carrier, 'blocked', 'connect', message)
  }

  #tell(verdict: string, from: Transport, to: Transport, by: string, detail: string): void {
    const body = JSON.stringify({ verdict, from, to, by, detail: detail.slice(0, 200) })
    this.engine.net.json('/path', { method: 'POST', body, headers: { 'Content-Type': 'application/json' } }).catch(() => undefined)
  }

  /** A rung that is shut is tried again after a while, beside what carries its topics meanwhile. */
  retestLater(): void {
    this.#stopRetesting?.()
    const [wait, rung] = (['sse', 'ws'] as const).map((rung) => [this.engine.path.retestIn(rung) ?? Infinity, rung] as const).sort(([a], [b]) => a - b)[0]!
    if (wait === Infinity || !this.engine.subs.size || (rung === 'ws' && !this.engine.env.WebSocket)) return
    this.#stopRetesting = this.engine.env.after(wait, () => {
      void this.#retest(rung).catch(() => false).then((isClear) => {
        const verdict = isClear ? 'clear' : this.engine.path.verdict(rung)
        this.engine.path.set(rung, verdict as 'clear')
        if (isClear) this.#tell('clear', rung, rung, 'retest', 'looked at again')
        this.engine.assign()
      })
    })
  }

  async #retest(rung: 'sse' | 'ws'): Promise<boolean> {
    if (rung === 'sse') return canarySays(250, await canary(this.engine.net, 250)) === 'clear'
    await this.engine.talk()
    return this.engine.carriers.ws!.knock()
  }

  /** A new token before the old one ends, so that no stream does. */
  #renewAhead(): void {
    if (!this.engine.net.hasToken || this.#stopRenewing) return
    void this.engine.net.token().then((token) => {
      const left = expiryOf(token) - this.engine.env.now()
      if (!(left > 0) || typeof this.engine.options.token !== 'function') return
      const wait = left * (0.65 + 0.2 * this.engine.env.random())
      this.#stopRenewing = this.engine.env.after(Math.min(wait, 2 ** 31 - 1), () => {
        this.#stopRenewing = undefined
        this.engine.net.forget()
        this.engine.net.token().then((fresh) => {
          this.engine.carriers.ws?.renew(fresh)
          this.engine.each((carrier) => carrier.name === 'sse' && carrier.again('a new token'))
          this.#renewAhead()
        }, () => this.#renewAhead())
      })
    }, () => undefined)
  }
}

/** When a token says that it ends, in ms since 1970; `NaN` if it does not say. */
function expiryOf(token: string): number {
  try {
    return JSON.parse(atob(token.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/'))).exp * 1000
  } catch {
    return NaN
  }
}

// Which topic is carried by what: the plan says what should, the path what can.
//
// Knows no wire. Carriers tell it how they fare; it moves topics between them, each with its place.

import type { After, Env, Off, Options, Refusal, State, Status, Transport } from './api.js'
import type { Carrier } from './carrier.js'
import type * as Talk from './talk.js'
import type { Upkeep } from './upkeep.js'
import { Loss, Net, unreachable } from './net.js'
import { Path } from './path.js'
import type { Socket } from './socket.js'
import { Stream } from './stream.js'
import { type Carries, type Keep, type Reader, Sub } from './sub.js'

/** A plan that could not be had is asked for again after so long, in ms. */
const PLAN_AGAIN = 5000
/** Happenings that `explain()` remembers. */
const RECENT = 50
/** Carriers at a time: the rungs, and streams of texts. Browsers open six connections over HTTP/1.1. */
const MOST = 5

export interface Plan {
  tag?: string
  peer?: string
  topics_per_stream_max?: number
  page_entries_max?: number
  features: { feature: string; transport: Transport; history: string; keep?: Keep }[]
}

interface Parts {
  upkeep?: Promise<Upkeep>
  talk?: Promise<typeof Talk>
}

/** Another tab, which reads for this one; or this one, for others. */
export interface Relay extends Carries {
  readonly isReading: boolean
  add(sub: Sub): void
  wake(): void
  reconnect(): void
  shown(status: Status): void
  end(): void
}

/** The states, the worst first, and what comes next in each. */
const STATES: { [S in State]: string } = {
  closed: 'nothing',
  unauthorized: 'reconnect() tries again',
  refused: 'reconnect() tries again',
  offline: 'an attempt with the network',
  waiting: 'an attempt by itself',
  connecting: 'an attempt is under way',
  open: 'nothing',
  idle: 'nothing',
}

export class Engine {
  readonly net: Net
  readonly path: Path
  readonly connectMs: number
  isClosed = false
  /** What `close()` ends, beside connections. */
  readonly ends = new Set<Off>()
  /** Called whenever something comes over the network. */
  readonly pulses = new Set<Off>()
  isOffline = false
  status: Status = { state: 'idle', why: 'nobody listens', next: STATES.idle }
  plan: Plan | undefined
  readonly subs = new Map<string, Sub>()
  /** Hears each change of `status`. */
  onStatus: () => void = () => undefined
  /** By rung; of texts, each topic may have a stream of its own. */
  readonly carriers: { [name: string]: Carrier | undefined; sse: Carrier; ws?: Socket; poll?: Carrier }
  #loading: Promise<void> | undefined
  #tag: string | undefined
  #halt: Loss | undefined
  #resume: (() => void)[] = []
  readonly recent: [at: number, what: string][] = []
  readonly #parts: Parts = {}
  /** The page is put away: nothing is tried. */
  isHidden = false
  relay: Relay | undefined

  constructor(url: string, readonly options: Options, readonly env: Env) {
    this.net = new Net(url, options, env)
    this.connectMs = options.connectMs ?? 5000
    let storage: Storage | undefined
    try {
      storage = globalThis.sessionStorage
    } catch {
      // A page that may not keep anything.
    }
    this.path = new Path(this.net.base, env, storage)
    this.carriers = { sse: new Stream(this) }
  }

  /** With nothing said, it begins as the feature's plan has it. */
  read(topic: string, after: After | undefined, reader: Reader): Off {
    let sub = this.subs.get(topic)
    if (!sub) {
      this.subs.set(topic, (sub = new Sub(topic)))
      this.#tell(sub)
    }
    sub.join(reader, after)
    this.assign()
    if (sub.isStale) sub.carrier?.touch()
    return () => {
      sub.leave(reader)
      this.env.after(this.options.lingerMs ?? 200, () => {
        if (sub.isRead || this.subs.get(topic) !== sub) return
        this.subs.delete(topic)
        sub.carrier?.drop(sub)
        delete this.carriers[`/${topic}`]
        if (!this.subs.size) this.#rest()
      })
    }
  }

  // Code that is loaded when it is needed.

  /** What keeps connections up where not everything is well. */
  upkeep(): Promise<Upkeep> {
    return this.#part('upkeep', async () => {
      const { Upkeep, Poll } = await import('./upkeep.js')
      this.carriers.poll = new Poll(this)
      return new Upkeep(this)
    })
  }

  /** For sending, for loops, and for sockets. */
  talk(): Promise<typeof Talk> {
    return this.#part('talk', async () => {
      const talk = await import('./talk.js')
      this.carriers.ws = new talk.Socket(this)
      return talk
    })
  }

  /** What can not be had now is asked for again with its next use. */
  #part<T>(name: keyof Parts, load: () => Promise<T>): Promise<T> {
    const parts = this.#parts as { [name: string]: Promise<T> | undefined }
    return (parts[name] ??= load().catch((error: unknown) => {
      delete parts[name]
      throw unreachable(error)
    }))
  }

  // What carriers tell.

  /** Waits while nothing should be tried. */
  async resumed(signal: AbortSignal): Promise<void> {
    while (this.#halt || this.isHidden) {
      await new Promise<void>((done) => {
        this.#resume.push(done)
        signal.addEventListener('abort', () => done())
      })
      signal.throwIfAborted()
    }
  }

  /** Waits until the plan is known. */
  async ready(signal: AbortSignal): Promise<void> {
    if (!this.plan) await this.#load()
    signal.throwIfAborted()
  }

  opened(carrier: Carrier, tag: string | undefined): void {
    if (carrier.name !== 'sse') this.path.set(carrier.name, 'clear')
    this.planIs(tag)
    this.upkeep().then((upkeep) => upkeep.opened(carrier), () => undefined)
  }

  /** The server's plan has this tag. If it is another than ours, ours is asked for anew, in our slot. */
  planIs(tag: string | undefined, wait = 0): void {
    if (!tag || !this.plan || tag === this.#tag) return
    this.#tag = tag
    const load = (): void => void this.#load().catch(() => this.env.after(PLAN_AGAIN, load))
    if (tag !== this.plan.tag) this.env.after(wait, load)
  }

  /** What follows from a loss: again now, after a wait, or not by itself. */
  async judge(carrier: Carrier, loss: Loss, lasted: number | undefined): Promise<'now' | 'wait' | 'stop'> {
    return (await this.upkeep().catch(() => undefined))?.judge(carrier, loss, lasted) ?? 'wait'
  }

  /** Nothing goes on by itself after this. */
  halted(carrier: Carrier, loss: Loss): void {
    this.#halt = loss
    carrier.status = { state: loss.next === 'refresh_token' ? 'unauthorized' : 'refused', why: loss.message }
    for (const sub of carrier.subs.values()) sub.refuse(loss)
    this.changed()
  }

  /** The server refuses one topic: the others go on. */
  refuse(sub: Sub, loss: Refusal): void {
    this.note(`${sub.topic}: ${loss.message}`)
    sub.carrier?.drop(sub)
    sub.refuse(loss)
    this.changed()
  }

  note(what: string): void {
    this.recent.push([this.env.now(), what])
    if (this.recent.length > RECENT) this.recent.shift()
  }

  /** What the tab that reads shows. */
  isShown(status: Status): void {
    if (JSON.stringify(status) === JSON.stringify(this.status)) return
    this.status = status
    this.relay?.shown(status)
    this.onStatus()
  }

  /** Some carrier has another status. */
  changed(): void {
    if (this.#isRead && !this.isClosed) return
    const carriers = Object.values(this.carriers) as Carrier[]
    const worst = (Object.keys(STATES) as State[]).map((state) => carriers.find((carrier) => carrier.status.state === state && (carrier.subs.size || state === 'idle'))).find(Boolean)
    const degraded = [...this.subs.values()].find((sub) => sub.carrier && sub.carrier.name !== this.planned(sub.topic))
    const refused = [...this.subs.values()].find((sub) => sub.refusal)?.refusal
    const status = this.isClosed ? { state: 'closed' as const, why: 'close() was called' } : worst && worst.subs.size ? worst.status : refused ? { state: 'refused' as const, why: refused.message } : carriers[0]!.status
    // Between two carriers nobody is idle, nor is everything open.
    const isBetween = [...this.subs.values()].some((sub) => !sub.carrier && !sub.refusal)
    if ((status.state === 'idle' && this.subs.size) || (status.state === 'open' && isBetween)) return
    const next = { ...status, next: STATES[status.state], ...(degraded && this.plan && { degradedFrom: this.planned(degraded.topic) }) }
    this.isShown(next)
  }

  // What the app and the page tell.

  reconnect(): void {
    this.#halt = undefined
    void this.#parts.upkeep?.then((upkeep) => upkeep.refreshed.clear())
    for (const sub of this.subs.values()) sub.refusal = undefined
    this.#resume.splice(0).forEach((resume) => resume())
    this.assign()
    this.each((carrier) => (carrier.isOpen ? carrier.wake() : carrier.hurry()))
    if (this.#isRead) this.relay!.reconnect()
  }

  wake(): void {
    this.each((carrier) => carrier.wake())
    this.relay?.wake()
  }

  close(): void {
    this.isClosed = true
    this.relay?.end()
    this.ends.forEach((end) => end())
    this.subs.clear()
    this.each((carrier) => {
      carrier.subs.clear()
      carrier.end(new Loss('closed', 'close() was called', 'give_up'))
      carrier.hurry()
    })
    this.#rest()
    this.changed()
  }

  // What stays inside.

  /** Does another tab read for this one? */
  get #isRead(): boolean {
    return this.relay?.isReading === false
  }

  each(call: (carrier: Carrier) => void): void {
    ;(Object.values(this.carriers) as Carrier[]).forEach(call)
  }

  #rest(): void {
    void this.#parts.upkeep?.then((upkeep) => upkeep.rest())
  }

  #feature(topic: string): Plan['features'][number] | undefined {
    return this.plan?.features.find(({ feature }) => feature === topic.split('/')[0])
  }

  planned(topic: string): Transport {
    return this.#feature(topic)?.transport ?? 'sse'
  }

  /** How its feature keeps it: what passes on who is here keeps nothing. */
  #tell(sub: Sub): void {
    const { history = '', keep } = this.#feature(sub.topic) ?? {}
    sub.isPlanned(history !== 'none' && !sub.topic.endsWith('/~presence'), keep)
  }

  /** The feature that the topic is of gives it values, texts, or just entries. */
  keepOf(topic: string): Keep | undefined {
    return this.#feature(topic)?.keep
  }

  #load(): Promise<void> {
    this.#loading ??= this.#ask().finally(() => (this.#loading = undefined))
    return this.#loading
  }

  async #ask(): Promise<void> {
    const plan: Plan = await this.net.json('/plan')
    if (!Array.isArray(plan?.features)) throw new Loss('foreign', '/plan gives no plan: is this a Tidewire server?')
    const isOther = this.plan?.peer !== plan.peer
    this.plan = plan
    for (const sub of this.subs.values()) this.#tell(sub)
    if (!this.env.WebSocket) this.path.set('ws', 'blocked')
    if (isOther) await this.share()
    this.assign()
  }

  /** Joins the other tabs of the same person, where that is worth it. */
  async share(): Promise<void> {
    this.relay?.end()
    this.relay = undefined
    // Without this code, or without locks, each tab reads for itself.
    if (globalThis.document && this.options.share !== false && this.plan?.peer) this.relay = await import('./tabs.js').then(({ join }) => join(this)).catch(() => undefined)
    this.assign()
  }

  /** Gives each topic to the carrier that should and can have it. */
  assign(): void {
    const most = this.plan?.topics_per_stream_max ?? 64
    let streamed = 0
    for (const sub of this.subs.values()) {
      if (sub.refusal) continue
      let rung: string = this.path.pick(this.planned(sub.topic), sub.isKept)
      // One stream has room for so many topics; the rest is no less live on the socket.
      if (rung === 'sse' && ++streamed > most && !this.path.isShut('ws')) rung = 'ws'
      // A stream of many topics has one place. A text that is read from there comes joined with what its
      // reader has: so it is read alone, where a few more connections are to be had.
      const own = `/${sub.topic}`
      if (rung === 'sse' && this.keepOf(sub.topic) === 'text' && (this.carriers[own] || Object.keys(this.carriers).length < MOST)) this.carriers[(rung = own)] ??= new Stream(this)
      const carrier = this.#isRead ? this.relay! : this.carriers[rung]
      if (sub.carrier === carrier && carrier) continue
      sub.carrier?.drop(sub)
      if (carrier) carrier.add(sub)
      else this.#fetch(rung)
    }
    void this.#parts.upkeep?.then((upkeep) => upkeep.retestLater())
    this.changed()
  }

  /** Fetches the code of a rung. Where it can not be had, the rung is one that the path blocks. */
  #fetch(rung: string): void {
    const code: Promise<unknown> = rung === 'ws' ? this.talk() : this.upkeep()
    code.then(() => this.assign(), () => {
      if (rung === 'ws') this.path.set(rung, 'blocked')
      this.env.after(1000, () => this.assign())
    })
  }
}

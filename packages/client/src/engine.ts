// Which topic is carried by what: the plan says what should, the path what can.
//
// Knows no wire. Carriers tell it how they fare; it moves topics between them, each with its place.

import type { After, Env, Off, Options, Refusal, Report, Sent, State, Status, Transport } from './api.js'
import type { Carrier } from './carrier.js'
import { type Call, type Json, Loss, Net } from './net.js'
import { Path } from './path.js'
import { Poll } from './poll.js'
import { publish } from './publish.js'
import { Socket } from './socket.js'
import { canary, Stream } from './stream.js'
import { canarySays } from './judge.js'
import { type Reader, Sub } from './sub.js'
import { watch } from './wake.js'

/** So many attempts that reach the server but do not open shut a rung. */
const FAILURES = 2
/** Happenings that `explain()` remembers. */
const RECENT = 50

interface Plan {
  tag?: string
  peer?: string
  topics_per_stream_max?: number
  features: { feature: string; transport: Transport; history: string }[]
}

/** The states, the worst first. */
const STATES: State[] = ['closed', 'unauthorized', 'refused', 'offline', 'waiting', 'connecting', 'open', 'idle']

export class Engine {
  readonly net: Net
  readonly path: Path
  readonly connectMs: number
  isClosed = false
  isOffline = false
  status: Status = { state: 'idle', why: 'nobody listens', next: 'nothing until somebody does' }
  plan: Plan | undefined
  readonly subs = new Map<string, Sub>()
  /** Hears each change of `status`. */
  onStatus: () => void = () => undefined
  readonly #carriers: { [T in Transport]: Carrier }
  readonly #socket: Socket
  readonly #failures: { [T in Transport]?: number } = {}
  #loading: Promise<void> | undefined
  #isRefreshed = false
  #halt: Loss | undefined
  #resume: (() => void)[] = []
  #recent: string[] = []
  #stopWatching: Off | undefined
  #stopRetesting: Off | undefined
  #stopRenewing: Off | undefined
  #isHidden = false

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
    this.#socket = new Socket(this)
    this.#carriers = { sse: new Stream(this), ws: this.#socket, poll: new Poll(this) }
  }

  read(topic: string, after: After, reader: Reader): Off {
    let sub = this.subs.get(topic)
    if (!sub) this.subs.set(topic, (sub = new Sub(topic, this.#isKept(topic))))
    sub.join(reader, after)
    this.#stopWatching ??= watch(this.env, this)
    this.#assign()
    sub.carrier?.touch()
    return () => {
      sub.leave(reader)
      this.env.after(this.options.lingerMs ?? 200, () => {
        if (sub.isRead || this.subs.get(topic) !== sub) return
        this.subs.delete(topic)
        sub.carrier?.drop(sub)
        if (!this.subs.size) this.#rest()
      })
    }
  }

  /** Publishes; resolves when the log has it. */
  send(topic: string, event: string, data: unknown, key: string, signal?: AbortSignal): Promise<Sent> {
    return publish(this, topic, event, data, key, signal)
  }

  /** The socket's way to publish, if the topic's feature has it and it is open. */
  bySocket(topic: string, event: string, data: unknown, key: string): Promise<Sent> | undefined {
    return this.#planned(topic) === 'ws' ? this.#socket.publish(topic, event, data, key) : undefined
  }

  /** Asks once more with a new token, if the first was refused. */
  async ask(path: string, call?: Call): Promise<Json> {
    return this.net.json(path, call).catch((error: Loss) => {
      if (error.next !== 'refresh_token' || !this.net.forget()) throw error
      return this.net.json(path, call)
    })
  }

  // What carriers tell.

  /** Waits until an attempt makes sense: the plan is known, and nothing is refused. */
  async ready(signal: AbortSignal): Promise<void> {
    while (this.#halt || this.#isHidden) {
      await new Promise<void>((done) => {
        this.#resume.push(done)
        signal.addEventListener('abort', () => done())
      })
      signal.throwIfAborted()
    }
    if (!this.plan) await this.#load()
    signal.throwIfAborted()
  }

  opened(carrier: Carrier, tag: string | undefined): void {
    this.#isRefreshed = false
    delete this.#failures[carrier.name]
    if (carrier.name !== 'sse') this.path.set(carrier.name, 'clear')
    this.planIs(tag)
    this.#renewAhead()
  }

  /** The server's plan has this tag. If it is another than ours, ours is asked for anew, in our slot. */
  planIs(tag: string | undefined, wait = 0): void {
    if (!tag || !this.plan?.tag || tag === this.plan.tag) return
    this.note('the plan changed')
    this.plan.tag = tag
    this.env.after(wait, () => void this.#load().catch(() => delete this.plan?.tag))
  }

  /** A rung does not work on this path. Its topics go on elsewhere, each from its place. */
  shut(carrier: Carrier, verdict: 'buffered' | 'blocked', by: string, why: string): void {
    const from = carrier.name
    this.path.set(from, verdict)
    const to = this.path.pick(from, true)
    this.note(`${from} is ${verdict}: ${why}`)
    this.#report(verdict, from, to, by, why)
    this.#assign()
  }

  /** What follows from a loss: again now, after a wait, or not by itself. */
  async judge(carrier: Carrier, loss: Loss, wasOpen: boolean): Promise<'now' | 'wait' | 'stop'> {
    if (loss.code === 'buffered') return 'now'
    if (loss.next === 'refresh_token') {
      if (this.#isRefreshed || !this.net.forget()) return 'stop'
      this.#isRefreshed = true
      return 'now'
    }
    if (loss.next === 'give_up') return (await this.#sift(carrier)) ? 'now' : 'stop'
    if (!wasOpen) await this.#blame(carrier, loss)
    return 'wait'
  }

  /** Nothing goes on by itself after this. */
  halted(carrier: Carrier, loss: Loss): void {
    this.#halt = loss
    const state = loss.next === 'refresh_token' ? 'unauthorized' : 'refused'
    carrier.status = { state, why: loss.message, next: 'reconnect() tries again' }
    if (state === 'refused') for (const sub of carrier.subs.values()) sub.refuse(loss)
    this.changed()
  }

  /** The server refuses one topic: the others go on. */
  refuse(sub: Sub, loss: Refusal): void {
    this.note(`${sub.topic}: ${loss.message}`)
    this.subs.delete(sub.topic)
    sub.carrier?.drop(sub)
    sub.refuse(loss)
  }

  note(what: string): void {
    this.#recent.push(`${new Date(this.env.now()).toISOString()} ${what}`)
    if (this.#recent.length > RECENT) this.#recent.shift()
  }

  /** Some carrier has another status. */
  changed(): void {
    const carriers = Object.values(this.#carriers)
    const worst = STATES.map((state) => carriers.find((carrier) => carrier.status.state === state && (carrier.subs.size || state === 'idle'))).find(Boolean)
    const degraded = [...this.subs.values()].find((sub) => sub.carrier && sub.carrier.name !== this.#planned(sub.topic))
    const status = this.isClosed ? { state: 'closed' as const, why: 'close() was called', next: 'nothing' } : (worst ?? carriers[0]!).status
    const next = { ...status, ...(degraded && this.plan && { degradedFrom: this.#planned(degraded.topic) }) }
    if (JSON.stringify(next) === JSON.stringify(this.status)) return
    this.status = next
    this.onStatus()
  }

  // What the app and the page tell.

  reconnect(): void {
    this.#halt = undefined
    this.#isRefreshed = false
    this.#resume.splice(0).forEach((resume) => resume())
    this.#each((carrier) => (carrier.isOpen ? carrier.wake() : carrier.hurry()))
  }

  wake(): void {
    this.#each((carrier) => carrier.wake())
  }

  online(): void {
    this.isOffline = false
    this.path.forget()
    this.#assign()
    // Thousands may come back with the network.
    this.env.after(this.env.random() * 1000, () => this.wake())
  }

  offline(): void {
    this.isOffline = true
  }

  hide(isKept: boolean): void {
    if (!isKept) return
    this.#isHidden = true
    this.#each((carrier) => carrier.again('the page was put away'))
  }

  show(): void {
    this.#isHidden = false
    this.reconnect()
  }

  close(): void {
    this.isClosed = true
    this.subs.clear()
    this.#each((carrier) => {
      carrier.subs.clear()
      carrier.end(new Loss('closed', 'close() was called', 'give_up'))
      carrier.hurry()
    })
    this.#rest()
    this.reconnect()
    this.changed()
  }

  report(): Report {
    const topics = [...this.subs.values()].map(({ topic, carrier, place, seam }) => ({ topic, transport: carrier?.name ?? null, after: place, ...(seam && { seam }) }))
    return { at: new Date(this.env.now()).toISOString(), server: this.net.base, status: this.status, topics, path: this.path.report(), plan: this.plan, recent: [...this.#recent] }
  }

  // What stays inside.

  #each(call: (carrier: Carrier) => void): void {
    Object.values(this.#carriers).forEach(call)
  }

  #rest(): void {
    this.#stopWatching?.()
    this.#stopRetesting?.()
    this.#stopRenewing?.()
    this.#stopWatching = this.#stopRetesting = this.#stopRenewing = undefined
  }

  #feature(topic: string): Plan['features'][number] | undefined {
    return this.plan?.features.find(({ feature }) => feature === topic.split('/')[0])
  }

  #planned(topic: string): Transport {
    return this.#feature(topic)?.transport ?? 'sse'
  }

  #isKept(topic: string): boolean {
    return this.#feature(topic)?.history !== 'none'
  }

  async #load(): Promise<void> {
    this.#loading ??= this.net.json('/plan').finally(() => (this.#loading = undefined)).then((plan: Plan) => {
      if (!Array.isArray(plan?.features)) throw new Loss('foreign', 'the answer of /plan is no plan: is this the address of a Tidewire server?')
      this.plan = plan
      for (const sub of this.subs.values()) sub.isKept = this.#isKept(sub.topic)
      if (!this.env.WebSocket) this.path.set('ws', 'blocked')
      this.#assign()
    })
    return this.#loading
  }

  /** Gives each topic to the carrier that should and can have it. */
  #assign(): void {
    const most = this.plan?.topics_per_stream_max ?? 64
    let streamed = 0
    for (const sub of this.subs.values()) {
      let rung = this.path.pick(this.#planned(sub.topic), sub.isKept)
      // One stream has room for so many topics; the rest is no less live on the socket.
      if (rung === 'sse' && ++streamed > most && !this.path.isShut('ws')) rung = 'ws'
      const carrier = this.#carriers[rung]
      if (sub.carrier === carrier) continue
      sub.carrier?.drop(sub)
      carrier.add(sub)
    }
    this.#retestLater()
    this.changed()
  }

  /** Of several topics, which one is refused? True if some were, and the others can go on. */
  async #sift(carrier: Carrier): Promise<boolean> {
    if (!this.plan || carrier.subs.size < 2) return false
    let found = false
    for (const sub of [...carrier.subs.values()].filter(({ isKept }) => isKept)) {
      const query = new URLSearchParams({ topic: sub.topic, after: 'now', limit: '1' })
      await this.net.json(`/events?${query}`).catch((loss: Loss) => {
        if (loss.next !== 'give_up') return
        found = true
        this.refuse(sub, loss)
      })
    }
    return found
  }

  /** An attempt did not open. If the server can be reached otherwise, it is the path's fault. */
  async #blame(carrier: Carrier, { code, message }: Loss): Promise<void> {
    const { name } = carrier
    if (!this.plan || name === 'poll' || !/not_opened|foreign|unreachable|ended/.test(code)) return
    const isThere = await this.net.json('/plan', { ms: 2000 }).then(() => true, () => false)
    const failures = (this.#failures[name] ?? 0) + (isThere ? 1 : 0)
    this.#failures[name] = failures
    if (failures >= FAILURES) this.shut(carrier, 'blocked', 'connect', message)
  }

  #report(verdict: string, from: Transport, to: Transport, by: string, detail: string): void {
    const body = JSON.stringify({ verdict, from, to, by, detail: detail.slice(0, 200) })
    this.net.json('/path', { method: 'POST', body, headers: { 'Content-Type': 'application/json' } }).catch(() => undefined)
  }

  /** A rung that is shut is tried again after a while, beside what carries its topics meanwhile. */
  #retestLater(): void {
    this.#stopRetesting?.()
    const [wait, rung] = (['sse', 'ws'] as const).map((rung) => [this.path.retestIn(rung) ?? Infinity, rung] as const).sort(([a], [b]) => a - b)[0]!
    if (wait === Infinity || !this.subs.size || (rung === 'ws' && !this.env.WebSocket)) return
    this.#stopRetesting = this.env.after(wait, () => {
      void this.#retest(rung).then((isClear) => {
        const verdict = isClear ? 'clear' : this.path.verdict(rung)
        this.path.set(rung, verdict as 'clear')
        if (isClear) this.#report('clear', rung, rung, 'retest', 'looked at again')
        this.#assign()
      })
    })
  }

  async #retest(rung: 'sse' | 'ws'): Promise<boolean> {
    if (rung === 'sse') return canarySays(250, await canary(this.net, 250)) === 'clear'
    return this.#socket.knock()
  }

  /** A new token before the old one ends, so that no stream does. */
  #renewAhead(): void {
    if (!this.net.hasToken || this.#stopRenewing) return
    void this.net.token().then((token) => {
      const left = expiryOf(token) - this.env.now()
      if (!(left > 0) || typeof this.options.token !== 'function') return
      const wait = left * (0.65 + 0.2 * this.env.random())
      this.#stopRenewing = this.env.after(Math.min(wait, 2 ** 31 - 1), () => {
        this.#stopRenewing = undefined
        this.net.forget()
        this.net.token().then((fresh) => {
          this.#socket.renew(fresh)
          this.#carriers.sse.again('a new token')
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

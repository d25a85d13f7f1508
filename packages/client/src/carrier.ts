// What keeps one connection up: attempt after attempt, each from where its topics stand.
//
// A rung (stream, socket, poll, tab) says how one attempt goes, from opening to its end. When the
// next one comes, and what a loss means, is decided here, for all rungs alike.
//
// Invariant: a wait between two attempts is never shorter than the back-off says, but when a person
// or a change of topics asks for one; and no loss is silent: each has a state and a reason.

import type { Off, State, Status, Transport } from './api.js'
import { Backoff, type Told } from './backoff.js'
import type { Engine } from './engine.js'
import { foreign, Loss } from './net.js'
import type { Carries, Sub } from './sub.js'

/** Changes of topics gather for so long, in ms. */
const GATHER = 10
/** How much later than a beat a sign of life may be, in ms. */
const GRACE = 3000

export abstract class Carrier implements Carries {
  abstract readonly name: Transport
  readonly subs = new Map<string, Sub>()
  status: Omit<Status, 'next'> = { state: 'idle', why: 'nobody listens' }
  protected beat = 20_000
  protected told: Told | undefined
  heardAt = 0
  #backoff = new Backoff()
  #abort: AbortController | undefined
  #openedAt: number | undefined
  #isHeard = false
  #isRunning = false
  #stopGathering: Off | undefined
  #stopWaiting: Off | undefined
  #stopWatching: Off | undefined

  constructor(protected readonly engine: Engine) {}

  /** One connection, from opening to its end. Its topics are `subs`; it throws why it ended. */
  protected abstract attempt(signal: AbortSignal): Promise<unknown>

  /** Is the connection there? False: it is given up. */
  protected abstract check(): Promise<boolean>

  /** Topics came or went. By default the connection is opened anew for them. */
  protected changed(): void {
    this.again('the topics changed')
  }

  add(sub: Sub): void {
    this.subs.set(sub.topic, sub)
    sub.carrier = this
    if (!this.#isRunning) this.say('connecting', 'somebody listens')
    this.touch()
  }

  drop(sub: Sub): void {
    this.subs.delete(sub.topic)
    sub.carrier = undefined
    this.touch()
  }

  /** Something about the topics changed; what changes together is seen together. */
  touch(): void {
    this.#stopGathering ??= this.engine.env.after(GATHER, () => {
      this.#stopGathering = undefined
      if (!this.#isRunning) void this.#run()
      else this.changed()
    })
  }

  /** Opens anew at once, without a loss. */
  again(why: string): void {
    this.#abort?.abort(new Loss('again', why))
  }

  /** Ends a wait. */
  hurry(): void {
    this.#stopWaiting?.()
  }

  /** The machine woke up, or the page did: is the connection still there? */
  wake(): void {
    this.hurry()
    if (this.#openedAt !== undefined) void this.#verify('lost while asleep')
  }

  /** The attempt ended from outside: bytes of it count no more. */
  end(loss: Loss): void {
    this.#abort?.abort(loss)
  }

  get isOpen(): boolean {
    return this.#openedAt !== undefined
  }

  /** The server has greeted us. */
  protected opened(hello: { beat_ms?: number; retry_ms?: number; plan?: string }): void {
    this.#openedAt = this.engine.env.now()
    this.beat = Math.min(hello.beat_ms ?? this.beat, 600_000)
    if (hello.retry_ms !== undefined) this.told = { ms: hello.retry_ms }
    this.engine.opened(this, hello.plan)
    this.say('open', 'connected')
    this.heard()
  }

  /** Something came. After a beat and some grace without, the connection is looked at. */
  protected heard(isMore = false): void {
    this.#isHeard ||= isMore
    this.heardAt = this.engine.env.now()
    this.#stopWatching ??= this.#watch()
    this.engine.pulses.forEach((pulse) => pulse())
  }

  /** One timer for all that comes: when it fires, it is set for what is left. */
  #watch(): Off {
    const { env } = this.engine
    const longest = this.beat + GRACE
    return env.after(this.heardAt + longest - env.now(), () => {
      if (env.now() - this.heardAt < longest) this.#stopWatching = this.#watch()
      else void this.#verify(`nothing came for ${longest} ms`)
    })
  }

  protected say(state: State, why: string, retryInMs?: number): void {
    this.status = { state, transport: this.name, why, ...(retryInMs !== undefined && { retryInMs }) }
    this.engine.changed()
  }

  async #verify(why: string): Promise<void> {
    const abort = this.#abort
    const isThere = await this.check().catch(() => false)
    if (abort?.signal.aborted) return
    this.#stopWatching?.()
    this.#stopWatching = undefined
    if (isThere) this.heard()
    else abort?.abort(new Loss('silent', why))
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    for (let why = 'somebody listens'; this.subs.size && !this.engine.isClosed; ) {
      const abort = (this.#abort = new AbortController())
      this.#openedAt = this.told = undefined
      this.#isHeard = false
      let loss = new Loss('ended', 'the connection ended')
      try {
        await this.engine.resumed(abort.signal)
        // A change of topics is nothing that a person should see.
        if (why) this.say('connecting', why)
        await this.engine.ready(abort.signal)
        // What the plan says may have moved them.
        if (this.subs.size) await this.attempt(abort.signal)
      } catch (error) {
        loss = abort.signal.aborted ? abort.signal.reason : error instanceof Loss ? error : foreign(error)
      }
      abort.abort(loss)
      this.#stopWatching?.()
      this.#stopWatching = undefined
      why = loss.code === 'again' ? '' : loss.message
      await this.#after(loss)
    }
    this.#isRunning = false
    this.say('idle', 'nobody listens')
  }

  async #after(loss: Loss): Promise<void> {
    const { engine } = this
    const lasted = this.#openedAt === undefined ? undefined : engine.env.now() - this.#openedAt
    this.#openedAt = undefined
    if (loss.code === 'again' || engine.isClosed) return
    engine.note(`${this.name}: ${loss.message}`)
    if (lasted !== undefined) this.#backoff.wasOpen(lasted, this.#isHeard)
    const verdict = await engine.judge(this, loss, lasted)
    if (verdict === 'now' || !this.subs.size) return
    if (verdict === 'stop') return engine.halted(this, loss)
    const wait = this.#backoff.wait(engine.env.random(), loss.told ?? this.told)
    // Without a network, whatever ends the wait is a sign of one.
    const { isOffline } = engine
    this.say(isOffline ? 'offline' : 'waiting', loss.message, isOffline ? undefined : wait)
    await this.pause(isOffline ? 2 ** 31 - 1 : wait)
  }

  /** Waits, unless somebody is in a hurry. */
  protected pause(ms: number): Promise<void> {
    return new Promise((done) => {
      const stop = this.engine.env.after(ms, done)
      this.#stopWaiting = () => {
        stop()
        done()
      }
    })
  }
}

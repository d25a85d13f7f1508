// A world whose time stands still until a test moves it: what the client waits for happens in order, at once.
//
// What the client does between two timers (answers, microtasks, code that is loaded) takes no time here;
// it needs turns of the real event loop, and gets a fixed number of them.

import type { Env } from '../../src/api.js'
// Loaded now, so that the client's `import()` of them costs no turns later.
import '../../src/upkeep.js'
import '../../src/talk.js'
import '../../src/views.js'
import '../../src/here.js'

interface Timer {
  at: number
  order: number
  isClients: boolean
  call: () => void
}

/** Turns of the event loop after each timer, as long as they lead to other timers: at least, and at most. */
const TURNS = 3
const TURNS_MOST = 20

/** Time as a server sees it. */
export interface Time {
  readonly time: number
  after(ms: number, call: () => void): () => void
}

/** The time that everybody has. What waits does not keep a test from ending. */
export const realTime: Time = {
  get time() {
    return Date.now()
  },
  after(ms, call) {
    const timer = setTimeout(call, ms).unref()
    return () => clearTimeout(timer)
  },
}

export class Clock implements Time {
  time = Date.UTC(2026, 0, 1)
  /** What `random` gives, or where it comes from. */
  draw: () => number = () => 0.5
  #timers: Timer[] = []
  #count = 0
  #changes = 0

  /** What is injected as `options.env`. */
  readonly env: Pick<Env, 'now' | 'random' | 'after'> = {
    now: () => this.time,
    random: () => this.draw(),
    after: (ms, call) => this.#set(ms, call, true),
  }

  /** The same for what is not the client. */
  after(ms: number, call: () => void): () => void {
    return this.#set(ms, call, false)
  }

  /** Timers of the client that wait. */
  get waiting(): number {
    return this.#timers.filter(({ isClients }) => isClients).length
  }

  #set(ms: number, call: () => void, isClients: boolean): () => void {
    const timer: Timer = { at: this.time + Math.max(0, ms), order: this.#count++, isClients, call }
    this.#timers.push(timer)
    this.#changes++
    return () => {
      this.#changes++
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    let seen = this.#changes
    for (let turn = 0, still = 0; still < TURNS && turn < TURNS_MOST; turn++) {
      await new Promise((done) => setImmediate(done))
      still = this.#changes === seen ? still + 1 : 0
      seen = this.#changes
    }
  }

  /** Moves time on, from timer to timer. */
  async run(ms: number): Promise<void> {
    const end = this.time + ms
    await this.settle()
    for (let next; (next = this.#next(end)); ) {
      this.time = Math.max(this.time, next.at)
      next.call()
      await this.settle()
    }
    this.time = end
  }

  /** Moves time on until something holds; fails after so many ms of it. */
  async until(what: string, holds: () => unknown, most = 60_000): Promise<void> {
    const end = this.time + most
    await this.settle()
    while (!holds()) {
      const next = this.#next(end)
      if (!next) throw new Error(`not within ${most} ms: ${what}`)
      this.time = Math.max(this.time, next.at)
      next.call()
      await this.settle()
    }
  }

  /** The machine sleeps: time goes on, and no timer is called until it wakes. */
  async sleep(ms: number): Promise<void> {
    this.time += ms
    await this.run(0)
  }

  #next(end: number): Timer | undefined {
    const next = this.#timers.reduce<Timer | undefined>((first, timer) => (!first || timer.at < first.at || (timer.at === first.at && timer.order < first.order) ? timer : first), undefined)
    if (!next || next.at > end) return undefined
    this.#timers = this.#timers.filter((timer) => timer !== next)
    return next
  }
}

/** One direction of a connection: words arrive in the order in which they were said, whatever the path does. */
export class Wire {
  #last = 0
  #under = 0
  #held: (() => void)[] = []

  constructor(readonly clock: Time, readonly latency: () => number, readonly isHeld: () => boolean) {}

  say(arrive: () => void, atOnce: (call: () => void) => void = (call) => call()): void {
    if (this.isHeld()) return void this.#held.push(() => this.say(arrive, atOnce))
    const { time } = this.clock
    this.#last = Math.max(this.#last, time + this.latency())
    if (this.#last <= time && !this.#under) return atOnce(arrive)
    this.#under++
    this.clock.after(this.#last - time, () => {
      this.#under--
      arrive()
    })
  }

  /** What was held goes on. */
  release(): void {
    this.#held.splice(0).forEach((say) => say())
  }
}

/** Chance with a seed (mulberry32): a failing run can be had again. */
export function chance(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

// What is known of the network between us and the server: which rungs it lets through.
//
// Kept for the tab, so that the next page need not find it out again; forgotten when the network
// changes; looked at again after a while, so that nobody stays on a lower rung for ever.

import type { Env, Transport } from './api.js'

type Verdict = 'clear' | 'buffered' | 'blocked'

/** A rung that is shut is looked at again after so long, in ms; then after twice as long, up to the most. */
const RETEST = 30_000
const RETEST_MOST = 600_000

const RUNGS: { [planned in Transport]: Transport[] } = { sse: ['sse', 'ws', 'poll'], ws: ['ws', 'sse', 'poll'], poll: ['poll', 'sse', 'ws'] }

export class Path {
  #known: { [T in Transport]?: { verdict: Verdict; at: number; wait: number } } = {}
  readonly #key: string

  constructor(base: string, readonly env: Env, readonly storage: Storage | undefined) {
    this.#key = `tidewire:path:${base}`
    try {
      this.#known = { ...JSON.parse(storage?.getItem(this.#key) ?? '{}') }
    } catch {
      // Somebody else's text.
    }
  }

  verdict(rung: Transport): Verdict | 'unknown' {
    return this.#known[rung]?.verdict ?? 'unknown'
  }

  isShut(rung: Transport): boolean {
    return /^b/.test(this.verdict(rung))
  }

  /** The highest rung that works. What is not kept has no pages, so it is never polled. */
  pick(planned: Transport, isKept: boolean): Transport {
    return RUNGS[planned].find((rung) => !this.isShut(rung) && (isKept || rung !== 'poll')) ?? (isKept ? 'poll' : planned)
  }

  /** How long until a rung that is shut is worth another look. */
  retestIn(rung: Transport): number | undefined {
    const known = this.#known[rung]
    return known && this.isShut(rung) ? Math.max(0, known.at + known.wait - this.env.now()) : undefined
  }

  set(rung: Transport, verdict: Verdict): void {
    const had = this.#known[rung]?.wait ?? RETEST / 2
    // One that is clear and shut by turns is looked at less and less often.
    const wait = verdict === 'clear' ? had : Math.min(RETEST_MOST, had * 2)
    this.#known[rung] = { verdict, at: this.env.now(), wait }
    this.#keep()
  }

  /** Another network: nothing is known of it. */
  forget(): void {
    this.#known = {}
    this.#keep()
  }

  #keep(): void {
    try {
      this.storage?.setItem(this.#key, JSON.stringify(this.#known))
    } catch {
      // No room, or not allowed: it is found out again.
    }
  }
}

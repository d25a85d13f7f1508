// When to come back: full jitter, the server's word first, forgiven after a stable while. Pure.
//
// The same rules as the Rust client's; both run the vectors of conformance/backoff.json.

export interface Policy {
  /** The spread of the first retry, in ms; it doubles with each loss. */
  first: number
  /** The widest spread. */
  most: number
  /** The longest wait that a server's word is obeyed for. */
  told: number
  /** How long a connection lasted, with something heard on it, before earlier losses are forgiven. */
  stable: number
}

export const POLICY: Policy = { first: 500, most: 20_000, told: 300_000, stable: 10_000 }

/** What a server said: a slot of our own, or (`everybody`) the same for all, so we spread on top. */
export interface Told {
  ms: number
  everybody?: boolean
}

export class Backoff {
  #losses = 0

  constructor(readonly policy: Policy = POLICY) {}

  /** A connection was open for so long; was anything heard after its greeting? */
  wasOpen(ms: number, heard: boolean): void {
    if (heard && ms >= this.policy.stable) this.#losses = 0
  }

  /** How long to wait after one more loss. `draw` is from 0 up to 1. */
  wait(draw: number, told?: Told): number {
    const { first, most, told: longest } = this.policy
    const jitter = Math.floor(Math.min(most, first * 2 ** this.#losses) * draw)
    const isFirst = this.#losses++ === 0
    if (!told) return jitter
    return Math.min(told.ms, longest) + (isFirst && !told.everybody ? 0 : jitter)
  }
}

// A topic that is read: where it stands, and who hears it. Pure.
//
// Whatever carries the entries, they come through `step`, and the place decides what is new. So a
// topic can change its carrier at any moment: the next one begins at `place`.
//
// Invariant: a reader hears each entry of its topic after the place where it began once, in order,
// or hears of a gap.

import type { After, Entry, Refusal, Seam, Transport } from './api.js'
import { cursorOf, isAfter, isEarlier } from './place.js'

export interface Reader {
  hear(entry: Entry): void
  /** With `at`, what comes begins there, and not where the topic stands. */
  seam?(seam: Seam, at?: After): void
  refused?(error: Refusal): void
}

/** What counts of a topic's past, by the plan. Whatever else it says counts as `all`. */
export type Keep = 'all' | 'latest' | 'text' | (string & {})

/** What of the carriers a topic knows. */
export interface Carries {
  readonly name: Transport
  drop(sub: Sub): void
  touch(): void
}

export class Sub {
  // A reader's place: what it has heard. `now`: it hears nothing until it is known where that is.
  readonly #readers = new Map<Reader, After>()
  carrier: Carries | undefined
  /** Grows when somebody comes who wants more of the past than flows. */
  wants = 1
  #given = 0
  seam: Seam | undefined
  /** The server will not have it read. */
  refusal: Refusal | undefined
  place: After = 'now'
  #keep: Keep | undefined
  // Those that leave it to the plan where to begin, while nobody knows it.
  readonly #unsaid = new Set<Reader>()
  // What counts of all that was said since the start, where that is little: who comes later hears it from here.
  // Values are few; and texts that come joined could not be told apart from what the others have heard.
  #memory: Map<string, Entry> | undefined

  constructor(readonly topic: string, /** Does the log keep its entries? */ public isKept = true) {}

  /** What the plan says of it. */
  isPlanned(isKept: boolean, keep: Keep | undefined): void {
    this.isKept = isKept
    this.#keep = keep
    if (keep === 'latest') for (const reader of this.#unsaid) this.join(reader, 'start')
    this.#unsaid.clear()
  }

  /** It must be taken up anew, at `place`. */
  get isStale(): boolean {
    return this.#given !== this.wants
  }

  get isRead(): boolean {
    return this.#readers.size > 0
  }

  get hasNewcomers(): boolean {
    return [...this.#readers.values()].includes('now')
  }

  join(reader: Reader, after?: After): void {
    const isFirst = !this.isRead
    if (!after && !this.#keep) this.#unsaid.add(reader)
    after ??= this.#keep === 'latest' ? 'start' : 'now'
    if (after === 'now' && !this.isStale) after = cursorOf(this.place) ?? after
    // What nobody keeps has no past: it is heard as soon as it flows.
    if (!this.isKept) after = this.isStale ? 'now' : 'start'
    this.#readers.set(reader, after)
    if (this.#memory && after === 'start') return this.#seamFor(reader, after)
    if (this.isKept && (isFirst ? after !== this.place : isEarlier(after, this.place))) {
      this.place = after
      this.#memory = undefined
      this.wants++
    } else if (after === 'now') {
      // Where now is, only a flow that says when it has caught up can tell.
      if (this.place !== 'now') this.wants++
    } else if (this.seam) this.#seamFor(reader)
  }

  /** Not before the app has all of its listeners. */
  #seamFor(reader: Reader, from?: After): void {
    queueMicrotask(() => {
      if (!this.#readers.has(reader)) return
      reader.seam?.({ continuity: 'new' }, from)
      this.#pass(reader)
    })
  }

  leave(reader: Reader): void {
    this.#unsaid.delete(reader)
    this.#readers.delete(reader)
  }

  /** What the server said of the seam, when it took the topic up as it was wanted then. */
  attached(seam: Seam, at?: string, wants = this.wants, wasNow = this.place === 'now'): void {
    this.seam = seam
    this.#given = wants
    if (this.place === 'start' && /latest|text/.test(this.#keep ?? '')) this.#memory = new Map()
    // What was heard is not the past of what comes.
    if (seam.continuity === 'gap' && seam.gap.reason !== 'trimmed') {
      const from = at ?? 'start'
      this.#memory = undefined
      if (!this.isStale || isEarlier(from, this.place)) this.place = from
      for (const reader of this.#readers.keys()) this.#readers.set(reader, from)
    }
    this.moveTo(at)
    this.#tell(seam, wasNow ? at : undefined, true)
  }

  /** Everything that was there is said: whoever waits for what comes now hears from here on. */
  caughtUp(at?: string): void {
    if (this.isStale) return
    this.moveTo(at)
    this.#tell({ continuity: 'new' }, cursorOf(this.place) ?? at)
  }

  /** Tells those who begin here, or all but those who wait. */
  #tell(seam: Seam, here: string | undefined, isForAll?: boolean): void {
    if (!this.isKept) here = 'start'
    for (const [reader, had] of [...this.#readers]) {
      if (had === 'now' ? !here : !isForAll) continue
      if (had === 'now') this.#readers.set(reader, here!)
      reader.seam?.(seam)
    }
  }

  /** Everything up to here is said. */
  moveTo(at: string | undefined): void {
    const have = cursorOf(this.place)
    if (at && !this.isStale && (!have || isAfter(at, have))) this.place = at
  }

  step(entry: Entry): void {
    // What an older connection still says would hide the past that somebody waits for.
    if (this.isStale) return
    const { id } = entry
    if (id) {
      const have = cursorOf(this.place)
      if (have && !isAfter(id, have)) return
      this.place = id
      const key = this.#keep === 'latest' ? (entry.item ?? '') : id
      // What is set last stands last.
      this.#memory?.delete(key)
      this.#memory?.set(key, entry)
    }
    for (const reader of [...this.#readers.keys()]) this.#pass(reader, entry)
  }

  /** What a reader has not heard; to one that begins at the start, from memory. */
  #pass(reader: Reader, entry?: Entry): void {
    const memory = this.#readers.get(reader) === 'start' && this.#memory
    for (const one of memory ? [...memory.values()] : entry ? [entry] : []) {
      const had = this.#readers.get(reader)
      const { id } = one
      if (!had || had === 'now' || (id && cursorOf(had) && !isAfter(id, had))) continue
      if (id) this.#readers.set(reader, id)
      reader.hear(one)
    }
  }

  refuse(error: Refusal): void {
    this.refusal = error
    for (const reader of [...this.#readers.keys()]) reader.refused?.(error)
  }
}

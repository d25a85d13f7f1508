// Counts what this window heard, by id, and compares it with what the log says was there. Pure.
//
// Knows only ids: that something is missing it can say of topics that are kept and read whole; of
// the others it says that it can not know.

export interface TopicTally {
  readonly topic: string
  /** Entries heard, those without a place in the log included. */
  heard: number
  /** Heard a second time, by id. */
  repeated: number
  /** Without an id: nobody can say whether one is missing. */
  unplaced: number
  /** Stretches that the server said it can not vouch for. */
  gaps: number
  seams: number
  last: string | null
  /** The ids in the order they were heard, the newest `IDS_MAX`. */
  readonly ids: string[]
}

/** Ids remembered for each topic. */
export const IDS_MAX = 2000

export class Tally {
  readonly topics = new Map<string, TopicTally>()
  readonly #known = new Map<string, Set<string>>()

  of(topic: string): TopicTally {
    let found = this.topics.get(topic)
    if (!found) {
      found = { topic, heard: 0, repeated: 0, unplaced: 0, gaps: 0, seams: 0, last: null, ids: [] }
      this.topics.set(topic, found)
      this.#known.set(topic, new Set())
    }
    return found
  }

  heard(topic: string, id: string | undefined): void {
    const tally = this.of(topic)
    const known = this.#known.get(topic)!
    tally.heard++
    if (id === undefined) {
      tally.unplaced++
      return
    }
    if (known.has(id)) tally.repeated++
    known.add(id)
    tally.last = id
    tally.ids.push(id)
    if (tally.ids.length > IDS_MAX) known.delete(tally.ids.shift()!)
  }

  /** The same topic read from the beginning again, on purpose: what comes twice then is no fault. */
  anew(topic: string): void {
    this.#known.get(topic)?.clear()
    const tally = this.of(topic)
    tally.ids.length = 0
  }

  seam(topic: string, isGap: boolean): void {
    const tally = this.of(topic)
    tally.seams++
    if (isGap) tally.gaps++
  }
}

export interface Compared { matched: number; lost: number; repeated: number; unordered: number }

/** What was heard, beside the entries of the log in the same stretch, both in order. */
export function compare(heard: readonly string[], log: readonly string[]): Compared {
  const places = new Map(log.map((id, n) => [id, n]))
  const seen = new Set<string>()
  let repeated = 0
  let unordered = 0
  let place = -1
  for (const id of heard) {
    const at = places.get(id)
    if (at === undefined) continue
    if (seen.has(id)) {
      repeated++
      continue
    }
    seen.add(id)
    if (at < place) unordered++
    place = Math.max(place, at)
  }
  return { matched: seen.size, lost: log.length - seen.size, repeated, unordered }
}

/** Numbered messages: which were acknowledged, and which of them came, how often and in which order. */
export class Numbers {
  readonly #acknowledged = new Set<number>()
  readonly #heard: number[] = []
  unknown = 0

  acknowledged(n: number): void {
    this.#acknowledged.add(n)
  }
  heard(n: number): void {
    this.#heard.push(n)
  }
  get sent(): number {
    return this.#acknowledged.size
  }
  get newest(): number {
    return this.#heard[this.#heard.length - 1] ?? 0
  }
  count(): { sent: number; heard: number; lost: number; repeated: number } {
    const once = new Set(this.#heard)
    const lost = [...this.#acknowledged].filter((n) => !once.has(n)).length
    return { sent: this.sent, heard: once.size, lost, repeated: this.#heard.length - once.size }
  }
}

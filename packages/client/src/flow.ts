// What a stream and a poll share: one order and one place for all of their topics.

import type { Entry, Gap, Seam } from './api.js'
import { Loss } from './net.js'
import { cursorOf, isAfter, isEarlier } from './place.js'
import type { Sub } from './sub.js'

/** What is said again or too late is no order: what else is wrong, nobody knows. */
export function inOrder(id: string, last: string | undefined): void {
  if (last && !isAfter(id, last)) throw new Loss('foreign', `out of order: ${id} after ${last}`)
}

/** The topics of one connection that reads them all after one place. */
export class Flow {
  #last: string | undefined
  readonly after: string
  readonly #wants: Map<Sub, number>

  constructor(readonly subs: Map<string, Sub>) {
    this.#wants = new Map([...subs.values()].map((sub) => [sub, sub.wants]))
    const places = [...subs.values()].filter((sub) => sub.isKept).map((sub) => sub.place)
    this.after = places.reduce((first, place) => (isEarlier(place, first) ? place : first), 'now')
    this.#last = cursorOf(this.after)
  }

  query(more: { [name: string]: string } = {}): string {
    const query = new URLSearchParams({ after: this.after, ...more })
    for (const topic of this.subs.keys()) query.append('topic', topic)
    return `${query}`
  }

  attached({ continuity, gap, at }: { continuity: string; gap?: Gap | undefined; at?: string | undefined }): void {
    const seam = { continuity, ...(gap && { gap }) } as Seam
    if (gap && gap.reason !== 'trimmed') this.#last = at
    for (const sub of this.subs.values()) {
      const here = cursorOf(sub.place)
      // Retention took nothing of a topic that had come further.
      const isWhole = gap?.reason === 'trimmed' && here && !isAfter(gap.oldest, here)
      sub.attached(sub.isKept ? (isWhole ? { continuity: 'resumed' } : seam) : { continuity: 'new' }, at, this.#wants.get(sub), this.after === 'now')
    }
  }

  entry(entry: Entry): void {
    const { id, topic } = entry
    if (id) {
      inOrder(id, this.#last)
      this.#last = id
    }
    this.subs.get(topic)?.step(entry)
    if (id) this.#moveTo(id)
  }

  /** Everything up to here was said. */
  beat(at: string | undefined): void {
    for (const sub of this.subs.values()) sub.caughtUp(at)
  }

  #moveTo(id: string): void {
    for (const sub of this.subs.values()) if (sub.isKept) sub.moveTo(id)
  }
}

/**
 * Parts the topics into those that one connection can take up together now, and those that must
 * first come as far by pages.
 */
export function part(subs: Iterable<Sub>): { ready: Map<string, Sub>; late: Sub[] } {
  const all = [...subs]
  const stale = all.filter((sub) => sub.isKept && sub.isStale)
  const places = new Set(stale.map((sub) => sub.place))
  const isAlone = stale.length === all.filter((sub) => sub.isKept).length && places.size < 2
  const isPlain = isAlone && (places.has('now') || !stale.some((sub) => sub.hasNewcomers))
  const late = isPlain ? [] : stale
  return { late, ready: new Map(all.filter((sub) => !late.includes(sub)).map((sub) => [sub.topic, sub])) }
}

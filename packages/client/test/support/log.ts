// A log as docs/protocol.md describes it, in a few lines: the other side of the model tests. Pure.

import type { Gap } from '../../src/api.js'

export interface Kept {
  topic: string
  event: string
  item?: string
  id?: string
  data: unknown
  encoding?: 'text' | 'base64'
}

export interface Begun {
  continuity: 'new' | 'resumed' | 'gap'
  gap?: Gap
  /** The place after which reading goes on. */
  from: number
}

export const sequenceOf = (id: string): number => +id.split('.')[1]!

export class Log {
  entries: Kept[] = []
  newest = 0
  #lives: { epoch: string; began: number }[]
  #lost = new Map<string, number>()

  constructor(epoch = 'k3f9') {
    this.#lives = [{ epoch, began: 0 }]
  }

  cursorAt(place: number): string {
    const life = this.#lives.filter(({ began }) => began < place).at(-1) ?? this.#lives[0]!
    return `${life.epoch}.${place}`
  }

  append(topic: string, event: string, data: unknown, encoding?: Kept['encoding'], item?: string): Kept {
    const entry: Kept = { topic, event, ...(item && { item }), id: this.cursorAt(++this.newest), data, ...(encoding && { encoding }) }
    this.entries.push(entry)
    return entry
  }

  /** A restart. `torn`: so many of the newest entries did not reach the disk. */
  reopen(epoch: string, torn = 0): void {
    this.newest -= torn
    this.entries = this.entries.filter(({ id }) => sequenceOf(id!) <= this.newest)
    // What is lost may be more than one life wrote.
    this.#lives = this.#lives.map((life) => ({ ...life, began: Math.min(life.began, this.newest) }))
    this.#lives.push({ epoch, began: this.newest })
  }

  /** Retention drops everything up to here. */
  trim(upTo: number): void {
    for (const { topic, id } of this.entries) if (sequenceOf(id!) <= upTo) this.#lost.set(topic, sequenceOf(id!))
    this.entries = this.entries.filter(({ id }) => sequenceOf(id!) > upTo)
  }

  begin(topics: string[], after: string): Begun {
    if (after === 'now') return { continuity: 'new', from: this.newest }
    if (after === 'start') return { continuity: 'new', from: 0 }
    const [epoch, text] = after.split('.')
    const place = +text!
    const index = this.#lives.findIndex((life) => life.epoch === epoch)
    const ended = this.#lives[index + 1]?.began
    const gap = (reason: Gap['reason'], oldest: number): Begun => ({ continuity: 'gap', gap: { reason, oldest: this.cursorAt(oldest), newest: this.cursorAt(this.newest) }, from: reason === 'trimmed' ? place : oldest })
    if (index < 0) return gap('foreign', 0)
    if (ended === undefined ? place > this.newest : place > ended) return ended === undefined ? gap('ahead', 0) : gap('diverged', ended)
    const lost = Math.max(0, ...topics.map((topic) => this.#lost.get(topic) ?? 0))
    return lost > place ? gap('trimmed', lost) : { continuity: 'resumed', from: place }
  }

  /** What these topics have after a place. */
  after(topics: string[], place: number): Kept[] {
    return this.entries.filter(({ topic, id }) => topics.includes(topic) && sequenceOf(id!) > place)
  }

  /** What counts of that, where not every entry does. */
  past(topics: string[], place: number, keepOf: (topic: string) => string | undefined): Kept[] {
    const past: Kept[] = []
    for (const entry of this.after(topics, place)) {
      const keep = keepOf(entry.topic)
      const last = past.filter(({ topic }) => topic === entry.topic).at(-1)
      const old = keep === 'latest' ? past.findIndex(({ topic, item }) => topic === entry.topic && item === entry.item) : -1
      if (old >= 0) past.splice(old, 1)
      const isMore = keep === 'text' && entry.encoding === 'text' && last?.encoding === 'text' && last.event === entry.event && last.item === entry.item
      if (isMore) {
        past.splice(past.indexOf(last), 1)
        past.push({ ...entry, data: `${last.data}${entry.data}` })
      } else past.push(entry)
    }
    return past
  }
}

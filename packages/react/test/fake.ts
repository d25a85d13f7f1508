// A `Live` without a network, as the types of the client say: a log per topic, places, seams, lingering.
// It counts what would have gone over the wire.

import type { After, Entry, EventsOptions, Gap, HistoryOptions, Live, Member, Meta, Off, Page, Presence, PresenceOptions, Refusal, Seam, Sent, Status, Topic, TopicOptions } from '@tidewire/client'

type Call = (...given: any[]) => void
interface Reader {
  event: string
  call: Call
  place: number
  options: TopicOptions
}

const placeOf = (id: string): number => Number(id.slice(id.indexOf('.') + 1))

export class FakeLive implements Live {
  status: Status = { state: 'idle', why: 'nobody listens', next: 'nothing' }
  /** What went over the wire: one line for each request. */
  readonly wire: string[] = []
  readonly errors: unknown[] = []
  /** What the next pages answer instead, in order. */
  readonly refusals: Refusal[] = []
  /** Pages wait for it, if it is there. */
  hold: Promise<void> | undefined
  pageSize = 1000
  keeps = true
  /** Subscriptions are taken up by nobody, until `letIn`. */
  isRefusing = false
  readonly #logs = new Map<string, Entry[]>()
  readonly #readers = new Map<string, Set<Reader>>()
  readonly #open = new Set<string>()
  readonly #listeners = new Map<string, Set<Call>>()
  #sequence = 0

  constructor(readonly lingerMs = 20) {}

  /** Who listens to a topic at this moment. */
  readers(topic: string): number {
    return this.#readers.get(topic)?.size ?? 0
  }

  publish(topic: string, event: string, data: unknown, item?: string): string {
    const id = `e.${++this.#sequence}`
    const its = { topic, event, ...(item && { item }), data }
    const entry: Entry = this.keeps ? { ...its, id } : its
    if (this.keeps) this.#log(topic).push(entry)
    if (!this.isRefusing) for (const reader of [...(this.#readers.get(topic) ?? [])]) this.#tell(reader, entry)
    return id
  }

  /** What a re-attach says of the seam. `lost` entries are dropped first, the oldest. */
  seam(topic: string, seam: Seam, lost = 0): void {
    this.#log(topic).splice(0, lost)
    for (const reader of [...(this.#readers.get(topic) ?? [])]) {
      if (reader.event === 'tidewire.seam') this.#call(reader.call, seam)
      if (seam.continuity === 'gap' && reader.event !== 'tidewire.seam') reader.options.load?.(seam.gap)
    }
  }

  gap(topic: string, lost = 0, reason: Gap['reason'] = 'trimmed'): Gap {
    const gap: Gap = { reason, oldest: `e.${lost}`, newest: `e.${this.#sequence}` }
    this.seam(topic, { continuity: 'gap', gap }, lost)
    return gap
  }

  refuse(topic: string, error: Refusal): void {
    for (const reader of [...(this.#readers.get(topic) ?? [])]) if (reader.event === 'tidewire.refused') this.#call(reader.call, error)
  }

  /** As after `reconnect()` with a good token. */
  letIn(topic: string): void {
    this.isRefusing = false
    for (const reader of [...(this.#readers.get(topic) ?? [])]) this.#attach(topic, reader)
  }

  is(status: Partial<Status>): void {
    this.status = { ...this.status, ...status }
    for (const call of [...(this.#listeners.get('status') ?? [])]) this.#call(call, this.status)
  }

  topic(name: string, options: TopicOptions = {}): Topic<any> {
    return {
      name,
      on: (event: string, call: Call) => this.#on(name, event, call, options),
      send: (async (event: string, data: unknown): Promise<Sent> => {
        this.wire.push(`send ${name} ${event}`)
        return { id: this.publish(name, event, data), stored: 'memory' }
      }) as Topic['send'],
      events: (given?: EventsOptions) => this.#events(name, given),
      history: (given?: HistoryOptions) => this.#history(name, given),
      latest: () => {
        const values = new Map()
        return {
          values,
          on: (listener: Call) => this.#on(name, '*', (data, meta) => {
            if (data === null) values.delete(meta.item ?? '')
            else values.set(meta.item ?? '', data)
            listener(values, { ...meta, data })
          }, { after: 'start' }),
        }
      },
      text: () => { throw new Error('not faked') },
      cancel: async () => {
        this.wire.push(`cancel ${name}`)
        this.publish(name, 'cancel', { by: null })
        return true
      },
      presence: <S>(given: PresenceOptions<S> = {}) => this.#presence(name, given as PresenceOptions<unknown>) as Presence<S>,
    }
  }

  /** Members of a topic: `me` is this client. */
  readonly here = new Map<string, Member<any>[]>()
  readonly #watching = new Map<string, Set<Call>>()

  /** Somebody comes, changes or, without a state, goes. */
  member(topic: string, member: string, state?: unknown, user: string | null = null): void {
    const others = (this.here.get(topic) ?? []).filter((one) => one.member !== member)
    this.here.set(topic, state === undefined ? others : [...others, { member, user, state, isMe: member === 'me' }])
    for (const call of [...(this.#watching.get(topic) ?? [])]) this.#call(call, this.here.get(topic), { event: 'load' })
  }

  #presence(topic: string, { state, join }: PresenceOptions): Presence {
    const calls = this.#watching.get(topic) ?? new Set()
    this.#watching.set(topic, calls)
    const mine = new Set<Call>()
    const enter = (state: unknown): void => {
      this.wire.push(`enter ${topic} ${JSON.stringify(state)}`)
      this.member(topic, 'me', state)
    }
    this.wire.push(`watch ${topic}`)
    if (join || state !== undefined) enter(state ?? {})
    const all = (): Member[] => this.here.get(topic) ?? []
    queueMicrotask(() => mine.forEach((call) => calls.has(call) && this.#call(call, all(), { event: 'load' })))
    return {
      get members() {
        return all()
      },
      users: () => [...new Set(all().map(({ user, member }) => user ?? member))].map((who) => {
        const members = all().filter(({ user, member }) => (user ?? member) === who)
        return { user: members[0]!.user, state: members.at(-1)!.state, isMe: members.some(({ isMe }) => isMe), members }
      }),
      on: (call: Call) => (mine.add(call), calls.add(call), () => calls.delete(call)),
      set: enter,
      leave: () => {
        this.wire.push(`leave ${topic}`)
        mine.forEach((call) => calls.delete(call))
        this.member(topic, 'me')
      },
    }
  }

  on(event: string, call: Call): Off {
    const calls = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, calls.add(call))
    return () => void calls.delete(call)
  }

  explain(): never {
    throw new Error('not faked')
  }
  reconnect(): void {}
  close(): void {}

  #log(topic: string): Entry[] {
    const log = this.#logs.get(topic) ?? []
    this.#logs.set(topic, log)
    return log
  }

  #place(after: After): number {
    return after === 'start' ? 0 : after === 'now' ? this.#sequence : placeOf(after)
  }

  #tell(reader: Reader, entry: Entry): void {
    if (reader.event !== '*' && reader.event !== entry.event) return
    if (entry.id && placeOf(entry.id) <= reader.place) return
    if (entry.id) reader.place = placeOf(entry.id)
    const { data, ...meta } = entry
    this.#call(reader.call, data, meta satisfies Meta)
  }

  /** A listener of the app that throws breaks nothing. */
  #call(call: Call, ...given: unknown[]): void {
    try {
      call(...given)
    } catch (error) {
      this.errors.push(error)
    }
  }

  #on(topic: string, event: string, call: Call, options: TopicOptions): Off {
    const readers = this.#readers.get(topic) ?? new Set()
    this.#readers.set(topic, readers)
    const reader: Reader = { event, call, place: this.#place(options.after ?? 'now'), options }
    readers.add(reader)
    if (!this.#open.has(topic)) {
      this.#open.add(topic)
      this.wire.push(`subscribe ${topic} ${options.after ?? 'now'}`)
    }
    queueMicrotask(() => this.isRefusing || this.#attach(topic, reader))
    return () => {
      readers.delete(reader)
      setTimeout(() => {
        if (readers.size || !this.#open.delete(topic)) return
        this.wire.push(`unsubscribe ${topic}`)
      }, this.lingerMs)
    }
  }

  #attach(topic: string, reader: Reader): void {
    if (!this.#readers.get(topic)?.has(reader)) return
    if (reader.event === 'tidewire.seam') this.#call(reader.call, { continuity: 'new' })
    else for (const entry of [...this.#log(topic)]) this.#tell(reader, entry)
  }

  async #history(topic: string, { after = 'start', limit = 100, last, before, signal }: HistoryOptions = {}): Promise<Page<any>> {
    this.wire.push(`page ${topic} ${last === undefined ? after : `last ${last}${before ? ` before ${before}` : ''}`}`)
    await this.hold
    await new Promise((resolve) => setImmediate(resolve))
    signal?.throwIfAborted()
    const refusal = this.refusals.shift()
    if (refusal) throw Object.assign(new Error(refusal.message), refusal)
    if (last !== undefined) {
      const all = this.#log(topic).filter(({ id }) => !before || placeOf(id!) < placeOf(before))
      const entries = all.slice(-Math.min(last, this.pageSize))
      return { entries, cursor: `e.${this.#sequence}`, more: false, earlier: entries.length < all.length, seam: { continuity: 'new' } }
    }
    const rest = this.#log(topic).filter(({ id }) => placeOf(id!) > this.#place(after))
    const entries = rest.slice(0, Math.min(limit, this.pageSize))
    const more = entries.length < rest.length
    return { entries, cursor: more ? entries.at(-1)!.id! : `e.${this.#sequence}`, more, seam: { continuity: 'new' } }
  }

  async *#events(topic: string, { after = 'start', until = 'end', signal }: EventsOptions = {}): AsyncIterableIterator<Entry<any>> {
    const refusal = this.refusals.shift()
    if (refusal) throw Object.assign(new Error(refusal.message), refusal)
    const waiting: Entry[] = []
    let wake = (): void => {}
    const off = this.#on(topic, '*', (data, meta) => (waiting.push({ ...meta, data }), wake()), { after })
    signal?.addEventListener('abort', () => wake())
    try {
      while (!signal?.aborted) {
        const entry = waiting.shift()
        if (!entry) {
          await new Promise<void>((resolve) => (wake = resolve))
          continue
        }
        yield entry
        if ([until].flat().includes(entry.event)) return
      }
    } finally {
      off()
    }
  }
}

// A server in memory, on a test's clock: what docs/protocol.md says, and every way to break it.
//
// It answers the client's `fetch` and `WebSocket`. Nothing in it is fast or complete: it is as much of
// the protocol as the client uses, so that a test can hold, cut, delay and falsify any of it.

import type { Env } from '../../src/api.js'
import { type Time, Wire } from './clock.js'
import { type Kept, Log, sequenceOf } from './log.js'
import { SimPresence } from './presence.js'
import { SimSocket } from './sim-socket.js'

export interface Asked {
  at: number
  method: string
  path: string
  query: URLSearchParams
  headers: Headers
  body: string
  signal: AbortSignal | undefined
  keepalive?: boolean | undefined
}

export interface Feature {
  feature: string
  transport: 'sse' | 'ws' | 'poll'
  history: string
  keep?: string
}

/** Answers in place of the server; `undefined` leaves it to the server. */
export type Intercept = (asked: Asked) => Response | Promise<Response> | undefined

const EVENT_STREAM = { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store, no-transform' }

export const json = (value: unknown, status = 200, headers: { [name: string]: string } = {}): Response => new Response(value === undefined ? null : JSON.stringify(value), { status, headers: { 'Content-Type': 'application/json', ...headers } })

const NEXT: { [code: string]: string } = { token_missing: 'refresh_token', token_invalid: 'refresh_token', token_expired: 'refresh_token', restarting: 'resume', busy: 'retry', internal: 'retry', too_many_connections: 'resume' }

/** An error as the protocol writes it. */
export const errorOf = (code: string, more: object = {}): { code: string; message: string; next: string } => ({ code, message: `a test says ${code}`, next: NEXT[code] ?? 'give_up', ...more })

export const refusal = (status: number, code: string, headers: { [name: string]: string } = {}): Response => json({ error: errorOf(code) }, status, headers)

/** An answer that never comes, but for an abort. */
export const never = (asked: { signal: AbortSignal | undefined }): Promise<Response> => new Promise((_, lost) => asked.signal?.addEventListener('abort', () => lost(asked.signal!.reason)))

export const html = (status = 200): Response => new Response('<!doctype html><title>Sign in</title>', { status, headers: { 'Content-Type': 'text/html' } })

/** One event stream, as the server sees it. */
export class Flowing {
  events = 0
  openedAt: number
  wroteAt: number
  /** The server writes no more. */
  isOver = false
  /** The reader reads no more. */
  isGone = false
  readonly #wire: Wire
  #controller!: ReadableStreamDefaultController<Uint8Array>
  readonly body: ReadableStream<Uint8Array>
  place = 0

  constructor(readonly sim: Sim, readonly name: string, readonly topics: string[], readonly asked: Asked) {
    this.openedAt = this.wroteAt = sim.clock.time
    sim.reading.add(this)
    this.#wire = new Wire(sim.clock, () => sim.latency, () => sim.isFrozen || sim.holds)
    this.body = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#controller = controller), cancel: () => this.fail() })
    asked.signal?.addEventListener('abort', () => this.fail(asked.signal!.reason))
  }

  /** Writes a frame; a path that holds streams back keeps it. */
  write(event: string | undefined, data: unknown, more: { [name: string]: string | undefined } = {}): void {
    if (this.isOver) return
    this.events++
    this.wroteAt = this.sim.clock.time
    const fields = Object.entries(more).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}: ${value}\n`)
    const lines = (typeof data === 'string' ? data : JSON.stringify(data)).split('\n').map((line) => `data: ${line}\n`)
    this.raw(`${event === undefined ? '' : `event: ${event}\n`}${lines.join('')}${fields.join('')}\n`)
  }

  entry({ topic, event, item, id, data, encoding }: Kept): void {
    if (id) this.place = sequenceOf(id)
    this.write(event === 'message' ? undefined : event, encoding ? data : JSON.stringify(data), { encoding, topic, item, id })
  }

  /** Writes text as it is. A path that holds streams back keeps it. */
  raw(text: string): void {
    if (!this.isOver) this.#wire.say(() => this.isGone || this.#controller.enqueue(new TextEncoder().encode(text)))
  }

  release(): void {
    this.#wire.release()
  }

  /** Ends as a server does that is done. What a path held comes now. */
  end(): void {
    if (this.isOver) return
    this.isOver = true
    this.sim.streams.delete(this)
    // What ends is let go by any path.
    const { holds } = this.sim
    this.sim.holds = false
    this.release()
    this.#wire.say(() => {
      if (!this.isGone) this.#controller.close()
      this.isGone = true
      this.sim.reading.delete(this)
    })
    this.sim.holds = holds
  }

  /** Breaks off. */
  fail(error: unknown = new TypeError('terminated')): void {
    if (this.isGone) return
    this.isOver = this.isGone = true
    this.sim.streams.delete(this)
    this.sim.reading.delete(this)
    this.#controller.error(error)
  }
}

export class Sim {
  log = new Log()
  plan: { tag?: string; peer?: string; topics_per_stream_max?: number; features: Feature[] } = {
    tag: '0000000000000001',
    features: [
      { feature: 'chat', transport: 'ws', history: '7d' },
      { feature: 'board', transport: 'sse', history: '7d' },
      { feature: 'slow', transport: 'poll', history: '7d' },
      { feature: 'pointers', transport: 'ws', history: 'none' },
      { feature: 'typing', transport: 'sse', history: 'none' },
    ],
  }
  readonly presence = new SimPresence(this)
  /** Streams that were cancelled. */
  readonly cancelled: string[] = []
  readonly asked: Asked[] = []
  readonly streams = new Set<Flowing>()
  readonly sockets = new Set<SimSocket>()
  /** Sockets that a client has, or waits for. */
  readonly dialled = new Set<SimSocket>()
  /** Streams that a client reads, or waits for. */
  readonly reading = new Set<Flowing>()
  /** Every message that a socket sent. */
  readonly said: { at: number; text: string }[] = []
  intercept: Intercept = () => undefined
  /** Is the process there? */
  isUp = true
  /** Nothing arrives, in either direction, and nobody is told. */
  isFrozen = false
  /** The path holds the bodies of event streams back. */
  holds = false
  /** How long a word takes, each way, in ms. */
  latency = 0
  areSocketsBlocked = false
  beatMs = 20_000
  retryMs = 1500
  hasPath = true
  /** A thousand requests came in one moment; no further one is answered. */
  isSpinning = false
  /** Says no with a code, or lets in. */
  admit: (token: string | undefined, topics: string[]) => string | undefined = () => undefined
  #keys = new Map<string, Kept>()
  #tickets = new Map<string, string>()
  #waiting = new Set<() => void>()
  #epochs = 0
  #connections = 0

  constructor(readonly clock: Time) {}

  /** What is injected as `options.env`, but for the time. */
  get env(): Pick<Env, 'fetch' | 'WebSocket'> {
    const sim = this
    return {
      fetch: ((url: string, init: RequestInit = {}) => this.#fetch(String(url), init)) as typeof fetch,
      WebSocket: class extends SimSocket {
        constructor(url: string) {
          super(sim, url)
        }
      } as unknown as Env['WebSocket'],
    }
  }

  /** How often a path was asked for, since a time. */
  count(path: string | RegExp, since = 0): number {
    return this.asked.filter((asked) => asked.at >= since && (typeof path === 'string' ? asked.path === path : path.test(asked.path))).length
  }

  isKept(topic: string): boolean {
    return this.#featureOf(topic)?.history !== 'none' && !topic.endsWith('/~presence')
  }

  readonly keepOf = (topic: string): string | undefined => this.#featureOf(topic)?.keep

  #featureOf(topic: string): Feature | undefined {
    return this.plan.features.find(({ feature }) => feature === topic.split('/')[0])
  }

  /** Somebody publishes. */
  publish(topic: string, data: unknown, event = 'message', encoding?: Kept['encoding'], item?: string): Kept {
    const kept = this.isKept(topic)
    const entry: Kept = kept ? this.log.append(topic, event, data, encoding, item) : { topic, event, ...(item && { item }), data, ...(encoding && { encoding }) }
    for (const stream of [...this.streams]) if (stream.topics.includes(topic)) stream.entry(entry)
    for (const socket of [...this.sockets]) socket.hearEntry(entry)
    if (kept) this.#wakePolls()
    return entry
  }

  /** Another plan, told to everybody. */
  replan(features: Feature[], wait_ms = 0): void {
    const tag = `${(+`0x${this.plan.tag ?? '0'}` + 1).toString(16).padStart(16, '0')}`
    this.plan = { ...this.plan, tag, features }
    for (const stream of this.streams) stream.write('tidewire.plan', { tag, wait_ms })
    for (const socket of this.sockets) socket.tell({ plan: { tag, wait_ms } })
    this.#wakePolls()
  }

  /** The process is gone, without a word. */
  kill(): void {
    this.isUp = false
    for (const stream of [...this.streams]) stream.fail()
    for (const socket of [...this.sockets]) socket.drop(1006)
    this.#wakePolls()
  }

  /** The process says goodbye with a slot, and is gone. */
  stop(slot: number): void {
    const bye = errorOf('restarting', { retry_ms: slot })
    for (const stream of [...this.streams]) {
      stream.write('tidewire.bye', bye, { retry: `${slot}` })
      stream.end()
    }
    for (const socket of [...this.sockets]) {
      socket.tell({ bye })
      socket.drop(1012)
    }
    this.isUp = false
    this.#wakePolls()
  }

  /** It starts again, on the same data; `torn` entries were lost. */
  start(torn = 0): void {
    this.log.reopen(`b${++this.#epochs}`, torn)
    this.isUp = true
  }

  release(): void {
    for (const stream of this.reading) stream.release()
  }

  /** The path lets everything through again, what it held first. */
  thaw(): void {
    this.isFrozen = false
    this.release()
    for (const socket of this.dialled) socket.thaw()
  }

  hello(): { connection: string; protocol: 1; beat_ms: number; retry_ms: number; plan?: string } {
    return { connection: `c${++this.#connections}`, protocol: 1, beat_ms: this.beatMs, retry_ms: this.retryMs, ...(this.plan.tag && { plan: this.plan.tag }) }
  }

  /** Whose ticket it is; good once. */
  useTicket(ticket: string | null): string | undefined {
    const token = ticket === null ? undefined : this.#tickets.get(ticket)
    if (ticket !== null) this.#tickets.delete(ticket)
    return token
  }

  /** What the server answers to a publish, by whatever door. */
  store(topic: string, event: string, data: unknown, key: string | undefined, encoding?: Kept['encoding'], item?: string): object {
    const before = key && this.#keys.get(`${topic} ${key}`)
    if (before) return { id: before.id ?? null, stored: 'fsync', duplicate: true }
    const entry = this.publish(topic, data, event, encoding, item)
    if (key) this.#keys.set(`${topic} ${key}`, entry)
    return { id: entry.id ?? null, stored: entry.id ? 'fsync' : 'memory' }
  }

  #wakePolls(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  async #fetch(url: string, { method = 'GET', headers, body, signal, keepalive }: RequestInit): Promise<Response> {
    const { pathname, searchParams } = new URL(url)
    const text = body instanceof Uint8Array ? Buffer.from(body).toString('base64') : String(body ?? '')
    const asked: Asked = { at: this.clock.time, method, path: pathname.replace(/^\/v1/, ''), query: searchParams, headers: new Headers(headers), body: text, signal: signal ?? undefined, keepalive }
    this.asked.push(asked)
    // Who asks without end in no time would never let the test fail.
    if (this.asked.at(-1000)?.at === asked.at) {
      this.isSpinning = true
      return never({ signal: undefined })
    }
    const aborted = new Promise<never>((_, lost) => {
      if (signal?.aborted) lost(signal.reason)
      signal?.addEventListener('abort', () => lost(signal.reason))
    })
    aborted.catch(() => undefined)
    const travel = (): Promise<void> | undefined => (this.latency ? new Promise((done) => void this.clock.after(this.latency, done)) : undefined)
    const answer = async (): Promise<Response> => {
      await travel()
      if (this.isFrozen) return never(asked)
      if (!this.isUp) throw new TypeError('fetch failed')
      const response = (await this.intercept(asked)) ?? (await this.#answer(asked))
      if (!this.isUp) throw new TypeError('fetch failed')
      await travel()
      return response
    }
    return Promise.race([answer(), aborted])
  }

  #answer(asked: Asked): Response | Promise<Response> {
    const { path, query, method } = asked
    const topics = query.getAll('topic')
    const token = this.useTicket(query.get('ticket')) ?? asked.headers.get('authorization')?.replace('Bearer ', '')
    if (/\.0\d/.test(query.get('after') ?? '')) return refusal(400, 'bad_cursor')
    const no = this.admit(token, topics)
    if (no) return refusal(/^token/.test(no) ? 401 : 403, no)
    if (path === '/plan') return json(this.plan)
    if (path === '/sse') return this.#stream(asked, topics)
    if (path === '/events') return this.#page(asked, topics)
    if (path === '/tickets') {
      const ticket = `t${this.asked.length}`
      this.#tickets.set(ticket, token ?? '')
      return json({ ticket, expires_ms: 30_000 }, 201)
    }
    if (path === '/canary' && this.hasPath) return this.#canary(asked)
    if (path === '/path' && this.hasPath) return new Response(null, { status: 204 })
    if (path.startsWith('/path/') && this.hasPath) {
      const stream = [...this.streams].find(({ name }) => `/path/${name}` === path)
      if (query.get('beat') === 'now') stream?.write('tidewire.beat', { beat: true, ...(this.log.newest > 0 && { at: this.log.cursorAt(this.log.newest) }) })
      const { time } = this.clock
      return stream ? json({ connection: stream.name, events: stream.events, open_ms: time - stream.openedAt, quiet_ms: time - stream.wroteAt, blocked: false }) : refusal(404, 'not_found')
    }
    if (path.startsWith('/topics/') && method === 'POST') {
      const isJson = asked.headers.get('content-type') === 'application/json'
      const topic = decodeURIComponent(path.slice('/topics/'.length))
      return json(this.store(topic, asked.headers.get('tidewire-event') ?? 'message', isJson ? JSON.parse(asked.body) : asked.body, asked.headers.get('idempotency-key') ?? undefined, isJson ? undefined : 'base64', asked.headers.get('tidewire-item') ?? undefined), 201)
    }
    if (path === '/presence') {
      const answer = this.presence.announce(JSON.parse(asked.body), 'http')
      return answer ? json(answer) : refusal(404, 'no_presence')
    }
    if (path.startsWith('/presence/')) {
      const topic = decodeURIComponent(path.slice('/presence/'.length))
      return this.presence.refused(topic) ? refusal(404, 'no_presence') : json(this.presence.members(topic))
    }
    if (/^\/streams\/.*\/cancel$/.test(path)) {
      const topic = decodeURIComponent(path.slice('/streams/'.length, -'/cancel'.length))
      if (this.log.entries.some((entry) => entry.topic === topic && /^(end|fail|cancel)$/.test(entry.event))) return refusal(409, 'ended')
      this.publish(topic, { by: null }, 'cancel')
      this.cancelled.push(topic)
      return json({})
    }
    return refusal(404, 'not_found')
  }

  #stream(asked: Asked, topics: string[]): Response {
    const kept = topics.filter((topic) => this.isKept(topic))
    const { continuity, gap, from } = kept.length ? this.log.begin(kept, asked.query.get('after') ?? 'now') : { continuity: 'new', gap: undefined, from: 0 }
    const stream = new Flowing(this, asked.query.get('connection') ?? 'c', topics, asked)
    this.streams.add(stream)
    const at = kept.length ? this.log.cursorAt(from) : undefined
    stream.write('tidewire.hello', { ...this.hello(), connection: stream.name, continuity, ...(gap && { gap }), ...(at && { at }) }, { retry: `${this.retryMs}`, id: at })
    if (gap) stream.write('tidewire.gap', gap)
    for (const entry of this.log.past(kept, from, this.keepOf)) stream.entry(entry)
    const beat = (): void => stream.write('tidewire.beat', { beat: true, ...(at && { at: this.log.cursorAt(this.log.newest) }) })
    if (asked.query.get('beats') === 'early') for (const ms of [250, 500, 1000, 2000]) this.clock.after(ms, beat)
    const beats = (): void => {
      if (stream.isOver) return
      if (this.clock.time - stream.wroteAt >= this.beatMs) beat()
      this.clock.after(Math.max(1, this.beatMs - (this.clock.time - stream.wroteAt)), beats)
    }
    this.clock.after(this.beatMs, beats)
    return new Response(stream.body, { headers: EVENT_STREAM })
  }

  #canary(asked: Asked): Response {
    const stream = new Flowing(this, 'canary', [], asked)
    const gap = +(asked.query.get('gap') ?? 250)
    for (const n of [1, 2, 3]) {
      this.clock.after(gap * (n - 1), () => {
        stream.write('tidewire.canary', { n })
        if (n === 3) stream.end()
      })
    }
    return new Response(stream.body, { headers: EVENT_STREAM })
  }

  async #page(asked: Asked, topics: string[]): Promise<Response> {
    const { query } = asked
    const wait = +(query.get('wait') ?? 0) * 1000
    const limit = +(query.get('limit') ?? 100)
    if (topics.some((topic) => !this.isKept(topic))) return refusal(400, 'no_history')
    if (query.has('last')) {
      const before = query.get('before')
      const all = this.log.after(topics, 0).filter(({ id }) => !before || sequenceOf(id!) < sequenceOf(before))
      const entries = all.slice(-+query.get('last')!)
      return json({ entries, cursor: this.log.cursorAt(this.log.newest), more: false, earlier: entries.length < all.length, continuity: 'new' })
    }
    const { continuity, gap, from } = this.log.begin(topics, query.get('after') ?? (query.has('wait') ? 'now' : 'start'))
    const { tag } = this.plan
    if (wait && !gap && !this.log.after(topics, from).length) {
      await new Promise<void>((done) => {
        const stop = this.clock.after(wait, () => woken())
        const woken = (): void => {
          const isOther = this.plan.tag !== tag
          if (this.isUp && !isOther && !this.log.after(topics, from).length && this.clock.time < asked.at + wait) return
          stop()
          this.#waiting.delete(woken)
          done()
        }
        this.#waiting.add(woken)
        asked.signal?.addEventListener('abort', () => (stop(), this.#waiting.delete(woken), done()))
      })
    }
    const all = this.log.past(topics, from, this.keepOf)
    const entries = all.slice(0, limit)
    const more = entries.length < all.length
    const cursor = more ? entries.at(-1)!.id : this.log.cursorAt(this.log.newest)
    return json({ entries, cursor, more, continuity, ...(gap && { gap }), ...(this.plan.tag && { plan: this.plan.tag }) })
  }
}

// conformance/journeys.json by the client, against the finished binary, kills and restarts included.
//
// What the client can not express is done as plain requests: a batch; text that is no JSON (an app sends
// JSON or bytes); a page of several topics. A reader of one door is a client whose plan says that door,
// and `cut` closes it: what comes next is a new client at its bookmark. After each journey, the readers
// that were not cut must have gone on by themselves through every restart.

import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { After, Contract, Live, Meta, Seam, Transport } from '../src/api.js'
import { connect } from '../src/connect.js'
import { until } from './fake.js'
import { NodeSocket, planned, type Server, startServer } from './support/server.js'
import { vectors } from './support/vectors.js'

type Expect = 'new' | 'resumed' | 'ephemeral' | { gap: string } | { duplicate_of: string } | { refused: string }
type Place = string | { id_of: string } | { bookmark_of: string }
interface Message {
  door: 'http' | 'batch' | 'ws'
  topic: string
  event?: string
  key?: string
  json?: unknown
  text?: string
  binary?: string
  as?: string
  expect?: Expect
}
interface Step {
  publish?: Message
  publish_all?: { messages: Message[]; expect: Expect }
  open?: { reader: string; door: Transport; topics: string[]; after: Place; expect: Expect }
  hears?: { reader: string; entries: string[] }
  quiet?: { reader: string }
  cut?: { reader: string }
  restart?: 'kill' | 'stop'
  page?: { topics: string[]; after: Place; limit?: number; expect: Expect; entries: string[]; more?: boolean }
  page_refused?: { topics: string[]; after: Place; code: string }
}
type Any = Contract & { [feature: string]: { [event: string]: unknown } }
interface Entry {
  topic: string
  event: string
  id?: string
  data: unknown
}
interface Answer {
  id: string | null
  duplicate?: boolean
}

const KEY = 'a-key-for-the-journeys-of-this-test'
const CONFIG = `[server]
origins = ["https://app.example.com"]

[auth]
secret = "a-secret-that-nobody-uses-in-this-test"

[[auth.key]]
name = "journeys"
key = "${KEY}"
publish = ["**"]
subscribe = ["**"]

`
const WITH_KEY = { headers: { Authorization: `Bearer ${KEY}` } }
const MARK = 'a mark of the journey'
const { features, journeys } = vectors<{ features: string; journeys: { name: string; steps: Step[] }[] }>('journeys.json')

const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'))
const dataOf = ({ json, text, binary }: Message): unknown => (text ?? (binary === undefined ? json : bytesOf(binary)))
const isPassing = (topic: string): boolean => topic.startsWith('pointers/')
const seamOf = (expect: Expect): string => (typeof expect === 'string' ? expect : 'gap' in expect ? `gap ${expect.gap}` : JSON.stringify(expect))

/** A client that reads by one door, and everything that it heard, in its order. */
class Reader {
  readonly live: Live<Any>
  readonly heard: Entry[] = []
  readonly seams = new Map<string, string>()
  /** Marks of others are passed over; the one it waits for is told. */
  next = 0

  constructor(server: Server, readonly door: Transport, readonly topics: string[], readonly after: After) {
    this.live = connect<Any>(server.url, { token: KEY, env: { fetch: planned(door), WebSocket: NodeSocket } })
    for (const name of topics) {
      const topic = this.live.topic(name, { after })
      topic.on('*', (data: unknown, meta: Meta) => this.heard.push({ ...meta, data }))
      topic.on('tidewire.seam', (seam: Seam) => this.seams.set(name, seam.continuity === 'gap' ? `gap ${seam.gap.reason}` : seam.continuity))
    }
  }

  /** The next entry that is no mark but perhaps this one. */
  async take(what: string, mark?: string): Promise<Entry> {
    for (;;) {
      await until(`the reader hears ${what}`, () => this.heard.length > this.next)
      const entry = this.heard[this.next++]!
      if (entry.event !== MARK.replaceAll(' ', '-') || entry.data === mark) return entry
    }
  }

  /** The newest cursor that it was given. */
  async bookmark(): Promise<string> {
    const kept = this.topics.find((topic) => !isPassing(topic))
    return (await this.live.explain()).topics.find(({ topic }) => topic === kept)!.after
  }
}

class Journey {
  readonly #entries = new Map<string, Entry>()
  readonly #readers = new Map<string, Reader>()
  readonly #bookmarks = new Map<string, string>()
  readonly #publishers = new Map<string, Live<Any>>()
  #marks = 0

  constructor(readonly server: Server) {}

  static async run(t: TestContext, steps: Step[]): Promise<void> {
    const server = await startServer(t, { config: CONFIG + features, command: 'serve', key: KEY })
    const journey = new Journey(server)
    try {
      for (const [index, step] of steps.entries()) {
        await journey.#step(step).catch((error: Error) => {
          error.message = `step ${index}, ${JSON.stringify(step)}: ${error.message}`
          throw error
        })
      }
      await journey.#arrived()
    } finally {
      for (const { live } of journey.#readers.values()) live.close()
      for (const live of journey.#publishers.values()) live.close()
    }
  }

  async #step(step: Step): Promise<void> {
    if (step.publish) await this.#publish(step.publish)
    else if (step.publish_all) await this.#publishAll(step.publish_all)
    else if (step.open) await this.#open(step.open)
    else if (step.hears) await this.#hears(step.hears)
    else if (step.quiet) await this.#quiet(step.quiet)
    else if (step.cut) await this.#cut(step.cut.reader)
    else if (step.restart) await this.#restart(step.restart)
    else if (step.page) await this.#page(step.page)
    else if (step.page_refused) await this.#pageRefused(step.page_refused)
    else assert.fail('a step that this runner does not know')
  }

  /** The client that publishes by a door; over a socket, once that is open. */
  async #publisher(door: 'http' | 'ws', topic: string): Promise<Live<Any>> {
    const key = `${door} ${topic.split('/')[0]}`
    let live = this.#publishers.get(key)
    if (!live) {
      this.#publishers.set(key, (live = connect<Any>(this.server.url, { token: KEY, env: { fetch: planned(door === 'ws' ? 'ws' : 'sse'), WebSocket: NodeSocket } })))
      if (door === 'ws') {
        live.topic(`${topic.split('/')[0]!}/nobody`).on('*', () => undefined)
        await until('the socket is open', () => live!.status.state === 'open' && live!.status.transport === 'ws')
      }
    }
    return live
  }

  async #publish(message: Message): Promise<void> {
    const { door, topic, event = 'message', key, as, expect = 'new' } = message
    const data = dataOf(message)
    const send = async (): Promise<Answer> => {
      if (door === 'batch' || message.text !== undefined) return (await this.#batch([message]))[0]!
      const live = await this.#publisher(door, topic)
      return live.topic(topic).send(event, data, key === undefined ? {} : { key })
    }
    if (typeof expect === 'object' && 'refused' in expect) return assert.rejects(send(), { code: expect.refused })
    const { id, duplicate = false } = await send()
    if (as) this.#entries.set(as, { topic, event, data, ...(id && { id }) })
    if (expect === 'ephemeral') assert.equal(id, null)
    else if (expect === 'new') assert.ok(id && !duplicate)
    else if (typeof expect === 'object' && 'duplicate_of' in expect) assert.deepEqual([id, duplicate], [this.#entries.get(expect.duplicate_of)!.id, true])
    else assert.fail(JSON.stringify(expect))
  }

  async #batch(messages: Message[]): Promise<Answer[]> {
    const lines = messages.map((message) => {
      const { topic, event, key, text, binary } = message
      return { topic, event, key, ...(text !== undefined ? { data: text, encoding: 'text' } : binary !== undefined ? { data: Buffer.from(bytesOf(binary)).toString('base64'), encoding: 'base64' } : { data: message.json }) }
    })
    const answer = await fetch(`${this.server.url}/v1/publish`, { ...WITH_KEY, method: 'POST', body: JSON.stringify(lines) })
    const body = (await answer.json()) as { results: Answer[]; error: { code: string } }
    if (!answer.ok) throw Object.assign(new Error(body.error.code), body.error)
    return body.results
  }

  async #publishAll({ messages, expect }: { messages: Message[]; expect: Expect }): Promise<void> {
    if (typeof expect === 'object' && 'refused' in expect) return assert.rejects(this.#batch(messages), { code: expect.refused })
    const answers = await this.#batch(messages)
    messages.forEach((message, index) => {
      const { topic, event = 'message', as } = message
      const { id } = answers[index]!
      if (as) this.#entries.set(as, { topic, event, data: dataOf(message), ...(id && { id }) })
    })
  }

  async #place(after: Place): Promise<string> {
    if (typeof after === 'string') return after
    if ('id_of' in after) return this.#entries.get(after.id_of)!.id!
    return this.#bookmarks.get(after.bookmark_of) ?? this.#readers.get(after.bookmark_of)!.bookmark()
  }

  async #open({ reader: name, door, topics, after, expect }: NonNullable<Step['open']>): Promise<void> {
    const reader = new Reader(this.server, door, topics, (await this.#place(after)) as After)
    this.#readers.set(name, reader)
    const kept = topics.filter((topic) => !isPassing(topic))
    await until('every topic is told of its seam', () => reader.seams.size === topics.length)
    assert.deepEqual(kept.map((topic) => reader.seams.get(topic)), kept.map(() => seamOf(expect)))
  }

  async #hears({ reader: name, entries }: { reader: string; entries: string[] }): Promise<void> {
    const reader = this.#readers.get(name)!
    for (const entry of entries) assert.deepEqual(await reader.take(entry), this.#entries.get(entry), entry)
  }

  async #quiet({ reader: name }: { reader: string }): Promise<void> {
    const reader = this.#readers.get(name)!
    const mark = `${MARK} ${++this.#marks}`
    await this.server.publish(reader.topics[0]!, mark, { event: MARK.replaceAll(' ', '-') })
    assert.equal((await reader.take('the mark', mark)).data, mark)
  }

  async #cut(name: string): Promise<void> {
    const reader = this.#readers.get(name)!
    this.#bookmarks.set(name, await reader.bookmark())
    reader.live.close()
    this.#readers.delete(name)
  }

  async #restart(how: 'kill' | 'stop'): Promise<void> {
    await this.server[how]()
    await this.server.start()
  }

  async #page({ topics, after, limit, expect, entries, more }: NonNullable<Step['page']>): Promise<void> {
    const place = (await this.#place(after)) as After
    const isOurs = ({ event }: Entry): boolean => event !== MARK.replaceAll(' ', '-')
    const wanted = entries.map((entry) => this.#entries.get(entry))
    if (topics.length > 1) {
      const query = new URLSearchParams([...topics.map((topic) => ['topic', topic]), ['after', place]])
      const page = (await (await fetch(`${this.server.url}/v1/events?${query}`, WITH_KEY)).json()) as { entries: Entry[]; more: boolean; continuity: string }
      assert.deepEqual([page.continuity, page.entries.filter(isOurs)], [seamOf(expect), wanted])
      if (more !== undefined) assert.equal(page.more, more)
      return
    }
    const live = await this.#publisher('http', topics[0]!)
    const page = await live.topic(topics[0]!).history({ after: place, ...(limit && { limit }) })
    assert.deepEqual(page.entries.filter(isOurs), wanted)
    assert.equal(page.seam.continuity === 'gap' ? `gap ${page.seam.gap.reason}` : page.seam.continuity, seamOf(expect))
    if (more !== undefined) assert.equal(page.more, more)
  }

  async #pageRefused({ topics, after, code }: NonNullable<Step['page_refused']>): Promise<void> {
    const live = await this.#publisher('http', topics[0]!)
    await assert.rejects(live.topic(topics[0]!).history({ after: (await this.#place(after)) as After }), { name: 'TidewireError', code })
  }

  /** Whoever was not cut has gone on, and has heard everything after its place. */
  async #arrived(): Promise<void> {
    for (const [name, reader] of this.#readers) {
      const kept = reader.topics.filter((topic) => !isPassing(topic))
      for (const topic of kept) {
        const last = `${MARK} at the end, ${name}, ${topic}`
        await this.server.publish(topic, last, { event: MARK.replaceAll(' ', '-') })
        await until(`${name} goes on with ${topic}`, () => reader.heard.some(({ data }) => data === last), 20_000)
        const log = await this.server.log(topic)
        const ids = reader.heard.filter((entry) => entry.topic === topic && entry.id).map(({ id }) => id)
        const all = log.map(({ id }) => id)
        assert.deepEqual(ids, all.slice(all.indexOf(ids[0]!)), `${name}: ${topic} without a hole, without a twin`)
      }
    }
  }
}

for (const { name, steps } of journeys) test(`journeys.json: ${name}`, (t) => Journey.run(t, steps))

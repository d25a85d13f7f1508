// The socket of the server in memory: what a browser's `WebSocket` shows of it, and the server's half.

import { Wire } from './clock.js'
import { type Kept, sequenceOf } from './log.js'
import { errorOf, type Sim } from './sim.js'

export class SimSocket {
  binaryType = 'blob'
  /** Bytes that wait for the path. */
  bufferedAmount = 0
  readyState = 0
  onopen: (() => void) | null = null
  onmessage: ((event: { data: unknown }) => void) | null = null
  onclose: ((event: { code: number; reason: string }) => void) | null = null
  onerror: (() => void) | null = null
  /** Its subscriptions, as the server has them, and which of them are kept. */
  readonly topics = new Map<string, boolean>()
  #stopBeating: () => void = () => undefined
  readonly #up: Wire
  readonly #down: Wire

  constructor(readonly sim: Sim, url: string) {
    const { searchParams } = new URL(url)
    const isFrozen = (): boolean => sim.isFrozen
    this.#up = new Wire(sim.clock, () => sim.latency, isFrozen)
    this.#down = new Wire(sim.clock, () => sim.latency, isFrozen)
    sim.dialled.add(this)
    this.#up.say(() => {
      if (this.readyState !== 0) return
      const ticket = searchParams.get('ticket')
      const token = sim.useTicket(ticket)
      if (!sim.isUp || sim.areSocketsBlocked || (ticket && token === undefined)) return this.drop(1006)
      this.readyState = 1
      sim.sockets.add(this)
      this.onopen?.()
      this.tell({ hello: sim.hello() })
      this.#beat()
    }, queueMicrotask)
  }

  // What the client calls.

  send(data: string | Uint8Array): void {
    if (this.readyState !== 1) return
    this.#up.say(() => {
      if (!this.sim.sockets.has(this)) return
      if (typeof data !== 'string') {
        const head = (data[0]! << 8) + data[1]! + 2
        const command = JSON.parse(new TextDecoder().decode(data.subarray(2, head)))
        return this.#obey({ ...command, data: Buffer.from(data.subarray(head)).toString('base64'), encoding: 'base64' })
      }
      this.sim.said.push({ at: this.sim.clock.time, text: data })
      this.#obey(JSON.parse(data))
    }, queueMicrotask)
  }

  close(): void {
    this.readyState = 3
    this.#stopBeating()
    this.sim.sockets.delete(this)
    this.sim.dialled.delete(this)
  }

  /** The path lets go of what it held. */
  thaw(): void {
    this.#up.release()
    this.#down.release()
  }

  // What the server does.

  tell(what: object): void {
    this.#down.say(() => this.readyState === 1 && this.onmessage?.({ data: JSON.stringify(what) }), queueMicrotask)
  }

  hearEntry(entry: Kept): void {
    if (!this.topics.has(entry.topic)) return
    if (entry.encoding !== 'base64') return this.tell(entry)
    const { data, encoding, ...head } = entry
    const header = Buffer.from(JSON.stringify(head))
    const length = Buffer.from([header.length >> 8, header.length & 255])
    const bytes = Buffer.concat([length, header, Buffer.from(data as string, encoding)])
    this.#down.say(() => this.readyState === 1 && this.onmessage?.({ data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) }), queueMicrotask)
  }

  /** Closes it, as seen from the client. */
  drop(code: number): void {
    this.#stopBeating()
    this.sim.sockets.delete(this)
    this.#down.say(() => {
      if (this.readyState === 3) return
      this.readyState = 3
      this.onerror?.()
      this.onclose?.({ code, reason: '' })
    }, queueMicrotask)
  }

  #beat(): void {
    this.#stopBeating = this.sim.clock.after(this.sim.beatMs, () => {
      this.tell({ beat: { at: this.sim.log.cursorAt(this.sim.log.newest) } })
      this.#beat()
    })
  }

  #obey({ do: what, ref, topic, after = 'now', event = 'message', data, encoding, key, item, token, member, here, gone }: { [name: string]: any }): void {
    const { sim } = this
    const refuse = (code: string): void => this.tell({ ref, error: errorOf(code) })
    if (what === 'publish') {
      const ok = sim.store(topic, event, data, key, encoding, item)
      return ref === undefined ? undefined : this.tell({ ref, ok })
    }
    if (what === 'presence') {
      const ok = sim.presence.announce({ member, here, gone }, 'ws')
      return ok ? this.tell({ ref, ok }) : refuse('no_presence')
    }
    if (what === 'token') return sim.admit(token, [...this.topics.keys()]) ? refuse('token_invalid') : this.tell({ ref, ok: {} })
    if (what === 'unsubscribe') return this.topics.delete(topic) ? this.tell({ ref, ok: { topic } }) : refuse('not_subscribed')
    if (what !== 'subscribe') return refuse('unknown_command')
    if (this.topics.has(topic)) return refuse('already_subscribed')
    const no = sim.admit('socket', [topic])
    if (no) return refuse(no)
    const kept = sim.isKept(topic)
    if (/\.0\d/.test(after)) return refuse('bad_cursor')
    this.topics.set(topic, kept)
    if (!kept) return this.tell({ ref, ok: { topic, continuity: 'new' } })
    const { continuity, gap, from } = sim.log.begin([topic], after)
    this.tell({ ref, ok: { topic, continuity, ...(gap && { gap }), at: sim.log.cursorAt(from) } })
    for (const entry of sim.log.past([topic], from, sim.keepOf)) if (sequenceOf(entry.id!) > from) this.hearEntry(entry)
    this.tell({ live: { topic, at: sim.log.cursorAt(sim.log.newest) } })
  }
}

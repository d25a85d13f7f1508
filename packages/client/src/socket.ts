// The socket: many subscriptions, and publishing, on one WebSocket.

import type { Entry, Off, Sent } from './api.js'
import { Carrier } from './carrier.js'
import { bytesOf, entryOfBytes } from './binary.js'
import { entryOf } from './entry.js'
import { inOrder } from './flow.js'
import { type Json, lossOf, Loss } from './net.js'
import type { Sub } from './sub.js'

/** What an answer is passed to, at once: what follows it may lie in the same piece of bytes. */
interface Wanted {
  done?(ok: Json): void
  lost?(loss: Loss): void
}

/** Where a message goes. */
interface Message {
  topic: string
  event: string
  key?: string
  item?: string | undefined
}

/** How long what is volatile waits until the socket is asked again whether it has room, in ms. */
const DRAIN = 16

interface Have {
  sub: Sub
  wants: number
  last?: string
}

export class Socket extends Carrier {
  override readonly name = 'ws'
  #socket: WebSocket | undefined
  #asked = new Map<number, Wanted>()
  #count = 0
  // The subscriptions of this connection, each with its place once it is answered: what is said before
  // is of an older one of the same topic.
  #have = new Map<string, Have>()
  // What waits for room: the newest of each kind.
  readonly #tossed = new Map<string, [Message, unknown]>()
  #stopTossing: Off | undefined

  protected override async attempt(signal: AbortSignal): Promise<void> {
    const { net, env, path, connectMs: longest } = this.engine
    // Where nobody knows yet whether sockets pass, another rung is not kept waiting for this one.
    const connectMs = path.verdict('ws') === 'unknown' ? Math.min(longest, 1000 + 4 * net.rtt) : longest
    const stop = env.after(connectMs, () => this.isOpen || this.end(new Loss('not_opened', `no greeting came within ${connectMs} ms`)))
    let socket: WebSocket | undefined
    try {
      const address = await this.#address(signal)
      signal.throwIfAborted()
      socket = this.#socket = new env.WebSocket!(address, 'tidewire.v1')
      await this.#talk(socket, signal)
    } finally {
      stop()
      this.#socket = undefined
      this.#stopTossing?.()
      this.#stopTossing = undefined
      this.#tossed.clear()
      const asked = [...this.#asked.values()]
      this.#asked.clear()
      this.#have.clear()
      for (const wanted of asked) wanted.lost?.(new Loss('unreachable', 'the socket ended before the answer came', 'retry'))
      if (socket) socket.onmessage = socket.onclose = null
      socket?.close()
    }
  }

  #talk(socket: WebSocket, signal: AbortSignal): Promise<never> {
    socket.binaryType = 'arraybuffer'
    return new Promise((_, lost) => {
      signal.addEventListener('abort', () => lost(signal.reason))
      socket.onmessage = ({ data }) => {
        try {
          if (this.isOpen) this.heard(true)
          if (typeof data === 'string') this.#hear(JSON.parse(data))
          else this.#entry(entryOfBytes(data))
        } catch (error) {
          socket.onmessage = null
          lost(error)
        }
      }
      socket.onclose = ({ code, reason }) => {
        // A page is not told why a handshake failed.
        lost(new Loss(this.isOpen ? 'ended' : 'not_opened', this.isOpen ? `the socket was closed: ${code} ${reason}` : 'the socket did not open'))
      }
      socket.onerror = () => undefined
    })
  }

  #taken(topic: string): Have | undefined {
    const have = this.#have.get(topic)
    return have?.last === undefined ? undefined : have
  }

  #entry(entry: Entry): void {
    const have = this.#taken(entry.topic)
    if (have && entry.id) {
      inOrder(entry.id, have.last)
      have.last = entry.id
    }
    have?.sub.step(entry)
  }

  #hear(said: Json): void {
    const { ref, ok, error, topic, hello, gap, live, beat, bye, plan } = said
    if (topic) this.#entry(entryOf(said))
    else if (ref !== undefined) {
      const wanted = this.#asked.get(ref)
      this.#asked.delete(ref)
      if (ok) wanted?.done?.(ok)
      else if (wanted) wanted.lost?.(lossOf(error))
      // Of what nobody waits for.
      else this.engine.note(`ws: ${error?.message}`)
    } else if (hello) {
      this.opened(hello)
      this.changed()
    } else if (live) this.#taken(live.topic)?.sub.caughtUp(live.at)
    else if (gap) {
      const have = this.#taken(gap.topic)
      have?.sub.attached({ continuity: 'gap', gap }, undefined, have.wants)
    } else if (beat) for (const topic of this.#have.keys()) this.#taken(topic)?.sub.moveTo(beat.at)
    else if (plan) this.engine.planIs(plan.tag, plan.wait_ms)
    else if (bye) throw lossOf(bye)
    else if (error) throw lossOf(error)
  }

  protected override changed(): void {
    if (!this.isOpen) return
    if (!this.subs.size) return this.again('nobody listens')
    for (const [topic, { sub, wants }] of this.#have) {
      if (this.subs.get(topic) === sub && wants === sub.wants) continue
      this.#have.delete(topic)
      this.#ask({ do: 'unsubscribe', topic })
    }
    for (const [topic, sub] of this.subs) {
      if (this.#have.has(topic)) continue
      const { wants, isKept } = sub
      const have: Have = { sub, wants }
      this.#have.set(topic, have)
      const after = isKept ? sub.place : 'now'
      this.#ask({ do: 'subscribe', topic, after }, {
        done: ({ continuity, gap, at }) => {
          have.last = at ?? ''
          sub.attached(isKept ? { continuity, ...(gap && { gap }) } : { continuity: 'new' }, at, wants, after === 'now')
        },
        lost: (loss) => {
          if (loss.next === 'give_up') this.engine.refuse(sub, loss)
          else if (this.#socket) this.end(loss)
        },
      })
    }
  }

  #ask(command: object, wanted: Wanted = {}, data?: unknown): void {
    const ref = ++this.#count
    this.#asked.set(ref, wanted)
    this.#say({ ...command, ref }, data)
  }

  #say(command: object, data?: unknown): void {
    this.#socket!.send(data instanceof Uint8Array ? bytesOf(command, data) : JSON.stringify({ ...command, data }))
  }

  /** Asks, if the socket is open. */
  ask(command: object, data?: unknown): Promise<Json> | undefined {
    return this.isOpen ? new Promise((done, lost) => this.#ask(command, { done, lost }, data)) : undefined
  }

  /** Publishes, if the socket is open. */
  publish(message: Message, data: unknown): Promise<Sent> | undefined {
    return this.ask({ do: 'publish', ...message }, data)
  }

  /** Sends what nobody waits for: now, or once what was sent before has gone, and then the newest of its kind; or never. */
  toss(kind: string, message: Message, data: unknown): undefined {
    if (!this.isOpen) return
    this.#tossed.delete(kind)
    this.#tossed.set(kind, [message, data])
    this.#stopTossing ??= this.#toss()
  }

  #toss(): Off | undefined {
    if (!this.#socket || !this.#tossed.size) return undefined
    if (this.#socket.bufferedAmount) {
      return this.engine.env.after(DRAIN, () => (this.#stopTossing = this.#toss()))
    }
    const all = [...this.#tossed.values()]
    this.#tossed.clear()
    for (const [message, data] of all) this.#say({ do: 'publish', ...message }, data)
    return undefined
  }

  /** A new token, on the connection as it is. */
  renew(token: string): void {
    if (this.isOpen) this.#ask({ do: 'token', token }, { lost: (loss) => this.#socket && this.end(loss) })
  }

  /** Would a socket open? */
  async knock(): Promise<boolean> {
    const { env, connectMs } = this.engine
    try {
      const socket = new env.WebSocket!(await this.#address(), 'tidewire.v1')
      return await new Promise<boolean>((done) => {
        env.after(connectMs, () => done(false))
        socket.onmessage = () => done(true)
        socket.onerror = socket.onclose = () => done(false)
      }).finally(() => socket.close())
    } catch {
      return false
    }
  }

  async #address(signal?: AbortSignal): Promise<string> {
    const { net } = this.engine
    const ticket = net.hasToken ? `?ticket=${(await net.json('/tickets', { method: 'POST', signal })).ticket}` : ''
    return `${net.base.replace(/^http/, 'ws')}/socket${ticket}`
  }

  protected override async check(): Promise<boolean> {
    if (!this.isOpen) return true
    const { env } = this.engine
    const asked = this.heardAt
    // Whatever the server answers, it is there.
    this.#ask({ do: 'ping' })
    return new Promise((done) => env.after(2000, () => done(this.heardAt > asked)))
  }
}

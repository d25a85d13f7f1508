// The server in memory behind a real one: Node's `http` on a loopback port, in real time, so that the
// client's `fetch` meets real bytes, and every way to break them off.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { Readable } from 'node:stream'
import type { TestContext } from 'node:test'
import { connect } from '../src/connect.js'
import type { Live, Options } from '../src/api.js'
import { realTime } from './support/clock.js'
import { hear, type Heard } from './support/setup.js'
import { Sim } from './support/sim.js'

/** Answers in place of the server; false leaves it to the server. */
export type Hostile = (path: string, response: ServerResponse, request: IncomingMessage) => boolean

export class Fake {
  readonly sim = new Sim(realTime)
  hostile: Hostile = () => false
  /** Bytes a second of each answer; all at once if left out. */
  rate: number | undefined
  /** How long a request and an answer travel, each, in ms. */
  latency = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  static async start(t: TestContext): Promise<Fake> {
    const fake = new Fake()
    await new Promise<void>((done) => fake.#server.listen(0, '127.0.0.1', done))
    t.after(() => fake.stop())
    return fake
  }

  private constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response))
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    this.#server.on('upgrade', (_, socket) => socket.destroy())
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** A client of it. Its sockets are those in memory, unless the test brings others. */
  client(t: TestContext, options: Options = {}): { live: Live; statuses: string[]; hear(topic: string): Heard } {
    const live = connect(this.url, { ...options, env: { WebSocket: this.sim.env.WebSocket, ...options.env } as NonNullable<Options['env']> })
    const statuses: string[] = []
    live.on('status', ({ state, transport, why }) => statuses.push(`${state} ${transport}: ${why}`))
    live.on('error', (error) => statuses.push(`error ${error}`))
    t.after(() => live.close())
    return { live, statuses, hear: (topic) => hear(live as never, topic) }
  }

  stop(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url!.replace(/^\/v1/, '')
    if (this.latency) await pause(this.latency)
    if (this.hostile(path.split('?')[0]!, response, request)) return
    const abort = new AbortController()
    response.on('close', () => abort.abort())
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    try {
      const answer = await this.sim.env.fetch(`http://sim${request.url}`, { method: request.method!, headers: request.headers as { [name: string]: string }, signal: abort.signal, ...(chunks.length && { body: Buffer.concat(chunks).toString() }) })
      if (this.latency) await pause(this.latency)
      response.writeHead(answer.status, Object.fromEntries(answer.headers))
      // A path that holds streams back holds their heads too.
      if (!this.sim.holds) response.flushHeaders()
      await this.#pass(answer, response)
    } catch {
      response.destroy()
    }
  }

  async #pass(answer: Response, response: ServerResponse): Promise<void> {
    if (!answer.body) return void response.end()
    for await (const chunk of Readable.fromWeb(answer.body as never)) {
      const bytes = chunk as Uint8Array
      if (!this.rate) {
        // What is on its way takes its time, and others overtake nothing.
        if (this.latency) setTimeout(() => response.write(bytes), this.latency)
        else response.write(bytes)
        continue
      }
      for (let at = 0; at < bytes.length && !response.destroyed; at += 64) {
        const piece = bytes.subarray(at, at + 64)
        response.write(piece)
        await pause((piece.length / this.rate) * 1000)
      }
    }
    if (this.latency) await pause(this.latency + 5)
    response.end()
  }
}

export const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

/** Waits until something holds, with a bound. */
export async function until(what: string, holds: () => unknown, most = 10_000): Promise<void> {
  for (const end = Date.now() + most; !(await holds()); await pause(5)) if (Date.now() > end) throw new Error(`not within ${most} ms: ${what}`)
}

// The finished binary as a child process: the browser tests have it, with its restarts on one port.

import type { TestContext } from 'node:test'
import { WebSocket as UndiciWebSocket } from 'undici'
import type { Transport } from '../../src/api.js'

export interface Logged {
  topic: string
  event: string
  id: string
  data: unknown
  encoding?: string
}

export interface Server {
  readonly url: string
  start(): Promise<void>
  kill(): Promise<void>
  stop(): Promise<void>
  freeze(): void
  thaw(): void
  configure(text: string): Promise<void>
  reload(): void
  streams(): Promise<number>
  log(topic: string): Promise<Logged[]>
  publish(topic: string, data: unknown, options?: { event?: string; key?: string }): Promise<{ id: string }>
}

// From build/test/support/.
const module: string = new URL('../../../../browser-tests/server.mjs', import.meta.url).href

export async function startServer(t: TestContext, options: { config?: string; command?: 'dev' | 'serve'; key?: string } = {}): Promise<Server> {
  const { Server } = (await import(module)) as { Server: { start(t: TestContext, options: object): Promise<Server> } }
  return Server.start(t, options)
}

/** Node's own from version 22 on; before, the same one from its package. */
export const NodeSocket = UndiciWebSocket as unknown as typeof globalThis.WebSocket

/** A `fetch` that plans every kept feature for one transport, which is how a test chooses a reader's door. */
export function planned(door: Transport, inner: typeof fetch = fetch): typeof fetch {
  return async (input, init) => {
    const response = await inner(input, init)
    if (!/\/v1\/plan$/.test(String(input)) || !response.ok) return response
    const plan = (await response.json()) as { features: { history: string; transport: string }[] }
    const features = plan.features.map((feature) => ({ ...feature, transport: door === 'poll' && feature.history === 'none' ? 'sse' : door }))
    return Response.json({ ...plan, features })
  }
}

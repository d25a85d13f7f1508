// Publishes parts of one stream in order, in batches: what comes while a request is under way goes with
// the next one. Each part has a key, so that a retry repeats nothing.
//
// Invariant: a part is published once, after all that came before it, or the publisher has failed.

import type { Part } from './parts.js'
import { join } from './parts.js'

/** What is published about at once. The server's own bounds are higher. */
const BATCH_PARTS_MAX = 200
const BATCH_CHARACTERS_MAX = 256 * 1024
/** One text part, after joining what waited. */
const TEXT_CHARACTERS_MAX = 8 * 1024
/** Parts that wait before the model is read no further. */
const WAITING_PARTS_MAX = 1_000
/** All attempts to publish one batch, and one attempt, in ms. */
const ATTEMPTS_MS_MAX = 30_000
const ANSWER_MS_MAX = 10_000

export interface Target {
  /** The server's address. */
  url: string
  /** An API key or a token that may publish on the topic; or where to get one. */
  token?: string | (() => string | Promise<string>)
  /** The server's path prefix. Default `/v1`. */
  prefix?: string
  fetch?: typeof fetch
}

/** What the server said to a batch. */
class Refused extends Error {
  constructor(
    message: string,
    readonly mayPass: boolean,
    readonly retryMs?: number,
  ) {
    super(message)
    this.name = 'TidewireRefused'
  }
}

export class Publisher {
  readonly #target: Target
  readonly #topic: string
  readonly #run = crypto.randomUUID().replaceAll('-', '')
  #count = 0
  #waiting: Part[] = []
  #sending: Promise<void> | undefined
  #error: unknown
  /** The place of the newest part that is stored. */
  id: string | null = null

  constructor(target: Target, topic: string) {
    this.#target = target
    this.#topic = topic
  }

  /** Takes a part. Waits only while too many wait already. */
  async push(part: Part): Promise<void> {
    if (this.#error) throw this.#error
    if (!join(this.#waiting.at(-1), part, TEXT_CHARACTERS_MAX)) this.#waiting.push({ ...part })
    this.#sending ??= this.#send()
    while (this.#waiting.length >= WAITING_PARTS_MAX) await this.#sending
    if (this.#error) throw this.#error
  }

  /** Waits until everything is stored. */
  async flush(): Promise<void> {
    while (this.#sending) await this.#sending
    if (this.#error) throw this.#error
  }

  /** Forgets what waits. */
  drop(): void {
    this.#waiting = []
  }

  async #send(): Promise<void> {
    try {
      // What comes in the same moment goes together.
      await Promise.resolve()
      while (this.#waiting.length) await this.#publish(this.#batch())
    } catch (error) {
      this.#error = error
      this.drop()
    } finally {
      this.#sending = undefined
    }
  }

  #batch(): object[] {
    const batch: object[] = []
    for (let characters = 0; this.#waiting.length && batch.length < BATCH_PARTS_MAX; ) {
      const part = this.#waiting[0]!
      characters += part.encoding ? String(part.data).length : JSON.stringify(part.data).length
      if (batch.length && characters > BATCH_CHARACTERS_MAX) break
      this.#waiting.shift()
      batch.push({ topic: this.#topic, ...part, key: `${this.#run}.${this.#count++}` })
    }
    return batch
  }

  async #publish(batch: object[]): Promise<void> {
    const { results } = await post(this.#target, '/publish', batch)
    this.id = results.at(-1)?.id ?? this.id
  }
}

/** Asks until there is an answer; the caller's keys make that safe. */
export async function post(target: Target, path: string, body: unknown): Promise<{ results: { id: string | null }[] }> {
  const end = performance.now() + ATTEMPTS_MS_MAX
  for (let attempt = 0; ; attempt++) {
    try {
      return await once(target, path, body)
    } catch (error) {
      const refused = error instanceof Refused ? error : undefined
      const wait = refused?.retryMs ?? Math.random() * Math.min(100 * 2 ** attempt, 3_000)
      if ((refused && !refused.mayPass) || performance.now() + wait > end) throw error
      await new Promise((done) => setTimeout(done, wait))
    }
  }
}

async function once({ url, token, prefix = '/v1', fetch = globalThis.fetch }: Target, path: string, body: unknown) {
  const shown = typeof token === 'function' ? await token() : token
  const headers = { 'Content-Type': 'application/json', ...(shown !== undefined && { Authorization: `Bearer ${shown}` }) }
  const address = `${url.replace(/\/+$/, '')}/${prefix.replace(/^\/+|\/+$/g, '')}${path}`
  const answer = await fetch(address, { method: 'POST', headers, body: JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_MS_MAX) })
  const text = await answer.text()
  if (answer.ok) return JSON.parse(text)
  const { error } = told(text)
  const mayPass = error ? error.next !== 'give_up' : answer.status >= 500 || answer.status === 429
  throw new Refused(`${address}: ${answer.status} ${error ? `${error.code}: ${error.message}` : text.slice(0, 100)}`, mayPass, error?.retry_ms)
}

function told(text: string): { error?: { code: string; message: string; next: string; retry_ms?: number } } {
  try {
    return JSON.parse(text) ?? {}
  } catch {
    return {}
  }
}

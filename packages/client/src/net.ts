// Requests to the server: addresses, the token, and what an answer that is no success means.
//
// Knows nothing of topics and places. Everything that goes wrong is a `Loss`.

import type { Env, Options, Refusal } from './api.js'
import { TidewireError } from './error.js'
import type { Told } from './backoff.js'

/** Why an attempt ended, and what follows. */
export class Loss extends TidewireError {
  /** How long the server asked us to wait. */
  readonly told: Told | undefined

  constructor(code: string, message: string, next: Refusal['next'] = 'resume', told?: Told) {
    super({ code, message, next })
    this.told = told
  }
}

/** What `JSON.parse` gives; each use looks before it believes. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Json = any

export const unreachable = (error: unknown): Loss => new Loss('unreachable', `cannot reach the server: ${error}`)

export const foreign = (error: unknown): Loss => new Loss('foreign', `not Tidewire's words: ${error}`)

/** A topic is no path: no part of it may lead elsewhere. */
export const pathOf = (topic: string): string => encodeURIComponent(topic).replaceAll('%25', '%')

export interface Call {
  method?: string
  body?: BodyInit
  headers?: { [name: string]: string }
  /** Ends the call early. */
  signal?: AbortSignal | undefined
  /** Longest time until the answer, in ms: its head if it is a stream. Default 10 s. */
  ms?: number
  /** It outlives its page. */
  keepalive?: boolean
}

/** A refusal that stands in an answer, a bye or a socket's error. */
export function lossOf(error: Json, told?: Told): Loss {
  const { code = 'foreign', message = 'no reason was said', next = 'resume', retry_ms } = error ?? {}
  return new Loss(code, message, next, typeof retry_ms === 'number' ? { ms: retry_ms } : told)
}

/** `Retry-After` in ms: seconds, or a date. */
function retryAfter(value: string, now: number): Told | undefined {
  const ms = +value * 1000 || Date.parse(value) - now
  return ms >= 0 ? { ms, everybody: true } : undefined
}

export class Net {
  /** The latest time from a small request to its answer, in ms. */
  rtt = 0
  readonly base: string
  #token: Promise<string> | undefined
  #source: Options['token']

  constructor(url: string, readonly options: Options, readonly env: Env) {
    const page = (globalThis as { location?: Location }).location
    const base = new URL(url, page?.href)
    if (!/^https?:$/.test(base.protocol) || base.search || base.hash) {
      throw new TypeError(`no address of a server: ${url}`)
    }
    const prefix = (options.prefix ?? '/v1').replace(/^\/+|\/+$/g, '')
    this.base = base.href.replace(/\/+$/, '') + (prefix && `/${prefix}`)
    this.#source = options.token
  }

  get hasToken(): boolean {
    return this.#source !== undefined
  }

  /** The token in use, asked for if there is none. */
  token(): Promise<string> {
    const source = this.#source
    this.#token ??= Promise.resolve().then(() => (typeof source === 'function' ? source() : source!))
    this.#token.catch(() => (this.#token = undefined))
    return this.#token.catch((error: unknown) => {
      throw new Loss('token_missing', `no token: ${error}`, 'retry')
    })
  }

  /** The next use of a token asks for a new one. False if there is only this one. */
  forget(): boolean {
    this.#token = undefined
    return typeof this.#source === 'function'
  }

  /** Asks, and gives the head of an answer that is a success; its body ends with `signal`. Or what `use` makes of all of it in time. */
  stream<T = Response>(path: string, call?: Call, use?: (response: Response) => Promise<T>): Promise<T> {
    return this.#ask(path, call, use)
  }

  /** Asks, and gives the whole answer as JSON; nothing for one without a body. */
  json(path: string, call?: Call): Promise<Json> {
    return this.#ask(path, call, async (response) => {
      const text = await response.text()
      try {
        return text ? JSON.parse(text) : undefined
      } catch {
        throw new Loss('foreign', `${path.split('?')[0]} answers with no JSON: a proxy's or a sign-in page?`)
      }
    })
  }

  async #ask<T>(path: string, { method = 'GET', body, headers = {}, signal, ms = 10_000, keepalive = false }: Call = {}, use?: (response: Response) => Promise<T>): Promise<T> {
    const { env } = this
    if (signal?.aborted) throw signal.reason
    let isOver = true
    let token: string | undefined
    const abort = new AbortController()
    const pass = (): void => abort.abort(signal!.reason)
    signal?.addEventListener('abort', pass)
    const stop = env.after(ms, () => abort.abort(new Loss('unreachable', `no answer within ${ms} ms`)))
    const work = async (): Promise<T> => {
      if (this.hasToken) headers = { ...headers, Authorization: `Bearer ${(token = await this.token())}` }
      const begun = env.now()
      const init: RequestInit = { method, headers, signal: abort.signal, cache: 'no-store', keepalive }
      if (body !== undefined) init.body = body
      const response = await env.fetch(this.base + path, init)
      this.rtt = env.now() - begun
      if (!response.ok) throw await this.#refusal(response)
      if (use) return use(response)
      // The signal goes on to end the body.
      isOver = false
      return response as T
    }
    try {
      return await Promise.race([work(), new Promise<never>((_, lost) => abort.signal.addEventListener('abort', () => lost(abort.signal.reason)))])
    } catch (error) {
      // A token that was waited for in vain is asked for anew.
      if (token === undefined) this.#token = undefined
      throw abort.signal.aborted ? abort.signal.reason : error instanceof Loss ? error : unreachable(error)
    } finally {
      stop()
      if (isOver) signal?.removeEventListener('abort', pass)
    }
  }

  async #refusal(response: Response): Promise<Loss> {
    const told = retryAfter(response.headers.get('retry-after') ?? '', this.env.now())
    const text = await response.text().catch(() => '')
    try {
      const { error } = JSON.parse(text)
      if (error.code) return lossOf(error, told)
    } catch {
      // Not our words.
    }
    const { status } = response
    return new Loss('foreign', `status ${status}, not in the server's words: a proxy's or a sign-in page?`, 'resume', told)
  }
}

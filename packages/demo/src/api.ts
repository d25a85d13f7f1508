// The server of Workboard, by `fetch`: one function for each route. Knows nothing of Tidewire.

import type { Board, Comment, Conversation, NoticeEntry, Person, Task } from './things'
import { session, windowId } from './window'

export class ApiError extends Error {
  constructor(readonly code: string, message: string, readonly status: number, readonly task?: Task) {
    super(message)
    this.name = 'ApiError'
  }
  /** Nobody heard it: the same again may help. */
  get isPassing(): boolean {
    return this.status === 0 || this.status === 503 || this.status >= 500
  }
}

/** Called when the session is none any more. */
export const signedOut = { call: (): void => undefined }

interface Call { method?: string; body?: unknown; signal?: AbortSignal; key?: string }

const WAITS_MS = [300, 800, 1600, 3000, 4000]

/** What changes nothing, or is sent under a key, is tried again while the server restarts. */
async function ask<T>(path: string, call: Call = {}): Promise<T> {
  const isSafe = !call.method || call.method === 'GET' || call.key !== undefined
  for (let attempt = 0; ; attempt++) {
    try {
      return await once<T>(path, call)
    } catch (thrown) {
      const wait = WAITS_MS[attempt]
      if (!(thrown instanceof ApiError) || !thrown.isPassing || !isSafe || wait === undefined || call.signal?.aborted) throw thrown
      await new Promise((done) => setTimeout(done, wait))
    }
  }
}

async function once<T>(path: string, { method = 'GET', body, signal, key }: Call): Promise<T> {
  const headers: Record<string, string> = { 'Workboard-Window': windowId }
  const token = session.get()
  if (token) headers.Authorization = `Bearer ${token}`
  if (body !== undefined) headers['Content-Type'] = 'application/json'
  if (key) headers['Idempotency-Key'] = key
  const init: RequestInit = { method, headers, cache: 'no-store' }
  if (body !== undefined) init.body = JSON.stringify(body)
  if (signal) init.signal = signal
  let response: Response
  try {
    response = await fetch(`/app/api${path}`, init)
  } catch (thrown) {
    if (signal?.aborted) throw thrown
    throw new ApiError('unreachable', 'The server cannot be reached.', 0)
  }
  const text = await response.text()
  if (response.ok) return (text ? JSON.parse(text) : undefined) as T
  throw refusal(response.status, text)
}

function refusal(status: number, text: string): ApiError {
  let told: { error?: { code?: string; message?: string }; task?: Task } = {}
  try {
    told = JSON.parse(text) as typeof told
  } catch {
    // Not our words.
  }
  const code = told.error?.code ?? 'foreign'
  if (code === 'token_missing' || code === 'token_invalid') signedOut.call()
  return new ApiError(code, told.error?.message ?? `The server answered with ${status}.`, status, told.task)
}

export interface Draft { title: string; column?: string; description?: string; assignee?: string | null; due?: string | null; labels?: string[] }
export type Patch = Partial<Pick<Task, 'title' | 'description' | 'assignee' | 'due' | 'labels'>>
export interface Me { person: Person; server: { version: string; started_at: number; starts: number }; can_hurt: boolean }

const post = <T>(path: string, body: unknown, key?: string): Promise<T> => ask<T>(path, { method: 'POST', body, ...(key && { key }) })
export const newKey = (): string => crypto.randomUUID()

export const api = {
  people: () => ask<{ people: Person[] }>('/people').then(({ people }) => people),
  signIn: (person: string) => post<{ session: string; person: Person }>('/session', { person }),
  signOut: () => ask<void>('/session', { method: 'DELETE' }),
  me: () => ask<Me>('/me'),
  /** Once, without trying again. */
  isUp: () => once<Me>('/me', {}),
  boards: () => ask<{ boards: Board[] }>('/boards').then(({ boards }) => boards),
  board: (id: string, signal?: AbortSignal) => ask<{ board: Board; tasks: Task[]; cursor: string | null }>(`/boards/${id}`, signal ? { signal } : {}),
  create: (board: string, draft: Draft, key: string) => post<Task>(`/boards/${board}/tasks`, draft, key),
  task: (id: number, signal?: AbortSignal) => ask<{ task: Task; comments: Comment[] }>(`/tasks/${id}`, signal ? { signal } : {}),
  change: (id: number, version: number, patch: Patch) => ask<Task>(`/tasks/${id}`, { method: 'PATCH', body: { version, ...patch } }),
  move: (id: number, version: number, column: string, before: number | null) => post<Task>(`/tasks/${id}/move`, { version, column, before }),
  remove: (id: number, version: number) => ask<void>(`/tasks/${id}?version=${version}`, { method: 'DELETE' }),
  comment: (id: number, text: string, key: string) => post<Comment>(`/tasks/${id}/comments`, { text }, key),
  notices: (before?: string) => ask<{ entries: NoticeEntry[]; seen: string | null; unread: number; earlier: boolean }>(`/notifications?last=30${before ? `&before=${encodeURIComponent(before)}` : ''}`),
  seen: (id: string) => post<void>('/notifications/seen', { id }),
  ask: (board: string, question: string, key: string) => post<Conversation>(`/boards/${board}/ask`, { question }, key),
  conversations: (board: string) => ask<{ conversations: Conversation[] }>(`/conversations?board=${board}`).then(({ conversations }) => conversations),
  conversation: (id: string) => ask<Conversation>(`/conversations/${id}`),
  hurt: {
    restart: () => post<{ starts: number }>('/hurt/restart', {}),
    cut: () => post<{ cut: number }>('/hurt/cut', { window: windowId }),
    buffer: () => post<{ url: string }>('/hurt/buffer', {}),
    chat: (transport: 'sse' | 'ws') => post<{ feature: string; transport: string; changed: boolean }>('/hurt/chat', { transport }),
  },
}

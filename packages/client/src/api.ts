// What an app sees: the types of the public face, and nothing that runs.

/** What an app's features carry: `{ chat: { message: { text: string } } }`. Types only, no bytes. */
export type Contract = { [feature: string]: { [event: string]: unknown } }

/** The topics of a contract: a feature's name, alone or with segments behind it. */
export type TopicOf<C extends Contract> = { [F in keyof C & string]: F | `${F}/${string}` }[keyof C & string]

/** The events of a topic, by its first segment. */
export type EventsOf<C extends Contract, T extends string> = T extends `${infer F}/${string}` ? C[F] & {} : C[T] & {}

export type Transport = 'sse' | 'ws' | 'poll'

/** Stops what a call began. Calling it again does nothing. */
export type Off = () => void

/** What came with an entry's data. */
export interface Meta {
  readonly topic: string
  readonly event: string
  /** Which thing this is about, or the newest value of; of a text, which it belongs to. */
  readonly item?: string
  /** Its place in the log, to go on after; missing for an entry that nobody keeps. */
  readonly id?: string
}

/** An entry, whole. */
export interface Entry<D = unknown> extends Meta {
  /** JSON as parsed, text as a string, binary as a `Uint8Array`. */
  readonly data: D
}

/** Why the log can not prove that nothing was missed, and where it goes on. */
export interface Gap {
  readonly reason: 'trimmed' | 'foreign' | 'diverged' | 'ahead'
  readonly oldest: string
  readonly newest: string
}

/** What is known of the seam between what a topic has heard and what comes now. */
export type Seam =
  | { readonly continuity: 'new' | 'resumed' }
  | { readonly continuity: 'gap'; readonly gap: Gap }

/** Where to begin: with what comes now, with the oldest entry kept, or after a cursor. */
export type After = 'now' | 'start' | (string & {})

export interface TopicOptions {
  /** Default `now`, or `start` where the feature keeps the latest values. What an entry's `meta.id` gave can be stored and passed back. */
  after?: After
  /** Asked for when entries may have been missed: fetch the state anew. Entries go on meanwhile. */
  load?: (gap: Gap) => unknown
}

export interface SendOptions {
  /** Makes a retry of yours the same message; 1 to 64 printable ASCII characters. Default: a new one. */
  key?: string
  /** Gives up waiting. The message may have been stored all the same. */
  signal?: AbortSignal
  /** Which thing this is the newest value of; 1 to 64 printable ASCII characters without a space. */
  item?: string
}

/** For what is outdated by the next one: where a pointer is, who is typing. */
export interface VolatileOptions {
  /** Sent at most once, if it can be sent now; of each item only the newest waits. Nobody is told what became of it. */
  volatile: true
  item?: string
}

/** How a message was kept. */
export interface Sent {
  /** Its place in the log; `null` when the feature keeps nothing. */
  readonly id: string | null
  readonly stored: string
  /** It had been stored before: this was a retry. */
  readonly duplicate?: boolean
}

export interface EventsOptions {
  /** Default `start`: a stream that is joined late, or after a reload, is heard whole. */
  after?: After
  /** The events that are the last one; it is yielded too. Default `end`; of an answer (`keep = "text"`) also `fail` and `cancel`. */
  until?: string | readonly string[]
  /** Ends the loop. */
  signal?: AbortSignal
  /** Entries that wait for the loop before reading pauses. Default 256. */
  buffer?: number
}

export interface TextOptions {
  /** Of several texts in one stream, this one. Default: all of them, as they come. */
  item?: string
  /** Ends the loop. */
  signal?: AbortSignal
}

export interface HistoryOptions {
  /** Default `start`. */
  after?: After
  /** The newest so many entries, in place of `after` and `limit`. */
  last?: number
  /** With `last`: those before this entry. */
  before?: string
  /** At most so many entries. Default: as many as the server gives in a page, mostly 1000; 100 while its plan is not known. */
  limit?: number
  signal?: AbortSignal
}

export interface Page<D = unknown> {
  readonly entries: Entry<D>[]
  /** The `after` of the next page, and of `topic(name, { after })`. */
  readonly cursor: string
  /** There may be more after it. */
  readonly more: boolean
  /** With `last`: there are others before the first entry. */
  readonly earlier?: boolean
  readonly seam: Seam
}

/** The newest value of each item of a topic. Read while somebody listens. */
export interface Latest<D = unknown> {
  /** By item; what names none stands under `''`. What is `null` is no value any more. */
  readonly values: ReadonlyMap<string, D>
  /** Called with all values and the change, for each; without a change, when they are found to be of another log, and none is known. */
  on(listener: (values: ReadonlyMap<string, D>, change?: Entry<D | null>) => void): Off
}

/** One client instance (a tab) that is in a topic. */
export interface Member<S = unknown> {
  /** The instance's own name, drawn by chance. */
  readonly member: string
  /** The subject of its token; `null` where tokens are not asked for. */
  readonly user: string | null
  readonly state: S
  /** It is this client. */
  readonly isMe: boolean
}

/** All members that are the same user. Where there are no users, each member alone. */
export interface User<S = unknown> {
  readonly user: string | null
  /** Of the member that changed last. */
  readonly state: S
  readonly isMe: boolean
  readonly members: readonly Member<S>[]
}

/**
 * - `load`: it is known for the first time who is here.
 * - `join`, `change`, `leave`: of one member.
 * - `refused`: the server will not tell, or not take this client in.
 */
export type PresenceChange<S = unknown> =
  | { readonly event: 'load' }
  | { readonly event: 'join' | 'change'; readonly member: Member<S> }
  | { readonly event: 'leave'; readonly member: Member<S>; readonly why: 'left' | 'lost' }
  | { readonly event: 'refused'; readonly error: Refusal }

export interface PresenceOptions<S = unknown> {
  /** Enters with this state: any JSON but `null`, at most 1 KiB. Without it, this client only watches. */
  state?: S
  /** Enters without a state. */
  join?: boolean
}

/** Who is in a topic, and this client's own place there. Until `leave()`. */
export interface Presence<S = unknown> {
  /** In the order in which they entered. The same array until something changes. */
  readonly members: readonly Member<S>[]
  /** The members, those of one user as one. */
  users(): User<S>[]
  on(listener: (members: readonly Member<S>[], change: PresenceChange<S>) => void): Off
  /** Another state of this client; enters, if it has not. */
  set(state: S): void
  /** Leaves, and watches no more. */
  leave(): void
}

/** One topic. Nothing is read until somebody listens. */
export interface Topic<E extends { [event: string]: unknown } = { [event: string]: unknown }> {
  readonly name: string
  /** Hears one kind of event; `*` hears them all. Each re-attach is told by `tidewire.seam`, and a refusal by `tidewire.refused`. */
  on(event: '*', listener: (data: E[keyof E], meta: Meta) => void): Off
  on(event: 'tidewire.seam', listener: (seam: Seam) => void): Off
  on(event: 'tidewire.refused', listener: (error: Refusal) => void): Off
  on<K extends keyof E & string>(event: K, listener: (data: E[K], meta: Meta) => void): Off
  /** Publishes. Resolves when the log has it; retries under one key until then, at most 30 s. */
  send<K extends keyof E & string>(event: K, data: E[K], options?: SendOptions): Promise<Sent>
  send<K extends keyof E & string>(event: K, data: E[K], options: VolatileOptions): void
  /** Its entries as a loop, for a stream that ends. */
  events(options?: EventsOptions): AsyncIterableIterator<Entry<E[keyof E]>>
  /** A page of what is kept. */
  history(options?: HistoryOptions): Promise<Page<E[keyof E]>>
  /** The newest value of each item, for a feature that keeps the latest. */
  latest<D = E[keyof E]>(): Latest<D>
  /** The text of a stream as it comes, whole from its start: joined, it is the text. Throws where the stream fails. */
  text(options?: TextOptions): AsyncIterableIterator<string>
  /** Ends a stream that is being written. False if it had ended. */
  cancel(): Promise<boolean>
  /** Who is here. */
  presence<S = { [name: string]: unknown }>(options?: PresenceOptions<S>): Presence<S>
}

/** A code of the protocol's table, or `unreachable`, `foreign`, `aborted`, `closed`, `gap`, `too_slow`. */
export interface Refusal {
  readonly code: string
  readonly message: string
  /** What helps: the same again, a new token, or a change of the request. */
  readonly next: 'retry' | 'resume' | 'refresh_token' | 'give_up'
}

/**
 * - `idle`: nobody listens to anything.
 * - `connecting`: an attempt is under way.
 * - `open`: everything that is listened to flows.
 * - `waiting`: the connection is gone; the next attempt comes in `retryInMs`.
 * - `offline`: the browser says that there is no network; attempts pause.
 * - `unauthorized`: the token was refused, and a fresh one too. `reconnect()` tries again.
 * - `refused`: the server will not do what is asked. `reconnect()` tries again.
 * - `closed`: `close()` was called.
 */
export type State = 'idle' | 'connecting' | 'open' | 'waiting' | 'offline' | 'unauthorized' | 'refused' | 'closed'

export interface Status {
  readonly state: State
  /** What carries the events; of several, the one that is worst off. */
  readonly transport?: Transport
  /** What happened, as a sentence. */
  readonly why: string
  /** What comes next, as a sentence. */
  readonly next: string
  readonly retryInMs?: number
  /** The planned transport, while the path makes us use another. */
  readonly degradedFrom?: Transport
  /** Another tab holds the connections. */
  readonly shared?: boolean
}

export interface Options {
  /** A token, or where to get one. Asked again when the server refuses it and before it expires. */
  token?: string | (() => string | Promise<string>)
  /** The server's path prefix. Default `/v1`. */
  prefix?: string
  /** One connection for all tabs: always, never, or (`auto`) where the server speaks HTTP/1.1. */
  share?: boolean | 'auto'
  /** How long a topic is kept after its last listener left. Default 200 ms. */
  lingerMs?: number
  /** Longest time in which a connection opens. Default 5000 ms. */
  connectMs?: number
  /** What the client uses of the world; for tests, and for Node without a `WebSocket`. */
  env?: Partial<Env>
}

/** The world as the client sees it. */
export interface Env {
  fetch: typeof fetch
  WebSocket: (new (url: string, protocols?: string | string[]) => WebSocket) | undefined
  /** Wall clock, in ms. */
  now(): number
  /** From 0 up to 1. */
  random(): number
  /** Calls once after so many ms; gives what stops it. */
  after(ms: number, call: () => void): Off
}

/** What `explain()` gives: for a bug report. No token, no data. */
export interface Report {
  readonly at: string
  readonly server: string
  readonly status: Status
  readonly topics: { readonly topic: string; readonly transport: Transport | null; readonly after: string; readonly seam?: Seam }[]
  readonly path: { readonly [transport: string]: string }
  readonly plan: unknown
  /** The latest happenings, oldest first. */
  readonly recent: string[]
}

/** What `connect` gives. */
export interface Live<C extends Contract = Contract> {
  topic<T extends TopicOf<C>>(name: T, options?: TopicOptions): Topic<EventsOf<C, T>>
  /** `status`: each change. `error`: what a listener of yours threw. */
  on(event: 'status', listener: (status: Status) => void): Off
  on(event: 'error', listener: (error: unknown) => void): Off
  readonly status: Status
  /** What is known of connections and path, for a bug report. */
  explain(): Promise<Report>
  /** Tries again at once, also after `unauthorized` and `refused`. */
  reconnect(): void
  /** Ends everything. */
  close(): void
}

// What an app sees: the types of the hooks, and nothing that runs.

import type { FunctionComponent, ReactNode } from 'react'
import type { After, Contract, Entry, EventsOf, Gap, Live, Meta, Refusal, Seam, SendOptions, Sent, Status, TopicOf, TopicOptions, VolatileOptions } from '@tidewire/client'

/** A topic that is not known yet, as in `` id && `chat/${id}` ``: the hook waits. */
export type Nothing = null | undefined | false | ''

/** The entries of some events, told apart by `event`. */
export type EntryOf<E, K extends keyof E & string> = { [N in K]: Entry<E[N]> & { readonly event: N } }[K]

/** What went wrong: a refusal of the server or the client, or whatever a function of yours threw. */
export type Failure = Refusal | Error

export interface ListOptions<N, K extends string = string> {
  /** Only this event. Default: all. */
  event?: K
  /** At most so many entries, the newest. Default 100. */
  limit?: number
  /** Where the list begins, read forward from there. Default: with the newest entries; `now` for a list without a past. */
  after?: After
  /** What an entry is about: a newer one takes the place of an older one with the same key. */
  key?: (entry: N) => unknown
}

export interface List<N> {
  /** Oldest first. */
  readonly entries: readonly N[]
  /** History is on its way; `entries` may be there from before. */
  readonly loading: boolean
  /** Entries may be missing. The list has been loaded anew since, from what is kept. */
  readonly gap?: Gap | undefined
  /** Why nothing comes. It is tried again where that can help. */
  readonly error?: Failure | undefined
  /** Loads the list anew, and forgets the gap and the error. */
  reload(): void
}

export interface StreamOptions<K extends string = string, U extends string = string> {
  /** Only this event. Default: all but the last one. */
  event?: K
  /** The event that is the last one. Default: `end`, `fail` or `cancel`. */
  until?: U
  /** Of several texts in one stream, this one. Default: all of them, as they come. */
  item?: string
  /** Default `start`: a stream that is joined late, or after a reload, is heard whole. */
  after?: After
}

export interface Stream<D, L = unknown> {
  /** The text so far. */
  readonly text: string
  /** `failed` also where the stream cannot be read: see `error`. */
  readonly state: 'streaming' | 'done' | 'failed' | 'cancelled'
  /** Stops whoever writes it. */
  cancel(): void
  /** What the entries carried, oldest first. A text may come in fewer pieces than it was written. */
  readonly parts: readonly D[]
  /** The last event has come. */
  readonly done: boolean
  /** What the last event carried. */
  readonly end?: L | undefined
  /** Why nothing comes any more. */
  readonly error?: Failure | undefined
}

/** Publishes to the topic. */
export interface Send<E> {
  <K extends keyof E & string>(event: K, data: E[K], options?: SendOptions): Promise<Sent>
  /** Nobody waits for it. */
  <K extends keyof E & string>(event: K, data: E[K], options: VolatileOptions): void
}

export interface UseTopic<C extends Contract> {
  <T extends TopicOf<C>>(topic: T | Nothing, event: '*', listener: (data: EventsOf<C, T>[keyof EventsOf<C, T>], meta: Meta) => void, options?: TopicOptions): void
  (topic: TopicOf<C> | Nothing, event: 'tidewire.seam', listener: (seam: Seam) => void, options?: TopicOptions): void
  (topic: TopicOf<C> | Nothing, event: 'tidewire.refused', listener: (error: Refusal) => void, options?: TopicOptions): void
  <T extends TopicOf<C>, K extends keyof EventsOf<C, T> & string>(topic: T | Nothing, event: K, listener: (data: EventsOf<C, T>[K], meta: Meta) => void, options?: TopicOptions): void
}

export interface UseLatest<C extends Contract> {
  <T extends TopicOf<C>>(topic: T | Nothing): ReadonlyMap<string, EventsOf<C, T>[keyof EventsOf<C, T>]>
  <T extends TopicOf<C>, K extends keyof EventsOf<C, T> & string>(topic: T | Nothing, event: K, initial: EventsOf<C, T>[K], options?: TopicOptions): EventsOf<C, T>[K]
  <T extends TopicOf<C>, K extends keyof EventsOf<C, T> & string>(topic: T | Nothing, event: K, initial?: undefined, options?: TopicOptions): EventsOf<C, T>[K] | undefined
}

export interface Hooks<C extends Contract> {
  /** Gives the hooks below it their connection. Needed where `hooks()` got none. */
  Tidewire: FunctionComponent<{ live: Live<C>; children?: ReactNode }>
  /** The connection itself. */
  useLive(): Live<C>
  /** Calls the listener with each event while the component is there. */
  useTopic: UseTopic<C>
  /**
   * With a topic alone: its values by item, of a feature that keeps the latest. With an event: the data of
   * the newest one since the component is there; `initial` before the first.
   */
  useLatest: UseLatest<C>
  /** What the topic keeps, and what comes, as one list. */
  useList<T extends TopicOf<C>, K extends keyof EventsOf<C, T> & string = keyof EventsOf<C, T> & string>(
    topic: T | Nothing,
    options?: ListOptions<EntryOf<EventsOf<C, T>, K>, K>,
  ): List<EntryOf<EventsOf<C, T>, K>>
  /** A stream that ends, such as the tokens of an answer; renders once a frame at most. */
  useStream<T extends TopicOf<C>, U extends string = 'end', K extends keyof EventsOf<C, T> & string = Exclude<keyof EventsOf<C, T> & string, U>>(
    topic: T | Nothing,
    options?: StreamOptions<K, U>,
  ): Stream<EventsOf<C, T>[K], U extends keyof EventsOf<C, T> ? EventsOf<C, T>[U] : unknown>
  /** How the connection is. */
  useStatus(): Status
  /** A function that publishes to the topic; the same one for as long as the topic is. */
  useSend<T extends TopicOf<C>>(topic: T | Nothing): Send<EventsOf<C, T>>
}

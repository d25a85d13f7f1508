// `hooks`: the public face. What a hook knows beyond React's own rules stands in its store.

import { createContext, createElement, useCallback, useContext, useEffect, useInsertionEffect, useMemo, useRef, useSyncExternalStore } from 'react'
import type { Contract, Entry, Live, Meta, SendOptions, Status, TopicOptions } from '@tidewire/client'
import type { Hooks, List, ListOptions, Nothing, Stream, StreamOptions } from './api.js'
import { list } from './list.js'
import { type Store, store } from './store.js'
import { stream } from './stream.js'

/** What a server renders: it never connects. */
const IDLE: Status = { state: 'idle', why: 'nobody listens yet', next: 'connects when somebody listens' }
/** What is shown of a topic that is not known yet. */
const NO_LATEST = store<{ data?: unknown }>({}, () => () => {})
const NO_LIST = store<List<Entry>>({ entries: [], loading: false, reload() {} }, () => () => {})
const NO_STREAM = store<Stream<unknown>>({ parts: [], done: false }, () => () => {})

/**
 * The hooks of an app, typed by its contract: call it once, in a file of its own. With a connection,
 * they work as they are; without one, or to use another below, there is `<Tidewire live={…}>`.
 */
export function hooks<C extends Contract = Contract>(live?: Live<C>): Hooks<C> {
  const Context = createContext(live as Live | undefined)

  const useLive = (): Live => {
    const found = useContext(Context)
    if (!found) throw new Error('no connection: give hooks() one, or put <Tidewire live={…}> above this component')
    return found
  }

  /** One store for as long as what it depends on stays the same. */
  const useStore = <S>(make: (live: Live) => Store<S>, ...on: unknown[]): S => {
    const live = useLive()
    const { subscribe, get, first } = useMemo(() => make(live), [live, ...on])
    return useSyncExternalStore(subscribe, get, first)
  }

  const untyped = {
    useLive,

    Tidewire: ({ live, children }: { live: Live; children?: unknown }) => createElement(Context.Provider, { value: live }, children as never),

    useTopic(topic: string | Nothing, event: string, listener: (data: unknown, meta: Meta) => void, options: TopicOptions = {}) {
      const live = useLive()
      const now = useNewest({ listener, options })
      useEffect(() => {
        if (topic) return live.topic(topic, topicOptions(() => now().options)).on(event, (data, meta) => now().listener(data, meta))
      }, [live, topic, event])
    },

    useLatest(topic: string | Nothing, event: string, initial?: unknown, options: TopicOptions = {}) {
      const now = useNewest(options)
      const { data = initial } = useStore(
        (live) => (topic ? store<{ data?: unknown }>({}, (change) => live.topic(topic, topicOptions(now)).on(event, (data) => change({ data }))) : NO_LATEST),
        topic,
        event,
      )
      return data
    },

    useList(topic: string | Nothing, options: ListOptions<Entry> = {}) {
      const now = useNewest(options)
      const { event, limit = 100 } = options
      return useStore((live) => (topic ? list(live, topic, event, limit, now) : NO_LIST), topic, event, limit)
    },

    useStream(topic: string | Nothing, options: StreamOptions = {}) {
      const now = useNewest(options)
      const { event, until = 'end' } = options
      return useStore((live) => (topic ? stream(live, topic, event, until, now) : NO_STREAM), topic, event, until)
    },

    useStatus() {
      const live = useLive()
      const subscribe = useCallback((call: () => void) => live.on('status', call), [live])
      return useSyncExternalStore(subscribe, () => live.status, () => IDLE)
    },

    useSend(topic: string | Nothing) {
      const live = useLive()
      return useCallback(
        async (event: string, data: unknown, options?: SendOptions) => {
          if (!topic) throw new Error('there is no topic to send to yet')
          return live.topic(topic).send(event, data, options)
        },
        [live, topic],
      )
    },
  }
  return untyped as unknown as Hooks<C>
}

/** What the newest render gave. A change of it renders nothing and begins nothing. */
function useNewest<V>(value: V): () => V {
  const ref = useRef(value)
  useInsertionEffect(() => {
    ref.current = value
  })
  return useCallback(() => ref.current, [])
}

/** `load` is the newest one when it is called. Whether there is one is asked once. */
function topicOptions(now: () => TopicOptions): TopicOptions {
  const { load, ...rest } = now()
  return load ? { ...rest, load: (gap) => now().load?.(gap) } : rest
}

// `hooks`: the public face. What a hook knows beyond React's own rules stands in its store.

import { createContext, createElement, useCallback, useContext, useEffect, useInsertionEffect, useMemo, useRef, useSyncExternalStore } from 'react'
import type { Contract, Entry, Live, Meta, SendOptions, Status, TopicOptions } from '@tidewire/client'
import type { Hooks, List, ListOptions, Nothing, StreamOptions } from './api.js'
import { list } from './list.js'
import { type Store, store } from './store.js'
import { NO_STREAM, stream } from './stream.js'

/** What a server renders: it never connects. */
const IDLE: Status = { state: 'idle', why: 'nobody listens', next: 'nothing' }
/** What is shown of a topic that is not known yet. */
const NO_VALUES: { data?: unknown } = { data: new Map() }
const NO_LIST: List<Entry> = { entries: [], loading: false, reload() {} }

/**
 * The hooks of an app, typed by its contract: call it once, in a file of its own. With a connection,
 * they work as they are; without one, or to use another below, there is `<Tidewire live={…}>`.
 */
export function hooks<C extends Contract = Contract>(live?: Live<C>): Hooks<C> {
  const Context = createContext(live as Live | undefined)

  const useLive = (): Live => {
    const found = useContext(Context)
    if (!found) throw new Error('no connection: give hooks() one, or put <Tidewire live={…}>')
    return found
  }

  /** One store of a topic for as long as what it depends on stays the same; `none` where there is no topic. */
  const useStore = <S extends object>(none: S, topic: string | Nothing, make: (live: Live, topic: string) => Store<S>, ...on: unknown[]): S => {
    const live = useLive()
    const { subscribe, get, first } = useMemo(() => (topic ? make(live, topic) : store(none, () => () => {})), [live, topic, ...on])
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

    useLatest(topic: string | Nothing, event?: string, initial?: unknown, options: TopicOptions = {}) {
      const now = useNewest(options)
      const none = event ? {} : NO_VALUES
      const { data = initial } = useStore(
        none,
        topic,
        (live, topic) =>
          store(none, (change) =>
            event ? live.topic(topic, topicOptions(now)).on(event, (data) => change({ data })) : live.topic(topic).latest().on((values) => change({ data: new Map(values) })),
          ),
        event,
      )
      return data
    },

    useList(topic: string | Nothing, options: ListOptions<Entry> = {}) {
      const now = useNewest(options)
      const { event, limit = 100 } = options
      return useStore(NO_LIST, topic, (live, topic) => list(live, topic, event, limit, now), event, limit)
    },

    useStream(topic: string | Nothing, options: StreamOptions = {}) {
      const now = useNewest(options)
      const { event, until, item } = options
      return useStore(NO_STREAM, topic, (live, topic) => stream(live, topic, event, until, item, now), event, until, item)
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
          if (!topic) throw new Error('there is no topic yet')
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

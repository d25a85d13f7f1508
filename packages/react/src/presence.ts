// `presence`: a hook that shows who is here. An entry of its own, for those who need it.

import { useEffect, useMemo, useRef, useSyncExternalStore } from 'react'
import type { Contract, Live, Member, Presence, TopicOf, User } from '@tidewire/client'
import type { Nothing } from './api.js'
import { store } from './store.js'

/** Who is in a topic. */
export interface Here<S> {
  /** In the order in which they entered. */
  readonly members: readonly Member<S>[]
  /** The members, those of one user as one. */
  readonly users: readonly User<S>[]
  /** Another state of this client, until the next render with another one; enters, if it has not. */
  set(state: S): void
}

/** Who is here. With a state, so is this client, while the component is there; without, it only looks. */
export type UsePresence<C extends Contract> = <S = { [name: string]: unknown }>(topic: TopicOf<C> | Nothing, state?: S) => Here<S>

const NOBODY: Here<unknown> = { members: [], users: [], set() {} }

/** The hook, on the connection that `useLive` of `hooks()` gives. */
export function presence<C extends Contract>(useLive: () => Live<C>): UsePresence<C> {
  const usePresence = (topic: string | Nothing, state: unknown): Here<unknown> => {
    const live = useLive() as unknown as Live
    const given = useRef(state)
    const { subscribe, get, first } = useMemo(() => {
      if (!topic) return store(NOBODY, () => () => {})
      let here: Presence<unknown> | undefined
      return store<Here<unknown>>({ ...NOBODY, set: (state) => here?.set(state) }, (change) => {
        const its = (here = live.topic(topic).presence<unknown>(given.current === undefined ? {} : { state: given.current }))
        its.on((members) => change({ members, users: its.users() }))
        return () => {
          here = undefined
          its.leave()
        }
      })
    }, [live, topic])
    const shown = useSyncExternalStore(subscribe, get, first)
    const text = JSON.stringify(state)
    useEffect(() => {
      const isOther = JSON.stringify(given.current) !== text
      given.current = state
      if (isOther && state !== undefined) shown.set(state)
    }, [shown.set, text])
    return shown
  }
  return usePresence as UsePresence<C>
}

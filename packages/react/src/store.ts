// State outside React, for `useSyncExternalStore`: begins with its first reader, ends a moment after
// its last.
//
// Invariant: `get` gives the same object until something changed.

import type { Off } from '@tidewire/client'

export interface Store<S> {
  subscribe(this: void, call: () => void): Off
  get(this: void): S
  /** What a server renders, and the first render of its page in a browser. */
  first(this: void): S
}

export type Change<S> = (some: Partial<S>) => void

/** `begin` opens whatever changes the state, and gives what closes it. It may be called again after that. */
export function store<S extends object>(first: S, begin: (change: Change<S>) => Off): Store<S> {
  let state = first
  let end: Off | undefined
  const calls = new Set<() => void>()
  const change: Change<S> = (some) => {
    state = { ...state, ...some }
    for (const call of [...calls]) call()
  }
  return {
    subscribe(call) {
      calls.add(call)
      end ??= begin(change)
      return () => {
        calls.delete(call)
        // StrictMode leaves and comes back at once: that is no end.
        setTimeout(() => {
          if (calls.size) return
          end?.()
          end = undefined
        })
      }
    },
    get: () => state,
    first: () => first,
  }
}

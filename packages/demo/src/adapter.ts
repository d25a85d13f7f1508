// Libraries over topics, as hooks: who is here, the newest values, pages from the back, what is
// volatile. All of it is the client's public face.

import { useEffect, useMemo, useRef, useState } from 'react'
import type { Entry, Live, Member, Presence, Topic } from '@tidewire/client'
import { useApp } from './context'
import { useLive } from './live'
import type { App } from './things'

export type { Member }

/** Who is at a topic, this window included, while the component is there. */
export function useWho<S>(name: `${keyof App}/${string}`, state: S): readonly Member<S>[] {
  const live = useLive()
  const [members, setMembers] = useState<readonly Member<S>[]>([])
  const presence = useRef<Presence<S>>(undefined)
  const said = JSON.stringify(state)
  const newest = useRef(said)
  newest.current = said
  useEffect(() => {
    const made = live.topic(name).presence<S>({ state: JSON.parse(newest.current) as S })
    presence.current = made
    const off = made.on(setMembers)
    return () => {
      presence.current = undefined
      off()
      made.leave()
      setMembers([])
    }
  }, [live, name])
  const isFirst = useRef(true)
  useEffect(() => {
    if (!isFirst.current) presence.current?.set(JSON.parse(said) as S)
    isFirst.current = false
  }, [said])
  return members
}

/** The newest value of each item of a topic. */
export function useValues<D>(name: `${keyof App}/${string}`): ReadonlyMap<string, D> {
  const live = useLive()
  const { tally } = useApp()
  const none = useMemo<ReadonlyMap<string, D>>(() => new Map(), [])
  const [held, setHeld] = useState<{ name: string; values: ReadonlyMap<string, D> }>()
  useEffect(() => live.topic(name).latest<D>().on((values, change) => {
    if (change) tally.heard(name, change.id)
    setHeld({ name, values: new Map(values) })
  }), [live, name, tally])
  return held?.name === name ? held.values : none
}

/** Sends what only matters now: no answer, no second try, the newest of an item wins. */
export function sendVolatile<E extends { [event: string]: unknown }, K extends keyof E & string>(topic: Topic<E>, event: K, data: E[K], item: string): void {
  topic.send(event, data, { item, volatile: true })
}

export interface LastPage { entries: Entry[]; cursor: string; earlier: boolean }

/** The newest entries of a topic, oldest first; or those before one of them. */
export async function lastPage(live: Live<App>, name: `chat/${string}`, last: number, before?: string): Promise<LastPage> {
  const { entries, cursor, earlier = false } = await live.topic(name).history({ last, ...(before && { before }) })
  return { entries, cursor, earlier }
}

/**
 * Text with its next part. On a stream that several topics share, the server may give the past of an
 * answer joined from its beginning, under the id of its last part: then it takes the place of what
 * was there.
 */
export const joined = (text: string, part: string): string => (text && part.length > text.length && part.startsWith(text) ? part : text + part)

// What the pages need of the newest client, in one place.

import { useEffect, useState } from 'react'
import type { Entry, Topic } from '@tidewire/client'
import { useLive } from './live'
import { session } from './window'

/** One window of one person, with what it says of itself. */
export interface Member { member: string; user: string | null; state: unknown }

interface PresenceHandle { members?: readonly Member[]; set?: (state: unknown) => void; leave?: () => void }
type WithPresence = { presence?: (options: { state?: unknown; onChange?: (members: readonly Member[]) => void }) => PresenceHandle }

/** Who is at a topic, this window included, while the component is there. */
export function useWho(topic: string, state: unknown): readonly Member[] {
  const live = useLive()
  const [members, setMembers] = useState<readonly Member[]>([])
  const [handle, setHandle] = useState<PresenceHandle>()
  const said = JSON.stringify(state)
  useEffect(() => {
    const { presence } = live.topic(topic as 'chat/x') as unknown as WithPresence
    const made = presence?.({ state: JSON.parse(said) as unknown, onChange: setMembers })
    setHandle(made)
    return () => made?.leave?.()
  }, [live, topic])
  useEffect(() => handle?.set?.(JSON.parse(said)), [handle, said])
  return members
}

/** Sends what only matters now: no answer, no second try, the newest of an item wins. */
export function sendVolatile<E extends { [event: string]: unknown }, K extends keyof E & string>(topic: Topic<E>, event: K, data: E[K], item: string): void {
  const sent = (topic.send as unknown as (event: string, data: unknown, options: object) => Promise<unknown> | void)(event, data, { item, volatile: true })
  if (sent) sent.catch(() => undefined)
}

export interface LastPage { entries: Entry[]; cursor: string; earlier: boolean }

/** The newest entries of a topic, oldest first; or those before one of them. */
export async function lastPage(topic: string, last: number, before?: string): Promise<LastPage> {
  const query = new URLSearchParams({ topic, last: String(last), ...(before && { before }) })
  const response = await fetch(`/v1/events?${query}`, { headers: { Authorization: `Bearer ${session.get() ?? ''}` }, cache: 'no-store' })
  if (!response.ok) throw new Error(`history: status ${response.status}`)
  return (await response.json()) as LastPage
}

/**
 * Text with its next part. On a stream that several topics share, the server may give the past of an
 * answer joined from its beginning, under the id of its last part: then it takes the place of what
 * was there.
 */
export const joined = (text: string, part: string): string => (text && part.length > text.length && part.startsWith(text) ? part : text + part)

/** Asks that a stream stop. */
export async function cancelStream(topic: string): Promise<void> {
  await fetch(`/v1/streams/${topic}/cancel`, { method: 'POST', headers: { Authorization: `Bearer ${session.get() ?? ''}` } })
}

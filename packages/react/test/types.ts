// What the contract allows and forbids. Only compiled: each `@ts-expect-error` fails the build if the line is fine.

import type { Live } from '@tidewire/client'
import { hooks } from '../src/index.js'
import { presence } from '../src/presence.js'
import type { App } from './app.js'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const is = <_T extends true>(): void => {}

export function Typed(live: Live<App>, room: string, user: string | undefined) {
  const { useLatest, useList, useLive, useSend, useStream, useTopic } = hooks(live)
  is<Same<ReturnType<typeof useLive>, Live<App>>>()

  useTopic(`chat/${room}`, 'message', ({ text }) => text.length)
  useTopic(user && `chat/${user}`, '*', (data) => ('text' in data ? data.text : data.who))
  useTopic('chat/a', 'tidewire.seam', (seam) => seam.continuity === 'gap' && seam.gap.oldest)
  // @ts-expect-error there is no such feature
  useTopic('chatt/a', 'message', () => {})
  // @ts-expect-error there is no such event
  useTopic('chat/a', 'changed', () => {})
  // @ts-expect-error its data have no such field
  useTopic('chat/a', 'message', ({ who }) => who)

  is<Same<typeof latest, { who: string } | undefined>>()
  const latest = useLatest('chat/a', 'typing')
  is<Same<typeof initial, { who: string }>>()
  const initial = useLatest('chat/a', 'typing', { who: '' })
  // @ts-expect-error of another form
  useLatest('chat/a', 'typing', { text: '' })

  const { entries } = useList(`chat/${room}`, { key: (entry) => entry.event })
  for (const entry of entries) {
    if (entry.event === 'message') is<Same<typeof entry.data, { text: string }>>()
    else is<Same<typeof entry.data, { who: string }>>()
  }
  const only = useList('chat/a', { event: 'message', key: ({ data }) => data.text })
  is<Same<(typeof only.entries)[number]['data'], { text: string }>>()
  // @ts-expect-error there is no such event
  useList('chat/a', { event: 'end' })

  const answer = useStream('answers/1')
  is<Same<typeof answer.parts, readonly { text: string }[]>>()
  is<Same<typeof answer.end, { tokens: number } | undefined>>()
  const chat = useStream('chat/a', { until: 'typing' })
  is<Same<typeof chat.parts, readonly { text: string }[]>>()

  is<Same<typeof values, ReadonlyMap<string, { id: number; title: string }>>>()
  const values = useLatest('tasks/7')
  is<Same<typeof answer.state, 'streaming' | 'done' | 'failed' | 'cancelled'>>()

  const usePresence = presence(useLive)
  is<Same<(typeof here.members)[number]['state'], { name: string }>>()
  const here = usePresence(`chat/${room}`, { name: user ?? '' })
  // @ts-expect-error of another form
  here.set({ title: '' })
  // @ts-expect-error there is no such feature
  usePresence('chatt/a')

  const send = useSend(`chat/${room}`)
  const nothing: void = send('typing', { who: '' }, { volatile: true, item: 'me' })
  void nothing
  void send('message', { text: '' })
  // @ts-expect-error of another form
  void send('message', { who: '' })
}

export function Untyped() {
  const { useList, useSend, useTopic } = hooks()
  useTopic('anything/at/all', 'whatever', (data: unknown) => data)
  void useSend('anything')('whatever', { any: 'thing' })
  is<Same<ReturnType<typeof useList<'a'>>['entries'][number]['data'], unknown>>()
}

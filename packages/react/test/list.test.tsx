// useList: history and what comes as one list, whatever happens between them.

import assert from 'node:assert/strict'
import test from 'node:test'
import { Profiler, startTransition, useState } from 'react'
import type { Root } from 'react-dom/client'
import type { Refusal } from '@tidewire/client'
import { hooks, type List, type ListOptions } from '../src/index.js'
import type { App } from './app.js'
import { after, mount, page, until } from './dom.js'
import { FakeLive } from './fake.js'

page()
const { Tidewire, useList } = hooks<App>()

let shown: List<{ readonly event: string; readonly data: any }>
const Room = ({ room = 'a', ...options }: { room?: string | null } & Omit<ListOptions<unknown, 'message'>, 'key'>) => {
  shown = useList(room && `chat/${room}`, options)
  return <>{shown.entries.map(({ data }) => data.text ?? data.title ?? data.who).join(' ')}</>
}
const view = (live: FakeLive, props: Parameters<typeof Room>[0] = {}) => <Tidewire live={live}><Room {...props} /></Tidewire>
const say = (live: FakeLive, ...texts: string[]) => texts.map((text) => live.publish('chat/a', 'message', { text })).at(-1)!
const loaded = () => until('the list is loaded', () => !shown.loading)
const pages = (live: FakeLive) => live.wire.filter((line) => line.startsWith('page')).length

test('history, then what comes, without a seam and without twins', async () => {
  const live = new FakeLive()
  live.pageSize = 2
  say(live, 'a', 'b', 'c')
  const at = await mount(view(live))
  say(live, 'd') // while the pages are read
  await loaded()
  await after(() => say(live, 'e'))
  assert.equal(at.text, 'a b c d e')
  assert.deepEqual(live.wire, ['page chat/a last 100', 'page chat/a last 100 before e.3', 'subscribe chat/a e.4'])
})

test('what is stored between the last page and the subscription is in the list', async () => {
  const live = new FakeLive()
  say(live, 'a')
  const { topic } = live
  live.topic = (name, options) => {
    if (options?.after === 'e.1') say(live, 'between')
    return topic.call(live, name, options)
  }
  const at = await mount(view(live))
  await loaded()
  await until('it is there', () => at.text === 'a between')
})

test('it is never longer than its limit, from history and live', async () => {
  const live = new FakeLive()
  say(live, 'a', 'b', 'c', 'd')
  const at = await mount(view(live, { limit: 3 }))
  await loaded()
  assert.equal(at.text, 'b c d')
  await after(() => say(live, 'e'))
  assert.equal(at.text, 'c d e')
  await at.render(view(live, { limit: 4 }))
  await loaded()
  assert.equal(at.text, 'b c d e', 'another limit loads anew')
})

test('it opens with its newest entries: what is older is not read', async () => {
  const live = new FakeLive()
  for (let n = 0; n < 50; n++) say(live, `${n}`)
  const at = await mount(view(live, { limit: 5 }))
  await loaded()
  await after(() => say(live, 'live'))
  assert.equal(at.text, '46 47 48 49 live')
  assert.deepEqual(live.wire, ['page chat/a last 5', 'subscribe chat/a e.50'])
})

test('of one event, or with a key, it reads back until there are enough, and no further', async () => {
  const live = new FakeLive()
  live.pageSize = 4
  for (let n = 0; n < 20; n++) {
    say(live, `${n}`)
    live.publish('chat/a', 'typing', { who: 'Ana' })
  }
  const at = await mount(view(live, { event: 'message', limit: 3 }))
  await loaded()
  assert.equal(at.text, '17 18 19')
  assert.equal(pages(live), 2)
  const Keyed = () => <>{useList('chat/a', { key: ({ event, data }) => ('who' in data ? event : Number(data.text) % 3), limit: 3 }).entries.map(({ data }) => ('who' in data ? data.who : data.text)).join(' ')}</>
  const keyed = await mount(<Tidewire live={live}><Keyed /></Tidewire>)
  await until('it is loaded', () => keyed.text)
  assert.equal(keyed.text, 'Ana 18 19')
})

test('one event, or all of them', async () => {
  const live = new FakeLive()
  say(live, 'a')
  live.publish('chat/a', 'typing', { who: 'Ana' })
  const at = await mount(view(live))
  await loaded()
  assert.equal(at.text, 'a Ana')
  await at.render(view(live, { event: 'message' }))
  await loaded()
  await after(() => live.publish('chat/a', 'typing', { who: 'Bo' }))
  await after(() => say(live, 'b'))
  assert.equal(at.text, 'a b')
})

test('with a key, what is newer takes the place of what is older', async () => {
  const live = new FakeLive()
  const change = (id: number, title: string) => live.publish('tasks/7', 'changed', { id, title })
  change(1, 'one')
  change(2, 'two')
  change(1, 'ONE')
  const Board = () => <>{useList('tasks/7', { key: ({ data }) => data.id }).entries.map(({ data }) => data.title).join(' ')}</>
  const at = await mount(<Tidewire live={live}><Board /></Tidewire>)
  await until('it is loaded', () => at.text === 'ONE two')
  await after(() => change(2, 'TWO'))
  await after(() => change(3, 'three'))
  assert.equal(at.text, 'ONE TWO three')
})

test('StrictMode loads once', async () => {
  const live = new FakeLive()
  say(live, 'a')
  const at = await mount(view(live), { strict: true })
  await loaded()
  await after(() => say(live, 'b'))
  assert.equal(at.text, 'a b')
  assert.deepEqual(live.wire, ['page chat/a last 100', 'subscribe chat/a e.1'])
})

test('a gap loads anew, is told, and what comes meanwhile is there once', async () => {
  const live = new FakeLive()
  say(live, 'a', 'b', 'c')
  const at = await mount(view(live))
  await loaded()
  let release = (): void => {}
  live.hold = new Promise((resolve) => (release = resolve))
  const gap = await after(() => live.gap('chat/a', 2))
  assert.deepEqual(shown.gap, gap)
  assert.ok(shown.loading)
  assert.equal(at.text, 'a b c', 'what was there stays until then')
  await after(() => say(live, 'd'))
  assert.equal(at.text, 'a b c d')
  await after(release)
  await loaded()
  assert.equal(at.text, 'c d')
  assert.deepEqual(shown.gap, gap, 'the page can go on telling of it')
  await after(() => say(live, 'e'))
  assert.equal(at.text, 'c d e')
  assert.equal(live.readers('chat/a'), 3, 'the former listeners are gone')
  assert.equal(live.wire.filter((line) => line.startsWith('unsubscribe')).length, 0)

  await after(() => shown.reload())
  await loaded()
  assert.equal(shown.gap, undefined, 'reload() forgets it')
  assert.equal(at.text, 'c d e')
})

test('a server that answers with gaps only is not asked all the time', async (t) => {
  const live = new FakeLive()
  say(live, 'a')
  await mount(view(live))
  await loaded()
  t.mock.timers.enable({ apis: ['setTimeout'] })
  t.mock.method(Math, 'random', () => 0.5)
  const settle = () => after(async () => { for (let n = 0; n < 5; n++) await new Promise((resolve) => setImmediate(resolve)) })
  // Each re-attach is told of a gap, before anything good is heard.
  const { topic } = live
  live.topic = (name, options) => {
    const given = topic.call(live, name, options)
    return { ...given, on: (event: string, call: any) => given.on(event as '*', event === 'tidewire.seam' ? () => call({ continuity: 'gap', gap: { reason: 'foreign', oldest: 'e.0', newest: 'e.1' } }) : call) }
  }
  const before = pages(live)
  await after(() => live.gap('chat/a'))
  await settle()
  assert.equal(pages(live), before + 1, 'the first time at once')
  await after(() => t.mock.timers.tick(499))
  await settle()
  assert.equal(pages(live), before + 1)
  await after(() => t.mock.timers.tick(1))
  await settle()
  assert.equal(pages(live), before + 2, 'the second after a while')
  await after(() => t.mock.timers.tick(999))
  await settle()
  assert.equal(pages(live), before + 2)
  await after(() => t.mock.timers.tick(1))
  await settle()
  assert.equal(pages(live), before + 3, 'the third after twice that')
})

const refusal = (next: Refusal['next'], code = 'busy'): Refusal => ({ code, message: `${code}!`, next })

test('what will pass is tried again', async (t) => {
  t.mock.method(Math, 'random', () => 0.1)
  const live = new FakeLive()
  say(live, 'a')
  live.refusals.push(refusal('retry'), refusal('resume'))
  const at = await mount(view(live))
  await until('the error is told', () => shown.error)
  assert.ok(shown.loading)
  await until('it is loaded', () => at.text === 'a')
  assert.equal(shown.error, undefined)
  assert.equal(pages(live), 3)
})

test('what will not pass is told, until reload(), or until the subscription is let in', async () => {
  const live = new FakeLive()
  say(live, 'a')
  live.isRefusing = true
  live.refusals.push(refusal('give_up', 'forbidden'))
  const at = await mount(view(live))
  await until('the error is told', () => shown.error)
  assert.deepEqual([shown.loading, shown.error?.message, pages(live)], [false, 'forbidden!', 1])
  live.refusals.push(refusal('give_up', 'still_forbidden'))
  await after(() => shown.reload())
  await until('it was asked again', () => shown.error?.message === 'still_forbidden!')
  assert.equal(at.text, '')
  await after(() => live.letIn('chat/a'))
  assert.equal(shown.error, undefined)
  assert.equal(at.text, 'a', 'the subscription gives what the pages did not')
  await after(() => shown.reload())
  await loaded()
  assert.equal(at.text, 'a')
})

test('a refused subscription is told, and a new seam ends that', async () => {
  const live = new FakeLive()
  await mount(view(live))
  await loaded()
  await after(() => live.refuse('chat/a', refusal('refresh_token', 'token_expired')))
  assert.equal(shown.error?.message, 'token_expired!')
  await after(() => live.seam('chat/a', { continuity: 'resumed' }))
  assert.equal(shown.error, undefined)
})

test('a feature that keeps nothing has a list that begins now', async () => {
  const live = new FakeLive()
  live.keeps = false
  live.refusals.push(refusal('give_up', 'no_history'))
  const at = await mount(view(live))
  await loaded()
  assert.equal(shown.error, undefined)
  await after(() => say(live, 'a', 'a'))
  assert.equal(at.text, 'a a', 'without ids there are no twins')
})

test('it can begin now, or after a place', async () => {
  const live = new FakeLive()
  const cursor = say(live, 'a')
  say(live, 'b')
  const at = await mount(view(live, { after: cursor }))
  await loaded()
  assert.equal(at.text, 'b')
  await at.unmount()
  const now = await mount(view(live, { after: 'now' }))
  await after(() => say(live, 'c'))
  assert.equal(now.text, 'c')
  assert.equal(pages(live), 0)
})

test('a page of the topic before does not come into the list', async () => {
  const live = new FakeLive()
  say(live, 'a')
  live.publish('chat/b', 'message', { text: 'b' })
  let release = (): void => {}
  live.hold = new Promise((resolve) => (release = resolve))
  const at = await mount(view(live))
  await at.render(view(live, { room: 'b' }))
  await after(release)
  await loaded()
  assert.equal(at.text, 'b')
  await until('the first is left', () => live.readers('chat/a') === 0)
  await at.render(view(live, { room: null }))
  assert.deepEqual([at.text, shown.loading], ['', false], 'without a topic there is nothing to wait for')
})

test('after unmounting nothing is asked or heard', async () => {
  const live = new FakeLive()
  let release = (): void => {}
  live.hold = new Promise((resolve) => (release = resolve))
  const at = await mount(view(live))
  await at.unmount()
  await after(() => new Promise((resolve) => setTimeout(resolve)))
  await after(release)
  shown.reload()
  await after(() => new Promise((resolve) => setTimeout(resolve, 10)))
  assert.deepEqual(live.wire, ['page chat/a last 100'])
  assert.equal(live.readers('chat/a'), 0)
})

test('entries that come while React renders: what is on the page is of one moment', async (t) => {
  const live = new FakeLive()
  say(live, 'a')
  // Without `act`, React renders in slices, and lets other work in between.
  Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: false })
  t.after(() => Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true }))
  let rendered = 0
  const Slow = ({ n }: { n: number }) => {
    for (const end = performance.now() + 3; performance.now() < end;);
    rendered++
    return <>{n}{useList('chat/a').entries.map(({ data }) => ('text' in data ? data.text : '')).join('')}|</>
  }
  let turn!: () => void
  const Slows = () => {
    const [n, set] = useState(0)
    turn = () => startTransition(() => set((n) => n + 1))
    return <>{Array.from({ length: 10 }, (_, m) => <Slow key={m} n={n} />)}</>
  }
  const container = document.createElement('div')
  const commits: string[] = []
  const root: Root = (await import('react-dom/client')).createRoot(container)
  t.after(() => root.unmount())
  root.render(<Tidewire live={live}><Profiler id="" onRender={() => commits.push(container.textContent)}><Slows /></Profiler></Tidewire>)
  const there = async (text: string) => {
    for (const end = Date.now() + 5_000; container.textContent !== `${text}|`.repeat(10);) {
      assert.ok(Date.now() < end, `not in time: ${text}, but ${container.textContent}`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  await there('0a')
  rendered = 0
  commits.length = 0
  turn()
  while (rendered < 2) await new Promise((resolve) => setImmediate(resolve))
  assert.ok(rendered < 10, 'React is in the middle of it')
  say(live, 'b')
  await there('1ab')
  for (const text of commits) assert.ok(new Set(text.split('|').filter(Boolean)).size <= 1, text)
})

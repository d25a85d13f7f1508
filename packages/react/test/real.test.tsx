// The hooks on the real client and a real `tidewire dev`, in Node with a page without a browser.

import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import test, { type TestContext } from 'node:test'
import { renderToString } from 'react-dom/server'
import { connect, type Live, type Options } from '@tidewire/client'
import { hooks, type List, type Send, type Stream } from '../src/index.js'
import type { App } from './app.js'
import { after, mount, page, until } from './dom.js'

interface Server {
  readonly url: string
  readonly data: string
  start(): Promise<void>
  kill(): Promise<void>
  publish(topic: string, data: unknown, options?: { event: string }): Promise<{ id: string }>
  log(topic: string): Promise<{ id: string; data: any }[]>
}
const module: string = new URL('../../../browser-tests/server.mjs', import.meta.url).href
const Servers: Promise<{ start(t: TestContext): Promise<Server> }> = import(module).then((found) => found.Server)

const { Tidewire, useList, useLatest, useSend, useStatus, useStream, useTopic } = hooks<App>()

/** A client that writes down each request: its path, without what chance decides. */
function client(t: TestContext, url: string, options: Options = {}): { live: Live<App>; asked: string[] } {
  const asked: string[] = []
  const noted: typeof fetch = (input, init) => {
    const { pathname, searchParams } = new URL(String(input))
    asked.push([pathname.slice('/v1'.length), ...searchParams.getAll('topic')].join(' '))
    return fetch(input, init)
  }
  const live = connect<App>(url, { ...options, env: { fetch: noted, ...options.env } })
  t.after(() => live.close())
  return { live, asked }
}

const reads = (asked: string[]) => asked.filter((path) => /^\/(sse|events) /.test(path))

test('a server renders without a request', async (t) => {
  const { live, asked } = client(t, 'http://127.0.0.1:9')
  const View = () => <>{useList('tasks/7').entries.length}{useLatest('chat/a', 'typing')?.who}{useStream('answers/1').parts.length}{useStatus().state}</>
  assert.equal(renderToString(<Tidewire live={live}><View /></Tidewire>).replaceAll('<!-- -->', ''), '00idle')
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.deepEqual(asked, [])
})

test('a list on a real log: StrictMode, a killed server, a wiped one', { timeout: 60_000 }, async (t) => {
  page()
  const server = await (await Servers).start(t)
  const { live, asked } = client(t, server.url)
  const write = (id: number) => server.publish('tasks/7', { id, title: `t${id}` }, { event: 'changed' })
  for (const id of [1, 2, 3]) await write(id)

  let list!: List<{ data: { id: number }; id?: string }>
  const reason = () => list.gap?.reason
  let send!: Send<App['tasks']>
  const states = new Set<string>()
  const Board = () => {
    list = useList('tasks/7')
    send = useSend('tasks/7')
    states.add(useStatus().state)
    return <>{list.entries.map(({ data }) => data.id).join(' ')}</>
  }
  const at = await mount(<Tidewire live={live}><Board /></Tidewire>, { strict: true })
  await until('history is there', () => at.text === '1 2 3')
  await until('it is open', () => live.status.state === 'open')
  await write(4)
  await after(() => send('changed', { id: 5, title: 't5' }))
  await until('what comes is there', () => at.text === '1 2 3 4 5')
  assert.deepEqual(reads(asked), ['/events tasks/7', '/sse tasks/7'], 'StrictMode reads once')

  await server.kill()
  await until('the loss is shown', () => states.has('waiting'))
  await server.start()
  await write(6)
  await until('it went on', () => at.text === '1 2 3 4 5 6')
  assert.equal(reason(), undefined)
  assert.deepEqual(list.entries.map(({ id }) => id), (await server.log('tasks/7')).map(({ id }) => id), 'the list is the log')

  await server.kill()
  await rm(server.data, { recursive: true })
  await server.start()
  await write(7)
  await until('the other log is shown, and nothing else', () => at.text === '7')
  assert.equal(reason(), 'foreign')
  await write(8)
  await until('and it goes on', () => at.text === '7 8')
  await at.unmount()
})

test('leaving and coming back within the linger is no traffic', { timeout: 60_000 }, async (t) => {
  page()
  const server = await (await Servers).start(t)
  const { live, asked } = client(t, server.url, { lingerMs: 5_000 })
  const heard: string[] = []
  const Room = () => {
    useTopic('tasks/7', 'changed', ({ title }) => heard.push(title))
    return <>{useLatest('tasks/7', 'changed')?.title}</>
  }
  const at = await mount(<Tidewire live={live}><Room /></Tidewire>)
  await until('it is open', () => live.status.state === 'open')
  await at.render(<Tidewire live={live}>elsewhere</Tidewire>)
  await after(() => new Promise((resolve) => setTimeout(resolve, 50)))
  await at.render(<Tidewire live={live}><Room /></Tidewire>)
  await after(() => new Promise((resolve) => setTimeout(resolve, 50)))
  await server.publish('tasks/7', { id: 1, title: 'one' }, { event: 'changed' })
  await until('it is heard', () => at.text === 'one')
  assert.deepEqual(heard, ['one'])
  assert.deepEqual(reads(asked), ['/sse tasks/7'])
  await at.unmount()
})

test('a stream is whole after a remount in its middle and a killed server', { timeout: 60_000 }, async (t) => {
  page()
  const server = await (await Servers).start(t)
  const { live } = client(t, server.url)
  const say = (text: string) => server.publish('answers/1', { text }, { event: 'token' })
  let shown!: Stream<{ text: string }, { tokens: number }>
  const Answer = () => {
    shown = useStream('answers/1')
    return <>{shown.parts.map(({ text }) => text).join('')}</>
  }
  const view = <Tidewire live={live}><Answer /></Tidewire>
  const first = await mount(view)
  await say('Once ')
  await say('upon ')
  await until('the first parts', () => first.text === 'Once upon ')
  await first.unmount()
  await say('a ')
  const at = await mount(view)
  await until('they are there again', () => at.text === 'Once upon a ')
  await server.kill()
  await server.start()
  await say('time')
  await server.publish('answers/1', { tokens: 4 }, { event: 'end' })
  await until('it ended', () => shown.done)
  assert.equal(at.text, 'Once upon a time')
  assert.deepEqual(shown.end, { tokens: 4 })
  await at.unmount()
})

test('two components on one topic: the one that comes later misses nothing and makes no twins', { timeout: 60_000 }, async (t) => {
  page()
  const server = await (await Servers).start(t)
  const { live } = client(t, server.url)
  let running = true
  const writing = (async () => {
    for (let id = 1; running; id++) await server.publish('tasks/7', { id, title: '' }, { event: 'changed' })
  })()
  const lists: List<{ id?: string }>[] = []
  const Board = ({ n }: { n: number }) => {
    lists[n] = useList('tasks/7', { limit: 10_000 })
    return null
  }
  const boards = (count: number) => <Tidewire live={live}>{Array.from({ length: count }, (_, n) => <Board key={n} n={n} />)}</Tidewire>
  const at = await mount(boards(1))
  await until('the first has some', () => lists[0]!.entries.length > 5)
  for (const count of [2, 3, 4]) {
    await at.render(boards(count))
    await until('the next has some', () => lists[count - 1]!.entries.length > 5)
  }
  running = false
  await after(() => writing)
  const log = (await server.log('tasks/7')).map(({ id }) => id)
  await until('all have the newest', () => lists.every(({ entries }) => entries.at(-1)?.id === log.at(-1)))
  for (const { entries } of lists) assert.deepEqual(entries.map(({ id }) => id), log)
  await at.unmount()
})

// Presence, values, texts, volatile messages and pages from the back, against the finished binary.

import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Contract, Entry, Live, Meta } from '../src/api.js'
import { connect } from '../src/connect.js'
import { until } from './fake.js'
import { NodeSocket, type Server, startServer } from './support/server.js'

type Any = Contract & { [feature: string]: { [event: string]: unknown } }

const CONFIG = `
[feature.chat]
client_sends = true
presence = true
[feature.board]
presence = true
[feature.pointers]
client_sends = true
history = "none"
[feature.stats]
keep = "latest"
[feature.prices]
client_sends = true
keep = "latest"
[feature.answers]
keep = "text"
`

async function scene(t: TestContext): Promise<{ server: Server; client(): Live<Any> }> {
  const server = await startServer(t, { config: CONFIG })
  const client = (): Live<Any> => {
    const live = connect<Any>(server.url, { env: { WebSocket: NodeSocket } })
    t.after(() => live.close())
    return live
  }
  return { server, client }
}

/** A text part, as a producer publishes it. */
async function say(server: Server, topic: string, text: string): Promise<void> {
  const answer = await fetch(`${server.url}/v1/topics/${topic}`, { method: 'POST', headers: { 'Content-Type': 'text/plain', 'Tidewire-Event': 'text' }, body: text })
  assert.equal(answer.status, 201, await answer.text())
}

for (const topic of ['chat/a', 'board/a']) {
  test(`${topic}: two clients see each other come, change, survive a killed server, and go`, { timeout: 60_000 }, async (t) => {
    const { server, client } = await scene(t)
    const [ann, bo] = [client(), client()]
    const told: string[] = []
    const here = ann.topic(topic).presence({ state: { name: 'ann' } })
    here.on((_, change) => told.push(`${change.event} ${'member' in change ? String(change.member.state['name']) : ''}`))
    await until('ann is here', () => here.members.length === 1)
    const there = bo.topic(topic).presence({ state: { name: 'bo' } })
    const names = (): string => here.members.map(({ state, isMe }) => `${String(state['name'])}${isMe ? '*' : ''}`).join(' ')
    await until('both are here', () => names() === 'ann* bo' && there.members.length === 2)
    there.set({ name: 'bob' })
    await until('the change is seen', () => names() === 'ann* bob')

    await server.kill()
    await server.start()
    await until('both are known to the new process', async () => {
      const { members } = (await (await fetch(`${server.url}/v1/presence/${topic}`)).json()) as { members: unknown[] }
      return members.length === 2
    }, 30_000)
    await until('it is open again', () => ann.status.state === 'open' && bo.status.state === 'open', 30_000)
    assert.equal(names(), 'ann* bob')

    bo.close()
    await until('a client that is closed has left', () => names() === 'ann*')
    assert.deepEqual(told.filter((change) => /leave/.test(change)), ['leave bob'], 'nobody flickered')
    here.leave()
    await until('nobody is here', async () => (await (await fetch(`${server.url}/v1/presence/${topic}`)).text()).includes('"members":[]'))
  })
}

test('a feature without presence says so', { timeout: 30_000 }, async (t) => {
  const { client } = await scene(t)
  const live = client()
  const errors: string[] = []
  live.on('error', (error) => errors.push((error as { code: string }).code))
  live.topic('stats/a').presence({ join: true })
  await until('it is told', () => errors.includes('no_presence'))
})

for (const topic of ['stats/eu', 'prices/eu']) {
  test(`${topic}: the latest values, then the changes; a removed one is gone`, { timeout: 30_000 }, async (t) => {
    const { client } = await scene(t)
    const [writer, reader] = [client(), client()]
    const set = (item: string, value: unknown): Promise<unknown> => writer.topic(topic).send('value', value, { item })
    for (let n = 0; n < 20; n++) await set(`i${n % 4}`, n)
    const latest = reader.topic(topic).latest()
    let count = 0
    latest.on(() => count++)
    await until('the values are there', () => latest.values.size === 4)
    assert.deepEqual([...latest.values], [['i0', 16], ['i1', 17], ['i2', 18], ['i3', 19]])
    assert.equal(count, 4, 'nothing that was replaced is heard')
    await set('i1', null)
    await set('i4', 'new')
    await until('the changes are there', () => latest.values.has('i4'))
    assert.deepEqual([...latest.values.keys()].sort(), ['i0', 'i2', 'i3', 'i4'])
    const heard: unknown[] = []
    reader.topic(topic).on('value', (data, { item }: Meta) => heard.push([item, data]))
    await until('a listener that says no place begins with the values', () => heard.length === 5)
  })
}

test('a text: joined for who comes late, whole for each, across a killed server', { timeout: 60_000 }, async (t) => {
  const { server, client } = await scene(t)
  const read = async (): Promise<string[]> => {
    const parts: string[] = []
    for await (const part of client().topic('answers/1').text()) parts.push(part)
    return parts
  }
  for (const word of ['Once ', 'upon ', 'a ']) await say(server, 'answers/1', word)
  const live = client()
  const parts: string[] = []
  const same = async (): Promise<string> => {
    let text = ''
    for await (const part of live.topic('answers/1').text()) text += part
    return text
  }
  const first = (async () => {
    for await (const part of live.topic('answers/1').text()) parts.push(part)
  })()
  await until('the first text is there', () => parts.length)
  assert.deepEqual(parts, ['Once upon a '])
  await say(server, 'answers/1', 'time')
  await until('and what comes', () => parts.length === 2)
  const second = same()
  await server.kill()
  await server.start()
  await say(server, 'answers/1', '.')
  await until('it goes on', () => parts.join('') === 'Once upon a time.', 20_000)
  await server.publish('answers/1', {}, { event: 'end' })
  await first
  assert.deepEqual([parts.join(''), await second, (await read()).join('')], ['Once upon a time.', 'Once upon a time.', 'Once upon a time.'])
})

test('a text that is written by a stream: stopped by a reader, and its writer hears it', { timeout: 30_000 }, async (t) => {
  const { server, client } = await scene(t)
  const live = client()
  let pour!: ReadableStreamDefaultController<Uint8Array>
  const body = new ReadableStream<Uint8Array>({ start: (controller) => void (pour = controller) })
  const written = fetch(`${server.url}/v1/streams/answers/7`, { method: 'POST', headers: { 'Content-Type': 'text/plain' }, body, duplex: 'half' } as RequestInit)
  let text = ''
  const read = (async () => {
    for await (const part of live.topic('answers/7').text()) text += part
  })()
  pour.enqueue(new TextEncoder().encode('Once upon '))
  await until('it is heard', () => text === 'Once upon ')
  assert.equal(await live.topic('answers/7').cancel(), true)
  await read
  assert.equal(((await (await written).json()) as { ended: string }).ended, 'cancel')
  assert.equal(await live.topic('answers/7').cancel(), false, 'it had ended')
})

test('pointers: volatile messages arrive with their item, over the socket and over HTTP', { timeout: 30_000 }, async (t) => {
  const { client } = await scene(t)
  const [reader, silent] = [client(), client()]
  const heard: string[] = []
  const pointers = reader.topic('pointers/1')
  pointers.on('moved', (data, { item }: Meta) => heard.push(`${item} ${JSON.stringify(data)}`))
  await until('it is open', () => reader.status.state === 'open' && reader.status.transport === 'ws')
  await until('by socket', () => {
    pointers.send('moved', { x: 1 }, { item: 'me', volatile: true })
    return heard.includes('me {"x":1}')
  })
  silent.topic('pointers/1').send('moved', { x: 2 }, { item: 'you', volatile: true })
  await until('by HTTP', () => heard.includes('you {"x":2}'))
})

test('pages from the back, to the beginning, and on forward without a seam', { timeout: 30_000 }, async (t) => {
  const { client } = await scene(t)
  const live = client()
  const chat = live.topic('chat/a')
  for (let n = 0; n < 25; n++) await chat.send('message', n)
  const all: unknown[] = []
  const page = await chat.history({ last: 10 })
  let { entries, earlier } = page
  all.unshift(...entries.map(({ data }) => data))
  while (earlier) {
    ;({ entries, earlier } = await chat.history({ last: 10, before: entries[0]!.id! }))
    all.unshift(...(entries as Entry[]).map(({ data }) => data))
  }
  assert.deepEqual(all, Array.from({ length: 25 }, (_, n): unknown => n))
  await chat.send('message', 25)
  live.topic('chat/a', { after: page.cursor }).on('message', (data) => all.push(data))
  await chat.send('message', 26)
  await until('it goes on', () => all.length === 27)
  assert.deepEqual(all.slice(-2), [25, 26])
})

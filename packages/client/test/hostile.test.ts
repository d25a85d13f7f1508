// Servers and paths that do what they should not, over real connections.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ServerResponse } from 'node:http'
import { WebSocket } from 'undici'
import { Fake, pause, until } from './fake.js'
import { upTo } from './support/setup.js'

const HELLO = 'event: tidewire.hello\ndata: {"connection":"c","protocol":1,"beat_ms":20000,"retry_ms":50,"continuity":"new","at":"k3f9.0"}\nid: k3f9.0\n\n'

/** A stream that says this, and then whatever `then` does. */
const stream = (text: string, then: (response: ServerResponse) => void = () => undefined) => (path: string, response: ServerResponse): boolean => {
  if (path !== '/sse') return false
  response.writeHead(200, { 'Content-Type': 'text/event-stream' })
  response.write(text)
  then(response)
  return true
}

const entry = (n: number): string => `data: ${n}\ntopic: board/a\nid: k3f9.${n}\n\n`

describe('hostile servers', { concurrency: true }, () => {
  // Each: what the first stream says, what its reason looks like, and what was heard of it.
  const STREAMS: [what: string, hostile: Parameters<typeof stream>, why: RegExp, heard: number[]][] = [
    ['an entry before the greeting', [entry(1)], /before the greeting/, []],
    ['a beat before the greeting', ['event: tidewire.beat\ndata: {"beat":true,"at":"k3f9.9"}\n\n'], /before the greeting/, []],
    ['data that is no JSON', [`${HELLO}data: {"half\ntopic: board/a\nid: k3f9.1\n\n`], /Tidewire's words|JSON/, []],
    ['a greeting that is no JSON', ['event: tidewire.hello\ndata: hi\n\n'], /Tidewire's words|JSON/, []],
    ['a greeting that is `null`', ['event: tidewire.hello\ndata: null\n\n'], /Tidewire's words/, []],
    ['base64 that is none', [`${HELLO}data: %%%\nencoding: base64\ntopic: board/a\nid: k3f9.1\n\n`], /Tidewire's words/, []],
    ['an entry twice', [`${HELLO}${entry(1)}${entry(1)}`], /out of order/, [1]],
    ['entries in disorder', [`${HELLO}${entry(2)}${entry(1)}`], /out of order/, [2]],
    ['an end in the middle of a frame', [`${HELLO}${entry(1)}data: 2\ntopic: board/a\nid: k3f9.2\n`, (response) => response.end()], /ended/, [1]],
    ['a break in the middle of a frame', [`${HELLO}${entry(1)}data: 2\ntopic: board/a\nid: k3f9.2\n`, (response) => setTimeout(() => response.destroy(), 50)], /cannot reach|terminated/, [1]],
    ['no greeting, ever', [': nothing\n\n'], /no greeting/, []],
    ['a goodbye at once', ['retry: 20\nevent: tidewire.bye\ndata: {"code":"restarting","message":"going down","next":"resume","retry_ms":20}\n\n', (response) => response.end()], /going down/, []],
    ['a goodbye without a reason', [`${HELLO}event: tidewire.bye\ndata: {}\n\n`], /no reason/, []],
  ]
  for (const [what, hostile, why, early] of STREAMS) {
    test(`a stream with ${what}: a reason, another attempt, each entry once`, async (t) => {
      const fake = await Fake.start(t)
      let isFirst = true
      fake.hostile = (path, response) => path === '/sse' && isFirst && ((isFirst = false), stream(...hostile)(path, response))
      const { live, statuses, hear } = fake.client(t, { connectMs: 400 })
      const heard = hear('board/a')
      await until('it has a reason', () => statuses.some((status) => why.test(status)))
      assert.deepEqual(heard.data, early)
      // Without a greeting nobody knows where it began: with what comes now.
      if (!hostile[0].startsWith(HELLO)) await until('it is open', () => live.status.state === 'open')
      for (const n of [1, 2, 3]) fake.sim.publish('board/a', n)
      await until('it is heard', () => heard.data.includes(3))
      // A stream that began lost its place with what it never told; one that told goes on there.
      const rest = [1, 2, 3].filter((n) => n > Math.max(0, ...early))
      assert.deepEqual(heard.data, [...early, ...rest])
      assert.ok(statuses.some((status) => status.startsWith('waiting')), statuses.join('\n'))
      assert.ok(!statuses.some((status) => status.startsWith('error')), statuses.join('\n'))
      live.close()
    })
  }

  test('a frame without end is given up at its bound, not taken in', async (t) => {
    const fake = await Fake.start(t)
    let isFirst = true
    fake.hostile = (path, response) => path === '/sse' && isFirst && ((isFirst = false), stream(`${HELLO}data: `, async (response) => {
      const chunk = 'x'.repeat(1 << 20)
      for (let n = 0; n < 40 && !response.destroyed; n++) if (!response.write(chunk)) await new Promise((done) => response.once('drain', done).once('close', done))
    })(path, response))
    const { statuses, hear } = fake.client(t)
    hear('board/a')
    await until('it is given up', () => statuses.some((status) => /waiting.*more than 16777216/.test(status)))
  })

  const PAGES: [string, (fake: Fake) => Fake['hostile']][] = [
    ['a sign-in page', () => (_, response) => !response.writeHead(200, { 'Content-Type': 'text/html' }).end('<html>') || true],
    ['a way to a sign-in page', () => (path, response) => {
      if (path === '/sign-in') response.writeHead(200, { 'Content-Type': 'text/html' }).end('<html>')
      else response.writeHead(302, { Location: '/sign-in' }).end()
      return true
    }],
    ['404 without a word', () => (_, response) => !response.writeHead(404).end() || true],
    ['an empty answer', () => (_, response) => !response.writeHead(200).end() || true],
    ['nothing, and the connection closed', () => (_, response) => !response.destroy() || true],
    ['half an answer', () => (_, response) => {
      response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': '100' })
      response.write('{"features":')
      setTimeout(() => response.destroy(), 20)
      return true
    }],
  ]
  for (const [what, make] of PAGES) {
    test(`${what} in place of everything, and then the server: a reason, and back by itself`, async (t) => {
      const fake = await Fake.start(t)
      fake.hostile = make(fake)
      const { live, statuses, hear } = fake.client(t)
      const heard = hear('board/a')
      await until('it waits', () => live.status.state === 'waiting')
      assert.ok(live.status.why.length > 10, live.status.why)
      const refused = live.topic('board/a').history()
      await assert.rejects(refused, { name: 'TidewireError' })
      fake.hostile = () => false
      await until('it is open', () => live.status.state === 'open')
      fake.sim.publish('board/a', 1)
      await until('it is heard', () => heard.data.length)
      assert.ok(!statuses.some((status) => status.startsWith('error')), statuses.join('\n'))
    })
  }

  test('an address where another server is: said so', async (t) => {
    const fake = await Fake.start(t)
    fake.hostile = (_, response) => !response.writeHead(200, { 'Content-Type': 'application/json' }).end('{"hello":"world"}') || true
    const { live, hear } = fake.client(t)
    hear('board/a')
    await until('it waits', () => live.status.state === 'waiting')
    assert.match(live.status.why, /is this a Tidewire server/)
  })

  for (const [hasPath, most] of [[true, 2500], [false, 4000]] as const) {
    test(`a path that holds streams back, ${hasPath ? 'with' : 'without'} the paths that find it: the socket, and nothing twice when it lets go`, async (t) => {
      const fake = await Fake.start(t)
      fake.sim.holds = true
      fake.sim.hasPath = hasPath
      const { live, hear } = fake.client(t, { connectMs: 600 })
      const heard = hear('board/a')
      const begun = Date.now()
      await until('it is open', () => live.status.state === 'open' && live.status.transport === 'ws')
      assert.ok(Date.now() - begun < most, `${Date.now() - begun} ms`)
      assert.equal(live.status.degradedFrom, 'sse')
      for (const n of upTo(10)) fake.sim.publish('board/a', n)
      await until('all is heard', () => heard.data.length === 10)
      fake.sim.holds = false
      fake.sim.release()
      await pause(100)
      assert.deepEqual(heard.data, upTo(10))
    })
  }

  test('a path that holds only what follows the greeting', async (t) => {
    const fake = await Fake.start(t)
    const { live, hear } = fake.client(t)
    const heard = hear('board/a')
    await until('it is open', () => live.status.state === 'open')
    fake.sim.holds = true
    fake.sim.publish('board/a', 1)
    await until('it is heard by another rung', () => heard.data.length, 5000)
    fake.sim.publish('board/a', 2)
    await until('it is heard', () => heard.data.length === 2)
    assert.deepEqual([heard.data, live.status.transport], [[1, 2], 'ws'])
  })

  test('50 kbit/s with a backlog: no false alarm, all of it, in order', async (t) => {
    const fake = await Fake.start(t)
    fake.rate = 50_000 / 8
    for (const n of upTo(150)) fake.sim.publish('board/a', `${n} ${'x'.repeat(60)}`)
    const { live, statuses } = fake.client(t)
    const data: unknown[] = []
    live.topic('board/a', { after: 'start' }).on('*', (entry) => data.push(entry))
    await until('all is heard', () => data.length === 150, 20_000)
    assert.deepEqual(data.map((text) => parseInt(`${text}`)), upTo(150))
    assert.equal(live.status.transport, 'sse')
    assert.deepEqual(statuses.filter((status) => !/sse: (connected|somebody)/.test(status)), [])
  })

  test('1.4 s of round trip: no false alarm', async (t) => {
    const fake = await Fake.start(t)
    fake.latency = 700
    const { live, statuses, hear } = fake.client(t)
    const heard = hear('board/a')
    await until('it is open', () => live.status.state === 'open')
    for (const n of upTo(20)) {
      fake.sim.publish('board/a', n)
      await pause(400)
    }
    await until('all is heard', () => heard.data.length === 20)
    assert.deepEqual(heard.data, upTo(20))
    assert.deepEqual(statuses.filter((status) => !/sse: (connected|somebody)/.test(status)), [])
  })

  test('real WebSockets that are refused: the stream', async (t) => {
    const fake = await Fake.start(t)
    const { live, hear } = fake.client(t, { env: { WebSocket: WebSocket as unknown as typeof globalThis.WebSocket } })
    const heard = hear('chat/a')
    await until('it flows', () => heard.seams.length)
    assert.deepEqual([live.status.transport, live.status.degradedFrom], ['sse', 'ws'])
    fake.sim.publish('chat/a', 1)
    await until('it is heard', () => heard.data.length)
  })

  test('no WebSocket at all: the stream, at once', async (t) => {
    const fake = await Fake.start(t)
    const { live, hear } = fake.client(t, { env: { WebSocket: undefined } })
    const heard = hear('chat/a')
    await until('it flows', () => heard.seams.length, 1000)
    assert.equal(live.status.transport, 'sse')
    await live.topic('chat/a').send('message', 1)
    await until('it is heard', () => heard.data.length)
  })

  test('a plan whose tag changes with every answer is not asked for in circles', async (t) => {
    const fake = await Fake.start(t)
    let count = 0
    fake.hostile = (path, response) => path === '/plan' && !!response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify({ ...fake.sim.plan, tag: `tag-${++count}` }))
    const { live, hear } = fake.client(t)
    const heard = hear('board/a')
    await until('it is open', () => live.status.state === 'open')
    for (const n of upTo(20)) {
      fake.sim.publish('board/a', n)
      await pause(20)
    }
    await until('all is heard', () => heard.data.length === 20)
    assert.ok(count <= 4, `${count} times`)
  })

  test('a stream whose server falls silent in the middle of everything is left after its beat', async (t) => {
    const fake = await Fake.start(t)
    fake.sim.beatMs = 300
    let isFirst = true
    fake.hostile = (path, response) => path === '/sse' && isFirst && ((isFirst = false), stream(HELLO.replace('20000', '300'))(path, response))
    const { live, statuses, hear } = fake.client(t)
    const heard = hear('board/a')
    await until('it is noticed', () => statuses.some((status) => /waiting.*nothing (came|arrives)/.test(status)), 8000)
    await until('it is open', () => live.status.state === 'open')
    fake.sim.publish('board/a', 1)
    await until('it is heard', () => heard.data.length)
  })
})

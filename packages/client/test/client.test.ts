// What an app sees, on a server in memory: the three rungs, seams, listeners, statuses.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect } from '../src/connect.js'
import { json, refusal } from './support/sim.js'
import { upTo, world } from './support/setup.js'

const DOORS = [['sse', 'board/a'], ['ws', 'chat/a'], ['poll', 'slow/a']] as const

for (const [door, topic] of DOORS) {
  test(`${door}: what is published is heard, with its topic, event and id`, async () => {
    const { clock, sim, live, states } = world()
    const metas: unknown[] = []
    live.topic(topic).on('note', (data, meta) => metas.push([data, meta]))
    await clock.until('it is open', () => live.status.state === 'open')
    assert.equal(live.status.transport, door)
    sim.publish(topic, { n: 1 }, 'note')
    sim.publish(topic, 'passed over', 'other')
    sim.publish(`${topic}b`, 'passed over', 'note')
    await clock.run(200)
    assert.deepEqual(metas, [[{ n: 1 }, { topic, event: 'note', id: 'k3f9.1' }]])
    assert.deepEqual(states, ['connecting sse', ...(door === 'sse' ? [] : [`connecting ${door}`]), `open ${door}`])
    live.close()
  })

  test(`${door}: past and live are one stream, from the start, from a cursor, and from now`, async () => {
    const { clock, sim, live, hear } = world()
    for (const n of upTo(250)) sim.publish(topic, n)
    const [all, some, none] = [hear(topic, { after: 'start' }), hear(topic, { after: 'k3f9.240' }), hear(topic)]
    await clock.until('it is open', () => none.seams.length)
    await clock.run(1000)
    for (const n of [250, 251, 252]) sim.publish(topic, n)
    await clock.run(1000)
    assert.deepEqual(all.data, upTo(253))
    assert.deepEqual(some.data, upTo(253).slice(240))
    assert.deepEqual(none.data, [250, 251, 252])
    live.close()
  })

  test(`${door}: a killed server comes back, and every topic goes on from its place`, async () => {
    const { clock, sim, live, hear } = world()
    const heard = hear(topic)
    await clock.until('it is open', () => live.status.state === 'open')
    sim.publish(topic, 0)
    await clock.run(100)
    sim.kill()
    await clock.run(3000)
    assert.match(live.status.state, /waiting|connecting/)
    sim.start()
    sim.publish(topic, 1)
    await clock.until('it is open again', () => live.status.state === 'open')
    sim.publish(topic, 2)
    await clock.run(1000)
    assert.deepEqual(heard.data, [0, 1, 2])
    assert.deepEqual(heard.seams, ['new', 'resumed'])
    live.close()
  })

  test(`${door}: lost entries are told: a gap, its reason, and \`load\` is asked for`, async () => {
    const { clock, sim, live, hear } = world()
    const gaps: unknown[] = []
    const heard = hear(topic, { load: (gap) => void gaps.push(gap) })
    await clock.until('it is open', () => live.status.state === 'open')
    for (const n of upTo(3)) sim.publish(topic, n)
    await clock.run(1000)
    sim.kill()
    // The newest one did not survive.
    sim.start(1)
    sim.publish(topic, 'instead')
    await clock.until('it is open again', () => heard.seams.length === 2)
    await clock.run(1000)
    assert.deepEqual(heard.seams, ['new', 'gap diverged'])
    assert.deepEqual(heard.data, [0, 1, 2, 'instead'])
    assert.deepEqual(gaps, [{ reason: 'diverged', oldest: 'k3f9.2', newest: 'b1.3' }])
    live.close()
  })

  test(`${door}: the text and the bytes of an entry arrive as they are`, async () => {
    const { clock, sim, live, hear } = world()
    const heard = hear(topic)
    await clock.until('it is open', () => live.status.state === 'open')
    sim.publish(topic, 'two\nlines', 'note', 'text')
    sim.publish(topic, 'AP8K', 'part', 'base64')
    sim.publish(topic, null)
    await clock.run(1000)
    assert.deepEqual(heard.data, ['two\nlines', Uint8Array.of(0, 255, 10), null])
    live.close()
  })

  test(`${door}: another topic joins while the first one flows, and nothing is lost or repeated`, async () => {
    const { clock, sim, live, hear } = world()
    const first = hear(topic)
    await clock.until('it is open', () => live.status.state === 'open')
    for (const n of upTo(5)) sim.publish(`${topic}/b`, n)
    sim.publish(topic, 0)
    const second = hear(`${topic}/b`, { after: 'start' })
    for (const n of [1, 2, 3, 4, 5, 6]) {
      sim.publish(topic, n)
      sim.publish(`${topic}/b`, n + 4)
      await clock.run(7)
    }
    await clock.run(2000)
    assert.deepEqual(first.data, upTo(7))
    assert.deepEqual(second.data, upTo(11))
    live.close()
  })
}

test('a topic with many pages of past is heard whole beside one that flows', async () => {
  const { clock, sim, live, hear } = world()
  const first = hear('board/a')
  await clock.until('it is open', () => live.status.state === 'open')
  for (const n of upTo(3500)) sim.publish('board/b', n)
  const second = hear('board/b', { after: 'start' })
  await clock.run(1000)
  sim.publish('board/b', 3500)
  sim.publish('board/a', 'x')
  await clock.run(1000)
  assert.deepEqual([first.data, second.data], [['x'], upTo(3501)])
  live.close()
})

test('features on all three rungs at once, on one stream and one socket', async () => {
  const { clock, sim, live, hear } = world()
  const topics = ['board/a', 'board/b', 'typing/x', 'chat/a', 'chat/b', 'pointers/1', 'slow/a']
  const heard = topics.map((topic) => hear(topic))
  await clock.run(2000)
  assert.equal(live.status.state, 'open')
  assert.deepEqual([sim.streams.size, sim.sockets.size], [1, 1])
  for (const topic of topics) sim.publish(topic, topic)
  await clock.run(2000)
  assert.deepEqual(heard.map(({ data }) => data), topics.map((topic) => [topic]))
  live.close()
})

for (const topic of ['typing/x', 'pointers/1']) {
  test(`${topic}, which nobody keeps: whoever comes later hears from then on, at once`, async () => {
    const { clock, sim, live, hear } = world()
    const first = hear(topic)
    await clock.until('it is open', () => live.status.state === 'open')
    await clock.run(100)
    const second = hear(topic)
    await clock.run(100)
    sim.publish(topic, 1)
    await clock.run(100)
    assert.deepEqual([first.data, second.data], [[1], [1]])
    assert.deepEqual(second.seams, ['new'])
    live.close()
  })
}

test('nothing is opened until somebody listens, and nothing stays open when nobody does', async () => {
  const { clock, sim, live, hear } = world()
  await clock.run(10_000)
  assert.equal(sim.asked.length, 0)
  assert.deepEqual([live.status.state, live.status.why], ['idle', 'nobody listens'])
  const [sse, ws] = [hear('board/a'), hear('chat/a')]
  await clock.run(1000)
  assert.deepEqual([sim.streams.size, sim.sockets.size], [1, 1])
  sse.off()
  ws.off()
  await clock.run(150)
  assert.deepEqual([sim.streams.size, sim.sockets.size], [1, 1], 'a listener may come back')
  await clock.run(100)
  assert.deepEqual([sim.streams.size, sim.sockets.size], [0, 0])
  assert.equal(live.status.state, 'idle')
  await clock.run(60_000)
  assert.equal(clock.waiting, 0, 'no timer runs for nobody')
})

test('a listener that goes and comes back at once causes no traffic', async () => {
  const { clock, sim, live } = world()
  for (const topic of ['board/a', 'chat/a']) {
    const one = live.topic(topic)
    const off = one.on('*', () => undefined)
    await clock.run(1000)
    const [asked, said] = [sim.asked.length, sim.said.length]
    off()
    await clock.run(50)
    one.on('*', () => undefined)
    await clock.run(1000)
    assert.deepEqual([sim.asked.length, sim.said.length], [asked, said], topic)
  }
  live.close()
})

test('a listener that was taken away is not called any more, also from within another one', async () => {
  const { clock, sim, live } = world()
  const heard: string[] = []
  const topic = live.topic('board/a')
  topic.on('*', () => offSecond())
  const offSecond = topic.on('*', () => heard.push('second'))
  topic.on('*', () => heard.push('third'))
  await clock.run(1000)
  sim.publish('board/a', 1)
  await clock.run(100)
  assert.deepEqual(heard, ['third'])
  live.close()
})

test('a listener that throws is reported and harms nobody', async () => {
  const { clock, sim, live, hear, errors } = world()
  live.topic('board/a').on('*', () => {
    throw new Error('mine')
  })
  const heard = hear('board/a')
  await clock.run(1000)
  sim.publish('board/a', 1)
  sim.publish('board/a', 2)
  await clock.run(100)
  assert.deepEqual(heard.data, [1, 2])
  assert.deepEqual(errors.map(String), ['Error: mine', 'Error: mine'])
  assert.equal(sim.streams.size, 1)
  live.close()
})

test('a `load` that fails is reported and harms nobody', async () => {
  const { clock, sim, hear, errors, live } = world()
  for (const n of upTo(3)) sim.publish('board/a', n)
  const heard = hear('board/a', { after: 'zz.9', load: () => Promise.reject(new Error('mine')) })
  await clock.run(1000)
  assert.deepEqual([heard.data, heard.seams, errors.map(String)], [upTo(3), ['gap foreign'], ['Error: mine']])
  live.close()
})

test('close() ends everything, and says so', async () => {
  const { clock, sim, live, hear } = world()
  const heards = [hear('board/a'), hear('chat/a'), hear('slow/a')]
  const loop = live.topic('board/l').events()
  const waiting = loop.next()
  await clock.run(1000)
  live.close()
  await clock.run(1000)
  assert.deepEqual([sim.streams.size, sim.sockets.size, live.status.state], [0, 0, 'closed'])
  assert.deepEqual(await waiting, { done: true, value: undefined })
  assert.deepEqual(await loop.next(), { done: true, value: undefined })
  await assert.rejects(live.topic('chat/a').send('message', 1), { code: 'closed', next: 'give_up' })
  for (const topic of ['board/a', 'chat/a', 'slow/a']) sim.publish(topic, 1)
  await clock.run(60_000)
  assert.deepEqual(heards.map(({ data }) => data), [[], [], []])
  assert.equal(clock.waiting, 0, 'no timer is left')
})

test('history: pages, their cursors, and a gap', async () => {
  const { clock, sim, live } = world()
  for (const n of upTo(5)) sim.publish('board/a', n)
  const page = await live.topic('board/a').history({ limit: 2 })
  assert.deepEqual(page, { entries: [0, 1].map((n) => ({ topic: 'board/a', event: 'message', id: `k3f9.${n + 1}`, data: n })), cursor: 'k3f9.2', more: true, seam: { continuity: 'new' } })
  const rest = await live.topic('board/a').history({ after: page.cursor })
  assert.deepEqual([rest.entries.map(({ data }) => data), rest.more, rest.seam], [[2, 3, 4], false, { continuity: 'resumed' }])
  const other = await live.topic('board/a').history({ after: 'zz.1' })
  assert.deepEqual(other.seam, { continuity: 'gap', gap: { reason: 'foreign', oldest: 'k3f9.0', newest: 'k3f9.5' } })
  await assert.rejects(live.topic('typing/a').history(), { name: 'TidewireError', code: 'no_history', next: 'give_up' })
  sim.intercept = () => json({ hello: 'world' })
  await assert.rejects(live.topic('board/a').history(), { name: 'TidewireError', code: 'foreign' })
  sim.intercept = () => new Response('')
  await assert.rejects(live.topic('board/a').history(), { name: 'TidewireError', code: 'foreign' })
  sim.intercept = () => refusal(400, 'bad_cursor')
  await assert.rejects(live.topic('board/a').history(), { name: 'TidewireError', code: 'bad_cursor' })
  const abort = new AbortController()
  sim.intercept = ({ signal }) => new Promise((_, lost) => signal!.addEventListener('abort', () => lost(signal!.reason)))
  const given = live.topic('board/a').history({ signal: abort.signal })
  await clock.run(10)
  abort.abort()
  await assert.rejects(given, { name: 'TidewireError', code: 'aborted' })
  live.close()
})

test('explain() tells what a bug report needs, and no token and no data', async () => {
  const { clock, sim, live, hear } = world({ token: 'secret-token' })
  hear('board/a')
  await clock.run(1000)
  sim.publish('board/a', 'secret-data')
  await clock.run(30_000)
  const report = await live.explain()
  assert.equal(report.server, 'http://sim.test/v1')
  assert.equal(report.status.state, 'open')
  assert.deepEqual(report.topics, [{ topic: 'board/a', transport: 'sse', after: 'k3f9.1', seam: { continuity: 'new' } }])
  assert.equal(report.path['sse'], 'clear')
  const text = JSON.stringify(report)
  assert.doesNotMatch(text, /secret/)
  live.close()
})

test('an address that is none is refused at once', () => {
  for (const url of ['ftp://a.test', 'ws://a.test', 'a.test', 'http://a.test/?x', 'http://a.test/#x']) assert.throws(() => connect(url), TypeError, url)
})

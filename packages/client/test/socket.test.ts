// The socket's own ways to go wrong: what was said for an older subscription, batches, disorder.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SimSocket } from './support/sim-socket.js'
import { upTo, world, type World } from './support/setup.js'

/** A client whose topic is about to be on a socket that is open for another one. */
async function open(): Promise<World & { socket: SimSocket }> {
  const w = world({}, (sim) => (sim.latency = 50))
  w.hear('chat/other')
  await w.clock.until('the socket is open', () => w.sim.sockets.size)
  await w.clock.run(1000)
  return { ...w, socket: [...w.sim.sockets][0]! }
}

test('a beat that is said before a subscription was taken says nothing of it', async () => {
  const { clock, sim, live, hear, socket } = await open()
  const heard = hear('board/a')
  await clock.run(1000)
  // The topic moves from the stream to the socket, and an entry comes while it is on neither.
  sim.replan(sim.plan.features.map((feature) => ({ ...feature, transport: 'ws' as const })))
  await clock.until('the stream is left', () => !sim.streams.size)
  assert.equal(socket.topics.has('board/a'), false)
  sim.publish('board/a', 1)
  socket.tell({ beat: { at: 'k3f9.1' } })
  await clock.run(1000)
  assert.equal(socket.topics.has('board/a'), true)
  sim.publish('board/a', 2)
  await clock.run(1000)
  assert.deepEqual(heard.data, [1, 2])
  live.close()
})

test('entries that an older subscription still says are left to the one that was asked for', async () => {
  const { clock, sim, live, hear } = await open()
  for (const n of upTo(5)) sim.publish('chat/a', n)
  const first = hear('chat/a')
  await clock.run(1000)
  // A newcomer wants the past: the topic is taken up anew, while entries are under way.
  const second = hear('chat/a', { after: 'start' })
  for (let n = 5; n < 30; n++) {
    sim.publish('chat/a', n)
    await clock.run(9)
  }
  await clock.run(1000)
  assert.deepEqual([first.data, second.data], [upTo(30).slice(5), upTo(30)])
  live.close()
})

test('a topic that leaves the socket and comes back while words of it are under way', async () => {
  const { clock, sim, live, hear } = await open()
  const heard = hear('chat/a')
  await clock.run(1000)
  const as = (transport: 'sse' | 'ws'): void => sim.replan(sim.plan.features.map((feature) => (feature.feature === 'chat' ? { ...feature, transport } : feature)))
  let count = 0
  for (let turn = 0; turn < 20; turn++) {
    as(turn % 2 ? 'ws' : 'sse')
    for (let step = 0; step < 30; step++) {
      sim.publish('chat/a', count++)
      await clock.run(step % 7)
    }
  }
  await clock.run(3000)
  assert.deepEqual(heard.data, upTo(count))
  live.close()
})

for (const [what, ids] of [['comes twice', ['k3f9.2', 'k3f9.2']], ['is older than the one before', ['k3f9.3', 'k3f9.2']]] as const) {
  test(`an entry that ${what} on a socket is noticed: a state with a reason, nothing twice, nothing lost`, async () => {
    const { clock, sim, live, hear, socket, statuses } = await open()
    const heard = hear('chat/a')
    await clock.run(1000)
    sim.publish('chat/a', 'k3f9.1')
    await clock.run(1000)
    for (const id of ['k3f9.2', 'k3f9.3']) sim.log.append('chat/a', 'message', id)
    // Two in one piece, and what is right after them.
    for (const id of [...ids, 'k3f9.9']) socket.tell({ topic: 'chat/a', event: 'message', id, data: id })
    await clock.run(10_000)
    assert.ok(statuses.some(({ state, why }) => state === 'waiting' && /out of order/.test(why)), JSON.stringify(statuses))
    assert.deepEqual([...new Set(heard.data)], heard.data)
    assert.equal(heard.data.includes('k3f9.9'), false, 'nothing is heard after it')
    sim.publish('chat/a', 'k3f9.4')
    await clock.run(1000)
    assert.equal(heard.data.at(-1), 'k3f9.4')
    live.close()
  })
}

for (const [what, said] of [
  ['no JSON', 'hello'],
  ['JSON that is no object', 'null'],
  ['an entry without an event', '{"topic":"chat/other","id":"x"}'],
  ['bytes whose head is longer than they are', Buffer.from([255, 255, 1])],
  ['no bytes at all', Buffer.from([])],
] as const) {
  test(`a socket that says ${what} is left for a new one, with a reason`, async () => {
    const { clock, sim, live, socket, statuses, errors } = await open()
    const bytes = typeof said === 'string' ? said : said.buffer.slice(said.byteOffset, said.byteOffset + said.length)
    socket.onmessage!({ data: bytes })
    await clock.run(10_000)
    assert.equal(live.status.state, 'open')
    assert.ok(sim.sockets.size === 1)
    if (what !== 'an entry without an event') assert.ok(statuses.some(({ state, why }) => state === 'waiting' && /Tidewire's words/.test(why)), JSON.stringify(statuses))
    assert.deepEqual(errors, [])
    live.close()
  })
}

test('the reason of a goodbye counts, not that of the questions it leaves open', async () => {
  let count = 0
  const { clock, sim, live, hear, states } = world({ token: () => `token-${++count}` }, (sim) => (sim.latency = 50))
  hear('chat/a')
  await clock.until('it is asked for', () => sim.said.length)
  const [socket] = [...sim.sockets]
  // The answer to the subscription is under way; the goodbye is said first.
  socket!.onmessage!({ data: JSON.stringify({ bye: { code: 'token_expired', message: 'it ended', next: 'refresh_token' } }) })
  await clock.run(5000)
  assert.equal(count, 2, 'a new token was asked for')
  assert.equal(live.status.state, 'open')
  assert.ok(!states.includes('unauthorized'))
  live.close()
})

test('the plan changes again and again, and a socket keeps within its subscriptions', async () => {
  const { clock, sim, live, hear, socket } = await open()
  const offs = upTo(20).map((n) => hear(`chat/${n}`))
  await clock.run(1000)
  assert.equal(socket.topics.size, 21)
  for (const { off } of offs) off()
  await clock.run(1000)
  assert.deepEqual([...socket.topics.keys()], ['chat/other'])
  assert.equal(sim.sockets.size, 1)
  live.close()
})

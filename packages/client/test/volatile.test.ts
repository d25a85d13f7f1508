// Volatile messages: at most once, the newest of each item, and never in the way of anything.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { refusal } from './support/sim.js'
import { upTo, world, type World } from './support/setup.js'

const move = (live: World['live'], at: unknown, item = 'me', topic = 'pointers/1'): void => live.topic(topic).send('moved', at, { item, volatile: true })
const published = (sim: World['sim']): { [name: string]: unknown }[] => sim.said.map(({ text }) => JSON.parse(text)).filter((said) => said.do === 'publish')

test('on a socket: sent at once, with its item, without a name, and nobody waits', async () => {
  const { clock, sim, live, hear } = world()
  const heard = hear('pointers/1')
  await clock.run(1000)
  assert.ok((await live.topic('pointers/1').send('moved', 0, { item: 'me' })).stored, 'one that is not volatile is answered')
  for (const n of upTo(3)) move(live, n + 1)
  await clock.run(100)
  assert.deepEqual(heard.data, [0, 1, 2, 3])
  assert.deepEqual(published(sim).at(-1), { do: 'publish', topic: 'pointers/1', event: 'moved', item: 'me', data: 3 })
  live.close()
})

test('while the socket has no room, only the newest of each item waits', async () => {
  const { clock, sim, live, hear } = world()
  const heard = hear('pointers/1')
  await clock.run(1000)
  const [socket] = [...sim.sockets]
  socket!.bufferedAmount = 1000
  for (const n of upTo(100)) {
    move(live, `me ${n}`)
    if (n < 50) move(live, `you ${n}`, 'you')
    await clock.run(5)
  }
  assert.deepEqual(heard.data, [])
  socket!.bufferedAmount = 0
  await clock.run(100)
  assert.deepEqual(heard.data, ['you 49', 'me 99'])
  // What is not volatile is not held up by it.
  socket!.bufferedAmount = 1000
  move(live, 'waits')
  void live.topic('pointers/1').send('clicked', 'at once')
  await clock.run(100)
  assert.equal(heard.data.at(-1), 'at once')
  live.close()
})

test('what waits when a socket goes is dropped, and so is what is sent while it is away', async () => {
  const { clock, sim, live, hear } = world()
  const heard = hear('pointers/1')
  await clock.run(1000)
  const [socket] = [...sim.sockets]
  socket!.bufferedAmount = 1000
  move(live, 'lost')
  await clock.run(10)
  socket!.drop(1006)
  await clock.run(10)
  move(live, 'lost too')
  const posts = sim.count(/topics/)
  await clock.until('it is open again', () => sim.sockets.size)
  await clock.run(1000)
  move(live, 'there')
  await clock.run(100)
  assert.deepEqual([heard.data, sim.count(/topics/)], [['there'], posts])
  live.close()
})

test('over HTTP: two under way, the newest of each item waits, no key, no retry', async () => {
  const { clock, sim, live } = world({}, (sim) => (sim.latency = 100))
  let under = 0
  let most = 0
  let count = 0
  sim.intercept = (asked) => {
    if (asked.method !== 'POST') return undefined
    most = Math.max(most, ++under)
    return new Promise((done) => clock.after(50, () => {
      under--
      done(++count === 1 ? refusal(503, 'busy') : (undefined as never))
    }))
  }
  for (const n of upTo(100)) {
    move(live, n, 'me', 'board/a')
    await clock.run(10)
  }
  await clock.run(3000)
  const posts = sim.asked.filter(({ path }) => path.startsWith('/topics/'))
  assert.equal(most, 2)
  assert.ok(posts.length > 3 && posts.length < 20, `${posts.length} posts for a hundred`)
  assert.equal(posts.at(-1)!.body, '99')
  assert.deepEqual([...new Set(posts.map(({ headers }) => [headers.get('idempotency-key'), headers.get('tidewire-item')].join()))], [',me'])
  assert.equal(new Set(posts.map(({ body }) => body)).size, posts.length, 'nothing is sent again')
  live.close()
})

test('of kinds that wait there are 256 at a time, the newest', async () => {
  const { clock, sim, live, hear } = world()
  const heard = hear('pointers/1')
  await clock.run(1000)
  const [socket] = [...sim.sockets]
  socket!.bufferedAmount = 1000
  for (const n of upTo(257)) move(live, n, `item-${n}`)
  await clock.run(100)
  socket!.bufferedAmount = 0
  await clock.run(100)
  assert.deepEqual(heard.data, upTo(257).slice(1))
  live.close()
})

test('a page that only sends: over HTTP, because no socket is open', async () => {
  const { clock, sim, live } = world()
  move(live, 1)
  await clock.run(1000)
  assert.equal(sim.count(/topics/), 1)
  live.close()
})

test('a refusal of one that nobody waits for stands in explain(), and ends nothing', async () => {
  const { clock, sim, live, hear, errors } = world()
  hear('pointers/1')
  await clock.run(1000)
  const [socket] = [...sim.sockets]
  socket!.tell({ ref: null, error: { code: 'forbidden', message: 'you may not point', next: 'give_up' } })
  await clock.run(100)
  assert.deepEqual([live.status.state, errors], ['open', []])
  assert.match((await live.explain()).recent.join('\n'), /you may not point/)
  move(live, 1)
  live.close()
  move(live, 2)
  await clock.run(60_000)
  assert.equal(clock.waiting, 0)
})

test('items travel with what is kept too, by either door', async () => {
  const { clock, sim, live, hear } = world()
  hear('chat/a')
  await clock.run(1000)
  void live.topic('chat/a').send('note', 1, { item: 'x' })
  void live.topic('chat/a').send('note', Uint8Array.of(7), { item: 'y' })
  void live.topic('board/a').send('note', 2, { item: 'z' })
  await clock.run(1000)
  assert.deepEqual(sim.log.entries.map(({ item }) => item).sort(), ['x', 'y', 'z'])
  live.close()
})

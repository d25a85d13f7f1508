// A page that sleeps, is put away, loses its network; and tokens that are renewed before they end.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { errorOf } from './support/sim.js'
import { world } from './support/setup.js'

// A page, as far as the client looks at one.
const page = Object.assign(new EventTarget(), { visibilityState: 'visible' })
const frame = new EventTarget()
const names = ['document', 'addEventListener', 'removeEventListener'] as const
const say = (name: string, more: object = {}): boolean => frame.dispatchEvent(Object.assign(new Event(name), more))

before(() => {
  const [add, remove] = [frame.addEventListener.bind(frame), frame.removeEventListener.bind(frame)]
  Object.assign(globalThis, { document: page, addEventListener: add, removeEventListener: remove })
})
after(() => names.forEach((name) => delete (globalThis as { [name: string]: unknown })[name]))

test('offline: attempts pause, and one comes within a second of the network', async () => {
  const { clock, sim, live, hear } = world({ share: false })
  const heard = hear('board/a')
  await clock.run(60_000)
  say('offline')
  sim.kill()
  await clock.run(100)
  assert.equal(live.status.state, 'offline')
  assert.match(live.status.next, /network/)
  const asked = sim.asked.length
  await clock.run(3_600_000)
  assert.equal(sim.asked.length, asked, 'nothing is tried without a network')
  assert.equal(live.status.state, 'offline')
  sim.start()
  sim.publish('board/a', 1)
  say('online')
  await clock.until('it is open again', () => heard.data.length, 2500)
  live.close()
})

test('offline without a loss: what is open stays open', async () => {
  const { clock, sim, live, hear, states } = world({ share: false })
  const heard = hear('board/a')
  await clock.run(60_000)
  const told = states.length
  say('offline')
  await clock.run(30_000)
  sim.publish('board/a', 1)
  say('online')
  await clock.run(30_000)
  assert.deepEqual([heard.data, states.length, sim.count('/sse')], [[1], told, 1])
  live.close()
})

test('another network forgets what was known of the old one', async () => {
  const { clock, sim, live, hear } = world({ share: false }, (sim) => (sim.holds = true))
  const heard = hear('board/a')
  await clock.run(5000)
  assert.equal(live.status.transport, 'ws')
  sim.holds = false
  say('offline')
  say('online')
  await clock.run(5000)
  assert.equal(live.status.transport, 'sse')
  sim.publish('board/a', 1)
  await clock.run(100)
  assert.deepEqual(heard.data, [1])
  live.close()
})

for (const topic of ['board/a', 'chat/a']) {
  test(`${topic}: a page that is shown again looks at its connection, and replaces a dead one within seconds`, async () => {
    const { clock, sim, live, hear } = world({ share: false })
    const heard = hear(topic)
    await clock.run(60_000)
    const asked = sim.count('/sse')
    page.dispatchEvent(new Event('visibilitychange'))
    await clock.run(5000)
    assert.deepEqual([sim.count('/sse'), live.status.state], [asked, 'open'], 'a good one is kept')
    sim.isFrozen = true
    sim.publish(topic, 1)
    await clock.run(100)
    const shown = clock.time
    page.dispatchEvent(new Event('visibilitychange'))
    await clock.run(2500)
    for (const stream of [...sim.streams]) stream.fail()
    sim.isFrozen = false
    await clock.until('it hears what it missed', () => heard.data.length, 10_000)
    assert.ok(clock.time - shown < 6000, `after ${clock.time - shown} ms`)
    live.close()
  })

  test(`${topic}: put away and back from the cache: nothing is open meanwhile, nothing is lost`, async () => {
    const { clock, sim, live, hear } = world({ share: false })
    const heard = hear(topic)
    await clock.run(5000)
    say('pagehide', { persisted: true })
    await clock.run(5000)
    assert.deepEqual([sim.streams.size, sim.sockets.size], [0, 0])
    sim.publish(topic, 1)
    await clock.run(600_000)
    assert.deepEqual([sim.streams.size, sim.sockets.size], [0, 0])
    say('pageshow', { persisted: true })
    await clock.until('it hears what it missed', () => heard.data.length, 5000)
    assert.deepEqual(heard.data, [1])
    live.close()
  })
}

test('closed: the page is not listened to any more', async () => {
  const { clock, sim, live, hear } = world({ share: false })
  hear('board/a')
  await clock.run(5000)
  live.close()
  await clock.run(100)
  const asked = sim.asked.length
  page.dispatchEvent(new Event('visibilitychange'))
  say('online')
  say('pageshow', { persisted: true })
  await clock.run(60_000)
  assert.equal(sim.asked.length, asked)
  assert.equal(clock.waiting, 0)
})

/** A token as JWTs look, which ends then. */
const tokenUntil = (at: number, name: string): string => `${name}.${Buffer.from(JSON.stringify({ exp: at / 1000 })).toString('base64url')}.x`

test('a token is renewed before it ends, and no stream and no socket notices', async () => {
  let count = 0
  const { clock, sim, live, hear, states } = world({ share: false, token: () => tokenUntil(clock.time + 600_000, `t${++count}`) }, (sim) => {
    // A token is good until it ends.
    sim.admit = (token) => (token === 'socket' || (token && JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()).exp * 1000 > sim.clock.time) ? undefined : 'token_expired')
  })
  const heards = [hear('board/a'), hear('chat/a')]
  await clock.run(5000)
  const told = states.length
  const sockets = [...sim.sockets]
  for (let n = 0; n < 60; n++) {
    for (const topic of ['board/a', 'chat/a']) sim.publish(topic, n)
    await clock.run(60_000)
    // The server closes what its token no longer covers.
    for (const stream of [...sim.streams]) {
      if (sim.admit(stream.asked.headers.get('authorization')!.slice(7), []) === undefined) continue
      stream.write('tidewire.bye', errorOf('token_expired'))
      stream.end()
    }
  }
  assert.ok(heards.every(({ data }) => data.length === 60))
  assert.deepEqual(states.slice(told), [], 'nobody noticed')
  assert.deepEqual([...sim.sockets], sockets, 'the socket got its tokens where it is')
  const renewals = sim.said.filter(({ text }) => text.includes('"do":"token"')).length
  assert.ok(renewals >= 6 && renewals <= 9, `${renewals} in an hour`)
  assert.ok(count <= 10, `${count} tokens in an hour, for stream and socket together`)
  live.close()
  await clock.run(3_600_000)
  assert.equal(clock.waiting, 0)
})

test('a source that gives the same token until it ends is not asked without end', async () => {
  let count = 0
  let end = 0
  const { clock, sim, live, hear } = world({
    share: false,
    token: () => {
      count++
      if (clock.time >= end - 1000) end = clock.time + 600_000
      return tokenUntil(end, 'same')
    },
  })
  hear('board/a')
  await clock.run(3_600_000)
  assert.ok(count < 120, `${count} tokens in an hour`)
  assert.ok(sim.count('/sse') < 60, `${sim.count('/sse')} streams in an hour`)
  live.close()
})

test('a token that is none of ours to read is only asked for when it is refused', async () => {
  let count = 0
  const { clock, live, hear } = world({ share: false, token: () => `opaque-${++count}` })
  hear('board/a')
  hear('chat/a')
  await clock.run(3_600_000)
  assert.equal(count, 1)
  live.close()
})

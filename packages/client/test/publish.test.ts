// Sending: one key for all attempts, one message for one send, and the order in which they were sent.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Sent } from '../src/api.js'
import type { TidewireError } from '../src/error.js'
import { html, json, never, refusal, type Sim } from './support/sim.js'
import { upTo, world } from './support/setup.js'

const posts = (sim: Sim): { at: number; key: string; body: string }[] => sim.asked.filter(({ method, path }) => method === 'POST' && path.startsWith('/topics/')).map(({ at, headers, body }) => ({ at, key: headers.get('idempotency-key')!, body }))

/** What became of a send. */
interface Fate {
  sent?: Sent
  error?: TidewireError
}

function watch(sent: Promise<Sent>): Fate {
  const fate: Fate = {}
  sent.then((sent) => (fate.sent = sent), (error) => (fate.error = error))
  return fate
}

const DOORS = [['HTTP', 'board/a'], ['socket', 'chat/a']] as const

for (const [door, topic] of DOORS) {
  const open = async (options = {}): Promise<ReturnType<typeof world>> => {
    const w = world(options)
    if (door === 'socket') {
      w.hear(topic)
      await w.clock.until('the socket is open', () => w.sim.sockets.size && w.live.status.state === 'open')
      await w.clock.run(100)
    }
    return w
  }

  test(`${door}: a message is stored once, and the answer says how`, async () => {
    const { clock, sim, live } = await open()
    const fate = watch(live.topic(topic).send('note', { a: [1, 'é'] }, { key: 'mine' }))
    await clock.run(100)
    assert.deepEqual(fate.sent, { id: 'k3f9.1', stored: 'fsync' })
    assert.deepEqual(sim.log.entries, [{ topic, event: 'note', id: 'k3f9.1', data: { a: [1, 'é'] } }])
    assert.equal(posts(sim).length, door === 'HTTP' ? 1 : 0)
    const again = watch(live.topic(topic).send('note', { a: [1, 'é'] }, { key: 'mine' }))
    await clock.run(100)
    assert.deepEqual(again.sent, { id: 'k3f9.1', stored: 'fsync', duplicate: true })
    assert.equal(sim.log.entries.length, 1)
    live.close()
  })

  test(`${door}: bytes are sent as bytes`, async () => {
    const { clock, sim, live } = await open()
    watch(live.topic(topic).send('part', Uint8Array.of(0, 255, 10)))
    await clock.run(100)
    assert.deepEqual(sim.log.entries, [{ topic, event: 'part', id: 'k3f9.1', data: 'AP8K', encoding: 'base64' }])
    live.close()
  })

  test(`${door}: two messages that say the same are two`, async () => {
    const { clock, sim, live } = await open()
    watch(live.topic(topic).send('note', 1))
    watch(live.topic(topic).send('note', 1))
    await clock.run(100)
    assert.equal(sim.log.entries.length, 2)
    live.close()
  })

  test(`${door}: a killed server in the middle: sent again with the same key when it is back, stored once`, async () => {
    const { clock, sim, live } = await open()
    // It stores the message, and dies before it answers.
    const store = sim.store.bind(sim)
    sim.store = (...message) => {
      const answer = store(...message)
      sim.store = store
      sim.kill()
      return answer
    }
    const fate = watch(live.topic(topic).send('note', 1))
    await clock.run(3000)
    assert.equal(fate.sent, undefined)
    sim.start()
    await clock.run(15_000)
    assert.deepEqual(fate.sent, { id: 'k3f9.1', stored: 'fsync', duplicate: true })
    assert.equal(sim.log.entries.length, 1)
    live.close()
  })

  test(`${door}: what was sent to a topic first is stored first, whatever happens to single attempts`, async () => {
    const { clock, sim, live } = await open()
    const fates = [watch(live.topic(topic).send('note', 0))]
    await clock.run(50)
    let count = 0
    if (door === 'HTTP') sim.intercept = ({ method }) => (method === 'POST' && ++count % 3 === 1 ? refusal(503, 'busy') : undefined)
    else {
      // The socket dies with three of them on it, and is back before the first is tried again.
      sim.retryMs = 0
      for (const socket of sim.sockets) socket.drop(1006)
    }
    for (const n of upTo(6)) {
      fates.push(watch(live.topic(topic).send('note', n + 1)))
      await clock.run(40)
    }
    await clock.run(20_000)
    assert.ok(fates.every(({ sent }) => sent), JSON.stringify(fates))
    assert.deepEqual(sim.log.entries.map(({ data }) => data), upTo(7))
    live.close()
  })

  test(`${door}: given up by its signal, at once, also while it waits its turn`, async () => {
    const { clock, sim, live } = await open()
    sim.isFrozen = true
    const [first, second] = [new AbortController(), new AbortController()]
    const fates = [first, second].map(({ signal }) => watch(live.topic(topic).send('note', 1, { signal })))
    await clock.run(100)
    second.abort()
    await clock.run(1)
    assert.deepEqual([fates[1]!.error?.name, fates[1]!.error?.code, fates[1]!.error?.next], ['TidewireError', 'aborted', 'give_up'])
    assert.equal('error' in fates[0]!, false)
    first.abort()
    await clock.run(1)
    assert.equal(fates[0]!.error?.code, 'aborted')
    await assert.rejects(live.topic(topic).send('note', 1, { signal: AbortSignal.abort() }), { code: 'aborted' })
    live.close()
  })

  test(`${door}: no answer for 30 s: it fails, and says that nothing is known`, async () => {
    const { clock, sim, live } = await open()
    sim.isFrozen = true
    const begun = clock.time
    const fate = watch(live.topic(topic).send('note', 1))
    await clock.until('it fails', () => fate.error, 60_000)
    assert.ok(clock.time - begun <= 41_000, `after ${clock.time - begun} ms`)
    assert.equal(fate.error!.code, 'unreachable')
    assert.match(fate.error!.next, /retry|resume/)
    const keys = new Set(posts(sim).map(({ key }) => key))
    assert.ok(keys.size <= 1, 'one key')
    live.close()
  })

  test(`${door}: close() fails what waits, at once`, async () => {
    const { clock, sim, live } = await open()
    sim.isFrozen = true
    const fate = watch(live.topic(topic).send('note', 1))
    await clock.run(1000)
    live.close()
    await clock.run(10)
    assert.equal(fate.error?.code, 'closed')
    await clock.run(60_000)
    assert.equal(clock.waiting, 0)
  })
}

test('an answer that is lost: the same key, one message, and waits that grow', async () => {
  const { clock, sim, live } = world()
  let lost = 0
  const fate = watch(live.topic('board/a').send('note', 1))
  sim.intercept = (asked) => {
    if (lost++ >= 3) return undefined
    sim.store('board/a', 'note', 1, asked.headers.get('idempotency-key')!)
    return Promise.reject(new TypeError('fetch failed'))
  }
  await clock.run(10_000)
  assert.deepEqual(fate.sent, { id: 'k3f9.1', stored: 'fsync', duplicate: true })
  assert.equal(sim.log.entries.length, 1)
  const tries = posts(sim)
  assert.equal(new Set(tries.map(({ key }) => key)).size, 1)
  assert.match(tries[0]!.key, /^[!-~]{16,64}$/)
  assert.deepEqual(tries.map(({ at }) => at - tries[0]!.at), [0, 250, 750, 1750])
  live.close()
})

test('only a stored message resolves: no other answer is taken for one', async () => {
  for (const answer of [() => new Response(''), () => json({ hello: 'world' }), () => html(), () => json(null), () => new Response(null, { status: 204 })]) {
    const { clock, sim, live } = world()
    let count = 0
    sim.intercept = () => (count++ < 2 ? answer() : undefined)
    const fate = watch(live.topic('board/a').send('note', 1))
    await clock.run(20_000)
    assert.deepEqual(fate.sent, { id: 'k3f9.1', stored: 'fsync' })
    live.close()
  }
})

test('a token that is refused is fetched anew once; a second refusal is told', async () => {
  let count = 0
  let good = 'token-2'
  const { clock, sim, live } = world({ token: () => `token-${++count}` }, (sim) => (sim.admit = (token) => (token === good ? undefined : 'token_expired')))
  const fate = watch(live.topic('board/a').send('note', 1))
  await clock.run(10)
  assert.deepEqual([fate.sent?.id, count], ['k3f9.1', 2])
  good = 'none'
  const other = watch(live.topic('board/a').send('note', 2))
  await clock.run(60_000)
  assert.deepEqual([other.error?.code, other.error?.next, count], ['token_expired', 'refresh_token', 3])
  assert.equal(sim.log.entries.length, 1)
  live.close()
})

test('what the server will not have is told at once, with its code', async () => {
  const { clock, sim, live } = world()
  sim.intercept = () => refusal(409, 'key_conflict')
  const fate = watch(live.topic('board/a').send('note', 1))
  await clock.run(10)
  assert.deepEqual([fate.error?.name, fate.error?.code, fate.error?.next, posts(sim).length], ['TidewireError', 'key_conflict', 'give_up', 1])
  live.close()
})

test('Retry-After is obeyed, and ends within 30 s', async () => {
  const { clock, sim, live } = world()
  sim.intercept = () => refusal(503, 'busy', { 'Retry-After': '12' })
  const fate = watch(live.topic('board/a').send('note', 1))
  await clock.run(60_000)
  assert.equal(fate.error?.code, 'busy')
  const tries = posts(sim)
  assert.equal(tries.length, 3)
  assert.ok(tries[1]!.at - tries[0]!.at >= 12_000 && tries[2]!.at - tries[0]!.at <= 30_000)
  live.close()
})

test('over HTTP topics do not wait for each other', async () => {
  const { clock, sim, live } = world()
  sim.intercept = (asked) => (asked.path.includes('slow') ? never(asked) : undefined)
  watch(live.topic('board/slow').send('note', 1))
  const fate = watch(live.topic('board/a').send('note', 1))
  await clock.run(10)
  assert.equal(fate.sent?.id, 'k3f9.1')
  live.close()
})

test('what is sent while the socket is away goes by HTTP', async () => {
  const { clock, sim, live, hear } = world()
  hear('chat/a')
  await clock.run(1000)
  sim.areSocketsBlocked = true
  for (const socket of sim.sockets) socket.drop(1006)
  await clock.run(10)
  const fate = watch(live.topic('chat/a').send('note', 1))
  await clock.run(100)
  assert.deepEqual([fate.sent?.id, posts(sim).length], ['k3f9.1', 1])
  live.close()
})

test('many messages on a socket are under way together', async () => {
  const { clock, sim, live, hear } = world()
  sim.latency = 100
  hear('chat/a')
  await clock.run(2000)
  const begun = clock.time
  const fates = upTo(50).map((n) => watch(live.topic('chat/a').send('note', n)))
  await clock.until('all are answered', () => fates.every(({ sent }) => sent))
  assert.ok(clock.time - begun <= 250, `${clock.time - begun} ms for fifty`)
  assert.deepEqual(sim.log.entries.map(({ data }) => data), upTo(50))
  live.close()
})

test('a message goes to the topic that it names, and to no other', async () => {
  const { clock, sim, live } = world()
  for (const name of ['board/a#b', 'board/a?b=1', 'board/../../plan', 'board/%C3%A9', 'board/a:b@c~d.e-f_g']) {
    watch(live.topic(name as 'board/a').send('note', name))
    await clock.run(10)
  }
  // What is no topic reaches the server as what it is, which refuses it.
  for (const { topic, data } of sim.log.entries) assert.equal(topic, decodeURIComponent(`${data}`))
  assert.equal(sim.log.entries.length, 5)
  live.close()
})

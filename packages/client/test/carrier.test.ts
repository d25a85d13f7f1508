// How a connection is kept up: waits, states and reasons, on a clock that the test moves.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chance } from './support/clock.js'
import { errorOf, html, json, never, refusal, type Sim } from './support/sim.js'
import { upTo, world } from './support/setup.js'

const DOORS = [['sse', 'board/a', /^\/sse$/], ['ws', 'chat/a', /^\/socket$/], ['poll', 'slow/a', /^\/events$/]] as const

/** Attempts to connect: streams, pages, and (as the sim sees them) sockets. */
const attempts = (sim: Sim, since = 0): number => sim.count(/^\/(sse|events|plan)$/, since)

test('a server that stops gives each client its slot, and the client keeps it to the millisecond', async () => {
  for (const topic of ['board/a', 'chat/a']) {
    const { clock, sim, live, hear } = world()
    hear(topic)
    await clock.run(1000)
    const stopped = clock.time
    sim.stop(4321)
    sim.start()
    await clock.run(1)
    assert.deepEqual([live.status.state, live.status.retryInMs], ['waiting', 4321], topic)
    assert.match(live.status.why, /restarting/)
    await clock.until('it is back', () => live.status.state === 'open')
    assert.equal(clock.time - stopped, 4321, topic)
    live.close()
  }
})

test('a connection that ends without a word waits the slot of its greeting, then with a growing spread', async () => {
  const { clock, sim, live, hear, statuses } = world({}, (sim) => (sim.retryMs = 1700))
  hear('board/a')
  await clock.run(15_000)
  sim.kill()
  await clock.run(120_000)
  const waits = statuses.filter(({ state }) => state === 'waiting').map(({ retryInMs }) => retryInMs)
  // The draw is one half: half of each spread, up to half of 20 s.
  assert.deepEqual(waits.slice(0, 8), [1700, 500, 1000, 2000, 4000, 8000, 10_000, 10_000])
  sim.start()
  await clock.until('it is back', () => live.status.state === 'open', 30_000)
  live.close()
})

test('losses are forgiven after 10 s with something heard, not by a greeting', async () => {
  const { clock, sim, live, hear, statuses } = world({}, (sim) => (sim.retryMs = 1000))
  hear('board/a')
  await clock.run(1000)
  const waits = (): (number | undefined)[] => statuses.splice(0).filter(({ state }) => state === 'waiting').map(({ retryInMs }) => retryInMs)
  for (let time = 0; time < 4; time++) {
    sim.kill()
    sim.start()
    await clock.until('it is back', () => live.status.state === 'open', 30_000)
  }
  assert.deepEqual(waits(), [1000, 1500, 2000, 3000], 'greeted and dropped: the slot, and on top of it a growing spread')
  await clock.run(25_000)
  sim.kill()
  sim.start()
  await clock.until('it is back', () => live.status.state === 'open', 30_000)
  assert.deepEqual(waits(), [1000])
  live.close()
})

for (const [door, topic] of DOORS) {
  test(`${door}: a half-open connection is noticed within a beat and some seconds, and replaced`, async () => {
    const { clock, sim, live, hear, states } = world()
    const heard = hear(topic)
    await clock.run(60_000)
    sim.publish(topic, 0)
    await clock.run(1000)
    const frozen = clock.time
    sim.isFrozen = true
    sim.publish(topic, 1)
    await clock.until('it is noticed', () => live.status.state === 'waiting', 60_000)
    assert.ok(clock.time - frozen <= (door === 'poll' ? 40_000 : 26_000), `after ${clock.time - frozen} ms`)
    assert.match(live.status.why, /nothing came|no answer|nothing arrives/)
    await clock.run(20_000)
    // What was on its way is lost with the connection.
    for (const stream of [...sim.streams]) stream.fail()
    sim.isFrozen = false
    await clock.until('it is open again', () => live.status.state === 'open', 60_000)
    await clock.run(1000)
    assert.deepEqual(heard.data, [0, 1])
    assert.ok(!states.includes('offline'))
    live.close()
  })

  test(`${door}: a server that beats more often is missed sooner`, { skip: door === 'poll' && 'a poll has no beats' }, async () => {
    const { clock, sim, live, hear } = world({}, (sim) => (sim.beatMs = 2000))
    hear(topic)
    await clock.run(30_000)
    sim.isFrozen = true
    await clock.run(8000)
    assert.notEqual(live.status.state, 'open')
    live.close()
  })

  test(`${door}: a quiet connection is no lost one: two hours without an entry, nothing is opened anew`, async () => {
    const { clock, sim, live, hear, states } = world()
    const heard = hear(topic)
    await clock.run(60_000)
    const [asked, told] = [sim.count(/^\/(sse|plan)$/), states.length]
    await clock.run(2 * 3_600_000)
    assert.deepEqual([sim.count(/^\/(sse|plan)$/), states.length], [asked, told])
    sim.publish(topic, 1)
    await clock.run(100)
    assert.deepEqual(heard.data, [1])
    live.close()
  })

  test(`${door}: after a sleep the connection is looked at, and kept if it is there`, async () => {
    const { clock, sim, live, hear, states } = world()
    hear(topic)
    await clock.run(60_000)
    const told = states.length
    const opened = sim.count('/sse')
    // Shorter than what the server takes for a lost peer.
    await clock.sleep(30_000)
    await clock.run(10_000)
    assert.deepEqual([states.length, sim.count('/sse'), live.status.state], [told, opened, 'open'])
    live.close()
  })

  test(`${door}: after a sleep that the connection did not survive, it is replaced within seconds`, async () => {
    const { clock, sim, live, hear } = world()
    const heard = hear(topic)
    await clock.run(60_000)
    sim.isFrozen = true
    await clock.sleep(3_600_000)
    sim.publish(topic, 'meanwhile')
    // The network is there, the old connection is not: it stays silent.
    const [streams, sockets] = [[...sim.streams], [...sim.sockets]]
    sim.streams.clear()
    sim.sockets.clear()
    sim.isFrozen = false
    const woken = clock.time
    await clock.until('it hears what it missed', () => heard.data.length, 30_000)
    assert.ok(clock.time - woken <= 15_000, `after ${clock.time - woken} ms`)
    assert.deepEqual(heard.data, ['meanwhile'])
    for (const stream of streams) stream.fail()
    for (const socket of sockets) socket.drop(1006)
    live.close()
  })

  test(`${door}: a clock that is set back or forward loses nothing and spins nowhere`, async () => {
    for (const jump of [-3_600_000, 3_600_000, -86_400_000 * 365]) {
      const { clock, sim, live, hear } = world()
      const heard = hear(topic)
      await clock.run(30_000)
      const now = clock.env.now
      let shift = 0
      clock.env.now = () => now() + shift
      const before = attempts(sim)
      shift = jump
      sim.publish(topic, 1)
      await clock.run(120_000)
      sim.publish(topic, 2)
      await clock.run(1000)
      assert.deepEqual(heard.data, [1, 2], `${jump}`)
      assert.ok(attempts(sim) - before < 30, `${attempts(sim) - before} attempts in two minutes`)
      live.close()
    }
  })

  test(`${door}: a token that is refused is fetched anew once, at once`, async () => {
    let count = 0
    let good = 'token-1'
    const { clock, sim, live, hear, states } = world({ token: () => `token-${++count}` }, (sim) => (sim.admit = (token) => (token === good || token === 'socket' ? undefined : 'token_expired')))
    const heard = hear(topic)
    await clock.run(20_000)
    assert.deepEqual([count, live.status.state], [1, 'open'])
    // The token ends, and with it what it opened.
    good = 'token-2'
    const ended = clock.time
    for (const stream of [...sim.streams]) {
      stream.write('tidewire.bye', errorOf('token_expired'))
      stream.end()
    }
    for (const socket of [...sim.sockets]) {
      socket.tell({ bye: errorOf('token_expired') })
      socket.drop(4401)
    }
    if (door === 'poll') sim.publish(topic, 0)
    else await clock.until('it is open again', () => sim.streams.size + sim.sockets.size === 1)
    await clock.run(door === 'poll' ? 1000 : 0)
    assert.ok(clock.time - ended <= 1000, `after ${clock.time - ended} ms`)
    assert.equal(count, 2)
    sim.publish(topic, 1)
    await clock.run(1000)
    assert.equal(heard.data.at(-1), 1)
    assert.ok(!states.includes('unauthorized'))
    live.close()
  })

  test(`${door}: a fresh token that is refused too: unauthorized, told and kept, until reconnect()`, async () => {
    let count = 0
    let good = 'none'
    const { clock, sim, live, hear } = world({ token: () => `token-${++count}` }, (sim) => (sim.admit = (token) => (token === good || token === 'socket' ? undefined : 'token_invalid')))
    const heard = hear(topic)
    await clock.run(1000)
    assert.equal(live.status.state, 'unauthorized')
    assert.match(live.status.why, /token_invalid/)
    assert.match(live.status.next, /reconnect/)
    assert.equal(count, 2)
    const asked = sim.asked.length
    await clock.run(3_600_000)
    assert.deepEqual([sim.asked.length, count, live.status.state], [asked, 2, 'unauthorized'], 'nothing is asked any more')
    good = 'token-3'
    live.reconnect()
    await clock.run(1000)
    assert.deepEqual([live.status.state, count], ['open', 3])
    sim.publish(topic, 1)
    await clock.run(100)
    assert.deepEqual(heard.data, [1])
    live.close()
  })

  test(`${door}: a token that can not be had is no refusal: it is asked for again, with growing waits`, async () => {
    let count = 0
    let isThere = false
    const token = (): string => {
      count++
      if (!isThere) throw new Error('no session')
      return 'token'
    }
    const { clock, live, hear } = world({ token })
    hear(topic)
    await clock.run(60_000)
    assert.equal(live.status.state, 'waiting')
    assert.match(live.status.why, /no session/)
    assert.ok(count >= 5 && count < 30, `${count} times in a minute`)
    isThere = true
    await clock.until('it is open', () => live.status.state === 'open', 30_000)
    live.close()
  })

  test(`${door}: a token source that never answers is a state with a reason, is asked again, and close() still ends`, async () => {
    let count = 0
    const { clock, live, hear, statuses } = world({ token: () => (++count < 3 ? new Promise<string>(() => undefined) : 'token') })
    hear(topic)
    await clock.until('it is waiting', () => live.status.state === 'waiting')
    assert.match(live.status.why, /no answer/)
    await clock.until('it is open', () => live.status.state === 'open')
    assert.deepEqual([count, statuses.filter(({ state }) => state === 'waiting').length], [3, 2])
    live.close()
    const other = world({ token: () => new Promise<string>(() => undefined) })
    other.hear(topic)
    await other.clock.run(1000)
    other.live.close()
    await other.clock.run(60_000)
    assert.equal(other.clock.waiting, 0)
  })

  test(`${door}: a topic that is refused is told so, and the others go on`, async () => {
    const bad = `${topic}/secret`
    const { clock, sim, live, hear } = world({}, (sim) => (sim.admit = (_, topics) => (topics.includes(bad) ? 'forbidden' : undefined)))
    const good = [hear(topic), hear(`${topic}/b`)]
    const refused = hear(bad)
    await clock.run(5000)
    assert.deepEqual(refused.refused, ['forbidden'])
    assert.equal(live.status.state, 'open')
    sim.publish(topic, 1)
    sim.publish(`${topic}/b`, 2)
    await clock.run(1000)
    assert.deepEqual(good.map(({ data }) => data), [[1], [2]])
    // And also when the server comes back.
    sim.kill()
    sim.start()
    sim.publish(topic, 3)
    await clock.run(10_000)
    assert.deepEqual(good[0]!.data, [1, 3])
    live.close()
  })

  test(`${door}: a topic that is refused alone: told, kept, and no hindrance to one that comes later`, async () => {
    const bad = `${topic}/secret`
    const { clock, sim, live, hear } = world({}, (sim) => (sim.admit = (_, topics) => (topics.includes(bad) ? 'forbidden' : undefined)))
    const refused = hear(bad)
    await clock.run(5000)
    assert.deepEqual(refused.refused, ['forbidden'])
    const asked = sim.asked.length
    await clock.run(600_000)
    assert.ok(sim.asked.length - asked < 5, `${sim.asked.length - asked} requests for something that is refused`)
    const later = hear(topic)
    await clock.run(5000)
    sim.publish(topic, 1)
    await clock.run(1000)
    assert.deepEqual(later.data, [1])
    live.close()
  })
}

for (const [door, topic] of DOORS) {
  test(`${door}: a cursor that is none refuses its own topic, and no other`, async () => {
    for (const isFirst of [true, false]) {
      // A leading zero: no server writes such a cursor.
      const { clock, sim, live, hear } = world()
      const bad = isFirst ? hear(`${topic}/bad`, { after: 'k.01' }) : undefined
      const good = hear(topic)
      if (!isFirst) await clock.run(2000)
      const late = bad ?? hear(`${topic}/bad`, { after: 'k.01' })
      await clock.run(5000)
      sim.publish(topic, 1)
      await clock.run(1000)
      assert.deepEqual([good.data, good.refused, late.refused], [[1], [], ['bad_cursor']])
      live.close()
    }
  })
}

test('a rung whose only topic is refused does not hold up the other rungs when they lose their connection', async () => {
  const { clock, sim, live, hear } = world({}, (sim) => (sim.admit = (_, topics) => (topics.includes('board/secret') ? 'forbidden' : undefined)))
  const chat = hear('chat/a')
  const refused = hear('board/secret')
  await clock.run(5000)
  assert.deepEqual(refused.refused, ['forbidden'])
  sim.kill()
  sim.start()
  sim.publish('chat/a', 1)
  await clock.run(30_000)
  assert.deepEqual(chat.data, [1])
  live.close()
})

test('a stream and a socket whose token ends together: one is not unauthorized because the other asked first', async () => {
  let count = 0
  let good = 'token-1'
  const { clock, sim, live, hear, states } = world({ token: () => `token-${++count}` }, (sim) => (sim.admit = (token) => (token === good || token === 'socket' ? undefined : 'token_expired')))
  const heards = [hear('board/a'), hear('chat/a'), hear('slow/a')]
  await clock.run(20_000)
  good = 'token-2'
  for (const stream of [...sim.streams]) {
    stream.write('tidewire.bye', errorOf('token_expired'))
    stream.end()
  }
  for (const socket of [...sim.sockets]) {
    socket.tell({ bye: errorOf('token_expired') })
    socket.drop(4401)
  }
  good = `token-${count + 1}`
  sim.admit = (token) => (token === 'socket' || (token && +token.slice(6) >= 2) ? undefined : 'token_expired')
  await clock.run(40_000)
  assert.ok(!states.some((state) => /unauthorized/.test(state)), states.join(', '))
  for (const topic of ['board/a', 'chat/a', 'slow/a']) sim.publish(topic, 1)
  await clock.run(1000)
  assert.deepEqual(heards.map(({ data }) => data), [[1], [1], [1]])
  live.close()
})

test('one ephemeral topic that is refused does not take the others of its stream with it', async () => {
  const { clock, sim, live, hear } = world({}, (sim) => (sim.admit = (_, topics) => (topics.includes('typing/secret') ? 'forbidden' : undefined)))
  const good = hear('board/a')
  const refused = hear('typing/secret')
  await clock.run(10_000)
  sim.publish('board/a', 1)
  await clock.run(1000)
  assert.deepEqual([good.data, refused.refused], [[1], ['forbidden']])
  live.close()
})

// Nothing that a server or something on the way may answer makes the client spin.

const ANSWERS: [string, (sim: Sim) => void][] = [
  ['500 for everything', (sim) => (sim.intercept = () => refusal(500, 'internal'))],
  ['500 without a word', (sim) => (sim.intercept = () => new Response(null, { status: 500 }))],
  ['a sign-in page for everything', (sim) => (sim.intercept = () => html())],
  ['404 for everything, in foreign words', (sim) => (sim.intercept = () => html(404))],
  ['a page of JSON that is nothing of ours', (sim) => (sim.intercept = () => json({ hello: 'world' }))],
  ['an empty answer for everything', (sim) => (sim.intercept = () => new Response(''))],
  ['`null` for everything', (sim) => (sim.intercept = () => json(null))],
  ['the plan, and a sign-in page for the rest', (sim) => (sim.intercept = ({ path }) => (path === '/plan' ? undefined : html()))],
  ['the plan, and nothing else ever', (sim) => (sim.intercept = (asked) => (asked.path === '/plan' ? undefined : never(asked)))],
  ['401 for everything', (sim) => (sim.admit = () => 'token_invalid')],
  ['a greeting and then the end, again and again', (sim) => (sim.intercept = ({ path }) => (path === '/sse' ? new Response('event: tidewire.hello\ndata: {"connection":"c","protocol":1,"beat_ms":20000,"retry_ms":0,"continuity":"new","at":"k3f9.0"}\n\n', { headers: { 'Content-Type': 'text/event-stream' } }) : undefined))],
  ['a greeting and then a goodbye for the token', (sim) => (sim.intercept = ({ path }) => (path === '/sse' ? new Response(`event: tidewire.hello\ndata: {"connection":"c","protocol":1,"beat_ms":20000,"retry_ms":0,"continuity":"new","at":"k3f9.0"}\n\nevent: tidewire.bye\ndata: ${JSON.stringify(errorOf('token_expired'))}\n\n`, { headers: { 'Content-Type': 'text/event-stream' } }) : undefined))],
  ['a stream of something else', (sim) => (sim.intercept = ({ path }) => (path === '/sse' ? new Response('data: {"price":7}\n\n', { headers: { 'Content-Type': 'text/event-stream' } }) : undefined))],
  ['a stream that ends at once', (sim) => (sim.intercept = ({ path }) => (path === '/sse' ? new Response('', { headers: { 'Content-Type': 'text/event-stream' } }) : undefined))],
  ['pages that always promise more and never come further', (sim) => (sim.intercept = ({ path }) => (path === '/events' ? json({ entries: [], cursor: 'k3f9.0', more: true, continuity: 'new' }) : undefined))],
  ['pages that repeat themselves', (sim) => (sim.intercept = ({ path }) => (path === '/events' ? json({ entries: [{ topic: 'slow/a', event: 'message', id: 'k3f9.1', data: 1 }], cursor: 'k3f9.1', more: false, continuity: 'new' }) : undefined))],
  ['sockets that refuse, streams that refuse', (sim) => {
    sim.areSocketsBlocked = true
    sim.intercept = ({ path }) => (path === '/sse' ? html(502) : undefined)
  }],
  ['a plan that changes with every look', (sim) => {
    let count = 0
    sim.intercept = ({ path }) => (path === '/plan' ? json({ ...sim.plan, tag: `${count++}` }) : undefined)
  }],
]

for (const [what, prepare] of ANSWERS) {
  test(`never spins: ${what}`, async () => {
    const { clock, sim, live, hear, errors } = world({ token: () => 'token' }, (sim, clock) => {
      prepare(sim)
      clock.draw = chance(7)
    })
    const heards = ['board/a', 'chat/a', 'slow/a', 'typing/a'].map((topic) => hear(topic))
    hear('board/b', { after: 'start' })
    const begun = clock.time
    await clock.run(300_000)
    assert.ok(!sim.isSpinning, `a thousand requests in no time: ${summary(sim, begun)}`)
    const asked = sim.asked.length
    // A minute of trouble may cost some tens of requests, an hour of it not many more a minute.
    const mostFirst = 400
    assert.ok(asked <= mostFirst, `${asked} requests in five minutes: ${summary(sim, begun)}`)
    await clock.run(1_500_000)
    const later = sim.count(/./, begun + 300_000)
    assert.ok(later <= 1500, `${later} requests in the next 25 minutes: ${summary(sim, begun + 300_000)}`)
    assert.deepEqual(errors, [])
    assert.ok(live.status.why.length > 3)
    for (const { data } of heards) assert.ok(data.length <= 1, 'nothing is delivered twice')
    live.close()
    await clock.run(60_000)
    assert.equal(clock.waiting, 0, 'no timer is left')
  })
}

/** Requests by path, for a person. */
function summary(sim: Sim, since: number): string {
  const counts = new Map<string, number>()
  for (const { at, path } of sim.asked) if (at >= since) counts.set(path.replace(/^(\/path)\/.*/, '$1/…'), (counts.get(path.replace(/^(\/path)\/.*/, '$1/…')) ?? 0) + 1)
  return JSON.stringify(Object.fromEntries(counts))
}

test('Retry-After is obeyed, in seconds and as a date, with a spread on top', async () => {
  for (const value of ['7', new Date(Date.UTC(2026, 0, 1, 0, 0, 7)).toUTCString()]) {
    const { clock, live, hear } = world({}, (sim) => (sim.intercept = () => refusal(503, 'busy', { 'Retry-After': value })))
    hear('board/a')
    await clock.run(100)
    assert.equal(live.status.state, 'waiting')
    // Half of the first spread of 500 ms.
    assert.ok(Math.abs(live.status.retryInMs! - 7250) <= 20, `${value}: ${live.status.retryInMs}`)
    live.close()
  }
})

test('a server that no longer wants a stream (204) is not asked again by itself', async () => {
  const { clock, sim, live, hear } = world({}, (sim) => (sim.intercept = ({ path }) => (path === '/sse' ? new Response(null, { status: 204 }) : undefined)))
  hear('board/a')
  await clock.run(10_000)
  assert.equal(live.status.state, 'refused')
  const asked = sim.asked.length
  await clock.run(600_000)
  assert.equal(sim.asked.length, asked)
  sim.intercept = () => undefined
  live.reconnect()
  await clock.run(1000)
  assert.equal(live.status.state, 'open')
  live.close()
})

test('what the server refuses outright is told with its reason', async () => {
  const { clock, live, hear } = world({}, (sim) => (sim.intercept = () => refusal(403, 'origin_refused')))
  const heard = hear('board/a')
  await clock.run(10_000)
  assert.deepEqual([live.status.state, heard.refused], ['refused', ['origin_refused']])
  assert.match(live.status.why, /origin_refused/)
  live.close()
})

test('an answer whose head comes and whose body does not is given up', async () => {
  const stalled = (): Response => new Response(new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode('{"features"')) }), { headers: { 'Content-Type': 'application/json' } })
  const { clock, sim, live, hear } = world({}, (sim) => (sim.intercept = () => stalled()))
  hear('board/a')
  await clock.until('it is given up', () => live.status.state === 'waiting', 11_000)
  assert.match(live.status.why, /no answer/)
  sim.intercept = () => undefined
  await clock.until('it is open', () => live.status.state === 'open')
  live.close()
})

test('ten thousand reconnects leave nothing behind', async () => {
  const { clock, sim, live, hear } = world({}, (sim) => (sim.retryMs = 0))
  const heard = hear('board/a')
  await clock.run(1000)
  const waiting = clock.waiting
  for (const n of upTo(300)) {
    sim.publish('board/a', n)
    for (const stream of [...sim.streams]) stream.fail()
    live.reconnect()
    await clock.run(100)
    live.reconnect()
  }
  await clock.until('it is open', () => live.status.state === 'open')
  await clock.run(1000)
  assert.deepEqual(heard.data, upTo(300))
  assert.ok(clock.waiting <= waiting + 3, `${clock.waiting} timers, ${waiting} before`)
  live.close()
})

// Who is here: members, renewals in one request, restarts without a flicker, last words, tabs.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Member, Presence, PresenceChange, PresenceOptions } from '../src/api.js'
import { refusal } from './support/sim.js'
import { world, type World } from './support/setup.js'

const DOORS = [['sse', 'board/a'], ['ws', 'chat/a'], ['poll', 'slow/a']] as const

interface Watched {
  here: Presence
  /** Each change, in a word. */
  told: string[]
  names(): string
}

const nameOf = ({ state }: Member): string => String((state as { name?: string }).name ?? '?')
const wordOf = (change: PresenceChange): string => ('member' in change ? `${change.event} ${nameOf(change.member)}${change.event === 'leave' ? ` ${change.why}` : ''}` : 'error' in change ? `refused ${change.error.code}` : change.event)

function watch(live: World['live'], topic: string, options?: PresenceOptions<{ [name: string]: unknown }>): Watched {
  const here = live.topic(topic).presence(options)
  const told: string[] = []
  here.on((members, change) => {
    told.push(wordOf(change))
    assert.equal(members, here.members)
  })
  return { here, told, names: () => here.members.map((one) => `${nameOf(one)}${one.isMe ? '*' : ''}`).join(' ') }
}

for (const [door, topic] of DOORS) {
  test(`${door}: those who are there, then who joins, changes and leaves`, async () => {
    const { clock, sim, live } = world({}, (sim) => sim.presence.enter(topic, 'm_ann', { name: 'ann' }))
    const { here, told, names } = watch(live, topic)
    assert.deepEqual(here.members, [], 'before anything is known')
    await clock.run(1000)
    assert.deepEqual([told, names()], [['load'], 'ann'])
    sim.presence.enter(topic, 'm_bo', { name: 'bo' })
    sim.presence.enter(topic, 'm_ann', { name: 'anna' })
    await clock.run(100)
    assert.equal(names(), 'anna bo')
    sim.presence.leave(topic, 'm_ann', 'left')
    sim.presence.leave(topic, 'm_bo', 'lost')
    await clock.run(100)
    assert.deepEqual(told, ['load', 'join bo', 'change anna', 'leave anna left', 'leave bo lost'])
    assert.equal(sim.presence.said.length, 0, 'who only watches is not there')
    here.leave()
    await clock.run(60_000)
    assert.deepEqual([sim.streams.size, sim.sockets.size, clock.waiting], [0, 0, 0])
  })

  test(`${door}: enters, renews in time, changes, leaves`, async () => {
    const { clock, sim, live } = world()
    const { here, names } = watch(live, topic, { state: { name: 'me' } })
    await clock.run(1000)
    assert.equal(names(), 'me*')
    const [first] = sim.presence.said
    assert.match(first!.member, /^[\w-]{8,32}$/)
    await clock.run(40_000)
    const renewals = sim.presence.said.filter((said) => said.here![topic] === null)
    assert.ok(renewals.length >= 4 && renewals.length <= 5, `${renewals.length} renewals`)
    here.set({ name: 'myself' })
    await clock.run(1000)
    assert.equal(names(), 'myself*')
    here.leave()
    await clock.run(1000)
    assert.equal(sim.presence.topics.get(topic)!.size, 0)
    assert.deepEqual(here.members, [], 'who has left watches no more')
    await clock.run(60_000)
    assert.equal(clock.waiting, 0)
  })
}

test('all topics of a client are renewed in one request; on the socket, if it is open for one of them', async () => {
  const { clock, sim, live } = world()
  const topics = ['board/a', 'board/b', 'chat/a']
  for (const topic of topics) live.topic(topic).presence({ join: true })
  await clock.run(1000)
  const since = sim.presence.said.length
  await clock.run(30_000)
  const said = sim.presence.said.slice(since)
  assert.equal(said.length, 3)
  for (const { here, door } of said) assert.deepEqual([Object.keys(here!).sort(), door], [topics, 'ws'])
  assert.equal(new Set(sim.presence.said.map(({ member }) => member)).size, 1, 'one name for all')
  live.close()
})

test('a socket that is open for other topics is no place to say it', async () => {
  const { clock, sim, live, hear } = world()
  hear('chat/other')
  live.topic('board/a').presence({ join: true })
  await clock.run(30_000)
  assert.equal(sim.sockets.size, 1)
  assert.deepEqual([...new Set(sim.presence.said.map(({ door }) => door))], ['http'])
  live.close()
})

test('what the server does not know any more is said again, with its state', async () => {
  const { clock, sim, live } = world()
  const { names } = watch(live, 'board/a', { state: { name: 'me' } })
  await clock.run(1000)
  const member = sim.presence.said[0]!.member
  sim.presence.leave('board/a', member, 'lost')
  await clock.run(50)
  assert.equal(names(), '')
  await clock.run(11_000)
  assert.equal(names(), 'me*')
  live.close()
})

for (const [door, topic] of DOORS.slice(0, 2)) {
  test(`${door}: a restart: nobody flickers; who does not come back is lost when the lease has ended`, async () => {
    const { clock, sim, live } = world({}, (sim) => {
      for (const name of ['ann', 'bo', 'cy']) sim.presence.enter(topic, `m_${name}`, { name })
    })
    const { told, names } = watch(live, topic, { state: { name: 'me' } })
    await clock.run(1000)
    sim.kill()
    await clock.run(500)
    sim.presence.restart()
    sim.start()
    // One of them is back before we are, one comes later with another state, and one never.
    sim.presence.enter(topic, 'm_ann', { name: 'ann' })
    await clock.until('it is open again', () => live.status.state === 'open')
    await clock.run(3000)
    assert.equal(names(), 'ann bo cy me*')
    sim.presence.enter(topic, 'm_bo', { name: 'bob' })
    await clock.run(20_000)
    assert.equal(names(), 'ann bob cy me*')
    await clock.run(20_000)
    assert.deepEqual([names(), told], ['ann bob me*', ['load', 'join me', 'change bob', 'leave cy lost']])
    live.close()
  })
}

test('a reconnect to the same life: who left meanwhile is gone at once', async () => {
  const { clock, sim, live } = world({}, (sim) => sim.presence.enter('board/a', 'm_ann', { name: 'ann' }))
  const { told } = watch(live, 'board/a')
  await clock.run(1000)
  for (const stream of [...sim.streams]) stream.fail()
  sim.presence.leave('board/a', 'm_ann', 'left')
  sim.presence.enter('board/a', 'm_bo', { name: 'bo' })
  await clock.run(5000)
  assert.deepEqual(told, ['load', 'leave ann lost', 'join bo'])
  live.close()
})

test('a change that overtakes the answer is not lost, and one that the answer has is not told twice', async () => {
  const { clock, sim, live } = world({}, (sim) => sim.presence.enter('board/a', 'm_ann', { name: 'ann' }))
  let release = (): void => undefined
  sim.intercept = (asked) => {
    if (!asked.path.startsWith('/presence/')) return undefined
    const answer = Response.json(sim.presence.members('board/a'))
    return new Promise((done) => (release = () => done(answer)))
  }
  const { told, names } = watch(live, 'board/a')
  await clock.run(1000)
  sim.presence.enter('board/a', 'm_bo', { name: 'bo' })
  sim.presence.leave('board/a', 'm_ann', 'left')
  await clock.run(100)
  assert.deepEqual(told, [])
  release()
  await clock.run(100)
  assert.deepEqual([told, names()], [['load'], 'bo'])
  sim.publish('board/a/~presence', { member: 'm_bo', user: null, state: { name: 'old' }, life: 'p1', version: 1 }, 'change')
  await clock.run(100)
  assert.equal(names(), 'bo')
  live.close()
})

test('two tabs of one user are two members, and one user; those without a user are each their own', async () => {
  const { clock, sim, live } = world({}, (sim) => {
    sim.presence.enter('board/a', 'm_tab1', { name: 'one' }, 'ann')
    sim.presence.enter('board/a', 'm_bo', { name: 'bo' }, 'bo')
    sim.presence.enter('board/a', 'm_tab2', { name: 'two' }, 'ann')
    sim.presence.enter('board/a', 'm_x', { name: 'x' })
    sim.presence.enter('board/a', 'm_y', { name: 'y' })
  })
  const { here } = watch(live, 'board/a')
  await clock.run(1000)
  const users = (): unknown[] => here.users().map(({ user, members, state }) => [user, members.length, (state as { name: string }).name])
  assert.equal(here.members.length, 5)
  assert.deepEqual(users(), [['ann', 2, 'two'], ['bo', 1, 'bo'], [null, 1, 'x'], [null, 1, 'y']])
  sim.presence.enter('board/a', 'm_tab1', { name: 'newest' }, 'ann')
  await clock.run(100)
  assert.deepEqual(users()[0], ['ann', 2, 'newest'])
  live.close()
})

test('several on one topic in one client are one member, until the last one leaves', async () => {
  const { clock, sim, live } = world()
  const first = watch(live, 'board/a', { state: { name: 'a' } })
  await clock.run(1000)
  const second = watch(live, 'board/a', { state: { name: 'b' } })
  const third = watch(live, 'board/a')
  await clock.run(1000)
  assert.deepEqual([first.names(), second.names(), third.names()], ['b*', 'b*', 'b*'])
  assert.deepEqual(second.told, ['load', 'change b'])
  assert.equal(sim.count('/presence/board%2Fa'), 1, 'the members were asked for once')
  first.here.leave()
  await clock.run(1000)
  assert.equal(third.names(), 'b*')
  second.here.leave()
  await clock.run(1000)
  assert.equal(third.names(), '')
  live.close()
})

test('a server that is away or slow: renewals back off, one at a time, and the newest state is the one that holds', async () => {
  const { clock, sim, live } = world()
  const { here, names } = watch(live, 'board/a', { state: { name: 'me' } })
  await clock.run(1000)
  let under = 0
  let most = 0
  sim.intercept = (asked) => {
    if (asked.method !== 'POST') return undefined
    most = Math.max(most, ++under)
    return new Promise((done) => clock.after(500, () => {
      under--
      done(asked.path === '/presence' && Math.floor(clock.time / 3000) % 2 ? refusal(503, 'busy') : (undefined as never))
    }))
  }
  for (let n = 0; n < 50; n++) {
    here.set({ name: `n${n}` })
    await clock.run(100)
  }
  await clock.run(15_000)
  assert.deepEqual([names(), most], ['n49*', 1])
  live.close()
})

test('a topic that is refused is told, and the others stay', async () => {
  const { clock, sim, live, errors } = world({}, (sim) => (sim.presence.refused = (topic) => topic === 'board/b'))
  const [good, bad] = [watch(live, 'board/a', { state: { name: 'a' } }), watch(live, 'board/b', { state: { name: 'b' } })]
  await clock.run(25_000)
  assert.deepEqual([good.names(), bad.names()], ['a*', ''])
  assert.ok(bad.told.includes('refused no_presence'))
  assert.ok(errors.length >= 1 && errors.every((error) => (error as { code?: string }).code === 'no_presence'), String(errors))
  const since = sim.presence.said.length
  await clock.run(20_000)
  assert.deepEqual(sim.presence.said.slice(since).map(({ here }) => Object.keys(here!)), [['board/a'], ['board/a']], 'it is not asked again and again')
  live.close()
})

test('close() says goodbye, and no timer is left', async () => {
  const { clock, sim, live } = world()
  watch(live, 'chat/a', { state: { name: 'me' } })
  await clock.run(1000)
  live.close()
  await clock.run(1000)
  assert.equal(sim.presence.topics.get('chat/a')!.size, 0)
  await clock.run(60_000)
  assert.equal(clock.waiting, 0)
})

test('a page that is put away says its last words with its token, and is back when it is shown', async (t) => {
  const frame = new EventTarget()
  Object.assign(globalThis, { document: Object.assign(new EventTarget(), { visibilityState: 'visible' }), addEventListener: frame.addEventListener.bind(frame), removeEventListener: frame.removeEventListener.bind(frame) })
  t.after(() => ['document', 'addEventListener', 'removeEventListener'].forEach((name) => delete (globalThis as { [name: string]: unknown })[name]))
  const { clock, sim, live } = world({ share: false, token: 'secret' })
  const { names } = watch(live, 'board/a', { state: { name: 'me' } })
  await clock.run(1000)
  const before = sim.asked.length
  frame.dispatchEvent(Object.assign(new Event('pagehide'), { persisted: true }))
  await clock.run(10)
  const words = sim.asked.slice(before).filter(({ path }) => path === '/presence')
  assert.deepEqual(words.map(({ body, headers, keepalive }) => [JSON.parse(body).gone, headers.get('authorization'), keepalive]), [[['*'], 'Bearer secret', true]])
  assert.equal(sim.presence.topics.get('board/a')!.size, 0)
  await clock.run(60_000)
  assert.equal(sim.presence.said.at(-1)!.gone![0], '*', 'nothing is said while it is away')
  frame.dispatchEvent(Object.assign(new Event('pageshow'), { persisted: true }))
  await clock.run(5000)
  assert.equal(names(), 'me*')
  live.close()
})

test('where timers are slow, what comes over the network renews', async () => {
  const { clock, sim, live } = world()
  const after = clock.env.after
  // A tab that was long in the background: its timers come once in ten minutes.
  let isSlow = false
  const slow = world({ env: { after: (ms: number, call: () => void) => after(isSlow ? Math.max(ms, 600_000) : ms, call), now: clock.env.now, fetch: sim.env.fetch } as never })
  slow.live.topic('board/a').presence({ join: true })
  await clock.run(1000)
  isSlow = true
  await clock.run(100_000)
  const times = sim.presence.said.length
  assert.ok(times >= 4, `${times} announcements in 100 s, of a lease of 30`)
  slow.live.close()
  live.close()
})

// A topic as a loop: whole, in order, with a bound on what waits, and an end.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Entry, EventsOptions } from '../src/api.js'
import { chance } from './support/clock.js'
import { refusal } from './support/sim.js'
import { upTo, world } from './support/setup.js'

const DOORS = [['sse', 'board/a'], ['ws', 'chat/a'], ['poll', 'slow/a']] as const

/** A loop that a test steps through, and what it gave. */
function loop(live: ReturnType<typeof world>['live'], topic: string, options?: EventsOptions): { got: unknown[]; ids: (string | undefined)[]; over?: 'done' | Error; take(most?: number): void; iterator: AsyncIterableIterator<Entry> } {
  const iterator = live.topic(topic).events(options) as AsyncIterableIterator<Entry>
  const self: ReturnType<typeof loop> = {
    got: [],
    ids: [],
    iterator,
    take(most = Infinity) {
      void (async () => {
        for (let count = 0; count < most && !self.over; count++) {
          const { done, value } = await iterator.next()
          if (done) self.over = 'done'
          else {
            self.got.push(value.data)
            self.ids.push(value.id)
          }
        }
      })().catch((error: Error) => (self.over = error))
    },
  }
  return self
}

for (const [door, topic] of DOORS) {
  test(`${door}: a stream that is joined late is heard whole, and ends with its last event, which is heard too`, async () => {
    const { clock, sim, live } = world()
    for (const n of upTo(3)) sim.publish(topic, n)
    const parts = loop(live, topic)
    parts.take()
    await clock.run(1000)
    assert.deepEqual(parts.got, [0, 1, 2])
    sim.publish(topic, 3)
    sim.publish(topic, 'that was all', 'end')
    sim.publish(topic, 'too late')
    await clock.run(1000)
    assert.deepEqual([parts.got, parts.over], [[0, 1, 2, 3, 'that was all'], 'done'])
    assert.deepEqual(parts.ids, upTo(5).map((n) => `k3f9.${n + 1}`))
    await clock.run(60_000)
    assert.equal(live.status.state, 'idle')
    assert.equal(clock.waiting, 0)
  })

  test(`${door}: a slow loop pauses the reading, and loses nothing`, async () => {
    const { clock, sim, live } = world()
    for (const n of upTo(100)) sim.publish(topic, n)
    const parts = loop(live, topic, { buffer: 10 })
    parts.take(1)
    await clock.run(2000)
    assert.deepEqual(parts.got, [0])
    assert.equal(live.status.state, 'idle', 'nothing is read while nobody takes')
    for (let taken = 1; taken < 120; taken += 7) {
      sim.publish(topic, sim.log.newest)
      parts.take(7)
      await clock.run(300)
    }
    parts.take()
    await clock.run(3000)
    assert.deepEqual(parts.got, upTo(sim.log.newest))
    live.close()
  })

  test(`${door}: two loops and a listener on one topic, each at its own speed`, async () => {
    const { clock, sim, live, hear } = world({}, (_, clock) => (clock.draw = chance(3)))
    for (const n of upTo(60)) sim.publish(topic, n)
    const heard = hear(topic)
    const [fast, slow] = [loop(live, topic), loop(live, topic, { buffer: 5 })]
    fast.take()
    for (let turn = 0; turn < 80; turn++) {
      if (turn % 2) sim.publish(topic, sim.log.newest)
      slow.take(2)
      await clock.run(60)
    }
    slow.take()
    await clock.run(5000)
    assert.deepEqual(fast.got, upTo(100))
    assert.deepEqual(slow.got, upTo(100))
    const first = heard.data[0] as number
    assert.deepEqual(heard.data, upTo(100).slice(first), 'a listener hears an unbroken end of it')
    assert.ok(first <= 62, `${first}`)
    assert.ok(sim.asked.length < 200, `${sim.asked.length} requests`)
    live.close()
  })

  test(`${door}: a loop goes on after a killed server`, async () => {
    const { clock, sim, live } = world()
    const parts = loop(live, topic, { buffer: 4 })
    parts.take()
    await clock.run(1000)
    for (let n = 0; n < 20; n++) {
      sim.publish(topic, n)
      if (n % 7 === 3) {
        sim.kill()
        sim.start()
      }
      await clock.run(200)
    }
    await clock.run(30_000)
    assert.deepEqual(parts.got, upTo(20))
    live.close()
  })

  test(`${door}: break, return() and a signal end it at once, also while it waits`, async () => {
    const { clock, sim, live } = world()
    sim.publish(topic, 0)
    sim.publish(topic, 1)
    const got: unknown[] = []
    const broken = (async () => {
      for await (const { data } of live.topic(topic).events()) {
        got.push(data)
        break
      }
    })()
    const abort = new AbortController()
    const aborted = loop(live, topic, { after: 'now', signal: abort.signal })
    aborted.take()
    const returned = loop(live, topic, { after: 'now' })
    returned.take()
    await clock.run(1000)
    await broken
    assert.deepEqual(got, [0])
    abort.abort()
    await returned.iterator.return!()
    await clock.run(1)
    assert.deepEqual([aborted.over, returned.over], ['done', 'done'])
    await clock.run(60_000)
    assert.equal(clock.waiting, 0, 'nothing is read any more')
    const never = loop(live, topic, { signal: AbortSignal.abort() })
    never.take()
    await clock.run(10)
    assert.deepEqual([never.over, never.got], ['done', []])
  })

  test(`${door}: a topic that is refused ends the loop with the reason, after what was heard before`, async () => {
    const { clock, sim, live } = world()
    sim.publish(topic, 0)
    const parts = loop(live, topic)
    parts.take()
    await clock.run(1000)
    sim.admit = () => 'forbidden'
    sim.publish(topic, 1)
    sim.kill()
    sim.start()
    await clock.run(30_000)
    assert.deepEqual(parts.got.slice(0, 1), [0])
    assert.equal((parts.over as Error & { code: string }).code, 'forbidden')
    assert.equal((parts.over as Error).name, 'TidewireError')
    live.close()
  })

  test(`${door}: from a cursor, from now, until another event, all kinds of events`, async () => {
    const { clock, sim, live } = world()
    for (const n of upTo(4)) sim.publish(topic, n, n % 2 ? 'odd' : 'even')
    const from = loop(live, topic, { after: 'k3f9.2', until: 'odd' })
    const now = loop(live, topic, { after: 'now' })
    from.take()
    now.take()
    await clock.run(1000)
    sim.publish(topic, 4)
    await clock.run(1000)
    assert.deepEqual([from.got, from.over, now.got], [[2, 3], 'done', [4]])
    live.close()
  })
}

test('what nobody keeps can not wait for ever: the loop says so', async () => {
  for (const topic of ['typing/x', 'pointers/1']) {
    const { clock, sim, live } = world()
    const parts = loop(live, topic, { buffer: 3 })
    parts.take(1)
    await clock.run(1000)
    for (const n of upTo(10)) sim.publish(topic, n)
    await clock.run(100)
    parts.take()
    await clock.run(100)
    // Three may wait, and one was waited for.
    assert.ok(parts.got.length >= 3 && parts.got.length <= 4)
    assert.deepEqual(parts.got, upTo(parts.got.length))
    assert.equal((parts.over as Error & { code: string }).code, 'too_slow')
    live.close()
  }
})

test('two calls of next() at once are answered in order', async () => {
  const { clock, sim, live } = world()
  const iterator = live.topic('board/a').events() as AsyncIterableIterator<Entry>
  const answers: unknown[] = []
  const nexts = [iterator.next(), iterator.next(), iterator.next()]
  nexts.forEach((next) => next.then(({ value, done }) => answers.push(done ? 'done' : value.data)))
  await clock.run(1000)
  sim.publish('board/a', 0)
  sim.publish('board/a', 1, 'end')
  await clock.run(1000)
  assert.deepEqual(answers, [0, 1, 'done'])
  live.close()
})

test('a loop whose server never answers waits, and close() ends it', async () => {
  const { clock, live } = world({}, (sim) => (sim.intercept = () => refusal(503, 'busy')))
  const parts = loop(live, 'board/a')
  parts.take()
  await clock.run(30_000)
  assert.equal(parts.over, undefined)
  live.close()
  await clock.run(10)
  assert.equal(parts.over, 'done')
})

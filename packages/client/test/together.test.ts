// Topics that come to a stream which others are on: who must catch up first, and who comes meanwhile.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { never } from './support/sim.js'
import { upTo, world } from './support/setup.js'

test('topics that must all catch up first are no loss, and wait for nothing', async () => {
  const { clock, sim, live, states, hear } = world()
  for (const n of upTo(4)) sim.publish(n % 2 ? 'board/a' : 'board/b', n)
  const [a, b] = [hear('board/a', { after: 'start' }), hear('board/b', { after: 'k3f9.1' })]
  const begun = clock.time
  await clock.until('it is open', () => live.status.state === 'open')
  assert.deepEqual([a.data, b.data], [[1, 3], [2]])
  assert.deepEqual(states, ['connecting sse', 'open sse'])
  assert.ok(clock.time - begun < 100, `it took ${clock.time - begun} ms`)
  live.close()
})

test('a topic that comes while another one catches up: neither waits for the other, and nothing is asked in circles', async () => {
  const { clock, sim, live, hear } = world()
  for (const n of upTo(3)) sim.publish('board/b', n)
  const a = hear('board/a')
  await clock.until('it is open', () => live.status.state === 'open')
  let held = 0
  sim.intercept = (asked) => (asked.path === '/events' && held++ === 0 ? never(asked) : undefined)
  const b = hear('board/b', { after: 'start' })
  await clock.until('it catches up', () => held)
  const c = hear('board/c')
  await clock.until('it has caught up', () => b.data.length, 5000)
  await clock.run(5000)
  for (const topic of ['board/a', 'board/b', 'board/c']) sim.publish(topic, 'live')
  await clock.run(1000)
  assert.deepEqual([a.data, b.data, c.data], [['live'], [0, 1, 2, 'live'], ['live']])
  assert.ok(sim.asked.length < 20, `${sim.asked.length} requests`)
  live.close()
})

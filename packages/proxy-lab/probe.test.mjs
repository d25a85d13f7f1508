// Every set-up does what `expected.json` says, so a proxy that changes its ways is noticed.

import assert from 'node:assert/strict'
import test from 'node:test'
import { AT_ONCE, each, expected, setups } from './lab.mjs'
import { probe } from './probe.mjs'

test('each set-up has a row', () => assert.deepEqual(Object.keys(expected), Object.keys(setups)))

test('behind', { concurrency: AT_ONCE }, async (t) => {
  await each(t, async (path, t) => {
    const { outcome, delays } = await probe(path)
    t.diagnostic(`${path.name}: ${JSON.stringify(delays)}`)
    for (const [way, right] of Object.entries(expected[path.name])) {
      assert.ok([right].flat().includes(outcome[way]), `${way} is ${outcome[way]}, not ${right}`)
    }
    assert.deepEqual(Object.keys(outcome).sort(), Object.keys(expected[path.name]).sort())
  })
})

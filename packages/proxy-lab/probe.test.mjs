// Every set-up does what `expected.json` says, so a proxy that changes its ways is noticed.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { setups, withProxy } from './lab.mjs'
import { probe } from './probe.mjs'

const expected = JSON.parse(readFileSync(new URL('expected.json', import.meta.url), 'utf8'))

test('each set-up has a row', () => assert.deepEqual(Object.keys(expected), Object.keys(setups)))

test('behind', { concurrency: 3 }, async (t) => {
  await Promise.all(Object.entries(setups).map(([name, setup]) => t.test(name, async (t) => {
    const { outcome, delays } = await withProxy(setup, probe)
    t.diagnostic(`${name}: ${JSON.stringify(delays)}`)
    assert.deepEqual(outcome, expected[name])
  })))
})

// conformance/backoff.json, and what it can not say in data.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Backoff, POLICY, type Told } from '../src/backoff.js'
import { chance } from './support/clock.js'
import { vectors } from './support/vectors.js'

type Word = { slot_ms: number } | { retry_after_ms: number } | null
type Step = { lost: { draw: number; told: Word }; wait_ms: number } | { open: { lasted_ms: number; heard: boolean } }
interface Case {
  name: string
  policy: { first_ms: number; delay_max_ms: number; told_max_ms: number; stable_ms: number }
  steps: Step[]
}

const toldOf = (word: Word): Told | undefined => (word === null ? undefined : 'slot_ms' in word ? { ms: word.slot_ms } : { ms: word.retry_after_ms, everybody: true })

const { cases } = vectors<{ cases: Case[] }>('backoff.json')

for (const { name, policy, steps } of cases) {
  test(`backoff.json: ${name}`, () => {
    const backoff = new Backoff({ first: policy.first_ms, most: policy.delay_max_ms, told: policy.told_max_ms, stable: policy.stable_ms })
    steps.forEach((step, index) => {
      if ('open' in step) backoff.wasOpen(step.open.lasted_ms, step.open.heard)
      else assert.equal(backoff.wait(step.lost.draw, toldOf(step.lost.told)), step.wait_ms, `step ${index}`)
    })
  })
}

test('the vectors are there', () => assert.ok(cases.length >= 10))

test('the policy is the one of the vectors', () => {
  const [first] = cases
  assert.deepEqual(POLICY, { first: first!.policy.first_ms, most: first!.policy.delay_max_ms, told: first!.policy.told_max_ms, stable: first!.policy.stable_ms })
})

test('clients that lose a server together do not come back together', () => {
  const draw = chance(1)
  const waits = Array.from({ length: 1000 }, () => {
    const backoff = new Backoff()
    for (let loss = 0; loss < 5; loss++) backoff.wait(draw())
    return backoff.wait(draw())
  })
  // The sixth spread is 16 s wide: no second of it is left out, and none holds a third of them.
  const seconds = Array.from({ length: 16 }, (_, second) => waits.filter((wait) => Math.floor(wait / 1000) === second).length)
  assert.ok(Math.min(...seconds) > 0 && Math.max(...seconds) < 333, seconds.join(' '))
})

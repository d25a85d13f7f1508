import assert from 'node:assert/strict'
import { test } from 'node:test'

import { compare, perOperation, table } from './compare.mjs'

const madeWith = { rustc: '1.95.0', libc: 'glibc 2.36' }
const baseline = { madeWith, tolerancePercent: 5, cases: { encode: 100, sweep: 400 } }
const verdicts = ({ rows }) => Object.fromEntries(rows.map(({ name, verdict }) => [name, verdict]))

test('a count within the tolerance says nothing, at both edges', () => {
  for (const encode of [95, 100, 105]) {
    const { failed, words } = compare(baseline, { madeWith, cases: { encode, sweep: 400 } })
    assert.deepEqual([failed, words], [[], []], String(encode))
  }
})

test('a higher count fails and says by how much', () => {
  const found = compare(baseline, { madeWith, cases: { encode: 105.1, sweep: 500 } })
  assert.deepEqual(verdicts(found), { encode: 'more', sweep: 'more' })
  assert.equal(found.failed.length, 2)
  assert.match(found.words[1], /^sweep costs 500\.0 instructions, 400\.0 before: \+25\.0 %/)
  assert.match(table(found.rows), /sweep +400\.0 +500\.0 +\+25\.0 % +more/)
})

test('a lower count asks for a new baseline and does not fail', () => {
  const found = compare(baseline, { madeWith, cases: { encode: 94.9, sweep: 400 } })
  assert.deepEqual(verdicts(found), { encode: 'less', sweep: 'same' })
  assert.equal(found.failed.length, 0)
  assert.match(found.words[0], /make guard-update/)
})

test('what is counted with something else is not judged, and that is said', () => {
  const found = compare(baseline, { madeWith: { ...madeWith, rustc: '1.96.0' }, cases: { encode: 200, sweep: 400 } })
  assert.deepEqual([found.isJudged, found.failed], [false, []])
  assert.match(found.words[0], /rustc 1\.95\.0, this with 1\.96\.0/)
  assert.match(found.words[1], /NOT JUDGED/)
  assert.match(found.words[2], /^encode costs 200\.0/)
})

test('half of a change fails wherever it is counted', () => {
  for (const rustc of ['1.95.0', '1.96.0']) {
    const found = compare(baseline, { madeWith: { ...madeWith, rustc }, cases: { encode: 100, step: 7 } })
    assert.deepEqual(verdicts(found), { encode: 'same', step: 'new', sweep: 'gone' })
    assert.equal(found.failed.length, 2)
  }
})

test('a case that counted nothing has no figure', () => {
  const profile = 'events: Ir\nsummary: 1000\ntotals: 1000\n'
  assert.equal(perOperation(profile, 'test x ... counted 300\nok'), 3.3)
  assert.equal(perOperation(profile, 'test x ... ok'), undefined)
  assert.equal(perOperation('totals: 0\n', 'counted 300'), undefined)
  assert.equal(perOperation('', 'counted 300'), undefined)
})

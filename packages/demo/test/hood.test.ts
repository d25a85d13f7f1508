import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compare, IDS_MAX, Numbers, Tally } from '../src/hood/tally'
import { changes } from '../src/hood/words'
import type { Report } from '@tidewire/client'

test('an id that is heard twice is counted as repeated, in its topic only', () => {
  const tally = new Tally()
  for (const [topic, id] of [['a', '1'], ['a', '2'], ['a', '2'], ['b', '2']] as const) tally.heard(topic, id)
  assert.deepEqual([tally.of('a').repeated, tally.of('b').repeated, tally.of('a').heard], [1, 0, 3])
})

test('what has no id is heard and never judged', () => {
  const tally = new Tally()
  tally.heard('pointers/x', undefined)
  tally.heard('pointers/x', undefined)
  assert.deepEqual([tally.of('pointers/x').heard, tally.of('pointers/x').unplaced, tally.of('pointers/x').repeated], [2, 2, 0])
})

test('a topic that is read anew on purpose repeats nothing', () => {
  const tally = new Tally()
  tally.heard('answers/1', 'x')
  tally.anew('answers/1')
  tally.heard('answers/1', 'x')
  assert.equal(tally.of('answers/1').repeated, 0)
})

test('memory is bounded, and the newest ids stay', () => {
  const tally = new Tally()
  for (let n = 0; n < IDS_MAX + 10; n++) tally.heard('a', String(n))
  assert.deepEqual([tally.of('a').ids.length, tally.of('a').ids[0], tally.of('a').heard], [IDS_MAX, '10', IDS_MAX + 10])
})

test('what the log has and was not heard is lost', () => {
  assert.deepEqual(compare(['1', '3'], ['1', '2', '3']), { matched: 2, lost: 1, repeated: 0, unordered: 0 })
})

test('twice is repeated, and the wrong way round is out of order', () => {
  assert.deepEqual(compare(['1', '2', '2', '3'], ['1', '2', '3']), { matched: 3, lost: 0, repeated: 1, unordered: 0 })
  assert.deepEqual(compare(['2', '1'], ['1', '2']), { matched: 2, lost: 0, repeated: 0, unordered: 1 })
})

test('what came after the log was asked is not held against anybody', () => {
  assert.deepEqual(compare(['1', '2', '3'], ['1', '2']), { matched: 2, lost: 0, repeated: 0, unordered: 0 })
})

test('only numbers that were acknowledged can be lost', () => {
  const numbers = new Numbers()
  for (const n of [1, 2, 3]) numbers.acknowledged(n)
  for (const n of [1, 3, 3, 4]) numbers.heard(n)
  assert.deepEqual(numbers.count(), { sent: 3, heard: 3, lost: 1, repeated: 1 })
})

test('a move of several topics is one line', () => {
  const report = (transport: 'sse' | 'ws', path: string): Report => ({ at: '', server: '', status: { state: 'open', why: '', next: '' }, topics: ['board/a', 'stats/a'].map((topic) => ({ topic, transport, after: 'x.1' })), path: { sse: path }, plan: {}, recent: [] })
  const lines = changes(report('sse', 'clear'), report('ws', 'buffered')).map(({ text }) => text)
  assert.deepEqual(lines, ['board/a, stats/a: moved from event stream to WebSocket, each with its place.', 'This network lets event stream through: no, it holds it back.'])
})

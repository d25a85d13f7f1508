import assert from 'node:assert/strict'
import { test } from 'node:test'
import { agoWords, dayWords, dueWords } from '../src/ui/time'

const now = new Date(2026, 10, 23, 15, 0)

test('a due day is said as people say it, and the ones that press are marked', () => {
  const cases: [string, string, string][] = [
    ['2026-11-20', '20 Nov', 'late'], ['2026-11-22', 'Yesterday', 'late'], ['2026-11-23', 'Today', 'soon'], ['2026-11-24', 'Tomorrow', 'soon'],
    ['2026-11-27', 'Friday', 'later'], ['2026-11-30', '30 Nov', 'later'], ['2027-01-02', '2 Jan 2027', 'later'],
  ]
  for (const [day, words, tone] of cases) assert.deepEqual(dueWords(day, now), { words, tone }, day)
})

test('days of the chat are told apart at midnight, not after 24 hours', () => {
  assert.equal(dayWords(new Date(2026, 10, 23, 0, 1).getTime(), now), 'Today')
  assert.equal(dayWords(new Date(2026, 10, 22, 23, 59).getTime(), now), 'Yesterday')
  assert.equal(dayWords(new Date(2026, 10, 20, 12).getTime(), now), 'Friday 20 November')
})

test('how long ago, in the largest unit that says enough', () => {
  const at = now.getTime()
  for (const [seconds, words] of [[5, 'just now'], [90, '2 min ago'], [7200, '2 h ago'], [86_400, 'yesterday'], [3 * 86_400, '3 days ago'], [-30, 'just now']] as const) assert.equal(agoWords(at - seconds * 1000, at), words)
})

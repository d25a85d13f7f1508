import assert from 'node:assert/strict'
import { test } from 'node:test'
import { anew, begins, came, earlier, fails, groups, type Said, SILENT, stored } from '../src/chat/list'

const said = (id: string, by = 'ben', text = id, at = 0): Said => ({ id, by, text, at })
const ids = ({ said }: { said: readonly Said[] }): string[] => said.map(({ id }) => id)

test('a message of mine stands once, whether its answer or its event comes first', () => {
  const sent = begins(SILENT, 'k', 'hi', 0)
  const eventFirst = stored(came(sent, said('1', 'ann', 'hi'), 'ann'), 'k', '1')
  const answerFirst = came(stored(sent, 'k', '1'), said('1', 'ann', 'hi'), 'ann')
  for (const state of [eventFirst, answerFirst]) assert.deepEqual([ids(state), state.sending], [['1'], []])
})

test('the same text twice is two messages', () => {
  let state = begins(begins(SILENT, 'a', 'hi', 0), 'b', 'hi', 1)
  state = came(state, said('1', 'ann', 'hi'), 'ann')
  assert.deepEqual([ids(state), state.sending.map(({ key }) => key)], [['1'], ['b']])
  state = came(stored(state, 'b', '2'), said('2', 'ann', 'hi'), 'ann')
  assert.deepEqual([ids(state), state.sending], [['1', '2'], []])
})

test('the same text of somebody else confirms nothing of mine', () => {
  const state = came(begins(SILENT, 'k', 'hi', 0), said('1', 'ben', 'hi'), 'ann')
  assert.equal(state.sending.length, 1)
})

test('what failed stays, and goes when it is sent again under its key', () => {
  let state = fails(begins(SILENT, 'k', 'hi', 0), 'k')
  assert.equal(state.sending[0]!.state, 'failed')
  state = begins(state, 'k', 'hi', 1)
  assert.deepEqual(state.sending.map(({ state }) => state), ['sending'])
})

test('older pages go before, and nothing stands twice', () => {
  const state = earlier(came(SILENT, said('3'), 'ann'), [said('1'), said('2'), said('3')])
  assert.deepEqual(ids(state), ['1', '2', '3'])
})

test('a page after a gap joins on where it overlaps, and replaces all where it does not', () => {
  const state = { ...SILENT, said: [said('1'), said('2'), said('3')] }
  assert.deepEqual(ids(anew(state, [said('2'), said('3'), said('4')])), ['1', '2', '3', '4'])
  assert.deepEqual(ids(anew(state, [said('8'), said('9')])), ['8', '9'])
  assert.deepEqual(ids(anew(state, [])), [])
})

test('one person within five minutes is one group', () => {
  const found = groups([said('1', 'ann', '', 0), said('2', 'ann', '', 200_000), said('3', 'ben', '', 200_001), said('4', 'ben', '', 600_002)])
  assert.deepEqual(found.map(({ by, said }) => [by, said.length]), [['ann', 2], ['ben', 1], ['ben', 1]])
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { began, byColumn, clashes, EMPTY, ended, heard, known, loaded, orderBefore, removed, shown } from '../src/board/state'
import type { Task } from '../src/things'

const task = (id: number, more: Partial<Task> = {}): Task => ({ id, board: 'launch', column: 'todo', order: id * 1024, title: `task ${id}`, description: '', assignee: null, due: null, labels: [], version: 1, created_by: 'ann', created_at: 0, updated_by: 'ann', updated_at: 0, comments: 0, ...more })
const ids = (tasks: readonly Task[]): number[] => tasks.map(({ id }) => id)

test('an older version that comes late changes nothing', () => {
  const state = known(known(EMPTY, [task(1, { version: 3, title: 'new' })]), [task(1, { version: 2, title: 'old' })])
  assert.equal(shown(state)[0]!.title, 'new')
})

test('what was deleted does not come back with an event that was on its way', () => {
  const state = heard(removed(known(EMPTY, [task(1)]), 1), { event: 'task.changed', data: { ...task(1, { version: 9 }), by: 'ben' } })
  assert.deepEqual(ids(shown(state)), [])
})

test('a load anew takes away what it does not name, and keeps what is newer than it', () => {
  const state = loaded(known(EMPTY, [task(1), task(2, { version: 5, title: 'newer' })]), [task(2, { version: 4 })])
  assert.deepEqual(shown(state).map(({ id, title }) => [id, title]), [[2, 'newer']])
})

test('a move shows at once, stands over what comes meanwhile, and ends with its answer', () => {
  let state = known(EMPTY, [task(1), task(2), task(3)])
  state = began(state, { key: 'k', kind: 'move', id: 3, column: 'todo', before: 1 })
  assert.deepEqual(ids(shown(state)), [3, 1, 2])
  state = heard(state, { event: 'task.changed', data: { ...task(3, { version: 2, title: 'edited' }), by: 'ben' } })
  assert.deepEqual(shown(state).map(({ id, title }) => [id, title])[0], [3, 'edited'])
  state = ended(known(state, [task(3, { version: 3, order: 512 })]), 'k')
  assert.deepEqual(ids(shown(state)), [3, 1, 2])
})

test('a refused change is taken back, and what is known stays', () => {
  const state = began(known(EMPTY, [task(1)]), { key: 'k', kind: 'change', id: 1, patch: { title: 'mine' } })
  assert.equal(shown(state)[0]!.title, 'mine')
  assert.equal(shown(ended(state, 'k'))[0]!.title, 'task 1')
})

test('two changes of one task that wait for answers both show', () => {
  const one = began(known(EMPTY, [task(1)]), { key: 'a', kind: 'change', id: 1, patch: { title: 'mine' } })
  const both = began(one, { key: 'b', kind: 'move', id: 1, column: 'done', before: null })
  assert.deepEqual(shown(both).map(({ title, column }) => [title, column]), [['mine', 'done']])
})

test('a place before a card lies between its neighbours; at the end, after the last', () => {
  const tasks = [task(1), task(2), task(3)]
  assert.equal(orderBefore(tasks, 'todo', 2), 1536)
  assert.equal(orderBefore(tasks, 'todo', 1), 0)
  assert.equal(orderBefore(tasks, 'todo', null), 3 * 1024 + 1024)
  assert.equal(orderBefore(tasks, 'done', null), 1024)
  assert.equal(orderBefore(tasks, 'todo', 3, 2), (1024 + 3 * 1024) / 2, 'the card that moves does not count')
})

test('columns are in the order of the board, and a task of an unknown column is in none', () => {
  const board = { id: 'launch', name: 'Launch', columns: [{ id: 'todo', name: 'To do' }, { id: 'done', name: 'Done', done: true }] }
  const columns = byColumn(board, [task(1), task(2, { column: 'gone' }), task(3, { column: 'done' })])
  assert.deepEqual([...columns].map(([id, tasks]) => [id, ids(tasks)]), [['todo', [1]], ['done', [3]]])
})

test('only a field that both changed, each to something else, is a clash', () => {
  const before = task(1, { labels: ['a'] })
  const theirs = { ...before, title: 'theirs', assignee: 'ben', labels: ['a', 'b'] }
  assert.deepEqual(clashes(before, theirs, { description: 'mine' }), [])
  assert.deepEqual(clashes(before, theirs, { title: 'mine', description: 'mine' }), ['title'])
  assert.deepEqual(clashes(before, theirs, { assignee: 'ben' }), [], 'both wanted the same')
  assert.deepEqual(clashes(before, theirs, { labels: ['a', 'c'] }), ['labels'])
})

test('comments of a task are counted up, whichever came first', () => {
  const state = heard(known(EMPTY, [task(1)]), { event: 'task.commented', data: { task: 1, comment: { id: 1, task: 1, by: 'ben', text: 'hi', at: 0 }, comments: 4, by: 'ben' } })
  assert.equal(shown(known(state, [task(1, { version: 2, comments: 3 })]))[0]!.comments, 4)
})

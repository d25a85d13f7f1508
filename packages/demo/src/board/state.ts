// A board as this window sees it: what the server said, and on top of it what was done here and is
// not answered yet. Pure: no clock, no network.
//
// Invariant: of a task only the newest version is kept, and what was deleted does not come back.

import type { Patch } from '../api'
import type { App, Board, Task } from '../things'

export type Op =
  | { key: string; kind: 'create'; task: Task }
  | { key: string; kind: 'change'; id: number; patch: Patch }
  | { key: string; kind: 'move'; id: number; column: string; before: number | null }
  | { key: string; kind: 'delete'; id: number }

export interface BoardState {
  readonly tasks: ReadonlyMap<number, Task>
  readonly gone: ReadonlySet<number>
  readonly ops: readonly Op[]
}

export const EMPTY: BoardState = { tasks: new Map(), gone: new Set(), ops: [] }

type BoardEvents = App['board']
export type BoardEvent = { [E in keyof BoardEvents]: { event: E; data: BoardEvents[E] } }[keyof BoardEvents]

/** What the server has: a load, or an answer. An older version than ours changes nothing. */
export function known(state: BoardState, tasks: readonly Task[]): BoardState {
  const next = new Map(state.tasks)
  for (const task of tasks) {
    const ours = next.get(task.id)
    if (state.gone.has(task.id) || (ours && ours.version >= task.version)) continue
    next.set(task.id, ours ? { ...task, comments: Math.max(task.comments, ours.comments) } : task)
  }
  return { ...state, tasks: next }
}

/** A load anew: what it does not name was deleted meanwhile. */
export function loaded(state: BoardState, tasks: readonly Task[]): BoardState {
  const ids = new Set(tasks.map(({ id }) => id))
  const kept = new Map([...state.tasks].filter(([id]) => ids.has(id)))
  return known({ ...state, tasks: kept }, tasks)
}

export function heard(state: BoardState, event: BoardEvent): BoardState {
  if (event.event === 'task.deleted') return removed(state, event.data.id)
  if (event.event === 'task.commented') {
    const task = state.tasks.get(event.data.task)
    return task ? { ...state, tasks: new Map(state.tasks).set(task.id, { ...task, comments: event.data.comments }) } : state
  }
  const { by: _, ...task } = event.data
  return known(state, [task])
}

export function removed(state: BoardState, id: number): BoardState {
  const tasks = new Map(state.tasks)
  tasks.delete(id)
  return { ...state, tasks, gone: new Set(state.gone).add(id) }
}

export const began = (state: BoardState, op: Op): BoardState => ({ ...state, ops: [...state.ops, op] })
export const ended = (state: BoardState, key: string): BoardState => ({ ...state, ops: state.ops.filter((op) => op.key !== key) })

/** The tasks with everything that was done here and is not answered yet. */
export function shown({ tasks, ops }: BoardState): Task[] {
  const now = new Map(tasks)
  for (const op of ops) {
    if (op.kind === 'create') {
      now.set(op.task.id, op.task)
      continue
    }
    const task = now.get(op.id)
    if (!task) continue
    if (op.kind === 'delete') now.delete(op.id)
    else if (op.kind === 'change') now.set(op.id, { ...task, ...op.patch })
    else now.set(op.id, { ...task, column: op.column, order: orderBefore([...now.values()], op.column, op.before, op.id) })
  }
  return [...now.values()].sort(byOrder)
}

const byOrder = (a: Task, b: Task): number => a.order - b.order || a.id - b.id

/** A place in a column that is right until the server says the true one. */
export function orderBefore(tasks: readonly Task[], column: string, before: number | null, moving?: number): number {
  const there = tasks.filter((task) => task.column === column && task.id !== moving).sort(byOrder)
  const at = before === null ? -1 : there.findIndex(({ id }) => id === before)
  const next = at === -1 ? undefined : there[at]
  const last = at === -1 ? there[there.length - 1] : there[at - 1]
  if (!next) return (last?.order ?? 0) + 1024
  return last ? (last.order + next.order) / 2 : next.order - 1024
}

export function byColumn(board: Board, tasks: readonly Task[]): Map<string, Task[]> {
  const columns = new Map<string, Task[]>(board.columns.map(({ id }) => [id, []]))
  for (const task of tasks) columns.get(task.column)?.push(task)
  return columns
}

/** Fields that both sides changed, each to something else: only these are a conflict. */
export function clashes(before: Task, theirs: Task, patch: Patch): (keyof Patch)[] {
  const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
  return (Object.keys(patch) as (keyof Patch)[]).filter((field) => !same(before[field], theirs[field]) && !same(theirs[field], patch[field]))
}

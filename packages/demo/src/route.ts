// Where in the page one is, in the address: so that a reload, a link and the back button all work.

import { useSyncExternalStore } from 'react'

export interface Route { board: string | null; task: number | null; answer: string | null; pane: 'chat' | 'notes'; view: View }
/** What a narrow screen shows. */
export type View = 'board' | 'chat' | 'notes' | 'assistant' | 'hood'

const VIEWS: readonly string[] = ['board', 'chat', 'notes', 'assistant', 'hood']
const listeners = new Set<() => void>()
let shown = parse(location.search)

function parse(search: string): Route {
  const query = new URLSearchParams(search)
  const view = query.get('view') ?? 'board'
  return {
    board: query.get('board'),
    task: Number(query.get('task')) || null,
    answer: query.get('answer'),
    pane: query.get('pane') === 'notes' ? 'notes' : 'chat',
    view: (VIEWS.includes(view) ? view : 'board') as View,
  }
}

/** A step forward for `task`, which "back" takes back; the rest replaces. */
export function go(to: Partial<Route>): void {
  const next = { ...shown, ...to }
  const query = new URLSearchParams()
  if (next.board) query.set('board', next.board)
  if (next.task) query.set('task', String(next.task))
  if (next.answer) query.set('answer', next.answer)
  if (next.pane !== 'chat') query.set('pane', next.pane)
  if (next.view !== 'board') query.set('view', next.view)
  const address = query.size ? `/?${query}` : '/'
  const isStep = (to.task !== undefined && to.task !== null && !shown.task) || (to.view !== undefined && to.view !== shown.view)
  history[isStep ? 'pushState' : 'replaceState'](null, '', address)
  changed(next)
}

function changed(next: Route): void {
  shown = next
  listeners.forEach((call) => call())
}

addEventListener('popstate', () => changed(parse(location.search)))

export const useRoute = (): Route => useSyncExternalStore((call) => {
  listeners.add(call)
  return () => listeners.delete(call)
}, () => shown)

// A board with its requests: what is done here shows at once, is sent, and is taken back with a
// sentence where the server says no. What others did comes as events.

import { useEffect, useMemo, useState, useSyncExternalStore } from 'react'
import { api, ApiError, type Draft, newKey, type Patch } from '../api'
import { useHeard } from '../heard'
import type { Board, Person, Task } from '../things'
import { began, type BoardEvent, type BoardState, clashes, EMPTY, ended, heard, known, loaded, type Op, orderBefore, removed, shown } from './state'

export interface Told { text: string; tone: 'info' | 'error' }

/** A change of mine that somebody else's stands against. */
export interface Conflict { theirs: Task; patch: Patch; fields: (keyof Patch)[] }

export class BoardStore {
  #state: BoardState = EMPTY
  #tasks: Task[] = []
  #drafts = 0
  readonly #listeners = new Set<() => void>()
  /** Who changed which task last, while this window looked on. */
  readonly touched = new Map<number, { by: string; at: number }>()
  /** True where it is asked about on the spot. */
  onConflict: (conflict: Conflict) => boolean = () => false

  constructor(readonly board: string, readonly me: string, readonly tell: (told: Told) => void, readonly nameOf: (id: string) => string) {}

  readonly subscribe = (call: () => void): (() => void) => {
    this.#listeners.add(call)
    return () => this.#listeners.delete(call)
  }
  readonly get = (): Task[] => this.#tasks

  task(id: number): Task | undefined {
    return this.#tasks.find((task) => task.id === id)
  }

  load(tasks: Task[]): void {
    this.#set(loaded(this.#state, tasks))
  }

  hear(event: BoardEvent): void {
    const id = event.event === 'task.commented' ? event.data.task : event.data.id
    if (event.data.by !== this.me) this.touched.set(id, { by: event.data.by, at: Date.now() })
    this.#set(heard(this.#state, event))
  }

  async create(draft: Draft, column: string): Promise<void> {
    const now = Date.now()
    const key = newKey()
    const { description = '', assignee = null, due = null, labels = [] } = draft
    const order = orderBefore(this.#tasks, column, null)
    const task: Task = { id: -++this.#drafts, board: this.board, column, order, title: draft.title, description, assignee, due, labels, version: 0, created_by: this.me, created_at: now, updated_by: this.me, updated_at: now, comments: 0 }
    await this.#try({ key, kind: 'create', task }, async () => this.#answered(key, await api.create(this.board, { ...draft, column }, key)), `“${draft.title}” was not added`)
  }

  async change(id: number, patch: Patch): Promise<void> {
    const before = this.#state.tasks.get(id)
    if (!before) return
    const key = newKey()
    const send = async (version: number, isAgain = false): Promise<void> => {
      try {
        this.#answered(key, await api.change(id, version, patch))
      } catch (thrown) {
        const theirs = thrown instanceof ApiError ? thrown.task : undefined
        if (!theirs) throw thrown
        this.#set(known(this.#state, [theirs]))
        const fields = clashes(before, theirs, patch)
        // Different fields: both can have what they want.
        if (!fields.length && !isAgain) return send(theirs.version, true)
        this.#set(ended(this.#state, key))
        if (this.onConflict({ theirs, patch, fields })) return
        this.tell({ text: `${this.nameOf(theirs.updated_by)} changed “${theirs.title}” at the same time. Yours was not saved.`, tone: 'info' })
      }
    }
    await this.#try({ key, kind: 'change', id, patch }, () => send(before.version), `“${before.title}” was not saved`)
  }

  async move(id: number, column: string, before: number | null): Promise<void> {
    const task = this.#state.tasks.get(id)
    if (!task || (task.column === column && before === id)) return
    const key = newKey()
    const send = async (version: number, isAgain = false): Promise<void> => {
      try {
        this.#answered(key, await api.move(id, version, column, before))
      } catch (thrown) {
        const theirs = thrown instanceof ApiError ? thrown.task : undefined
        if (!theirs) throw thrown
        this.#set(known(this.#state, [theirs]))
        // Somebody edited it meanwhile: the move still means the same. Somebody moved it: theirs stands.
        if (theirs.column === task.column && !isAgain) return send(theirs.version, true)
        this.#set(ended(this.#state, key))
        this.tell({ text: `${this.nameOf(theirs.updated_by)} moved “${theirs.title}” first. It stays there.`, tone: 'info' })
      }
    }
    await this.#try({ key, kind: 'move', id, column, before }, () => send(task.version), `“${task.title}” was not moved`)
  }

  async remove(id: number): Promise<void> {
    const task = this.#state.tasks.get(id)
    if (!task) return
    const key = newKey()
    const work = async (): Promise<void> => {
      try {
        await api.remove(id, task.version)
      } catch (thrown) {
        const theirs = thrown instanceof ApiError ? thrown.task : undefined
        if (!theirs) throw thrown
        this.#set(ended(known(this.#state, [theirs]), key))
        return this.tell({ text: `${this.nameOf(theirs.updated_by)} changed “${theirs.title}” just now, so it was not deleted.`, tone: 'info' })
      }
      this.#set(ended(removed(this.#state, id), key))
    }
    await this.#try({ key, kind: 'delete', id }, work, `“${task.title}” was not deleted`)
  }

  #answered(key: string, task: Task): void {
    this.#set(ended(known(this.#state, [task]), key))
  }

  async #try(op: Op, work: () => Promise<void>, failed: string): Promise<void> {
    this.#set(began(this.#state, op))
    try {
      await work()
    } catch (thrown) {
      this.#set(ended(this.#state, op.key))
      this.tell({ text: `${failed}. ${thrown instanceof Error ? thrown.message : ''}`, tone: 'error' })
    }
  }

  #set(state: BoardState): void {
    this.#state = state
    this.#tasks = shown(state)
    this.#listeners.forEach((call) => call())
  }
}

export interface LoadedBoard { store: BoardStore; board: Board | undefined; tasks: Task[]; error: string | undefined; reload(): void }

/** Loads a board, and follows it from the cursor that came with it. */
export function useBoard(id: string, me: Person, tell: (told: Told) => void, nameOf: (id: string) => string): LoadedBoard {
  const store = useMemo(() => new BoardStore(id, me.id, tell, nameOf), [id, me.id, tell, nameOf])
  const tasks = useSyncExternalStore(store.subscribe, store.get)
  const [found, setFound] = useState<{ store: BoardStore; board: Board; cursor: string }>()
  const [error, setError] = useState<string>()
  const [turn, setTurn] = useState(0)
  const isOurs = found?.store === store

  useEffect(() => {
    const abort = new AbortController()
    setError(undefined)
    api.board(id, abort.signal).then(
      ({ board, tasks, cursor }) => {
        if (abort.signal.aborted) return
        store.load(tasks)
        setFound((had) => (had?.store === store ? had : { store, board, cursor: cursor ?? 'start' }))
      },
      (thrown: unknown) => !abort.signal.aborted && setError(thrown instanceof Error ? thrown.message : String(thrown)),
    )
    return () => abort.abort()
  }, [id, store, turn])

  const reload = (): void => setTurn((turn) => turn + 1)
  useHeard(isOurs && `board/${id}`, (data, { event }) => store.hear({ event, data } as BoardEvent), { after: isOurs ? found.cursor : 'now', load: reload })
  return { store, board: isOurs ? found.board : undefined, tasks, error, reload }
}

// The board: columns, cards, and the two ways to carry one. What is carried shows where it would
// land; what the server has to say of it, the store knows.

import { type KeyboardEvent, useEffect, useMemo, useRef, useState } from 'react'
import { useApp } from '../context'
import { go } from '../route'
import type { Board as BoardThing, Column, Person, Task } from '../things'
import { Icon } from '../ui/icons'
import { Card } from './card'
import { type Landing, useDrag } from './drag'
import { useFlip } from './flip'
import { Pointers } from './pointers'
import { byColumn, orderBefore } from './state'
import type { BoardStore } from './store'

/** How long a card shows who touched it. */
const TOUCHED_MS = 2500

interface Props { store: BoardStore; board: BoardThing; tasks: Task[]; filter: string; viewers: ReadonlyMap<number, readonly Person[]> }

export function Board({ store, board, tasks, filter, viewers }: Props) {
  const { person, announce } = useApp()
  const scroller = useRef<HTMLDivElement>(null)
  const [carried, setCarried] = useState<Landing>()
  const { landing, begin } = useDrag(scroller, (to) => void store.move(to.id, to.column, to.before))
  const preview = landing ?? carried
  const columns = useMemo(() => byColumn(board, withLanding(tasks, preview)), [board, tasks, preview])
  useFlip(scroller, columns)
  useTouchedFade(store, tasks)

  const nameOf = (column: string): string => board.columns.find(({ id }) => id === column)?.name ?? column
  const focus = (id: number): void => void requestAnimationFrame(() => document.querySelector<HTMLElement>(`[data-task="${id}"] .card-open`)?.focus())

  const carry = (event: KeyboardEvent<HTMLElement>, task: Task): void => {
    const cards = columns.get(task.column) ?? []
    const at = cards.findIndex(({ id }) => id === task.id)
    const step = ({ ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] } as Record<string, [number, number]>)[event.key]
    if (event.key === ' ') {
      event.preventDefault()
      if (!carried) {
        setCarried({ id: task.id, column: task.column, before: cards[at + 1]?.id ?? null })
        return announce(`${task.title} picked up. Arrow keys move it, Space drops it, Escape puts it back.`)
      }
      setCarried(undefined)
      focus(task.id)
      announce(`${task.title} dropped in ${nameOf(carried.column)}.`)
      return void store.move(carried.id, carried.column, carried.before)
    }
    if (event.key === 'Escape' && carried) {
      event.stopPropagation()
      setCarried(undefined)
      focus(task.id)
      return announce('Put back.')
    }
    if (!step) return
    event.preventDefault()
    if (!carried) return walk(cards, at, task.column, step)
    const next = landed(columns, board, carried, step)
    setCarried(next)
    focus(task.id)
    const place = (columns.get(next.column) ?? []).filter(({ id }) => id !== task.id)
    const n = next.before === null ? place.length : place.findIndex(({ id }) => id === next.before)
    announce(`${nameOf(next.column)}, place ${n + 1} of ${place.length + 1}`)
  }

  const walk = (cards: Task[], at: number, column: string, [across, down]: [number, number]): void => {
    if (down) return void (cards[at + down] && focus(cards[at + down]!.id))
    const index = board.columns.findIndex(({ id }) => id === column)
    for (let n = index + across; board.columns[n]; n += across) {
      const there = columns.get(board.columns[n]!.id) ?? []
      if (there.length) return focus(there[Math.min(at, there.length - 1)]!.id)
    }
  }

  return (
    <div className="board" ref={scroller}>
      <p id="board-keys" className="hidden">Enter opens. Space picks up, arrow keys move, Space drops.</p>
      {board.columns.map((column) => {
        const cards = (columns.get(column.id) ?? []).filter((task) => matches(task, filter, person))
        return (
          <section key={column.id} className="column" data-column={column.id} aria-labelledby={`column-${column.id}`}>
            <h2 className="column-head" id={`column-${column.id}`}><span>{column.name}</span><span className="column-count"><span className="hidden">, </span>{cards.length}<span className="hidden"> tasks</span></span></h2>
            <ul className="column-cards" tabIndex={-1}>
              {cards.map((task) => (
                <Card key={task.id} task={task} isDone={column.done === true} isCarried={preview?.id === task.id} touchedBy={touched(store, task.id, person)} viewers={viewers.get(task.id) ?? []}
                  onOpen={() => (carried ? undefined : go({ task: task.id }))} onPointerDown={(event) => begin(event, task.id)} onKeyDown={(event) => carry(event, task)} />
              ))}
              {!cards.length && <li className="column-empty">{filter ? 'Nothing here matches.' : column.done ? 'Nothing done yet.' : 'Empty. Drop a card here.'}</li>}
            </ul>
            <Adder column={column} add={(title) => void store.create({ title }, column.id)} />
          </section>
        )
      })}
      <Pointers board={board.id} scroller={scroller} />
    </div>
  )
}

function Adder({ column, add }: { column: Column; add: (title: string) => void }) {
  const [text, setText] = useState<string>()
  const opener = useRef<HTMLButtonElement>(null)
  const close = (): void => {
    setText(undefined)
    requestAnimationFrame(() => opener.current?.focus())
  }
  if (text === undefined) return <button ref={opener} type="button" className="adder" onClick={() => setText('')}><Icon name="plus" />Add a task<span className="hidden"> to {column.name}</span></button>
  const send = (): void => {
    if (text.trim()) add(text.trim())
    setText('')
  }
  return (
    <form className="adder-form" onSubmit={(event) => { event.preventDefault(); send() }}>
      <input autoFocus className="field" aria-label={`New task in ${column.name}`} placeholder="What is to be done?" maxLength={200} value={text} onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => event.key === 'Escape' && close()} onBlur={() => !text.trim() && setText(undefined)} />
      <div className="adder-row"><button type="submit" className="button primary small" disabled={!text.trim()}>Add</button><button type="button" className="button small" onClick={close}>Cancel</button></div>
    </form>
  )
}

const withLanding = (tasks: Task[], to: Landing | undefined): Task[] =>
  to ? tasks.map((task) => (task.id === to.id ? { ...task, column: to.column, order: orderBefore(tasks, to.column, to.before, to.id) } : task)).sort((a, b) => a.order - b.order || a.id - b.id) : tasks

/** One step of a card that is carried by keyboard. */
function landed(columns: ReadonlyMap<string, Task[]>, board: BoardThing, { id, column, before }: Landing, [across, down]: [number, number]): Landing {
  const rest = (of: string): Task[] => (columns.get(of) ?? []).filter((task) => task.id !== id)
  const here = rest(column)
  const at = before === null ? here.length : here.findIndex((task) => task.id === before)
  if (down) return { id, column, before: here[Math.max(0, Math.min(here.length, at + down))]?.id ?? null }
  const index = board.columns.findIndex((one) => one.id === column)
  const next = board.columns[Math.max(0, Math.min(board.columns.length - 1, index + across))]!.id
  return next === column ? { id, column, before } : { id, column: next, before: rest(next)[at]?.id ?? null }
}

function matches(task: Task, filter: string, person: (id: string | null) => Person | undefined): boolean {
  if (!filter) return true
  const words = `${task.title} ${task.labels.join(' ')} ${person(task.assignee)?.name ?? 'nobody'}`.toLowerCase()
  return filter.toLowerCase().split(/\s+/).every((word) => words.includes(word))
}

const touched = (store: BoardStore, id: number, person: (id: string) => Person | undefined): Person | undefined => {
  const last = store.touched.get(id)
  return last && Date.now() - last.at < TOUCHED_MS ? person(last.by) : undefined
}

/** Renders once more when the newest touch has faded. */
function useTouchedFade(store: BoardStore, on: unknown): void {
  const [, again] = useState(0)
  useEffect(() => {
    if (!store.touched.size) return
    const timer = setTimeout(() => {
      for (const [id, { at }] of store.touched) if (Date.now() - at >= TOUCHED_MS) store.touched.delete(id)
      again((n) => n + 1)
    }, TOUCHED_MS + 50)
    return () => clearTimeout(timer)
  }, [store, on])
}

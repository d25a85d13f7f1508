// One task on the board.

import type { CSSProperties, KeyboardEvent, PointerEvent } from 'react'
import { useApp } from '../context'
import type { Person, Task } from '../things'
import { Avatar } from '../ui/avatar'
import { Icon } from '../ui/icons'
import { dueWords } from '../ui/time'

interface Props {
  task: Task
  isDone: boolean
  /** It is being carried, by mouse or by keyboard: this is where it would land. */
  isCarried: boolean
  touchedBy: Person | undefined
  viewers: readonly Person[]
  onOpen(): void
  onPointerDown(event: PointerEvent<HTMLElement>): void
  onKeyDown(event: KeyboardEvent<HTMLElement>): void
}

export function Card({ task, isDone, isCarried, touchedBy, viewers, onOpen, onPointerDown, onKeyDown }: Props) {
  const { person } = useApp()
  const assignee = person(task.assignee)
  const due = task.due ? dueWords(task.due, new Date()) : undefined
  const isWaiting = task.id < 0
  return (
    <li className="card" data-task={task.id} data-flip={task.id} data-carried={isCarried || undefined} data-waiting={isWaiting || undefined} data-touched={touchedBy ? '' : undefined} style={touchedBy && ({ '--person': touchedBy.color } as CSSProperties)} onPointerDown={onPointerDown}>
      <button type="button" className="card-open" aria-describedby="board-keys" aria-pressed={isCarried || undefined} disabled={isWaiting} onClick={onOpen} onKeyDown={onKeyDown} draggable={false}>
        <span className="card-title" data-done={isDone || undefined}>{task.title}</span>
        <span className="card-foot">
          {due && <span className="due" data-tone={isDone ? 'later' : due.tone}><span className="hidden">Due </span>{due.words}</span>}
          {task.labels.slice(0, 3).map((label) => <span key={label} className="label" style={{ '--hue': hueOf(label) } as CSSProperties}>{label}</span>)}
          {task.labels.length > 3 && <span className="label-more">+{task.labels.length - 3}</span>}
          {task.comments > 0 && <span className="count" title={`${task.comments} comments`}><Icon name="comment" size={14} />{task.comments}<span className="hidden"> comments</span></span>}
        </span>
      </button>
      <span className="card-people">
        {viewers.map((viewer) => <span key={viewer.id} className="viewing" style={{ '--person': viewer.color } as CSSProperties} title={`${viewer.name} is looking at this`}><Avatar person={viewer} size={20} title={`${viewer.name} is looking at this`} /></span>)}
        {assignee && <Avatar person={assignee} size={24} title={`Assigned to ${assignee.name}`} />}
      </span>
      {touchedBy && <span className="touched-by" aria-hidden="true">{touchedBy.name.split(' ')[0]}</span>}
    </li>
  )
}

/** The same label has the same hue everywhere. */
export function hueOf(label: string): number {
  let hash = 7
  for (const sign of label) hash = (hash * 31 + sign.codePointAt(0)!) % 3600
  return hash % 360
}

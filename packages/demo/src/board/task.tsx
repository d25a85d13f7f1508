// One task, open. Every field saves itself when it is left; what somebody else changes meanwhile
// shows at once where one is not writing, and asks where both did.

import { type FormEvent, type KeyboardEvent, useEffect, useRef, useState } from 'react'
import { api, newKey, type Patch } from '../api'
import { useApp } from '../context'
import { useTopic } from '../live'
import type { Board, Comment, Task } from '../things'
import { Avatar } from '../ui/avatar'
import { Dialog } from '../ui/dialog'
import { Grow } from '../ui/grow'
import { Icon } from '../ui/icons'
import { agoWords } from '../ui/time'
import { Mentions } from '../ui/words'
import type { BoardStore, Conflict } from './store'

interface Props { store: BoardStore; board: Board; task: Task | undefined; id: number; isLoaded: boolean; onClose(): void }

export function TaskDialog({ store, board, task, id, isLoaded, onClose }: Props) {
  const [conflict, setConflict] = useState<Conflict>()
  useEffect(() => {
    store.onConflict = (told) => {
      if (told.theirs.id !== id) return false
      setConflict(told)
      return true
    }
    return () => void (store.onConflict = () => false)
  }, [store, id])
  if (!task) {
    return <Dialog label="Task" className="task" onClose={onClose}><div className="task-gone"><p>{isLoaded ? 'This task is gone: somebody deleted it.' : 'Loading…'}</p></div></Dialog>
  }
  return (
    <Dialog label={task.title} className="task" onClose={onClose}>
      <div className="task-main">
        <TaskTexts key={task.id} store={store} task={task} />
        {conflict && <ConflictNote store={store} conflict={conflict} done={() => setConflict(undefined)} />}
        <Comments board={board} task={task} />
      </div>
      <TaskFields store={store} board={board} task={task} onClose={onClose} />
    </Dialog>
  )
}

function TaskTexts({ store, task }: { store: BoardStore; task: Task }) {
  const [title, setTitle] = useDraft(task.title)
  const [description, setDescription] = useDraft(task.description)
  const save = (patch: Patch, isSame: boolean): void => void (!isSame && store.change(task.id, patch))
  return (
    <>
      <Grow className="task-title" aria-label="Title" maxLength={200} value={title.shown} onChange={(event) => setTitle(event.target.value.replace(/\n/g, ' '))}
        onKeyDown={(event) => event.key === 'Enter' && (event.preventDefault(), event.currentTarget.blur())}
        onBlur={() => { const next = title.shown.trim() || task.title; save({ title: next }, next === task.title); setTitle(undefined) }} />
      <label className="task-label" htmlFor="task-description">Description</label>
      <Grow id="task-description" className="field task-description" maxLength={4000} placeholder="What does done look like?" value={description.shown} onChange={(event) => setDescription(event.target.value)}
        onBlur={() => { save({ description: description.shown }, description.shown === task.description); setDescription(undefined) }} />
    </>
  )
}

/** What is being written here, or else what the server has. */
function useDraft(saved: string): [{ shown: string }, (text: string | undefined) => void] {
  const [draft, setDraft] = useState<string>()
  return [{ shown: draft ?? saved }, setDraft]
}

function ConflictNote({ store, conflict, done }: { store: BoardStore; conflict: Conflict; done: () => void }) {
  const { nameOf } = useApp()
  const { theirs, patch, fields } = conflict
  return (
    <div className="conflict" role="alert">
      <p><b>{nameOf(theirs.updated_by)}</b> changed the {fields.join(' and ') || 'task'} at the same time, and was first.</p>
      {fields.map((field) => <p key={field} className="conflict-mine">Yours: <q>{String(patch[field] ?? 'nothing')}</q></p>)}
      <div className="row">
        <button type="button" className="button small" onClick={done}>Keep theirs</button>
        <button type="button" className="button small primary" onClick={() => { done(); void store.change(theirs.id, patch) }}>Use mine</button>
      </div>
    </div>
  )
}

function TaskFields({ store, board, task, onClose }: { store: BoardStore; board: Board; task: Task; onClose: () => void }) {
  const { people, nameOf } = useApp()
  const [label, setLabel] = useState('')
  const [isSure, setSure] = useState(false)
  const change = (patch: Patch): void => void store.change(task.id, patch)
  const addLabel = (event: FormEvent): void => {
    event.preventDefault()
    const next = label.trim().toLowerCase().slice(0, 24)
    if (next && !task.labels.includes(next) && task.labels.length < 6) change({ labels: [...task.labels, next] })
    setLabel('')
  }
  return (
    <div className="task-side">
      <label><span>Column</span><select className="field" value={task.column} onChange={(event) => void store.move(task.id, event.target.value, null)}>{board.columns.map((column) => <option key={column.id} value={column.id}>{column.name}</option>)}</select></label>
      <label><span>Assignee</span><select className="field" value={task.assignee ?? ''} onChange={(event) => change({ assignee: event.target.value || null })}><option value="">Nobody</option>{people.map((one) => <option key={one.id} value={one.id}>{one.name}</option>)}</select></label>
      <label><span>Due</span><input className="field" type="date" value={task.due ?? ''} onChange={(event) => change({ due: event.target.value || null })} /></label>
      <div>
        <span className="task-label" id="task-labels">Labels</span>
        <ul className="task-labels" aria-labelledby="task-labels">
          {task.labels.map((one) => <li key={one} className="chip">{one}<button type="button" aria-label={`Remove label ${one}`} onClick={() => change({ labels: task.labels.filter((other) => other !== one) })}><Icon name="close" size={12} /></button></li>)}
        </ul>
        {task.labels.length < 6 && <form onSubmit={addLabel}><input className="field" aria-label="New label" placeholder="Add a label" maxLength={24} value={label} onChange={(event) => setLabel(event.target.value)} /></form>}
      </div>
      <p className="task-meta">Added by {nameOf(task.created_by)}, {agoWords(task.created_at, Date.now())}.<br />Changed by {nameOf(task.updated_by)}, {agoWords(task.updated_at, Date.now())}.</p>
      {isSure
        ? <div className="row"><button type="button" className="button small danger" autoFocus onClick={() => { void store.remove(task.id); onClose() }}>Delete for everybody</button><button type="button" className="button small" onClick={() => setSure(false)}>No</button></div>
        : <button type="button" className="button small quiet" onClick={() => setSure(true)}><Icon name="trash" />Delete task</button>}
    </div>
  )
}

function Comments({ board, task }: { board: Board; task: Task }) {
  const { person, me, toast } = useApp()
  const [comments, setComments] = useState<Comment[]>()
  const [text, setText] = useState('')
  const [isSending, setSending] = useState(false)
  const key = useRef(newKey())
  const add = (comment: Comment): void => setComments((had) => (had?.some(({ id }) => id === comment.id) ? had : [...(had ?? []), comment]))

  useEffect(() => {
    const abort = new AbortController()
    api.task(task.id, abort.signal).then(({ comments }) => setComments((had) => [...comments, ...(had ?? []).filter(({ id }) => !comments.some((one) => one.id === id))]), () => !abort.signal.aborted && setComments((had) => had ?? []))
    return () => abort.abort()
  }, [task.id])
  useTopic(`board/${board.id}`, 'task.commented', ({ task: id, comment }) => id === task.id && add(comment))

  const send = async (): Promise<void> => {
    if (!text.trim() || isSending) return
    setSending(true)
    try {
      add(await api.comment(task.id, text.trim(), key.current))
      key.current = newKey()
      setText('')
    } catch (thrown) {
      toast({ tone: 'error', text: `The comment was not saved. ${thrown instanceof Error ? thrown.message : ''}` })
    }
    setSending(false)
  }
  const onKey = (event: KeyboardEvent): void => {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return
    event.preventDefault()
    void send()
  }
  return (
    <section className="comments" aria-label="Comments">
      <h3 className="task-label">Comments</h3>
      {!comments && <p className="skeleton line" />}
      <ol>
        {comments?.map((comment) => (
          <li key={comment.id}>
            <Avatar person={person(comment.by)} size={24} quiet />
            <div><p className="by"><b>{person(comment.by)?.name ?? comment.by}</b> <time dateTime={new Date(comment.at).toISOString()}>{agoWords(comment.at, Date.now())}</time></p><p className="said"><Mentions text={comment.text} person={person} /></p></div>
          </li>
        ))}
      </ol>
      <form className="comment-form" onSubmit={(event) => { event.preventDefault(); void send() }}>
        <Avatar person={me} size={24} quiet />
        <Grow className="field" aria-label="Comment" placeholder="Comment, or @somebody" maxLength={2000} value={text} onChange={(event) => setText(event.target.value)} onKeyDown={onKey} />
        <button type="submit" className="button icon-only primary" aria-label="Send comment" disabled={!text.trim() || isSending}><Icon name="send" /></button>
      </form>
    </section>
  )
}

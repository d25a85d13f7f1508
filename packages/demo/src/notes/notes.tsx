// The pane of the shared document.

import { useEffect, useRef, useState } from 'react'
import { useApp } from '../context'
import { Avatar } from '../ui/avatar'
import { session } from '../window'
import type { NotesState } from './editor'

/** Asked of Tidewire, which knows who this window is. */
const ticket = async (): Promise<string> => {
  const response = await fetch('/v1/tickets', { method: 'POST', headers: { Authorization: `Bearer ${session.get() ?? ''}` }, cache: 'no-store' })
  if (!response.ok) throw new Error(`no ticket: ${response.status}`)
  return ((await response.json()) as { ticket: string }).ticket
}

const UNKNOWN: NotesState = { isOpen: false, isSynced: false, writers: [], unsent: 0 }

export function Notes({ board, onState }: { board: string; onState?: (state: NotesState) => void }) {
  const { me, tap, person, log } = useApp()
  const host = useRef<HTMLDivElement>(null)
  const [state, setState] = useState(UNKNOWN)
  const [failed, setFailed] = useState(false)
  const [turn, setTurn] = useState(0)
  const newest = useRef(onState)
  newest.current = onState

  useEffect(() => {
    let isOver = false
    let close = (): void => undefined
    setState(UNKNOWN)
    setFailed(false)
    let wasOpen: boolean | undefined
    import('./editor').then(({ openNotes }) => {
      if (isOver) return
      const notes = openNotes({
        board, me, tap, ticket,
        onState: (next) => {
          setState(next)
          newest.current?.(next)
          if (wasOpen === true && !next.isOpen) log.add('status', `docs/${board}: the socket closed. Writing goes on here.`)
          if (wasOpen === false && next.isOpen) log.add('resumed', `docs/${board}: connected; Yjs exchanges what the other side lacks.`)
          wasOpen = next.isOpen
        },
      })
      notes.attach(host.current!)
      close = () => notes.close()
    }, () => !isOver && setFailed(true))
    return () => {
      isOver = true
      close()
    }
  }, [board, me, tap, log, turn])

  return (
    <>
      <div className="notes-bar">
        <span className="notes-state" data-tone={state.isOpen ? 'good' : 'wait'}>{failed ? 'Could not be loaded' : state.isSynced && state.isOpen ? 'Saved for everybody' : state.isOpen ? 'Synchronising…' : state.unsent ? 'Offline. Your edits are kept here.' : 'Connecting…'}</span>
        <span className="faces">{state.writers.map((id) => <Avatar key={id} person={person(id)} size={20} title={`${person(id)?.name ?? id} is in this note`} />)}</span>
      </div>
      {failed && <div className="pane-note" role="alert"><p>The editor could not be loaded.</p><button type="button" className="button small" onClick={() => setTurn(turn + 1)}>Try again</button></div>}
      <div className="notes-host" key={`${board}:${turn}`} ref={host} />
    </>
  )
}

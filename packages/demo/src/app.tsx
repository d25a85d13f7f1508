// The whole page: the board in the middle, chat and notes beside it, the assistant as a sheet over
// them, and what is under the hood to the right. A narrow screen shows one of them at a time.

import { useCallback, useEffect, useMemo, useRef, useState } from 'react'
import { AssistantSheet } from './assistant/assistant'
import { type Member, useWho } from './adapter'
import { api, type Me } from './api'
import { type ShownToast, Toasts } from './bell/bell'
import { Board } from './board/board'
import { Stats } from './board/stats'
import { useBoard } from './board/store'
import { TaskDialog } from './board/task'
import { Chat } from './chat/chat'
import { type AppContext, Context, type Toast, useApp } from './context'
import { Hood } from './hood/hood'
import { Log } from './hood/log'
import { Tally } from './hood/tally'
import { Watch } from './hood/watch'
import { open, Tidewire, useLive } from './live'
import { Notes } from './notes/notes'
import { go, useRoute, type View } from './route'
import { Header } from './shell'
import { Tap } from './tap'
import type { Board as BoardThing, Person } from './things'
import { Icon, type IconName } from './ui/icons'

export function App({ me, people, boards }: { me: Me; people: readonly Person[]; boards: readonly BoardThing[] }) {
  const tap = useMemo(() => new Tap(), [])
  const live = useMemo(() => open(tap), [tap])
  const [toasts, setToasts] = useState<readonly ShownToast[]>([])
  const [said, setSaid] = useState({ n: 0, text: '' })
  const turn = useRef(0)
  const toast = useCallback((toast: Toast) => setToasts((had) => [...had.slice(-2), { ...toast, n: ++turn.current }]), [])
  const context = useMemo<AppContext>(() => {
    const person = (id: string | null | undefined): Person | undefined => people.find((one) => one.id === id)
    return { me: me.person, people, person, nameOf: (id) => person(id)?.name ?? 'Somebody', tally: new Tally(), log: new Log(), tap, toast, announce: (text) => setSaid(({ n }) => ({ n: n + 1, text })), canHurt: me.can_hurt }
  }, [me, people, tap, toast])
  return (
    <Context value={context}>
      <Tidewire live={live}>
        <Workboard boards={boards} />
        <Toasts toasts={toasts} drop={(n) => setToasts((had) => had.filter((one) => one.n !== n))} />
        <p className="hidden" role="status" aria-live="polite">{said.n % 2 ? said.text : `${said.text}\u200b`}</p>
      </Tidewire>
    </Context>
  )
}

const VIEWS: { view: View; label: string; icon: IconName }[] = [
  { view: 'board', label: 'Board', icon: 'board' }, { view: 'chat', label: 'Chat', icon: 'chat' }, { view: 'notes', label: 'Notes', icon: 'notes' }, { view: 'assistant', label: 'Assistant', icon: 'spark' }, { view: 'hood', label: 'Hood', icon: 'gauge' },
]

/** Where one begins: the fuller of the seeded boards. */
const FIRST = 'launch'

function Workboard({ boards }: { boards: readonly BoardThing[] }) {
  const { me, person, toast, nameOf, log, canHurt } = useApp()
  const live = useLive()
  const route = useRoute()
  const boardId = (boards.find(({ id }) => id === route.board) ?? boards.find(({ id }) => id === FIRST) ?? boards[0]!).id
  const isNarrow = useMedia('(max-width: 719px)')
  const isMiddling = useMedia('(max-width: 1179px)')
  const [filter, setFilter] = useState('')
  const [isHood, setHood] = useState(false)
  const [isDock, setDock] = useState(true)
  const [isAssistant, setAssistant] = useState(route.answer !== null)
  const [unseen, setUnseen] = useState(0)
  const [wantsNotes, setWantsNotes] = useState(false)
  const watch = useMemo(() => new Watch(live, log), [live, log])
  useEffect(() => () => watch.stop(), [watch])
  useEffect(() => {
    const gone = (): void => live.close()
    addEventListener('beforeunload', gone)
    return () => removeEventListener('beforeunload', gone)
  }, [live])

  const { store, board, tasks, error, reload } = useBoard(boardId, me, toast, nameOf)
  const members = useWho<Here>(`chat/${boardId}`, { by: me.id, task: route.task })
  const here = useMemo(() => [...new Set([me.id, ...members.map(byOf)])].flatMap((id) => person(id) ?? []), [members, me.id, person])
  const viewers = useMemo(() => {
    const found = new Map<number, Person[]>()
    for (const member of members) {
      const { task } = member.state
      const who = person(byOf(member))
      if (task && who && who.id !== me.id && !found.get(task)?.includes(who)) found.set(task, [...(found.get(task) ?? []), who])
    }
    return found
  }, [members, me.id, person])

  const view = route.view
  const shows = (what: View, wide: boolean): boolean => (isNarrow ? view === what : wide)
  const showsHood = shows('hood', isHood)
  const showsDock = isNarrow ? view === 'chat' || view === 'notes' : isDock
  const pane = isNarrow ? (view === 'notes' ? 'notes' : 'chat') : route.pane
  const showsChat = showsDock && pane === 'chat'
  const showsNotes = showsDock && pane === 'notes'
  const showsAssistant = shows('assistant', isAssistant)
  useEffect(() => { if (showsChat) setUnseen(0) }, [showsChat, unseen])
  useEffect(() => { if (showsNotes) setWantsNotes(true) }, [showsNotes])
  useEffect(() => { document.title = `${unseen ? `(${unseen}) ` : ''}${board?.name ?? 'Workboard'} · Workboard` }, [unseen, board?.name])

  const toggle = (what: 'hood' | 'dock' | 'assistant'): void => {
    if (what === 'hood') { setHood(!isHood); if (isMiddling && !isHood) setAssistant(false) }
    if (what === 'dock') setDock(!isDock)
    if (what === 'assistant') { setAssistant(!isAssistant); if (isAssistant) go({ answer: null }); else if (isMiddling) setHood(false) }
  }
  const task = route.task === null ? undefined : tasks.find(({ id }) => id === route.task)

  return (
    <div className="app" data-hood={showsHood || undefined} data-dock={showsDock || undefined} data-view={view}>
      <a className="skip" href="#board">Skip to the board</a>
      <Header boards={boards} board={boardId} route={route} here={here} filter={filter} onFilter={setFilter} isHood={isHood} isDock={isDock} isAssistant={isAssistant} toggle={toggle} />
      <main>
        <h1 className="hidden">{board?.name ?? 'Board'}</h1>
        <section className="middle" id="board" tabIndex={-1} aria-label="Board" hidden={!shows('board', true)}>
          {board && <Stats board={board} />}
          {board ? <Board key={board.id} store={store} board={board} tasks={tasks} filter={filter} viewers={viewers} /> : <BoardSkeleton error={error} reload={reload} />}
        </section>
        <section className="dock" aria-label="Team chat and notes" hidden={!showsDock}>
          <div className="dock-tabs" role="tablist" aria-label="Team">
            {(['chat', 'notes'] as const).map((one) => (
              <button key={one} type="button" role="tab" id={`tab-${one}`} aria-selected={pane === one} aria-controls={`pane-${one}`} tabIndex={pane === one ? 0 : -1} onClick={() => go({ pane: one })}
                onKeyDown={(event) => { if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return; const next = one === 'chat' ? 'notes' : 'chat'; go({ pane: next }); document.getElementById(`tab-${next}`)?.focus() }}>
                {one === 'chat' ? 'Chat' : 'Notes'}{one === 'chat' && unseen > 0 && <span className="badge">{unseen}<span className="hidden"> unread</span></span>}
              </button>
            ))}
          </div>
          <div className="pane" role="tabpanel" id="pane-chat" aria-labelledby="tab-chat" hidden={pane !== 'chat'}><Chat board={boardId} isShown={showsChat} here={new Set(here.map(({ id }) => id))} onUnseen={() => setUnseen((n) => n + 1)} /></div>
          <div className="pane" role="tabpanel" id="pane-notes" aria-labelledby="tab-notes" hidden={pane !== 'notes'}>{wantsNotes && <Notes board={boardId} />}</div>
        </section>
        {showsAssistant && <AssistantSheet key={boardId} board={boardId} boardName={board?.name ?? ''} answer={route.answer} onClose={() => (isNarrow ? go({ view: 'board', answer: null }) : toggle('assistant'))} />}
        {showsHood && <Hood board={boardId} watch={watch} canHurt={canHurt} onClose={() => (isNarrow ? go({ view: 'board' }) : setHood(false))} />}
      </main>
      <nav className="views" aria-label="Views">{VIEWS.map((one) => <button key={one.view} type="button" aria-current={view === one.view ? 'page' : undefined} onClick={() => go({ view: one.view })}><Icon name={one.icon} size={20} /><span>{one.label}</span>{one.view === 'chat' && unseen > 0 && <span className="badge">{unseen}<span className="hidden"> unread</span></span>}</button>)}</nav>
      {route.task !== null && <TaskDialog store={store} board={board ?? boards[0]!} task={task} id={route.task} isLoaded={board !== undefined} onClose={() => go({ task: null })} />}
    </div>
  )
}

/** What a window says of itself: whose it is, and the task that is open in it. */
interface Here { by: string; task: number | null }

const byOf = ({ user, state }: Member<Here>): string => user ?? state.by

function BoardSkeleton({ error, reload }: { error: string | undefined; reload: () => void }) {
  if (error) return <div className="pane-note board-failed" role="alert"><p><b>The board could not be loaded.</b><br />{error}</p><button type="button" className="button" onClick={reload}>Try again</button></div>
  return <><div className="stats"><span className="skeleton line" /></div><div className="board" aria-busy="true" role="status" aria-label="Loading the board">{[4, 3, 2, 3].map((cards, n) => <div key={n} className="column"><span className="skeleton line" />{Array.from({ length: cards }, (_, m) => <span key={m} className="skeleton card-shape" />)}</div>)}</div></>
}

function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => matchMedia(query).matches)
  useEffect(() => {
    const media = matchMedia(query)
    const changed = (): void => setMatches(media.matches)
    changed()
    media.addEventListener('change', changed)
    return () => media.removeEventListener('change', changed)
  }, [query])
  return matches
}

export const load = async (): Promise<{ me: Me; people: Person[]; boards: BoardThing[] }> => {
  const [me, people, boards] = await Promise.all([api.me(), api.people(), api.boards()])
  return { me, people, boards }
}

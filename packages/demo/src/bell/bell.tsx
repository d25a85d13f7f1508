// The bell, its list, and the toasts.

import { useEffect, useRef, useState } from 'react'
import { type Toast, useApp } from '../context'
import { go } from '../route'
import type { NoticeEntry } from '../things'
import { Avatar } from '../ui/avatar'
import { Icon } from '../ui/icons'
import { agoWords } from '../ui/time'
import { Mentions } from '../ui/words'
import { useBell } from './store'

/** What one does to look at it. */
export const openNotice = ({ event, data }: NoticeEntry): void => {
  const task = data.task
  if (task) go({ board: task.board, task: task.id, view: 'board' })
  else if (event === 'mentioned') go({ board: data.board, pane: 'chat', view: 'chat', task: null })
}

export const noticeWords = (notice: NoticeEntry, nameOf: (id: string) => string): string => {
  const first = nameOf(notice.data.by).split(' ')[0]
  if (notice.event === 'task.assigned') return `${first} assigned “${notice.data.task.title}” to you`
  return notice.data.task ? `${first} mentioned you on “${notice.data.task.title}”` : `${first} mentioned you in the chat`
}

export function Bell() {
  const { toast, nameOf, person } = useApp()
  const bell = useBell((notice) => toast({ by: notice.data.by, text: noticeWords(notice, nameOf), act: { label: 'Open', call: () => openNotice(notice) } }))
  const panel = useRef<HTMLDivElement>(null)
  const [shownNew, setShownNew] = useState<ReadonlySet<string>>(new Set())
  const [isOpen, setOpen] = useState(false)

  useEffect(() => {
    const node = panel.current!
    const toggled = (event: Event): void => {
      const opens = (event as ToggleEvent).newState === 'open'
      setOpen(opens)
      // What was new when it was opened stays marked until it is opened again.
      if (!opens) return
      setShownNew(new Set(bell.notices.filter(({ id }) => bell.isNew(id)).map(({ id }) => id)))
      bell.seeAll()
    }
    node.addEventListener('beforetoggle', toggled)
    return () => node.removeEventListener('beforetoggle', toggled)
  })

  return (
    <>
      <button type="button" className="button icon-only quiet bell" popoverTarget="bell" aria-label={bell.unread ? `Notifications, ${bell.unread} new` : 'Notifications'} aria-expanded={isOpen}>
        <Icon name="bell" size={18} />{bell.unread > 0 && <span className="badge">{bell.unread > 99 ? '99+' : bell.unread}</span>}
      </button>
      <div className="popover notices" id="bell" popover="auto" ref={panel} role="dialog" aria-label="Notifications">
        <h2>Notifications</h2>
        {bell.error && <p className="pane-note" role="alert">They could not be loaded. They are kept, and come with the next reload.</p>}
        {!bell.error && !bell.notices.length && <div className="pane-note"><Icon name="bell" size={24} /><p>Nothing for you yet. When somebody assigns you a task or mentions you, it is here.</p></div>}
        <ol>
          {[...bell.notices].reverse().map((notice) => (
            <li key={notice.id} data-new={shownNew.has(notice.id) || bell.isNew(notice.id) || undefined}>
              <button type="button" onClick={() => { panel.current!.hidePopover(); openNotice(notice) }}>
                <Avatar person={person(notice.data.by)} size={28} quiet />
                <span><span>{noticeWords(notice, nameOf)}</span>{notice.event === 'mentioned' && <span className="quoted"><Mentions text={notice.data.text} person={person} /></span>}<time dateTime={new Date(notice.data.at).toISOString()}>{agoWords(notice.data.at, Date.now())}</time></span>
              </button>
            </li>
          ))}
        </ol>
        {bell.hasEarlier && <button type="button" className="button small quiet" onClick={bell.fetchEarlier}>Earlier</button>}
      </div>
    </>
  )
}

export interface ShownToast extends Toast { n: number }

/** They go by themselves, but not while one points at them or is on them. */
export function Toasts({ toasts, drop }: { toasts: readonly ShownToast[]; drop: (n: number) => void }) {
  return <div className="toasts" role="status" aria-live="polite">{toasts.map((toast) => <OneToast key={toast.n} toast={toast} drop={() => drop(toast.n)} />)}</div>
}

const STAYS_MS = 6000

function OneToast({ toast, drop }: { toast: ShownToast; drop: () => void }) {
  const { person } = useApp()
  const [isHeld, setHeld] = useState(false)
  const newest = useRef(drop)
  newest.current = drop
  useEffect(() => {
    if (isHeld) return
    const timer = setTimeout(() => newest.current(), STAYS_MS)
    return () => clearTimeout(timer)
  }, [isHeld])
  return (
    <div className="toast" data-tone={toast.tone} onPointerEnter={() => setHeld(true)} onPointerLeave={() => setHeld(false)} onFocus={() => setHeld(true)} onBlur={() => setHeld(false)}>
      {toast.by && <Avatar person={person(toast.by)} size={24} quiet />}
      <p>{toast.text}</p>
      {toast.act && <button type="button" className="button small quiet" onClick={() => { toast.act!.call(); drop() }}>{toast.act.label}</button>}
      <button type="button" className="button icon-only small quiet" aria-label="Dismiss" onClick={drop}><Icon name="close" size={14} /></button>
    </div>
  )
}

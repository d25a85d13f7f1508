// The header of the app: which board, who is here, what is new.

import { type CSSProperties, useEffect, useRef, useState } from 'react'
import { api } from './api'
import { Bell } from './bell/bell'
import { useApp } from './context'
import { useStatus } from './live'
import { go, type Route } from './route'
import type { Board, Person } from './things'
import { Avatar } from './ui/avatar'
import { Icon, Mark } from './ui/icons'
import { session } from './window'

interface Props { boards: readonly Board[]; board: string; route: Route; here: readonly Person[]; filter: string; onFilter: (text: string) => void; isHood: boolean; isDock: boolean; toggle: (what: 'hood' | 'dock' | 'assistant') => void; isAssistant: boolean }

export function Header({ boards, board, here, filter, onFilter, isHood, isDock, isAssistant, toggle }: Props) {
  const { me } = useApp()
  const search = useRef<HTMLInputElement>(null)
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      const isWriting = (event.target as HTMLElement).closest?.('input, textarea, select, [contenteditable], .notes-host, dialog')
      if (event.key !== '/' || isWriting || event.ctrlKey || event.metaKey) return
      event.preventDefault()
      search.current?.focus()
    }
    addEventListener('keydown', pressed)
    return () => removeEventListener('keydown', pressed)
  }, [])
  const shown = here.filter(({ id }) => id !== me.id)
  return (
    <header className="top">
      <span className="brand"><Mark /><span>Workboard</span></span>
      <nav className="boards" aria-label="Boards">{boards.map(({ id, name }) => <button key={id} type="button" aria-current={id === board ? 'page' : undefined} onClick={() => go({ board: id, task: null, answer: null })}>{name}</button>)}</nav>
      <label className="search"><Icon name="search" /><span className="hidden">Filter tasks</span><input ref={search} type="search" placeholder="Filter" value={filter} onChange={(event) => onFilter(event.target.value)} onKeyDown={(event) => event.key === 'Escape' && (onFilter(''), event.currentTarget.blur())} /><kbd aria-hidden="true">/</kbd></label>
      <span className="top-gap" />
      <Connection />
      {shown.length > 0 && <ul className="faces here" aria-label="Also on this board">{shown.slice(0, 4).map((person) => <li key={person.id} style={{ '--person': person.color } as CSSProperties}><Avatar person={person} size={28} title={`${person.name} is here`} /></li>)}{shown.length > 4 && <li className="more">+{shown.length - 4}</li>}</ul>}
      <div className="top-tools">
        <button type="button" className="button quiet tool" aria-pressed={isAssistant} onClick={() => toggle('assistant')}><Icon name="spark" size={18} /><span>Assistant</span></button>
        <button type="button" className="button quiet tool" aria-pressed={isHood} onClick={() => toggle('hood')}><Icon name="gauge" size={18} /><span>Under the hood</span></button>
        <button type="button" className="button quiet icon-only tool-dock" aria-pressed={isDock} aria-label="Chat and notes" onClick={() => toggle('dock')}><Icon name="panel" size={18} /></button>
      </div>
      <Bell />
      <Profile />
    </header>
  )
}

/** Says nothing while all is well: a line is shown only if it lasts. */
function Connection() {
  const status = useStatus()
  const [isLong, setLong] = useState(false)
  const isWell = status.state === 'open' || status.state === 'idle'
  useEffect(() => {
    setLong(false)
    if (isWell) return
    const timer = setTimeout(() => setLong(true), 800)
    return () => clearTimeout(timer)
  }, [isWell])
  return <span className="connection" role="status" data-tone={isWell ? (status.degradedFrom ? 'detour' : 'good') : 'wait'}>{!isWell && isLong && (status.state === 'offline' ? 'Offline. Everything is kept.' : 'Reconnecting…')}</span>
}

type Theme = 'system' | 'light' | 'dark'
const THEME = 'workboard:theme'
export const themeOf = (): Theme => {
  try {
    return (localStorage.getItem(THEME) as Theme | null) ?? 'system'
  } catch {
    return 'system'
  }
}
export function wear(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = theme
  try {
    localStorage.setItem(THEME, theme)
  } catch {
    // Until the next reload, then.
  }
}

function Profile() {
  const { me } = useApp()
  const [theme, setTheme] = useState(themeOf)
  const out = (): void => {
    void api.signOut().catch(() => undefined).finally(() => {
      session.clear()
      location.assign('/')
    })
  }
  return (
    <>
      <button type="button" className="button icon-only quiet profile" popoverTarget="profile" aria-label={`${me.initials}, ${me.name}: settings`}><Avatar person={me} size={28} quiet /></button>
      <div className="popover menu" id="profile" popover="auto" role="dialog" aria-label="Settings">
        <p className="menu-me"><Avatar person={me} size={40} quiet /><span><b>{me.name}</b><span className="soft">{me.role}</span></span></p>
        <fieldset className="segments"><legend className="hidden">Appearance</legend>{(['system', 'light', 'dark'] as const).map((one) => <label key={one}><input type="radio" name="theme" checked={theme === one} onChange={() => { setTheme(one); wear(one) }} /><span>{{ system: 'System', light: 'Light', dark: 'Dark' }[one]}</span></label>)}</fieldset>
        <a href="/" target="_blank" rel="noopener"><Icon name="window" />Be somebody else in a new window</a>
        <a href="/live"><Icon name="gauge" />The plain live page</a>
        <button type="button" onClick={out}><Icon name="out" />Sign out</button>
      </div>
    </>
  )
}

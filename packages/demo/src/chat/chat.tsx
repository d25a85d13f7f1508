// The team's chat on one board.

import { Fragment, type KeyboardEvent, useEffect, useLayoutEffect, useRef, useState } from 'react'
import { useApp } from '../context'
import type { Person } from '../things'
import { Avatar } from '../ui/avatar'
import { Grow } from '../ui/grow'
import { Icon } from '../ui/icons'
import { clockWords, dayWords } from '../ui/time'
import { Mentions } from '../ui/words'
import { groups } from './list'
import { useChat } from './store'
import { useTyping } from './typing'

interface Props { board: string; isShown: boolean; here: ReadonlySet<string>; onUnseen(): void }

export function Chat({ board, isShown, here, onUnseen }: Props) {
  const { me, person, announce, nameOf } = useApp()
  const typing = useTyping(board)
  const chat = useChat(board, (said) => {
    typing.sent(said.by)
    if (said.by === me.id) return
    if (!isShown) onUnseen()
    else announce(`${nameOf(said.by)}: ${said.text}`)
  })
  const list = useRef<HTMLDivElement>(null)
  const isAtEnd = useRef(true)
  const height = useRef(0)

  // The end stays in sight for those who look at it; for who reads above, nothing jumps.
  useLayoutEffect(() => {
    const node = list.current
    if (!node) return
    if (isAtEnd.current) node.scrollTop = node.scrollHeight
    else if (chat.isFetching) node.scrollTop += node.scrollHeight - height.current
    height.current = node.scrollHeight
  })
  useEffect(() => {
    if (isShown && list.current) list.current.scrollTop = list.current.scrollHeight
  }, [isShown, board])

  const { said, sending } = chat.state
  const shown = groups(said)
  return (
    <>
      <div className="chat-list" ref={list} tabIndex={0} role="region" aria-label="Messages" onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => { isAtEnd.current = scrollHeight - scrollTop - clientHeight < 40 }}>
        {chat.isLoading && <Skeletons />}
        {chat.error && !said.length && <div className="pane-note" role="alert"><p>The messages could not be loaded.</p><button type="button" className="button small" onClick={chat.reload}>Try again</button></div>}
        {chat.hasEarlier && <button type="button" className="button small quiet chat-earlier" disabled={chat.isFetching} onClick={() => { isAtEnd.current = false; chat.fetchEarlier() }}>{chat.isFetching ? 'Loading…' : 'Earlier messages'}</button>}
        {!chat.isLoading && !chat.error && !said.length && !sending.length && <div className="pane-note"><Icon name="chat" size={24} /><p>Nothing said here yet.<br />Say hello, or ask @somebody.</p></div>}
        {shown.map((group, n) => {
          const day = group.at === undefined ? undefined : dayWords(group.at, new Date())
          const before = shown[n - 1]?.at
          const isNewDay = day !== undefined && (before === undefined || dayWords(before, new Date()) !== day)
          return (
            <Fragment key={group.said[0]!.id}>
              {isNewDay && <p className="chat-day"><span>{day}</span></p>}
              <article className="chat-group" data-mine={group.by === me.id || undefined}>
                <span className="chat-face" data-here={here.has(group.by) || undefined}><Avatar person={person(group.by)} size={28} quiet /></span>
                <div>
                  <p className="by"><b>{nameOf(group.by)}</b>{group.at !== undefined && <time dateTime={new Date(group.at).toISOString()}>{clockWords(group.at)}</time>}</p>
                  {group.said.map((one) => <p key={one.id} className="said" data-to-me={one.text.includes(`@${me.id}`) || undefined}><Mentions text={one.text} person={person} /></p>)}
                </div>
              </article>
            </Fragment>
          )
        })}
        {sending.map((one) => (
          <article key={one.key} className="chat-group" data-sending={one.state}>
            <span className="chat-face"><Avatar person={me} size={28} quiet /></span>
            <div>
              <p className="by"><b>{me.name}</b><span>{one.state === 'failed' ? 'not sent' : 'sending…'}</span></p>
              <p className="said">{one.text}</p>
              {one.state === 'failed' && <button type="button" className="button small" onClick={() => chat.say(one.text, one.key)}>Try again</button>}
            </div>
          </article>
        ))}
      </div>
      <p className="chat-typing" data-shown={typing.typists.length > 0}>{typing.typists.length > 0 && <><span className="dots" aria-hidden="true"><i /><i /><i /></span>{typingWords(typing.typists.map((id) => nameOf(id).split(' ')[0]!))}</>}</p>
      <Composer say={(text) => { isAtEnd.current = true; chat.say(text) }} typed={typing.typed} />
    </>
  )
}

const typingWords = (names: string[]): string => (names.length === 1 ? `${names[0]} is writing` : names.length === 2 ? `${names[0]} and ${names[1]} are writing` : 'Several people are writing')

function Composer({ say, typed }: { say: (text: string) => void; typed: () => void }) {
  const { people, me } = useApp()
  const [text, setText] = useState('')
  const [at, setAt] = useState(0)
  const field = useRef<HTMLFormElement>(null)
  const asked = /(^|\s)@([a-z]*)$/i.exec(text)?.[2]?.toLowerCase()
  const found = asked === undefined ? [] : people.filter(({ id, name }) => id !== me.id && (id.startsWith(asked) || name.toLowerCase().startsWith(asked)))
  const picked = found[Math.min(at, found.length - 1)]

  const mention = (person: Person): void => {
    setText((text) => text.replace(/@[a-z]*$/i, `@${person.id} `))
    setAt(0)
    field.current?.querySelector('textarea')?.focus()
  }
  const send = (): void => {
    if (!text.trim()) return
    say(text.trim())
    setText('')
  }
  const onKey = (event: KeyboardEvent): void => {
    if (event.nativeEvent.isComposing) return
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (picked && (step || event.key === 'Enter' || event.key === 'Tab' || event.key === 'Escape')) {
      event.preventDefault()
      if (step) setAt((at + step + found.length) % found.length)
      else if (event.key === 'Escape') setText(`${text} `)
      else mention(picked)
    } else if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault()
      send()
    }
  }
  return (
    <form ref={field} className="composer" onSubmit={(event) => { event.preventDefault(); send() }}>
      {picked && (
        <ul className="mentions" id="mentions" role="listbox" aria-label="People">
          {found.map((one) => <li key={one.id} id={`mention-${one.id}`} role="option" aria-selected={one === picked} onMouseDown={(event) => { event.preventDefault(); mention(one) }}><Avatar person={one} size={20} quiet />{one.name}<span className="soft">{one.role}</span></li>)}
        </ul>
      )}
      <Grow className="field" aria-label="Message to the team" placeholder="Message the team" maxLength={2000} value={text} onChange={(event) => { setText(event.target.value); setAt(0); if (event.target.value) typed() }} onKeyDown={onKey}
        aria-autocomplete="list" aria-controls={picked ? 'mentions' : undefined} aria-activedescendant={picked ? `mention-${picked.id}` : undefined} />
      <button type="submit" className="button icon-only primary" aria-label="Send message" disabled={!text.trim()}><Icon name="send" /></button>
    </form>
  )
}

const Skeletons = () => <div className="skeletons" aria-hidden="true">{[70, 45, 80, 55, 65].map((width, n) => <span key={n} className="skeleton said" style={{ width: `${width}%` }} />)}</div>

// The assistant's sheet: what was asked on this board, and what it says.

import { type KeyboardEvent, useEffect, useLayoutEffect, useRef, useState } from 'react'
import { useApp } from '../context'
import type { Conversation } from '../things'
import { Avatar } from '../ui/avatar'
import { Grow } from '../ui/grow'
import { Icon } from '../ui/icons'
import { Prose } from '../ui/words'
import { type Answer, useAnswer, useAssistant } from './store'

const IDEAS = ['What is due this week?', 'Who has the most to do?', 'What changed lately?', 'Summarise this board']

export function AssistantSheet({ board, boardName, answer, onClose }: { board: string; boardName: string; answer: string | null; onClose: () => void }) {
  const { conversations, error, isAsking, ask, stop, ended, reload } = useAssistant(board)
  const list = useRef<HTMLDivElement>(null)
  const follows = useRef(true)
  const isWriting = conversations?.some(({ state }) => state === 'writing')
  useEffect(() => {
    follows.current = true
  }, [answer, conversations?.length])
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => {
      if (follows.current && list.current) list.current.scrollTop = list.current.scrollHeight
    })
    const inner = list.current?.firstElementChild
    if (inner) observer.observe(inner)
    return () => observer.disconnect()
  }, [conversations === undefined])

  return (
    <section className="sheet" aria-label="Assistant" data-writing={isWriting || undefined}>
      <header className="sheet-head"><Icon name="spark" /><h2>Assistant</h2><span className="soft">{boardName}</span><button type="button" className="button icon-only quiet" aria-label="Close the assistant" onClick={onClose}><Icon name="close" /></button></header>
      <div className="sheet-list" ref={list} tabIndex={0} role="region" aria-label="Questions and answers" onWheel={() => { const node = list.current!; requestAnimationFrame(() => { follows.current = node.scrollHeight - node.scrollTop - node.clientHeight < 40 }) }}>
        <div>
          {error && <div className="pane-note" role="alert"><p>Earlier questions could not be loaded. {error}</p><button type="button" className="button small" onClick={reload}>Try again</button></div>}
          {!conversations && !error && <div className="skeletons" aria-hidden="true"><span className="skeleton said" /><span className="skeleton said" /></div>}
          {conversations?.length === 0 && (
            <div className="sheet-empty">
              <p>Ask about this board. It reads the tasks as they are now and streams its answer; reload in the middle, and it goes on where it was.</p>
              <ul>{IDEAS.map((idea) => <li key={idea}><button type="button" className="button idea" disabled={isAsking} onClick={() => ask(idea)}>{idea}<Icon name="arrow" /></button></li>)}</ul>
            </div>
          )}
          {conversations?.map((one) => <Exchange key={one.id} conversation={one} onEnd={ended} onStop={() => stop(one)} />)}
        </div>
      </div>
      <Asker disabled={isAsking} ask={ask} />
    </section>
  )
}

function Exchange({ conversation, onEnd, onStop }: { conversation: Conversation; onEnd: (id: string, answer: Answer) => void; onStop: () => void }) {
  const { me, announce } = useApp()
  const { text, state, why } = useAnswer(conversation, (id, answer) => {
    onEnd(id, answer)
    announce(answer.state === 'end' ? `The assistant answered: ${answer.text}` : 'The assistant stopped.')
  })
  const isWriting = state === 'writing'
  return (
    <article className="exchange" aria-busy={isWriting}>
      <div className="question"><Avatar person={me} size={24} quiet /><p>{conversation.question}</p></div>
      <div className="answer">
        <span className="answer-mark" data-writing={isWriting || undefined}><Icon name="spark" size={14} /></span>
        <div>
          {text ? <Prose text={text} /> : isWriting && <p className="soft">Thinking…</p>}
          {isWriting && <button type="button" className="button small answer-stop" onClick={onStop}><Icon name="stop" />Stop</button>}
          {state === 'cancel' && <p className="answer-end">{why ?? 'Stopped.'}</p>}
          {state === 'fail' && <p className="answer-end" data-tone="bad">{why ?? 'The answer broke off.'}</p>}
        </div>
      </div>
    </article>
  )
}

function Asker({ disabled, ask }: { disabled: boolean; ask: (question: string) => void }) {
  const [text, setText] = useState('')
  const send = (): void => {
    if (!text.trim() || disabled) return
    ask(text.trim())
    setText('')
  }
  const onKey = (event: KeyboardEvent): void => {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return
    event.preventDefault()
    send()
  }
  return (
    <form className="composer" onSubmit={(event) => { event.preventDefault(); send() }}>
      <Grow className="field" aria-label="Question to the assistant" placeholder="Ask about this board" maxLength={500} value={text} onChange={(event) => setText(event.target.value)} onKeyDown={onKey} />
      <button type="submit" className="button icon-only primary" aria-label="Ask" disabled={!text.trim() || disabled}><Icon name="send" /></button>
    </form>
  )
}

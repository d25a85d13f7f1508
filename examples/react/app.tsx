// A chat, a badge, and an answer that writes itself, in one file.

import { type FormEvent, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { connect } from '@tidewire/client'
import { hooks } from '@tidewire/react'

/** What travels: feature, event, data. */
type App = {
  chat: { message: { from: string; text: string } }
  notifications: { 'task.assigned': { task: string } }
  answers: { token: { text: string }; end: { tokens: number } }
}

const query = new URLSearchParams(location.search)
const live = connect<App>(query.get('server') ?? 'http://127.0.0.1:4000')
const { useList, useSend, useStatus, useStream, useTopic } = hooks(live)
const me = query.get('name') ?? 'Ana'

function Status() {
  const { state, why, next } = useStatus()
  return <p role="status" title={next}>{state === 'open' ? 'live' : `${state}: ${why}`}</p>
}

function Notifications() {
  const { entries } = useList(`notifications/${me}`, { event: 'task.assigned', limit: 3 })
  useTopic(`notifications/${me}`, 'task.assigned', ({ task }) => (document.title = `New: ${task}`))
  return <ul aria-label="Notifications">{entries.map(({ id, data }) => <li key={id}>You were given “{data.task}”.</li>)}</ul>
}

function Chat() {
  const { entries, loading, gap, error } = useList('chat/general', { event: 'message', limit: 50 })
  const send = useSend('chat/general')
  const [text, setText] = useState('')
  const [failed, setFailed] = useState('')

  async function submit(event: FormEvent) {
    event.preventDefault()
    try {
      await send('message', { from: me, text })
      setText('')
      setFailed('')
    } catch (error) {
      setFailed((error as Error).message)
    }
  }

  return (
    <>
      {loading && <p>Loading…</p>}
      {error && <p role="alert">{error.message}</p>}
      {gap && <p role="alert">Some older messages are gone ({gap.reason}).</p>}
      <ol aria-label="Messages">
        {entries.map(({ id, data }) => <li key={id}><b>{data.from}</b> {data.text}</li>)}
      </ol>
      <form onSubmit={submit}>
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} required autoFocus /> <button>Send</button>
      </form>
      {failed && <p role="alert">{failed}</p>}
    </>
  )
}

/** Reload the page in the middle: it is whole again. */
function Answer({ id }: { id: string }) {
  const { parts, done, end, error } = useStream(`answers/${id}`)
  return (
    <p aria-label="Answer" aria-busy={!done}>
      {parts.map(({ text }) => text).join('')}
      {done && <small> {end?.tokens} tokens</small>}
      {error?.message}
    </p>
  )
}

createRoot(document.getElementById('app')!).render(
  <>
    <h1>{me}</h1>
    <Status />
    <h2>Notifications</h2>
    <Notifications />
    <h2>Chat</h2>
    <Chat />
    <h2>Answer</h2>
    <Answer id="demo" />
  </>,
)

// On a server: everything renders, nothing connects; and the browser takes the page over as it is.

import assert from 'node:assert/strict'
import test from 'node:test'
import * as React from 'react'
import { renderToString } from 'react-dom/server'
import { hooks } from '../src/index.js'
import { presence } from '../src/presence.js'
import type { App } from './app.js'
import { page, until } from './dom.js'
import { FakeLive } from './fake.js'

const { Tidewire, useLatest, useList, useLive, useSend, useStatus, useStream, useTopic } = hooks<App>()
const usePresence = presence(useLive)

const Everything = () => {
  useTopic('chat/general', 'message', () => {})
  useSend('chat/general')
  const { who } = useLatest('chat/general', 'typing', { who: 'nobody' })
  const { entries, loading } = useList('chat/general', { event: 'message' })
  const { parts, done } = useStream('answers/42')
  const { members } = usePresence('chat/general', { name: 'me' })
  return <p>{`${useLatest('tasks/7').size + members.length}, ${who}, ${loading ? 'loading' : entries.map(({ data }) => data.text)}, ${parts.length} ${done}, ${useStatus().state}`}</p>
}

test('a server renders the first state and connects to nothing; a browser goes on from there', async (t) => {
  const server = new FakeLive()
  server.publish('chat/general', 'message', { text: 'kept' })
  server.is({ state: 'open' })
  const element = (live: FakeLive) => <Tidewire live={live}><Everything /></Tidewire>
  assert.equal(typeof globalThis.window, 'undefined', 'there is no window here')
  const html = renderToString(element(server))
  assert.equal(html, '<p>0, nobody, loading, 0 false, idle</p>')
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.deepEqual(server.wire, [])

  page()
  const complaints: unknown[] = []
  t.mock.method(console, 'error', (...words: unknown[]) => complaints.push(words))
  const { hydrateRoot } = await import('react-dom/client')
  const container = document.body.appendChild(document.createElement('div'))
  container.innerHTML = html
  const shown = container.firstChild
  await React.act(async () => void hydrateRoot(container, element(server)))
  await until('it is live', () => container.textContent === '1, nobody, kept, 0 false, open')
  assert.equal(container.firstChild, shown, 'the same element')
  assert.deepEqual(complaints, [])
})

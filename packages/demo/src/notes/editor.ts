// The shared document: Yjs, the unmodified y-websocket provider, CodeMirror. Loaded when notes are
// first looked at.
//
// CodeMirror lives in a shadow root, because there its styles are constructed sheets, which the
// page's policy allows, and not style elements, which it forbids.

import { standardKeymap } from '@codemirror/commands'
import { EditorState } from '@codemirror/state'
import { drawSelection, EditorView, keymap, placeholder } from '@codemirror/view'
import { yCollab, yUndoManagerKeymap } from 'y-codemirror.next'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import type { Tap } from '../tap'
import type { Person } from '../things'
import { carets } from './carets'
import { look, theme } from './look'

export interface NotesState { isOpen: boolean; isSynced: boolean; writers: Person['id'][]; unsent: number }
export interface Notes { attach(host: HTMLElement): void; detach(): void; close(): void }

interface Given { board: string; me: Person; /** Access for one connection, that may stand in an address. */ ticket: () => Promise<string>; tap: Tap; onState(state: NotesState): void }

export function openNotes({ board, me, ticket, tap, onState }: Given): Notes {
  const doc = new Y.Doc()
  const text = doc.getText('notes')
  // The provider reads them each time it connects. A ticket is good for one connection.
  const params: Record<string, string> = {}
  const renew = (): Promise<void> => ticket().then((fresh) => void (params.ticket = fresh), () => void delete params.ticket)
  // The socket of the tap carries the window's id and takes the way of the other connections.
  const provider = new WebsocketProvider(`${location.origin.replace(/^http/, 'ws')}/v1/docs`, `docs/${board}`, doc, { params, WebSocketPolyfill: tap.env.WebSocket as typeof WebSocket, disableBc: true, connect: false })
  let isOver = false
  void renew().then(() => isOver || provider.connect())
  provider.on('connection-close', () => void renew())
  const { awareness } = provider
  awareness.setLocalStateField('user', { id: me.id, name: me.name.split(' ')[0], color: me.color })

  let unsent = 0
  const told = (): void => {
    const writers = [...awareness.getStates()].flatMap(([client, state]) => (client === awareness.clientID ? [] : ((state as { user?: { id?: string } }).user?.id ?? [])))
    onState({ isOpen: provider.wsconnected, isSynced: provider.synced, writers: [...new Set(writers)], unsent })
  }
  doc.on('update', (_: Uint8Array, origin: unknown) => {
    if (origin !== provider && !provider.wsconnected) unsent++
    told()
  })
  provider.on('status', told)
  provider.on('sync', (isSynced: boolean) => {
    if (isSynced) unsent = 0
    told()
  })
  awareness.on('change', told)
  const unwatch = tap.onSleep((isAsleep) => (isAsleep ? provider.disconnect() : provider.connect()))

  let view: EditorView | undefined
  const attach = (host: HTMLElement): void => {
    const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' })
    view = new EditorView({
      root, parent: root,
      state: EditorState.create({
        doc: text.toString(),
        extensions: [keymap.of([...yUndoManagerKeymap, ...standardKeymap]), EditorView.lineWrapping, drawSelection(), placeholder('Write together. What you type offline is kept and merged.'), theme, look, yCollab(text, null, { undoManager: new Y.UndoManager(text) }), carets(text, awareness), EditorView.contentAttributes.of({ 'aria-label': 'Shared notes', spellcheck: 'true', autocapitalize: 'sentences' })],
      }),
    })
    told()
  }
  const detach = (): void => {
    view?.destroy()
    view = undefined
  }
  return {
    attach,
    detach,
    close: () => {
      isOver = true
      detach()
      unwatch()
      provider.destroy()
      doc.destroy()
    },
  }
}

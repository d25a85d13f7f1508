// The chat of one board: the last page, then what comes after it; older pages when asked for.

import { useCallback, useEffect, useReducer, useRef, useState } from 'react'
import { type LastPage, lastPage } from '../adapter'
import { newKey } from '../api'
import { useApp } from '../context'
import { useHeard } from '../heard'
import { useLive } from '../live'
import { anew, begins, came, type ChatState, earlier, fails, type Said, SILENT, stored } from './list'

const PAGE = 50

type Act =
  | { do: 'empty' }
  | { do: 'came'; said: Said; me: string }
  | { do: 'earlier'; page: Said[] }
  | { do: 'anew'; page: Said[] }
  | { do: 'begins'; key: string; text: string; at: number }
  | { do: 'stored'; key: string; id: string | null }
  | { do: 'fails'; key: string }

function reduce(state: ChatState, act: Act): ChatState {
  if (act.do === 'empty') return SILENT
  if (act.do === 'came') return came(state, act.said, act.me)
  if (act.do === 'earlier') return earlier(state, act.page)
  if (act.do === 'anew') return anew(state, act.page)
  if (act.do === 'begins') return begins(state, act.key, act.text, act.at)
  if (act.do === 'stored') return stored(state, act.key, act.id)
  return fails(state, act.key)
}

const saidOf = (id: string, data: unknown): Said | undefined => {
  const { by, text, at } = (data ?? {}) as { by?: unknown; text?: unknown; at?: unknown }
  return typeof by === 'string' && typeof text === 'string' ? { id, by, text, at: typeof at === 'number' ? at : undefined } : undefined
}
const pageOf = ({ entries }: LastPage): Said[] => entries.flatMap(({ id, event, data }) => (event === 'message' && id && saidOf(id, data)) || [])

export interface Chat {
  state: ChatState
  isLoading: boolean
  error: string | undefined
  hasEarlier: boolean
  isFetching: boolean
  fetchEarlier(): void
  say(text: string, key?: string): void
  reload(): void
}

export function useChat(board: string, onCame: (said: Said) => void): Chat {
  const { me } = useApp()
  const live = useLive()
  const name = `chat/${board}` as const
  const [state, act] = useReducer(reduce, SILENT)
  const [place, setPlace] = useState<{ name: string; cursor: string; first: string | undefined; earlier: boolean }>()
  const [error, setError] = useState<string>()
  const [isFetching, setFetching] = useState(false)
  const [turn, setTurn] = useState(0)
  const shownFor = useRef(name)

  useEffect(() => {
    let isOver = false
    if (shownFor.current !== name) act({ do: 'empty' })
    shownFor.current = name
    setError(undefined)
    lastPage(live, name, PAGE).then(
      (page) => {
        if (isOver) return
        act({ do: 'anew', page: pageOf(page) })
        setPlace({ name, cursor: page.cursor, first: page.entries[0]?.id, earlier: page.earlier })
      },
      (thrown: unknown) => !isOver && setError(thrown instanceof Error ? thrown.message : String(thrown)),
    )
    return () => void (isOver = true)
  }, [live, name, turn])

  const isOurs = place?.name === name
  const reload = useCallback(() => setTurn((turn) => turn + 1), [])
  useHeard(isOurs && name, (data, { event, id }) => {
    const said = event === 'message' && id ? saidOf(id, data) : undefined
    if (!said) return
    act({ do: 'came', said, me: me.id })
    onCame(said)
  }, { after: isOurs ? place.cursor : 'now', load: reload })

  const fetchEarlier = (): void => {
    if (!isOurs || !place.first || isFetching) return
    setFetching(true)
    lastPage(live, name, PAGE, place.first).then(
      (page) => {
        act({ do: 'earlier', page: pageOf(page) })
        setPlace({ ...place, first: page.entries[0]?.id ?? place.first, earlier: page.earlier && page.entries.length > 0 })
      },
      (thrown: unknown) => setError(thrown instanceof Error ? thrown.message : String(thrown)),
    ).finally(() => setFetching(false))
  }

  const say = (text: string, key = newKey()): void => {
    const at = Date.now()
    act({ do: 'begins', key, text, at })
    // The key makes a second try of ours the same message.
    live.topic(name).send('message', { by: me.id, text, at }, { key }).then(({ id }) => act({ do: 'stored', key, id }), () => act({ do: 'fails', key }))
  }
  return { state, isLoading: !isOurs && !error, error, hasEarlier: isOurs && place.earlier, isFetching, fetchEarlier, say, reload }
}

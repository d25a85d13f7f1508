// Questions to the assistant and their answers. An answer is a topic: it is read from its start, so a
// reload in the middle, or a second window, has it whole.

import { useCallback, useEffect, useRef, useState } from 'react'
import { joined } from '../adapter'
import { api, newKey } from '../api'
import { useApp } from '../context'
import { useHeard } from '../heard'
import { useLive } from '../live'
import { go } from '../route'
import type { Conversation } from '../things'

export interface Answer { text: string; state: Conversation['state']; why?: string }

/** The answer as it comes; `conversation.text` once it is there. */
export function useAnswer(conversation: Conversation, onEnd: (id: string, answer: Answer) => void): Answer {
  const { id, topic, state } = conversation
  const isWriting = state === 'writing'
  const { tally, nameOf } = useApp()
  const [live, setLive] = useState<Answer>({ text: '', state: 'writing' })
  const text = useRef('')
  const frame = useRef(0)
  useEffect(() => {
    text.current = ''
    setLive({ text: '', state: 'writing' })
    tally.anew(topic)
    return () => cancelAnimationFrame(frame.current)
  }, [topic, tally])

  // Tokens come faster than screens draw: once a frame is enough.
  const show = (): void => {
    cancelAnimationFrame(frame.current)
    frame.current = requestAnimationFrame(() => setLive((had) => ({ ...had, text: text.current })))
  }
  useHeard(isWriting && (topic as `answers/${string}`), (data, { event }) => {
    if (event === 'text') {
      text.current = joined(text.current, String(data))
      return show()
    }
    if (event !== 'end' && event !== 'cancel' && event !== 'fail') return
    cancelAnimationFrame(frame.current)
    const told = data as { message?: string; by?: string | null }
    const why = event === 'fail' ? told.message : event === 'cancel' && told.by ? `Stopped by ${nameOf(told.by)}` : undefined
    const answer: Answer = { text: text.current, state: event, ...(why && { why }) }
    setLive(answer)
    onEnd(id, answer)
    // What is stored is what counts.
    api.conversation(id).then((stored) => stored.state !== 'writing' && onEnd(id, { ...answer, text: stored.text }), () => undefined)
  }, { after: 'start' })
  return isWriting ? live : { text: conversation.text, state }
}

export interface Assistant {
  conversations: Conversation[] | undefined
  error: string | undefined
  isAsking: boolean
  ask(question: string): void
  stop(conversation: Conversation): void
  ended(id: string, answer: Answer): void
  reload(): void
}

export function useAssistant(board: string): Assistant {
  const { toast } = useApp()
  const live = useLive()
  const [conversations, setConversations] = useState<Conversation[]>()
  const [error, setError] = useState<string>()
  const [isAsking, setAsking] = useState(false)
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    let isOver = false
    setConversations(undefined)
    setError(undefined)
    api.conversations(board).then((found) => !isOver && setConversations(found), (thrown: unknown) => !isOver && setError(String((thrown as Error).message)))
    return () => void (isOver = true)
  }, [board, turn])

  const ask = (question: string): void => {
    setAsking(true)
    api.ask(board, question, newKey()).then(
      (made) => {
        setConversations((had) => [...(had ?? []).filter(({ id }) => id !== made.id), made])
        go({ answer: made.id })
      },
      (thrown: unknown) => toast({ tone: 'error', text: `The question was not sent. ${(thrown as Error).message}` }),
    ).finally(() => setAsking(false))
  }
  const ended = useCallback((id: string, { text, state }: Answer) => setConversations((had) => had?.map((one) => (one.id === id ? { ...one, text, state } : one))), [])
  return {
    conversations, error, isAsking, ask, ended,
    stop: ({ topic }) => void live.topic(topic as `answers/${string}`).cancel().catch(() => toast({ tone: 'error', text: 'It could not be stopped.' })),
    reload: () => setTurn((turn) => turn + 1),
  }
}

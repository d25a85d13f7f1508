// Who is writing. It rides beside the pointers, where nothing is kept: nobody wants to know
// tomorrow who typed today.

import { useEffect, useRef, useState } from 'react'
import { sendVolatile } from '../adapter'
import { useApp } from '../context'
import { useLive, useTopic } from '../live'
import { windowId } from '../window'

const SAY_MS = 2000
const FADE_MS = 3500

export function useTyping(board: string): { typists: string[]; typed: () => void; sent: (by: string) => void } {
  const { me } = useApp()
  const live = useLive()
  const [seen, setSeen] = useState<ReadonlyMap<string, number>>(new Map())
  const saidAt = useRef(0)

  useTopic(`pointers/${board}`, 'typing', ({ by }) => {
    if (by !== me.id) setSeen((had) => new Map(had).set(by, Date.now()))
  })
  useEffect(() => {
    if (!seen.size) return
    const timer = setTimeout(() => setSeen((had) => new Map([...had].filter(([, at]) => Date.now() - at < FADE_MS))), 1000)
    return () => clearTimeout(timer)
  }, [seen])

  return {
    typists: [...seen.keys()],
    typed: () => {
      if (Date.now() - saidAt.current < SAY_MS) return
      saidAt.current = Date.now()
      sendVolatile(live.topic(`pointers/${board}`), 'typing', { by: me.id }, `typing-${windowId}`)
    },
    sent: (by) => setSeen((had) => new Map([...had].filter(([one]) => one !== by))),
  }
}

// Listening with a record: every entry that any part of the page hears is counted once, under the
// hood, before the part sees it.

import { useEffect, useRef } from 'react'
import type { Meta, TopicOptions } from '@tidewire/client'
import { useApp } from './context'
import { useLive } from './live'
import type { App } from './things'

type TopicName = `${keyof App}/${string}`

/** One listener for all events of a topic, counted. Use it once for a topic. */
export function useHeard(topic: TopicName | null | false | undefined, listener: (data: unknown, meta: Meta) => void, options: TopicOptions = {}): void {
  const { tally, log } = useApp()
  const live = useLive()
  const newest = useRef({ listener, options })
  newest.current = { listener, options }
  useEffect(() => {
    if (!topic) return
    const { after = 'now' } = newest.current.options
    // One reader for entries and seams: a second one would be taken up on its own.
    const heard = live.topic(topic, { after, load: (gap) => newest.current.options.load?.(gap) })
    const offs = [
      heard.on('tidewire.seam', (seam) => {
        tally.seam(topic, seam.continuity === 'gap')
        if (seam.continuity === 'gap') log.add('gap', `${topic}: the server can not prove that nothing was missed (${seam.gap.reason}). Loading anew.`)
      }),
      heard.on('*', (data, meta) => {
        tally.heard(meta.topic, meta.id)
        newest.current.listener(data, meta)
      }),
    ]
    return () => offs.forEach((off) => off())
  }, [live, topic, tally, log])
}

// Listening with a record: every entry that any part of the page hears is counted once, under the
// hood, before the part sees it.

import { useEffect, useRef } from 'react'
import type { Meta, TopicOptions } from '@tidewire/client'
import { useApp } from './context'
import { useLive, useTopic } from './live'
import type { App } from './things'

type TopicName = `${keyof App}/${string}`

/** One listener for all events of a topic, counted. Use it once for a topic. */
export function useHeard(topic: TopicName | null | false | undefined, listener: (data: unknown, meta: Meta) => void, options: TopicOptions = {}): void {
  const { tally, log } = useApp()
  useTopic(topic, '*', (data, meta) => {
    tally.heard(meta.topic, meta.id)
    listener(data, meta)
  }, options)
  useTopic(topic, 'tidewire.seam', (seam) => {
    if (!topic) return
    tally.seam(topic, seam.continuity === 'gap')
    if (seam.continuity === 'gap') log.add('gap', `${topic}: the server can not prove that nothing was missed (${seam.gap.reason}). Loading anew.`)
    else if (seam.continuity === 'resumed') log.add('resumed', `${topic}: goes on where it stopped, nothing missed.`)
  })
}

/** Calls when the connection is back after it was away. */
export function useBack(call: () => void): void {
  const live = useLive()
  const newest = useRef(call)
  newest.current = call
  useEffect(() => {
    let wasAway = false
    return live.on('status', ({ state }) => {
      if (state === 'waiting' || state === 'offline' || state === 'connecting') wasAway = true
      if (state === 'open' && wasAway) {
        wasAway = false
        newest.current()
      }
    })
  }, [live])
}

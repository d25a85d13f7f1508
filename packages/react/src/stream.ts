// A stream that ends, read from its start. Parts may come faster than anybody sees: they are shown
// once a frame.

import type { Live } from '@tidewire/client'
import type { Failure, Stream, StreamOptions } from './api.js'
import { type Store, store } from './store.js'

/** Where no frames come (a hidden tab, no browser), parts are shown after so long. */
const FRAME_MS_MAX = 100

export function stream(live: Live, topic: string, event: string | undefined, until: string, options: () => StreamOptions): Store<Stream<unknown>> {
  const parts: unknown[] = []
  let after = options().after ?? 'start'
  let now: Partial<Stream<unknown>> = {}

  return store<Stream<unknown>>({ parts: [], done: false }, (change) => {
    const abort = new AbortController()
    let isDrawn = true
    const draw = (): void => {
      if (!isDrawn) return
      isDrawn = false
      frame(() => {
        isDrawn = true
        change({ ...now, parts: [...parts] })
      })
    }
    const read = async (): Promise<void> => {
      for await (const entry of live.topic(topic).events({ after, until, signal: abort.signal })) {
        if (abort.signal.aborted) return
        if (entry.id) after = entry.id
        if (entry.event === until) now = { done: true, end: entry.data }
        else if (!event || entry.event === event) parts.push(entry.data)
        draw()
      }
    }
    if (!now.done) {
      read().catch((error: Failure) => {
        if (abort.signal.aborted) return
        now = { error }
        draw()
      })
    }
    return () => abort.abort()
  })
}

function frame(call: () => void): void {
  let isDue = true
  const once = (): void => {
    if (isDue) call()
    isDue = false
  }
  globalThis.requestAnimationFrame?.(once)
  setTimeout(once, FRAME_MS_MAX)
}

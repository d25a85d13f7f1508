// A stream that ends, read from its start. Parts may come faster than anybody sees: they are shown
// once a frame.

import type { Live } from '@tidewire/client'
import type { Failure, Stream, StreamOptions } from './api.js'
import { type Store, store } from './store.js'

/** Where no frames come (a hidden tab, no browser), parts are shown after so long. */
const FRAME_MS_MAX = 100

/** What a stream's last event means. */
const ENDS: { [event: string]: Stream<unknown>['state'] } = { end: 'done', fail: 'failed', cancel: 'cancelled' }

/** What is shown of one that is not known yet. */
export const NO_STREAM: Stream<unknown> = { text: '', state: 'streaming', parts: [], done: false, cancel() {} }

export function stream(live: Live, topic: string, event: string | undefined, until: string | undefined, item: string | undefined, options: () => StreamOptions): Store<Stream<unknown>> {
  const parts: unknown[] = []
  let after = options().after ?? 'start'
  let text = ''
  let now: Partial<Stream<unknown>> = {}
  // If nothing comes of it, the stream goes on, and shows it.
  const cancel = (): void => void live.topic(topic).cancel().catch(() => {})

  return store<Stream<unknown>>({ ...NO_STREAM, cancel }, (change) => {
    const abort = new AbortController()
    let isDrawn = true
    const draw = (): void => {
      if (!isDrawn) return
      isDrawn = false
      frame(() => {
        isDrawn = true
        change({ ...now, text, parts: [...parts] })
      })
    }
    const read = async (): Promise<void> => {
      for await (const entry of live.topic(topic).events({ after, until: until ?? Object.keys(ENDS), signal: abort.signal })) {
        if (abort.signal.aborted) return
        if (entry.id) after = entry.id
        const { data } = entry
        if (until ? entry.event === until : entry.event in ENDS) {
          const state = ENDS[entry.event] ?? 'done'
          // A producer that failed says why, as an error does.
          now = { done: true, end: data, state, error: state === 'failed' ? (data as Error) : undefined }
        } else if (item === undefined || item === entry.item) {
          if (!event || entry.event === event) parts.push(data)
          if (entry.event === 'text') text += data
        }
        draw()
      }
    }
    if (!now.done) {
      read().catch((error: Failure) => {
        if (abort.signal.aborted) return
        now = { error, state: 'failed' }
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

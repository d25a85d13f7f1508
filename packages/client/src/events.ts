// A topic's entries as a loop. Backpressure is the cursor standing still: when the loop is slow,
// reading stops, and begins again after the last entry that waits.

import type { After, Entry, EventsOptions, Off, Refusal, Seam } from './api.js'
import type { Engine } from './engine.js'
import { TidewireError } from './error.js'

/** The events that end a stream of text: it is whole, it failed, somebody stopped it. */
export const ENDS = ['end', 'fail', 'cancel']

/** What ends a loop that does not say. Once an entry is heard, the plan is known. */
const endsOf = (engine: Engine, topic: string): readonly string[] => (engine.keepOf(topic) === 'text' ? ENDS : ['end'])

export function entriesOf(engine: Engine, topic: string, { after = 'start', until, signal, buffer = 256 }: EventsOptions = {}): AsyncIterableIterator<Entry> {
  const waiting: Entry[] = []
  let place: After = after
  let off: Off | undefined
  let isOver = false
  let error: Refusal | undefined
  const waiters: (() => void)[] = []
  const wake = (): void => waiters.splice(0).forEach((waiter) => waiter())

  const pause = (): void => {
    off?.()
    off = undefined
  }
  const finish = (): void => {
    isOver = true
    pause()
    signal?.removeEventListener('abort', finish)
    engine.ends.delete(finish)
    wake()
  }
  const reader = {
    hear(entry: Entry): void {
      if (isOver || !off) return
      waiting.push(entry)
      if (entry.id) place = entry.id
      if ([until ?? endsOf(engine, topic)].flat().includes(entry.event)) return finish()
      if (waiting.length >= buffer) {
        if (!entry.id) {
          error = { code: 'too_slow', message: `the loop is ${buffer} entries behind`, next: 'give_up' }
          return finish()
        }
        pause()
      }
      wake()
    },
    refused(refusal: Refusal): void {
      error = refusal
      finish()
    },
    // A loop can not be told of a gap in any other way.
    seam(seam: Seam): void {
      if (seam.continuity === 'gap') reader.refused({ code: 'gap', message: `entries may be missing: ${seam.gap.reason}`, next: 'give_up' })
    },
  }
  if (signal?.aborted) isOver = true
  signal?.addEventListener('abort', finish)
  engine.ends.add(finish)

  return {
    [Symbol.asyncIterator]() {
      return this
    },
    async next() {
      for (;;) {
        const value = waiting.shift()
        if (value) return { done: false, value }
        if (error) throw new TidewireError(error)
        if (isOver || engine.isClosed) return { done: true, value: undefined }
        off ??= engine.read(topic, place, reader)
        await new Promise<void>((done) => waiters.push(done))
      }
    },
    async return() {
      waiting.length = 0
      finish()
      return { done: true, value: undefined }
    },
  }
}

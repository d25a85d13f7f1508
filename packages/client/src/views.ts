// What makes one thing of many entries: the latest values of a topic, and the text of a stream.

// All of the core, so that it stays in one file.
import './connect.js'
import type { Entry, Off, Seam, TextOptions } from './api.js'
import type { Engine } from './engine.js'
import { TidewireError } from './error.js'
import { type Loss, pathOf } from './net.js'

type Listener = (values: ReadonlyMap<string, unknown>, change?: Entry) => void

/** Gives what `connect` gave away before this code was there its life. */
export function latest(engine: Engine, topic: string, guarded: (call: () => void) => void, thing: { values: Map<string, unknown>; on?: (listener: Listener) => Off }): void {
  const { values } = thing
  const listeners = new Map<object, Listener>()
  let stop: Off | undefined
  const tell = (change?: Entry): void => {
    for (const [id, listener] of [...listeners]) if (listeners.has(id)) guarded(() => listener(values, change))
  }
  const reader = {
    hear(entry: Entry): void {
      const { item = '', data } = entry
      if (data === null) values.delete(item)
      else values.set(item, data)
      tell(entry)
    },
    // Of another log, or of one that lost what was heard: all that counts comes again.
    seam(seam: Seam): void {
      if (seam.continuity !== 'gap' || seam.gap.reason === 'trimmed') return
      values.clear()
      tell()
    },
  }
  thing.on = (listener) => {
    const id = {}
    listeners.set(id, listener)
    if (!stop) {
      // What changed while nobody listened is not known.
      values.clear()
      stop = engine.read(topic, 'start', reader)
    }
    return () => {
      listeners.delete(id)
      if (listeners.size) return
      stop?.()
      stop = undefined
    }
  }
}

/** The texts of a stream, one after another. */
export async function* textOf(engine: Engine, topic: string, { item, signal }: TextOptions = {}): AsyncIterableIterator<string> {
  const { entriesOf, ENDS } = await engine.talk()
  for await (const { event, data, item: its } of entriesOf(engine, topic, { until: ENDS, ...(signal && { signal }) })) {
    if (event === 'text' && typeof data === 'string' && (item === undefined || item === its)) yield data
    else if (event === 'fail') throw failed(data)
  }
}

/** What a producer said of its failure. */
const failed = (data: unknown): TidewireError => new TidewireError({ code: 'failed', message: String((data as { message?: unknown } | null)?.message ?? 'the stream failed'), next: 'give_up' })

/** Ends a stream; once more with a new token, if the first was refused. */
export async function cancel({ net }: Engine, topic: string): Promise<boolean> {
  const ask = (): Promise<boolean> => net.json(`/streams/${pathOf(topic)}/cancel`, { method: 'POST' }).then(() => true)
  return ask().catch((loss: Loss) => {
    if (loss.next !== 'refresh_token' || !net.forget()) throw loss
    return ask()
  }).catch((loss: Loss) => {
    if (loss.code === 'ended') return false
    throw loss
  })
}

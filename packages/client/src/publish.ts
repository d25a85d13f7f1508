// Publishing: one key for all attempts, so that a retry after a lost answer is no second message.
//
// Invariant: what was sent to a topic first is stored first.

import type { SendOptions, Sent } from './api.js'
import { Backoff } from './backoff.js'
import type { Engine } from './engine.js'
import { Loss } from './net.js'

/** All attempts together, in ms. */
const PUBLISH_MOST = 30_000
/** One answer, in ms. */
const ANSWER_MOST = 10_000

// The last message under way to each topic, for each engine: over HTTP the next one waits for it.
const rows = new WeakMap<Engine, Map<string, Promise<unknown>>>()

export async function publish(engine: Engine, topic: string, event: string, data: unknown, { key = newKey(), signal }: SendOptions = {}): Promise<Sent> {
  const { env, net } = engine
  const aborted = (): Loss => new Loss(engine.isClosed ? 'closed' : 'aborted', 'given up; the message may have been stored', 'give_up')
  const backoff = new Backoff()
  const end = env.now() + PUBLISH_MOST
  let isRefreshed = false
  for (;;) {
    if (signal?.aborted || engine.isClosed) throw aborted()
    try {
      return await once(engine, topic, event, data, key, signal)
    } catch (error) {
      const loss = error instanceof Loss ? error : aborted()
      if (loss.next === 'give_up') throw loss
      if (loss.next === 'refresh_token') {
        if (isRefreshed || !net.forget()) throw loss
        isRefreshed = true
        continue
      }
      const wait = backoff.wait(env.random(), loss.told)
      if (env.now() + wait > end) throw loss
      await new Promise<void>((done) => {
        const stop = env.after(wait, done)
        signal?.addEventListener('abort', () => (stop(), done()))
      })
    }
  }
}

async function once(engine: Engine, topic: string, event: string, data: unknown, key: string, signal?: AbortSignal): Promise<Sent> {
  const sent = engine.planned(topic) === 'ws' ? engine.carriers.ws?.publish(topic, event, data, key) : undefined
  if (sent) {
    return new Promise((done, lost) => {
      const late = engine.env.after(ANSWER_MOST, () => lost(new Loss('unreachable', `no answer within ${ANSWER_MOST} ms`, 'retry')))
      const abort = (): void => lost(signal!.reason)
      signal?.addEventListener('abort', abort)
      sent.then(done, lost).finally(() => (late(), signal?.removeEventListener('abort', abort)))
    })
  }
  let row = rows.get(engine)
  if (!row) rows.set(engine, (row = new Map()))
  const before = row.get(topic)
  const mine = (async () => {
    await before?.catch(() => undefined)
    const isBytes = data instanceof Uint8Array
    const headers = { 'Content-Type': isBytes ? 'application/octet-stream' : 'application/json', 'Tidewire-Event': event, 'Idempotency-Key': key }
    const body = isBytes ? (data as Uint8Array<ArrayBuffer>) : JSON.stringify(data)
    return engine.net.json(`/topics/${topic}`, { method: 'POST', headers, body, signal, ms: ANSWER_MOST })
  })()
  row.set(topic, mine)
  return mine.finally(() => row.get(topic) === mine && row.delete(topic))
}

/** 128 bits that nobody else draws. */
const newKey = (): string => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')

// Publishing: one key for all attempts, so that a retry after a lost answer is no second message.
//
// Invariant: what was sent to a topic first is stored first. On one socket messages fly together;
// everything else waits until the one before is settled.

import type { Off, SendOptions, Sent } from './api.js'
import { Backoff } from './backoff.js'
import type { Engine } from './engine.js'
import { Loss, pathOf } from './net.js'

/** All attempts together, in ms. */
const PUBLISH_MOST = 30_000
/** One answer, in ms; a socket is looked at then. */
const ANSWER_MOST = 10_000

interface Turn {
  /** It is on the socket that is open. */
  isFlying: boolean
  settled: Promise<unknown>
}

// The last message under way to each topic, for each engine.
const rows = new WeakMap<Engine, Map<string, Turn>>()

export function publish(engine: Engine, topic: string, event: string, data: unknown, { key = newKey(), signal }: SendOptions = {}): Promise<Sent> {
  const { env, net, ends } = engine
  const abort = new AbortController()
  const over = new Promise<never>((_, lost) => abort.signal.addEventListener('abort', () => lost(abort.signal.reason)))
  const give = (): void => abort.abort(new Loss(engine.isClosed ? 'closed' : 'aborted', 'given up; the message may have been stored', 'give_up'))
  const end = env.now() + PUBLISH_MOST
  let loss = new Loss('unreachable', `no answer within ${PUBLISH_MOST} ms`, 'retry')
  const stop = env.after(PUBLISH_MOST, () => abort.abort(loss))
  let pause: Off | undefined
  signal?.addEventListener('abort', give)
  ends.add(give)

  let row = rows.get(engine)
  if (!row) rows.set(engine, (row = new Map()))
  let before = row.get(topic)
  const turn: Turn = { isFlying: false, settled: over }
  row.set(topic, turn)

  const attempt = async (): Promise<Sent> => {
    const turnCame = async (): Promise<void> => {
      await before?.settled.catch(() => undefined)
      before = undefined
      abort.signal.throwIfAborted()
    }
    if (before?.isFlying === false) await turnCame()
    const sent = engine.planned(topic) === 'ws' ? engine.carriers.ws?.publish(topic, event, data, key) : undefined
    if (sent) {
      turn.isFlying = true
      const look = env.after(ANSWER_MOST, () => engine.carriers.ws?.wake())
      return sent.finally(look)
    }
    await turnCame()
    const isBytes = data instanceof Uint8Array
    const headers = { 'Content-Type': isBytes ? 'application/octet-stream' : 'application/json', 'Tidewire-Event': event, 'Idempotency-Key': key }
    const body = isBytes ? (data as Uint8Array<ArrayBuffer>) : JSON.stringify(data)
    return net.json(`/topics/${pathOf(topic)}`, { method: 'POST', headers, body, signal: abort.signal, ms: ANSWER_MOST })
  }
  const work = async (): Promise<Sent> => {
    const backoff = new Backoff()
    for (let isRefreshed = false; ; ) {
      try {
        const sent = await attempt()
        if (sent?.stored) return sent
        throw new Loss('foreign', 'no answer of a Tidewire server', 'retry')
      } catch (error) {
        turn.isFlying = false
        loss = error as Loss
        if (loss.next === 'give_up') throw loss
        if (loss.next === 'refresh_token') {
          if (isRefreshed || !net.forget()) throw loss
          isRefreshed = true
          continue
        }
        const wait = backoff.wait(env.random(), loss.told)
        if (env.now() + wait > end) throw loss
        await new Promise<void>((done) => (pause = env.after(wait, done)))
      }
    }
  }
  if (engine.isClosed || signal?.aborted) give()
  const settled = Promise.race([over, work()]).finally(() => {
    stop()
    pause?.()
    ends.delete(give)
    signal?.removeEventListener('abort', give)
    abort.abort()
    if (row.get(topic) === turn) row.delete(topic)
  })
  turn.settled = settled
  return settled
}

/** 128 bits that nobody else draws. */
const newKey = (): string => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')

// Publishing: one key for all attempts, so that a retry after a lost answer is no second message.
//
// Invariant: what was sent to a topic first is stored first. On one socket messages fly together;
// everything else waits until the one before is settled.

import type { Off, SendOptions, Sent, VolatileOptions } from './api.js'
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

export function publish(engine: Engine, topic: string, event: string, data: unknown, { key = newKey(), signal, item, volatile: isVolatile }: SendOptions & Partial<VolatileOptions> = {}): Promise<Sent> | undefined {
  if (isVolatile) return toss(engine, topic, event, data, item)
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
    const sent = engine.planned(topic) === 'ws' ? engine.carriers.ws?.publish({ topic, event, key, item }, data) : undefined
    if (sent) {
      turn.isFlying = true
      const look = env.after(ANSWER_MOST, () => engine.carriers.ws?.wake())
      return sent.finally(look)
    }
    await turnCame()
    return post(engine, topic, event, data, { item, key, signal: abort.signal })
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

/** One attempt over HTTP. */
function post({ net }: Engine, topic: string, event: string, data: unknown, { item, key, signal }: { item?: string | undefined; key?: string; signal?: AbortSignal }): Promise<Sent> {
  const isBytes = data instanceof Uint8Array
  const headers = { 'Content-Type': isBytes ? 'application/octet-stream' : 'application/json', 'Tidewire-Event': event, ...(key && { 'Idempotency-Key': key }), ...(item && { 'Tidewire-Item': item }) }
  const body = isBytes ? (data as Uint8Array<ArrayBuffer>) : JSON.stringify(data)
  return net.json(`/topics/${pathOf(topic)}`, { method: 'POST', headers, body, signal, ms: ANSWER_MOST })
}

/** Volatile messages under way over HTTP at a time. */
const TOSSED_MOST = 2

interface Tossed {
  flying: number
  /** The newest of each topic, event and item. */
  waiting: Map<string, () => Promise<unknown>>
}
const tossed = new WeakMap<Engine, Tossed>()

/** Sends what is outdated by the next one of its kind: now or never. */
function toss(engine: Engine, topic: string, event: string, data: unknown, item: string | undefined): undefined {
  const { ws } = engine.carriers
  if (engine.isClosed) return
  const kind = JSON.stringify([topic, event, item])
  // While a socket that somebody listens on comes back, there is nothing to send it on.
  if (engine.planned(topic) === 'ws' && ws && (ws.isOpen || (ws.subs.size && !engine.path.isShut('ws')))) return ws.toss(kind, { topic, event, item }, data)
  let row = tossed.get(engine)
  if (!row) tossed.set(engine, (row = { flying: 0, waiting: new Map() }))
  const { waiting } = row
  waiting.set(kind, () => post(engine, topic, event, data, { item }))
  const next = (): void => {
    const [first] = waiting
    if (!first || row.flying >= TOSSED_MOST) return
    waiting.delete(first[0])
    row.flying++
    first[1]().catch((loss: Loss) => engine.note(`${topic}: ${loss.message}`)).then(() => {
      row.flying--
      if (!engine.isClosed) next()
    })
  }
  next()
}

/** 128 bits that nobody else draws. */
const newKey = (): string => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')

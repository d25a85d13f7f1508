// What the app's server needs: writes an answer of a model to a topic, and ends the model when somebody
// cancels. Who reads is not its business: it goes on when nobody does.

import { connect } from '@tidewire/client'
import type { UIMessageChunk } from 'ai'
import { type Ending, isEnding, partOf } from './parts.js'
import { Publisher, post, type Target } from './publisher.js'
import { ANNOUNCED } from './topic.js'

export { answerTopic, chatTopic } from './topic.js'

export interface PublishOptions extends Target {
  /** The answer's topic, a new one for each: `answerTopic(chatId)`. */
  topic: string
  /** Where the answer is announced, for readers who come later. Default: the topic without its last segment; `false`: nowhere. */
  announce?: string | false
  /**
   * The answer, or (better) what makes it: it is given the signal that ends the model.
   * A stream that was already made can only be cancelled, which ends a model only if it was wired so.
   */
  stream: ReadableStream<UIMessageChunk> | ((signal: AbortSignal) => ReadableStream<UIMessageChunk> | Promise<ReadableStream<UIMessageChunk>>)
  /** Ends the answer as `cancel` does. */
  signal?: AbortSignal
  /** What readers are told of an answer that failed. Default: that it failed, and not why, which may be a secret. */
  onError?: (error: unknown) => string
}

/** How an answer ended. */
export interface Published {
  ended: Ending
  /** The place of the last part that this server stored. */
  id: string | null
  /** With `fail`: what was thrown. */
  error?: unknown
}

/**
 * Announces the answer and begins to publish it. Resolves as soon as readers can find it, so the app's API can
 * say its topic at once; `done` resolves when it has ended, and never rejects.
 */
export async function publishUIMessageStream({ topic, announce = parent(topic), stream, signal, onError = () => 'An error occurred.', ...target }: PublishOptions): Promise<{ topic: string; done: Promise<Published> }> {
  const announced = { topic: announce || topic, event: ANNOUNCED, data: { topic }, key: crypto.randomUUID() }
  if (announce !== false) await post(target, '/publish', [announced])
  return { topic, done: write(new Publisher(target, topic), target, topic, stream, signal, onError) }
}

async function write(publisher: Publisher, target: Target, topic: string, stream: PublishOptions['stream'], signal: AbortSignal | undefined, onError: (error: unknown) => string): Promise<Published> {
  const model = new AbortController()
  let ending: Ending | undefined
  let chunks: ReadableStreamDefaultReader<UIMessageChunk> | undefined
  const stop = (by: Ending): void => {
    ending ??= by
    publisher.drop()
    model.abort()
    chunks?.cancel().catch(() => undefined)
  }
  const off = hearEnding(target, topic, stop)
  const stopped = new Promise<void>((done) => model.signal.addEventListener('abort', () => done()))
  const cancel = async (): Promise<void> => {
    if (ending) return
    stop('cancel')
    await publisher.push({ event: 'cancel', data: { by: null } })
  }
  const cancelled = (): void => void cancel().catch(() => undefined)
  signal?.addEventListener('abort', cancelled)
  try {
    if (signal?.aborted) await cancel()
    else {
      chunks = (typeof stream === 'function' ? await stream(model.signal) : stream).getReader()
      for (;;) {
        const read = await Promise.race([chunks.read(), stopped])
        if (!read || read.done || ending) break
        await publisher.push(partOf(read.value))
      }
      if (!ending) await publisher.push({ event: 'end', data: {} })
    }
    await publisher.flush()
    return { ended: ending ?? 'end', id: publisher.id }
  } catch (error) {
    if (ending) return { ended: ending, id: publisher.id }
    model.abort()
    await publisher.flush().catch(() => undefined)
    // If it is the server that is lost, this fails too, and there is nobody to tell.
    await post(target, '/publish', [{ topic, event: 'fail', data: { message: onError(error) }, key: crypto.randomUUID() }]).catch(() => undefined)
    return { ended: 'fail', id: publisher.id, error }
  } finally {
    signal?.removeEventListener('abort', cancelled)
    off()
  }
}

/** Hears of an ending that somebody else published. */
function hearEnding({ url, token, prefix, fetch }: Target, topic: string, ended: (by: Ending) => void): () => void {
  const live = connect(url, { share: false, lingerMs: 0, ...(token !== undefined && { token }), ...(prefix !== undefined && { prefix }), ...(fetch && { env: { fetch } }) })
  live.topic(topic, { after: 'start' }).on('*', (_, { event }) => {
    if (isEnding(event)) ended(event)
  })
  return () => live.close()
}

const parent = (topic: string): string | false => topic.includes('/') && topic.slice(0, topic.lastIndexOf('/'))

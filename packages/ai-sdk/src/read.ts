// Reads an answer's topic as the AI SDK wants it: a stream of chunks.

import type { Entry, Live } from '@tidewire/client'
import type { UIMessageChunk } from 'ai'
import { chunkOf, isEnding } from './parts.js'
import { ANNOUNCED } from './topic.js'

/** The whole answer, from its start, until it has ended or `signal` says so. `ended` hears that it has ended. */
export function chunksOf(live: Live, topic: string, signal: AbortSignal, ended: () => void): ReadableStream<UIMessageChunk> {
  const entries = live.topic(topic).events({ signal })
  return new ReadableStream<UIMessageChunk>({
    async pull(controller) {
      for (;;) {
        const { done, value } = await entries.next()
        if (done) return controller.close()
        const { event, data } = value
        if (isEnding(event)) {
          ended()
          if (event === 'cancel') controller.enqueue({ type: 'abort' })
          if (event === 'fail') controller.enqueue({ type: 'error', errorText: reason(data) })
          controller.close()
          return void entries.return?.()
        }
        const chunk = chunkOf(value)
        if (chunk) return controller.enqueue(chunk)
      }
    },
    cancel: () => void entries.return?.(),
  })
}

const reason = (data: unknown): string => {
  const { message } = (data ?? {}) as { message?: unknown }
  return typeof message === 'string' ? message : 'The answer was not finished.'
}

/** The topic of the chat's newest answer, if one was announced that is still kept. */
export async function newest(live: Live, chat: string, signal?: AbortSignal): Promise<string | null> {
  let topic: string | null = null
  for await (const { event, data } of kept(live, chat, signal)) {
    const { topic: named } = (data ?? {}) as { topic?: unknown }
    if (event === ANNOUNCED && typeof named === 'string') topic = named
  }
  return topic
}

/** Whether an answer has ended. One of which nothing was written yet has not. */
export async function hasEnded(live: Live, topic: string, signal?: AbortSignal): Promise<boolean> {
  for await (const { event } of kept(live, topic, signal)) if (isEnding(event)) return true
  return false
}

async function* kept(live: Live, topic: string, signal?: AbortSignal): AsyncGenerator<Entry> {
  for (let after = 'start', isMore = true; isMore; ) {
    const { entries, cursor, more } = await live.topic(topic).history({ after, ...(signal && { signal }) })
    yield* entries
    after = cursor
    isMore = more
  }
}

// A `ChatTransport`: asks the app's API for an answer, and reads it from the topic that the API names.
//
// Invariant: to leave an answer and to stop it are two things. A page that is closed or reloaded leaves;
// `stop()` publishes `cancel`, which ends the answer for everybody.

import type { Live } from '@tidewire/client'
import { type ChatTransport, HttpChatTransport, type HttpChatTransportInitOptions, type UIMessage, type UIMessageChunk } from 'ai'
import { chunksOf, hasEnded, newest } from './read.js'
import { chatTopic } from './topic.js'

export interface TransportOptions<M extends UIMessage> extends Omit<HttpChatTransportInitOptions<M>, 'prepareReconnectToStreamRequest'> {
  /** The connection; all chats share it. What it carries beside (its contract) does not matter here. */
  live: Live<any>
  /** The topic of a chat, on which its answers are announced. Default: `answers/<chat id>`. */
  topic?: (chatId: string) => string
  /** The topic of the answer that a chat is waiting for, or null. Default: the newest that was announced. */
  running?: (chatId: string) => string | null | undefined | Promise<string | null | undefined>
  /**
   * What an abort means, which is all that a transport hears of `stop()`. Default `cancel`: the answer
   * ends for everybody. `useChat` aborts too when its component goes; with `leave` an abort only ends the
   * reading, and `transport.stop(chatId)` ends the answer.
   */
  abort?: 'cancel' | 'leave'
}

type Send<M extends UIMessage> = Parameters<ChatTransport<M>['sendMessages']>[0]
type Reconnect<M extends UIMessage> = Parameters<ChatTransport<M>['reconnectToStream']>[0]

/** Carries chats over Tidewire. `api` (default `/api/chat`) gets what the AI SDK's own transport sends, and answers `{"topic": "…"}`. */
export const tidewireTransport = <M extends UIMessage = UIMessage>(options: TransportOptions<M>): TidewireTransport<M> => new TidewireTransport(options)

/** An answer that is read here. */
interface Reading {
  /** Where it is; null if there is none. */
  readonly topic: Promise<string | null>
  isOver: boolean
  /** It was aborted just now: what comes of that. */
  leaving?: ReturnType<typeof setTimeout>
}

export class TidewireTransport<M extends UIMessage = UIMessage> extends HttpChatTransport<M> implements ChatTransport<M> {
  /** What is read again comes whole, from its start. */
  readonly resumeStreamIsReplay = true
  readonly #options: TransportOptions<M>
  readonly #readings = new Map<string, Reading>()

  constructor(options: TransportOptions<M>) {
    super(options)
    this.#options = options
  }

  override async sendMessages({ abortSignal, ...options }: Send<M>): Promise<ReadableStream<UIMessageChunk>> {
    // The request itself is never aborted: it may have begun an answer, which then has to be stopped.
    const asked = super.sendMessages({ ...options, abortSignal: undefined }).then(topicIn)
    return (await this.#read(options.chatId, asked, abortSignal))!
  }

  override async reconnectToStream({ chatId, abortSignal }: Reconnect<M>): Promise<ReadableStream<UIMessageChunk> | null> {
    // Who comes back at once, as React's StrictMode does, has not gone.
    clearTimeout(this.#readings.get(chatId)?.leaving)
    return this.#read(chatId, this.#running(chatId, abortSignal), abortSignal)
  }

  /** Ends the answer that the chat is waiting for, on all devices. Resolves when the log has it. */
  async stop(chatId: string): Promise<void> {
    const topic = await (this.#readings.get(chatId)?.topic ?? this.#running(chatId))
    if (topic) await this.#cancel(topic)
  }

  /** The base class has asked; the answer is no stream, but says where it is. */
  protected override processResponseStream(bytes: ReadableStream<Uint8Array>): ReadableStream<UIMessageChunk> {
    return bytes as ReadableStream as ReadableStream<UIMessageChunk>
  }

  async #read(chatId: string, topic: Promise<string | null>, signal = new AbortController().signal): Promise<ReadableStream<UIMessageChunk> | null> {
    const reading: Reading = { topic, isOver: false }
    this.#readings.set(chatId, reading)
    const over = (): void => {
      reading.isOver = true
      if (this.#readings.get(chatId) === reading) this.#readings.delete(chatId)
    }
    const gone = new Promise<never>((_, lost) => {
      const abort = (): void => {
        lost(new DOMException('the reading was aborted', 'AbortError'))
        if (!reading.isOver) this.#left(reading, over)
      }
      if (signal.aborted) abort()
      else signal.addEventListener('abort', abort, { once: true })
    })
    gone.catch(() => undefined)
    try {
      const found = await Promise.race([topic, gone])
      if (found) return chunksOf(this.#options.live, found, signal, over)
      over()
      return null
    } catch (error) {
      if (!signal.aborted) over()
      throw error
    }
  }

  #left(reading: Reading, over: () => void): void {
    if (this.#options.abort === 'leave') return over()
    reading.leaving = setTimeout(() => {
      over()
      reading.topic.then((topic) => (topic ? this.#cancel(topic) : undefined)).catch(() => undefined)
    })
  }

  async #running(chatId: string, signal?: AbortSignal): Promise<string | null> {
    const { live, topic = chatTopic, running = (id: string) => newest(live, topic(id), signal) } = this.#options
    const found = await running(chatId)
    return found && !(await hasEnded(live, found, signal)) ? found : null
  }

  async #cancel(topic: string): Promise<void> {
    await this.#options.live.topic(topic).send('cancel', {})
  }
}

async function topicIn(answer: ReadableStream): Promise<string> {
  const text = await new Response(answer).text()
  try {
    const { topic } = JSON.parse(text)
    if (typeof topic === 'string' && topic) return topic
  } catch {
    // Said below.
  }
  throw new Error(`the chat's API must answer {"topic": "…"}, the topic of its answer; it said: ${text.slice(0, 100)}`)
}

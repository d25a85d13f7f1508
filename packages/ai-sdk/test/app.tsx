// What the tests talk to: the real server, an app's API beside it with a model that says what the test
// says, and devices on which `useChat` is rendered.

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import { useChat } from '@ai-sdk/react'
import { connect, type Live } from '@tidewire/client'
import { convertToModelMessages, stepCountIs, streamText, tool, toUIMessageStream, type UIMessage } from 'ai'
import { MockLanguageModelV4 } from 'ai/test'
import { z } from 'zod'
import { mount } from '../../react/test/dom.js'
import { tidewireTransport, type TidewireTransport, type TransportOptions } from '../src/index.js'
import { answerTopic, type Published, publishUIMessageStream } from '../src/server.js'

export interface Logged {
  event: string
  item?: string
  data: any
}
export interface Server {
  readonly url: string
  start(): Promise<void>
  kill(): Promise<void>
  log(topic: string): Promise<Logged[]>
}
const module: string = new URL('../../browser-tests/server.mjs', import.meta.url).href
const Servers: Promise<{ start(t: TestContext, options?: { config: string }): Promise<Server> }> = import(module).then((found) => found.Server)

/** `plain`: parts stay as they were published; `text`: the server joins texts for who comes late. */
export const CONFIGS = {
  plain: '[feature.answers]\nclient_sends = false\n',
  text: '[feature.answers]\nclient_sends = false\nkeep = "text"\n',
}
export const startServer = async (t: TestContext, config: string): Promise<Server> => (await Servers).start(t, { config })

type Chunk = NonNullable<Awaited<ReturnType<MockLanguageModelV4['doStream']>>['stream']> extends ReadableStream<infer C> ? C : never
const USAGE = { inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 }, outputTokens: { total: 1, text: 1, reasoning: 0 } }

/** One call of the model, which says what the test says. */
export class Speech {
  readonly #controller: ReadableStreamDefaultController<Chunk>
  constructor(controller: ReadableStreamDefaultController<Chunk>, readonly signal: AbortSignal) {
    this.#controller = controller
    signal.addEventListener('abort', () => controller.error(signal.reason))
  }
  say(...chunks: object[]): void {
    for (const chunk of chunks) this.#controller.enqueue(chunk as Chunk)
  }
  begin(): void {
    this.say({ type: 'stream-start', warnings: [] }, { type: 'text-start', id: '0' })
  }
  text(delta: string): void {
    this.say({ type: 'text-delta', id: '0', delta })
  }
  finish(reason = 'stop'): void {
    this.say({ type: 'text-end', id: '0' })
    this.close(reason)
  }
  close(reason = 'stop'): void {
    this.say({ type: 'finish', finishReason: { unified: reason, raw: reason }, usage: USAGE })
    this.#controller.close()
  }
  break(error: unknown): void {
    this.#controller.error(error)
  }
}

export interface Api {
  url: string
  readonly speeches: Speech[]
  /** What it waits for before it begins an answer. */
  gate: Promise<void> | undefined
  readonly published: { topic: string; done: Promise<Published> }[]
  /** What it was asked. */
  readonly asked: { id: string; messages: UIMessage[]; trigger: string; [more: string]: unknown }[]
}

/** The app's server: `POST /api/chat` begins an answer and says its topic. */
export async function api(t: TestContext, server: Server): Promise<Api> {
  const speeches: Speech[] = []
  const model = new MockLanguageModelV4({
    doStream: async ({ abortSignal }) => ({
      stream: new ReadableStream<Chunk>({
        start: (controller) => void speeches.push(new Speech(controller, abortSignal!)),
      }),
    }),
  })
  const weather = tool({ description: 'the weather', inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => ({ city, degrees: 20 }) })
  const app: Api = { url: '', speeches, published: [], asked: [], gate: undefined }
  const { asked, published } = app
  const served = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const question = JSON.parse(body)
    asked.push(question)
    await app.gate
    const { id, messages } = question
    const messagesOfModel = await convertToModelMessages(messages)
    const answer = await publishUIMessageStream({
      url: server.url,
      topic: answerTopic(id),
      stream: (signal) => toUIMessageStream({
        stream: streamText({ model, messages: messagesOfModel, abortSignal: signal, tools: { weather }, stopWhen: stepCountIs(3), onError: () => undefined }).stream,
        originalMessages: messages,
        generateMessageId: () => `answer-${published.length}`,
        onError: () => 'the model broke',
      }),
    })
    published.push(answer)
    response.setHeader('Content-Type', 'application/json').end(JSON.stringify({ topic: answer.topic }))
  })
  await new Promise<void>((done) => served.listen(0, '127.0.0.1', done))
  t.after(() => served.close())
  return Object.assign(app, { url: `http://127.0.0.1:${(served.address() as AddressInfo).port}/api/chat` })
}

export type Chat = ReturnType<typeof useChat>
export interface Device {
  readonly chat: Chat
  readonly transport: TidewireTransport
  readonly live: Live
  /** The texts of the assistant's messages. */
  readonly answers: string[]
  /** The page goes without a word, as in a reload. */
  vanish(): void
  unmount(): Promise<void>
}

/** A page with `useChat` on it. */
export async function device(t: TestContext, server: Server, app: Api, { strict = false, messages = [] as UIMessage[], ...options }: { strict?: boolean; messages?: UIMessage[] } & Partial<TransportOptions<UIMessage>> = {}): Promise<Device> {
  const live = connect(server.url, { share: false, lingerMs: 0 })
  t.after(() => live.close())
  const transport = tidewireTransport({ live, api: app.url, ...options })
  let chat!: Chat
  const Page = () => {
    chat = useChat({ id: 'c1', transport, resume: true, messages })
    return null
  }
  const at = await mount(<Page />, { strict })
  return {
    get chat() {
      return chat
    },
    transport,
    live,
    get answers() {
      return chat.messages.filter(({ role }) => role === 'assistant').map(textOf)
    },
    vanish: () => live.close(),
    unmount: () => at.unmount(),
  }
}

export const textOf = ({ parts }: UIMessage): string => parts.map((part) => (part.type === 'text' ? part.text : '')).join('')

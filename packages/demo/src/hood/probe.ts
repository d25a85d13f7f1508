// Numbered messages that this window sends to itself, one line over an event stream and one over a
// WebSocket (or what the network makes of them), while something hurts. What was acknowledged and
// does not come is lost; what comes twice is repeated. Nothing else is said.

import type { Live } from '@tidewire/client'
import type { App } from '../things'
import { windowId } from '../window'
import { Numbers } from './tally'

const EVERY_MS = 150

export interface Line { feature: 'answers' | 'chat'; sent: number; heard: number; lost: number; repeated: number; waiting: number; silenceMs: number }

export class Probes {
  readonly #lines: { feature: 'answers' | 'chat'; numbers: Numbers; waiting: number; heardAt: number; silence: number; off: () => void }[] = []
  #timer: ReturnType<typeof setInterval> | undefined
  #n = 0
  readonly run = crypto.randomUUID().slice(0, 8)

  constructor(readonly live: Live<App>, readonly board: string, readonly now = (): number => performance.now()) {
    const topics = [['answers', `answers/probe-${windowId}`], ['chat', `chat/${board}/probe-${windowId}`]] as const
    for (const [feature, name] of topics) {
      const line = { feature, numbers: new Numbers(), waiting: 0, heardAt: this.now(), silence: 0, off: () => undefined as void }
      line.off = live.topic(name).on('probe', ({ run, n }) => {
        if (run !== this.run) return
        line.silence = Math.max(line.silence, this.now() - line.heardAt)
        line.heardAt = this.now()
        line.numbers.heard(n)
      })
      this.#lines.push(line)
    }
  }

  begin(): void {
    this.#lines.forEach((line) => (line.heardAt = this.now()))
    this.#timer = setInterval(() => this.#send(), EVERY_MS)
  }

  #send(): void {
    const n = ++this.#n
    for (const line of this.#lines) {
      // A few may wait for the connection; the client sends each under one key until it is acknowledged.
      if (line.waiting >= 40) continue
      line.waiting++
      const topic = line.feature === 'answers' ? this.live.topic(`answers/probe-${windowId}`) : this.live.topic(this.#chat)
      ;(topic.send as (event: 'probe', data: App['chat']['probe']) => Promise<unknown>)('probe', { run: this.run, n })
        .then(() => line.numbers.acknowledged(n), () => line.numbers.unknown++)
        .finally(() => line.waiting--)
    }
  }

  get #chat(): `chat/${string}` {
    return `chat/${this.board}/probe-${windowId}`
  }

  /** The number after which everything is new. */
  get newest(): number {
    return this.#n
  }
  /** Both lines have heard something newer than `n`. */
  passed(n: number): boolean {
    return this.#lines.every(({ numbers }) => numbers.newest > n)
  }
  get isQuiet(): boolean {
    return this.#lines.every(({ waiting, numbers }) => waiting === 0 && numbers.count().lost === 0)
  }
  get isAnswered(): boolean {
    return this.#lines.every(({ waiting }) => waiting === 0)
  }
  halt(): void {
    clearInterval(this.#timer)
  }
  close(): void {
    this.halt()
    this.#lines.forEach(({ off }) => off())
  }
  count(): Line[] {
    return this.#lines.map(({ feature, numbers, waiting, silence }) => ({ feature, ...numbers.count(), waiting: waiting + numbers.unknown, silenceMs: Math.round(silence) }))
  }
}

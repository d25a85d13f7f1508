// Looks at the client once a second, by its public report, and writes down what changed.

import type { Live, Report } from '@tidewire/client'
import type { App } from '../things'
import type { Log } from './log'
import { changes, statusWords } from './words'

const LOOK_MS = 1000

export class Watch {
  #report: Report | undefined
  readonly #listeners = new Set<() => void>()
  readonly #stop: () => void

  constructor(readonly live: Live<App>, readonly log: Log) {
    let state = ''
    let wasAway = false
    const off = live.on('status', (status) => {
      if (status.state === state) return
      state = status.state
      if (state === 'open' && wasAway) log.add('resumed', `${statusWords(status)} Every topic went on after the last entry it had heard.`)
      else if (state !== 'idle') log.add('status', statusWords(status))
      wasAway = state !== 'open'
      void this.#look()
    })
    const timer = setInterval(() => void this.#look(), LOOK_MS)
    this.#stop = () => {
      off()
      clearInterval(timer)
    }
  }

  readonly report = (): Report | undefined => this.#report
  readonly subscribe = (call: () => void): (() => void) => {
    this.#listeners.add(call)
    return () => this.#listeners.delete(call)
  }
  stop(): void {
    this.#stop()
  }

  async #look(): Promise<void> {
    const report = await this.live.explain().catch(() => undefined)
    if (!report) return
    const before = this.#report
    if (before) changes(before, report).forEach(({ kind, text }) => this.log.add(kind, text))
    this.#report = report
    if (!before || JSON.stringify([before.status, before.topics, before.path, before.plan]) !== JSON.stringify([report.status, report.topics, report.path, report.plan])) this.#listeners.forEach((call) => call())
  }
}

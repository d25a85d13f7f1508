// What stands between Tidewire's client and the browser, so that a button can hurt it: every request
// and socket of this window gets its window's id, may take the way through the relay, and waits
// while the window plays dead. The client knows nothing of it.

import type { Env } from '@tidewire/client'
import { windowId } from './window'

export class Tap {
  /** The address of the relay that holds event streams back, while it is used. */
  relay: string | undefined
  #isAsleep = false
  #held: (() => void)[] = []
  readonly #watchers = new Set<(isAsleep: boolean) => void>()

  route(address: string | URL | Request): string {
    const url = new URL(address instanceof Request ? address.url : String(address), location.href)
    if (this.relay) {
      const relay = new URL(this.relay)
      url.host = relay.host
      url.protocol = /^ws/.test(url.protocol) ? 'ws:' : relay.protocol
    }
    url.searchParams.set('window', windowId)
    return url.href
  }

  readonly env: Partial<Env> = {
    fetch: async (address, init) => {
      if (this.#isAsleep) await new Promise<void>((done) => this.#held.push(done))
      return fetch(this.route(address), init)
    },
    WebSocket: this.#socket(),
    after: (ms, call) => {
      const timer = setTimeout(() => {
        if (this.#isAsleep) this.#held.push(() => isWanted && call())
        else call()
      }, ms)
      let isWanted = true
      return () => {
        isWanted = false
        clearTimeout(timer)
      }
    },
  }

  /** Timers stand still and nothing new is opened, as on a laptop whose lid is closed. */
  sleep(): void {
    this.#isAsleep = true
    this.#watchers.forEach((call) => call(true))
  }

  wake(): void {
    this.#isAsleep = false
    this.#held.splice(0).forEach((call) => call())
    this.#watchers.forEach((call) => call(false))
  }

  onSleep(call: (isAsleep: boolean) => void): () => void {
    this.#watchers.add(call)
    return () => this.#watchers.delete(call)
  }

  #socket(): Env['WebSocket'] {
    const tap = this
    return class extends WebSocket {
      constructor(url: string, protocols?: string | string[]) {
        if (tap.#isAsleep) throw new Error('asleep')
        super(tap.route(url), protocols)
      }
    }
  }
}

// `connect`: the public face. Holds listeners; what flows and where is the engine's business.

import type { Contract, Entry, Env, EventsOf, EventsOptions, Live, Meta, Off, Options, Refusal, Seam, Status, Topic, TopicOf, TopicOptions } from './api.js'
import { Engine } from './engine.js'

/** What a listener may be; `on` says which one hears what. */
type Listener = (data: never, meta: never) => void

const world = (given: Partial<Env> = {}): Env => ({
  fetch: (...call) => fetch(...call),
  WebSocket: globalThis.WebSocket,
  now: () => Date.now(),
  random: () => Math.random(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms)
    return () => clearTimeout(timer)
  },
  ...given,
})

/** Connects to a Tidewire server. Nothing is opened until somebody listens or sends. */
export function connect<C extends Contract = Contract>(url: string, options: Options = {}): Live<C> {
  const env = world(options.env)
  const engine = new Engine(url, options, env)
  const listeners = { status: new Set<(status: Status) => void>(), error: new Set<(error: unknown) => void>() }

  const failed = (error: unknown): void => {
    if (listeners.error.size) listeners.error.forEach((listener) => listener(error))
    else console.error(error)
  }
  const guarded = (call: () => void): void => {
    try {
      call()
    } catch (error) {
      failed(error)
    }
  }
  engine.onStatus = () => listeners.status.forEach((listener) => guarded(() => listener(engine.status)))

  return {
    topic<T extends TopicOf<C>>(name: T, options: TopicOptions = {}): Topic<EventsOf<C, T>> {
      return topicOf(engine, name, options, guarded, failed) as unknown as Topic<EventsOf<C, T>>
    },
    on(event: 'status' | 'error', listener: (told: never) => void): Off {
      const set = listeners[event] as Set<(told: never) => void>
      set.add(listener)
      return () => set.delete(listener)
    },
    get status() {
      return engine.status
    },
    explain: async () => (await engine.upkeep()).report(),
    reconnect: () => engine.reconnect(),
    close: () => engine.close(),
  }
}

function topicOf(engine: Engine, name: string, { after = 'now', load }: TopicOptions, guarded: (call: () => void) => void, failed: (error: unknown) => void): Topic {
  const listeners = new Map<object, [string, Listener]>()
  let stop: Off | undefined

  const tell = (event: string, data: unknown, meta?: Meta): void => {
    for (const [id, [wanted, listener]] of [...listeners]) {
      if (listeners.has(id) && (wanted === event || (wanted === '*' && meta))) guarded(() => listener(data as never, meta as never))
    }
  }
  const reader = {
    hear: ({ data, ...meta }: Entry) => tell(meta.event, data, meta),
    seam: (seam: Seam) => {
      tell('tidewire.seam', seam)
      if (load && seam.continuity === 'gap') Promise.resolve(seam.gap).then(load).catch(failed)
    },
    refused: (error: Refusal) => tell('tidewire.refused', error),
  }

  return {
    name,
    on(event: string, listener: Listener): Off {
      const id = {}
      listeners.set(id, [event, listener])
      stop ??= engine.read(name, after, reader)
      return () => {
        listeners.delete(id)
        if (listeners.size) return
        stop?.()
        stop = undefined
      }
    },
    send: async (event, data, options) => (await engine.talk()).publish(engine, name, event, data, options),
    events(options?: EventsOptions): AsyncIterableIterator<Entry> {
      let entries: Promise<AsyncIterableIterator<Entry>> | undefined
      const loop = (): Promise<AsyncIterableIterator<Entry>> => {
        entries ??= engine.talk().then(({ entriesOf }) => entriesOf(engine, name, options))
        entries.catch(() => (entries = undefined))
        return entries
      }
      return {
        [Symbol.asyncIterator]() {
          return this
        },
        next: async () => (await loop()).next(),
        return: async () => (await loop()).return!(),
      }
    },
    history: async (options) => (await engine.upkeep()).history(name, options),
  }
}

// One connection for all tabs of one person: the tab that holds a lock reads for the others.
//
// The others tell it their topics and places and hear its entries over a BroadcastChannel. Each tab
// keeps its own places, so when the reading tab goes, the next one goes on from its own, and nothing
// is lost. Loaded only where tabs share: on HTTP/1.1 a browser opens six connections to a server.
//
// Invariant: tabs share only if the server says that their tokens are worth the same (`peer`).

// All of the core, so that it stays in one file.
import './connect.js'
import type { After, Entry, Off, Refusal, Seam, Status, Transport } from './api.js'
import type { Engine, Relay } from './engine.js'
import { isEarlier } from './place.js'
import type { Reader, Sub } from './sub.js'

/** The reading tab is heard at least so often, in ms; a tab in the background has slow timers. */
const ALIVE = 20_000
const SILENT = 90_000
/** How long a tab that somebody looks at waits for the reading tab's answer, in ms. */
const ANSWER = 1500

interface Said {
  from: string
  /** Only for this tab. */
  to?: string
  /** A tab's topics and places, all of them. */
  want?: [topic: string, after: After][]
  /** I read now: what do you want? */
  lead?: true
  /** Are you there? */
  ping?: true
  reconnect?: true
  entry?: Entry
  topic?: string
  seam?: Seam
  at?: After
  refused?: Refusal
  status?: Status
}

/** Joins the other tabs, where that is worth it: on HTTP/1.1, and where the browser does not say. */
export async function join(engine: Engine): Promise<Relay | undefined> {
  const { net, options, plan } = engine
  const timing = performance.getEntriesByName(`${net.base}/plan`).pop() as PerformanceResourceTiming | undefined
  const isOwn = options.share !== true && /^h[23]/.test(timing?.nextHopProtocol ?? '')
  // Beside the connections, the page itself is watched: a tab that is read for has none.
  void engine.upkeep().catch(() => undefined)
  return isOwn || !navigator.locks ? undefined : share(engine, `tidewire:${net.base}:${plan!.peer}`)
}

/** Joins the tabs that share under this key. Resolves when it is known who reads. */
async function share(engine: Engine, key: string): Promise<Relay> {
  const { env } = engine
  const me = `${env.random()}`
  const channel = new BroadcastChannel(key)
  const subs = new Map<string, Sub>()
  // What the other tabs want, and what is read for them.
  const wanted = new Map<string, { topics: Map<string, After>; heardAt: number }>()
  const reading = new Map<string, Off>()
  let isReading = false
  let isOver = false
  let release: () => void = () => undefined
  let heardAt = env.now()
  let stopGathering: Off | undefined
  let stopTicking: Off | undefined

  const post = (said: Omit<Said, 'from'>): void => channel.postMessage({ ...said, from: me })

  // As a tab that is read for.

  const want = (): void => {
    stopGathering = undefined
    if (!isReading && !isOver) post({ want: [...subs.values()].map(({ topic, place }) => [topic, place]) })
  }
  const relay: Relay = {
    name: 'sse',
    add(sub) {
      subs.set(sub.topic, sub)
      sub.carrier = relay
      relay.touch()
    },
    drop(sub) {
      subs.delete(sub.topic)
      sub.carrier = undefined
      relay.touch()
    },
    touch() {
      stopGathering ??= env.after(10, want)
    },
    wake() {
      if (isReading) return
      const asked = env.now()
      post({ ping: true })
      env.after(ANSWER, () => heardAt < asked && !isReading && !isOver && void request({ steal: true }))
    },
    reconnect: () => post({ reconnect: true }),
    shown: (status) => isReading && post({ status }),
    get isReading() {
      return isReading
    },
    end() {
      isOver = true
      stopTicking?.()
      if (!isReading) post({ want: [] })
      release()
      channel.close()
    },
  }
  const hear = ({ entry, topic, seam, at, refused, status }: Said): void => {
    if (entry) subs.get(entry.topic)?.step(entry)
    const sub = topic ? subs.get(topic) : undefined
    if (sub && seam) sub.attached(seam, at?.includes('.') ? at : undefined)
    if (sub && refused) engine.refuse(sub, refused)
    if (status) {
      ;(relay as { name: Transport }).name = status.transport ?? 'sse'
      engine.isShown({ ...status, shared: true })
    }
  }

  // As the tab that reads.

  const serve = (from: string, list: [string, After][]): void => {
    const topics = new Map(list)
    const before = wanted.get(from)?.topics
    wanted.set(from, { topics, heardAt: env.now() })
    post({ to: from, status: engine.status })
    for (const [topic, after] of topics) {
      if (before?.get(topic) === after && reading.has(topic)) continue
      const sub = engine.subs.get(topic)
      const here = sub?.place ?? 'now'
      if (reading.has(topic) && sub?.seam && !isEarlier(after, here)) {
        post({ to: from, topic, seam: { continuity: after === here ? 'resumed' : 'new' }, at: here })
        continue
      }
      const reader: Reader = {
        hear: (entry) => post({ entry }),
        seam: (seam, at = engine.subs.get(topic)?.place ?? 'now') => post({ topic, seam, at }),
        refused: (refused) => post({ topic, refused }),
      }
      const old = reading.get(topic)
      reading.set(topic, engine.read(topic, after, reader))
      old?.()
    }
    prune()
  }
  const prune = (): void => {
    const topics = new Set([...wanted.values()].flatMap((tab) => [...tab.topics.keys()]))
    for (const [topic, off] of reading) {
      if (topics.has(topic)) continue
      reading.delete(topic)
      off()
    }
  }

  channel.onmessage = ({ data: said }: MessageEvent<Said>) => {
    if (isOver || (said.to && said.to !== me)) return
    if (isReading) {
      if (said.want) serve(said.from, said.want)
      if (said.ping) post({ to: said.from, status: engine.status })
      if (said.reconnect) engine.reconnect()
    } else {
      if (!said.want && !said.ping) heardAt = env.now()
      if (said.lead) want()
      hear(said)
    }
  }
  const tick = (): void => {
    const now = env.now()
    if (isReading) {
      for (const [tab, { heardAt }] of wanted) if (now - heardAt > SILENT * 2) wanted.delete(tab)
      prune()
      post({ status: engine.status })
    } else {
      want()
      if (now - heardAt > SILENT) void request({ steal: true })
    }
    stopTicking = env.after(ALIVE, tick)
  }

  /** Waits for the lock, or takes it from a tab that stands still. Reads while it has it. */
  const request = (options: LockOptions): Promise<boolean> =>
    new Promise((decided) => {
      const hold = (lock: Lock | null): Promise<void> | undefined => {
        decided(!!lock)
        if (!lock || isOver) return undefined
        isReading = true
        engine.assign()
        post({ lead: true })
        return new Promise((done) => (release = done))
      }
      navigator.locks.request(key, options, hold).catch(() => {
        // Stolen: this tab stood still, and another one reads now.
        isReading = false
        wanted.clear()
        prune()
        heardAt = env.now()
        if (isOver) return
        engine.assign()
        void request({})
      })
    })

  tick()
  if (!(await request({ ifAvailable: true }))) void request({})
  return relay
}

// Who is in a topic, and where this client is itself: a library over topics.
//
// `Herald` says where this client is, for all of its topics in one request, and says so again before the
// lease ends. `Room` knows who else is in one topic: the members as they were after the newest attach,
// and what was heard since.
//
// Invariant: one announcement is under way at a time, so what was said last holds last.

// All of the core, so that it stays in one file.
import './connect.js'
import type { Member, Off, Presence, PresenceChange, PresenceOptions, Refusal, User } from './api.js'
import { Backoff } from './backoff.js'
import type { Engine } from './engine.js'
import { type Call, type Json, Loss, pathOf } from './net.js'

/** What changes within so long is said together, in ms. */
const GATHER = 50
/** Until the server says otherwise, in ms. */
const LEASE = 30_000
const RENEW = 10_000
/** A socket that does not answer for so long is looked at, in ms. */
const ANSWER_MOST = 5_000

type Listener = (members: readonly Member[], change: PresenceChange) => void

/** One `presence()`, with who listens to it. */
type View = Set<[Listener]>

const heralds = new WeakMap<Engine, Herald>()

/** Gives what `connect` gave away before this code was there its life. */
export function presence(engine: Engine, topic: string, { state, join }: PresenceOptions = {}, guarded: (call: () => void) => void, thing: object): void {
  let herald = heralds.get(engine)
  if (!herald) heralds.set(engine, (herald = new Herald(engine)))
  const { rooms } = herald
  let room = rooms.get(topic)
  if (!room) rooms.set(topic, (room = new Room(herald, topic, guarded)))
  const view: View = new Set()
  const members = (): readonly Member[] => (room.views.has(view) ? room.members : [])
  const here: Omit<Presence, 'members'> = {
    users: () => usersOf(members()),
    on(listener) {
      const one: [Listener] = [listener]
      view.add(one)
      return () => view.delete(one)
    },
    set: (state) => room.enter(view, state),
    leave: () => room.leave(view),
  }
  Object.defineProperty(Object.assign(thing, here), 'members', { get: members })
  room.come(view)
  if (join || state !== undefined) room.enter(view, state ?? {})
}

/** The same user as often as it is here; of those who are none, each alone. */
function usersOf(members: readonly Member[]): User[] {
  const groups = new Map<unknown, Known[]>()
  for (const one of members as readonly Known[]) {
    const key = one.user ?? one
    groups.set(key, [...(groups.get(key) ?? []), one])
  }
  return [...groups.values()].map((members) => {
    const { user, state } = members.reduce((a, b) => (b.order > a.order ? b : a))
    return { user, state, isMe: members.some(({ isMe }) => isMe), members }
  })
}

/** Says where this client is. */
class Herald {
  readonly member = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => (byte % 36).toString(36)).join('')
  readonly rooms = new Map<string, Room>()
  lease = LEASE
  #renew = RENEW
  /** Topics in which it is: the state that is still to be said, or nothing to say but that it is there. */
  readonly #places = new Map<string, { state?: unknown }>()
  readonly #gone = new Set<string>()
  #backoff = new Backoff()
  #isSaying = false
  #dueAt = Infinity
  #stop: Off | undefined
  #abort = new AbortController()
  /** The page is put away, or `close()` was called. */
  #isAway = false
  readonly #over = new AbortController()
  readonly #end = (): void => this.#goodbye()

  constructor(readonly engine: Engine) {
    const { signal } = this.#over
    engine.ends.add(this.#end)
    // Timers of a tab in the background are slow: what comes over the network wakes it as well.
    engine.pulses.add(() => engine.env.now() >= this.#dueAt && this.#say())
    if (!globalThis.document) return
    globalThis.addEventListener('pagehide', this.#end, { signal })
    globalThis.addEventListener('pageshow', () => this.#return(), { signal })
  }

  /** The same again would be refused again. */
  isFinal({ next }: Loss): boolean {
    return next === 'give_up' || (next === 'refresh_token' && !this.engine.net.forget())
  }

  enter(topic: string, state: unknown): void {
    this.#gone.delete(topic)
    this.#places.set(topic, { state })
    this.hurry()
  }

  leave(topic: string): void {
    if (!this.#places.delete(topic)) return
    this.#gone.add(topic)
    this.hurry()
  }

  /** Says it soon. */
  hurry(): void {
    this.#due(GATHER)
  }

  /** Says it in so long, if nothing is to be said before. */
  #due(ms: number): void {
    const { env } = this.engine
    if (this.#isAway || this.#dueAt <= env.now() + ms) return
    this.#dueAt = env.now() + ms
    this.#stop?.()
    this.#stop = env.after(ms, () => this.#say())
  }

  #say(): void {
    this.#dueAt = Infinity
    this.#stop?.()
    if (this.#isSaying || this.#isAway || !(this.#places.size + this.#gone.size)) return
    this.#isSaying = true
    void this.#work().then((ms) => {
      this.#isSaying = false
      const isMore = this.#gone.size || [...this.#places.values()].some((place) => 'state' in place)
      if (isMore || this.#places.size) this.#due(ms ?? (isMore ? GATHER : this.#renew))
    })
  }

  /** Gives how long to wait, if not until the next renewal. */
  async #work(): Promise<number | undefined> {
    const places = [...this.#places]
    try {
      await this.#announce(places, [...this.#gone])
      this.#backoff = new Backoff()
    } catch (error) {
      const loss = error as Loss
      if (!this.isFinal(loss)) return this.#backoff.wait(this.engine.env.random(), loss.told)
      await this.#sift(places, loss)
    }
    return undefined
  }

  /** It was refused: where it is refused alone too, it is not any more. */
  async #sift(places: [string, { state?: unknown }][], loss: Loss): Promise<void> {
    this.#gone.clear()
    for (const place of places) {
      const its = places.length < 2 ? loss : await this.#announce([place], []).then(() => undefined, (its: Loss) => its)
      if (!its || !this.isFinal(its)) continue
      if (this.#places.get(place[0]) === place[1]) this.#places.delete(place[0])
      this.rooms.get(place[0])?.refused(its)
    }
  }

  async #announce(places: [string, { state?: unknown }][], gone: string[]): Promise<void> {
    const here = Object.fromEntries(places.map(([topic, place]) => [topic, place.state ?? null]))
    const { lease_ms, renew_ms, unknown }: Json = await this.#ask({ member: this.member, here, gone })
    this.lease = lease_ms || LEASE
    this.#renew = renew_ms || RENEW
    for (const topic of gone) this.#gone.delete(topic)
    for (const [topic, place] of places) {
      // Said, unless there is something else to say by now.
      if (this.#places.get(topic) === place) delete place.state
      if (unknown.includes(topic)) this.rooms.get(topic)?.again()
    }
  }

  /** On the socket, where a topic in which it is keeps that open; else over HTTP. */
  #ask(said: object): Promise<Json> {
    const { engine } = this
    const { ws } = engine.carriers
    const isOnSocket = [...this.#places.keys()].some((topic) => ws && engine.subs.get(`${topic}/~presence`)?.carrier === ws)
    const asked = isOnSocket ? ws!.ask({ do: 'presence', ...said }) : undefined
    if (asked) return asked.finally(engine.env.after(ANSWER_MOST, () => ws!.wake()))
    return this.#post(said, { signal: this.#abort.signal })
  }

  #post(said: object, more: Call): Promise<Json> {
    return this.engine.net.json('/presence', { method: 'POST', body: JSON.stringify(said), headers: { 'Content-Type': 'application/json' }, ...more })
  }

  /** The last words of a page: what is under way is not to come after them. */
  #goodbye(): void {
    const isHere = this.#places.size && !this.#isAway
    this.#isAway = true
    this.#stop?.()
    this.#abort.abort(new Loss('aborted', 'the page was put away'))
    this.#abort = new AbortController()
    if (this.engine.isClosed) {
      this.#over.abort()
      for (const room of this.rooms.values()) room.end()
    }
    if (!isHere) return
    this.#post({ member: this.member, gone: ['*'] }, { keepalive: true }).catch(() => undefined)
  }

  /** The page is back as it was. */
  #return(): void {
    if (!this.#isAway) return
    this.#isAway = false
    this.#dueAt = Infinity
    for (const room of this.rooms.values()) room.again()
  }
}

interface Known extends Member {
  /** Grows with each that comes or changes. */
  readonly order: number
  /** Of an older life of the server: until it is heard of anew, it is believed for so long. */
  readonly until?: number
}

/** Who is in one topic. */
class Room {
  members: readonly Known[] = []
  readonly views = new Set<View>()
  readonly #inside = new Set<View>()
  #state: unknown
  #known = new Map<string, Known>()
  #life: string | undefined
  #version = 0
  #order = 0
  /** The newest that was heard of each since the members were asked for. */
  #early: Map<string, [event: string, data: Json]> | undefined
  #backoff = new Backoff()
  #off: Off | undefined
  #stopExpiring: Off | undefined

  constructor(readonly herald: Herald, readonly topic: string, readonly guarded: (call: () => void) => void) {}

  // What an app does.

  come(view: View): void {
    const { engine } = this.herald
    this.views.add(view)
    // Others have been told already.
    if (this.#life) engine.env.after(0, () => this.#tell({ event: 'load' }, [view]))
    this.#off ??= engine.read(`${this.topic}/~presence`, 'now', {
      hear: ({ event, data }) => this.#hear(event, data),
      seam: () => {
        void this.#load()
        this.again()
      },
      refused: (error) => this.refused(error),
    })
  }

  enter(view: View, state: unknown): void {
    if (!this.views.has(view)) return
    this.#inside.add(view)
    this.#state = state
    this.again()
  }

  leave(view: View): void {
    if (this.#inside.delete(view) && !this.#inside.size) this.herald.leave(this.topic)
    if (!this.views.delete(view) || this.views.size) return
    this.herald.rooms.delete(this.topic)
    this.end()
  }

  // What the herald tells.

  end(): void {
    this.#early = undefined
    this.#stopExpiring?.()
    this.#off?.()
  }

  /** The server may not know that this client is here, or how. */
  again(): void {
    if (this.#inside.size) this.herald.enter(this.topic, this.#state)
  }

  refused(error: Refusal): void {
    this.#tell({ event: 'refused', error })
    this.guarded(() => {
      throw error
    })
  }

  // What is heard.

  async #load(): Promise<void> {
    const { net, env } = this.herald.engine
    const early = (this.#early = new Map())
    const isNewest = (): boolean => early === this.#early
    try {
      const answer: Json = await net.json(`/presence/${pathOf(this.topic)}`)
      if (isNewest()) this.#take(answer)
      this.#backoff = new Backoff()
    } catch (error) {
      const loss = error as Loss
      if (!isNewest()) return
      if (this.herald.isFinal(loss)) return this.refused(loss)
      env.after(this.#backoff.wait(env.random(), loss.told), () => isNewest() && this.#load())
    }
  }

  /** The members as they were at one moment, and what came since. */
  #take({ life, version, members }: Json): void {
    const { lease, engine: { env } } = this.herald
    const before = this.#known
    const isFirst = !this.#life
    // Another life of the server has not heard of all yet who are still there.
    const until = life === this.#life ? 0 : env.now() + lease
    const heard = new Map<string, Known>(members.map((one: Json) => [keyOf(one), this.#knownOf(one)]))
    const known = new Map<string, Known>()
    for (const [key, old] of before) {
      const kept = { ...old, until: old.until ?? until }
      if (heard.has(key) || kept.until > env.now()) known.set(key, heard.get(key) ?? kept)
    }
    for (const [key, one] of heard) known.set(key, one)
    this.#known = known
    this.#life = life
    this.#version = version
    for (const [event, data] of this.#early!.values()) this.#apply(event, data)
    this.#early = undefined
    // Those who are not heard of anew are lost, when their lease must have ended.
    if (until) {
      this.#stopExpiring?.()
      this.#stopExpiring = env.after(lease, () => {
        const before = new Map(this.#known)
        for (const [key, { until }] of before) if (until! <= env.now()) this.#known.delete(key)
        this.#compare(before)
      })
    }
    if (isFirst) {
      this.members = [...known.values()]
      this.#tell({ event: 'load' })
    } else this.#compare(before)
  }

  #hear(event: string, data: Json): void {
    // The server has begun another life, and what it knew before is not in what it says.
    if (!this.#early && data.life !== this.#life) void this.#load()
    if (this.#early) return void this.#early.set(keyOf(data), [event, data])
    const before = new Map(this.#known)
    this.#apply(event, data)
    this.#compare(before, data.why)
  }

  #apply(event: string, data: Json): void {
    if (data.life === this.#life && data.version <= this.#version) return
    if (event === 'leave') this.#known.delete(keyOf(data))
    else this.#known.set(keyOf(data), this.#knownOf(data))
  }

  #knownOf(one: Json): Known {
    const { member, user, state } = one
    const old = this.#known.get(keyOf(one))
    const isSame = old && JSON.stringify(old.state) === JSON.stringify(state)
    return { member, user, state, isMe: member === this.herald.member, order: isSame ? old.order : ++this.#order }
  }

  /** Tells what is otherwise than before. */
  #compare(before: Map<string, Known>, why: 'left' | 'lost' = 'lost'): void {
    const changes: PresenceChange[] = []
    for (const [key, member] of before) if (!this.#known.has(key)) changes.push({ event: 'leave', member, why })
    for (const [key, member] of this.#known) {
      const old = before.get(key)
      if (old?.order !== member.order) changes.push({ event: old ? 'change' : 'join', member })
    }
    if (changes.length) this.members = [...this.#known.values()]
    for (const change of changes) this.#tell(change)
  }

  #tell(change: PresenceChange, views: Iterable<View> = this.views): void {
    for (const view of [...views]) for (const one of [...view]) if (view.has(one)) this.guarded(() => one[0](this.members, change))
  }
}

/** Who it is: one user may be here as often as there are tabs, and two may have drawn one name. */
const keyOf = ({ user, member }: Json): string => JSON.stringify([user, member])

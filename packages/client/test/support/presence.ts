// Who is here, as the server in memory knows it: members, changes, lives. No leases: a test says who is lost.

import type { Sim } from './sim.js'

interface Said {
  member: string
  here?: { [topic: string]: unknown }
  gone?: string[]
}

export class SimPresence {
  life = 'p1'
  version = 0
  /** By topic, then by member. */
  readonly topics = new Map<string, Map<string, { user: string | null; state: unknown }>>()
  /** Topics whose feature has none. */
  refused: (topic: string) => boolean = () => false
  /** Each announcement, and by what door. */
  readonly said: (Said & { door: 'http' | 'ws' })[] = []

  constructor(readonly sim: Sim) {}

  announce(said: Said, door: 'http' | 'ws', user: string | null = null): object | undefined {
    this.said.push({ ...said, door })
    const { member, here = {}, gone = [] } = said
    if (Object.keys(here).some((topic) => this.refused(topic))) return undefined
    const all = gone.includes('*') ? [...this.topics.keys()] : gone
    for (const topic of all) if (!(topic in here)) this.leave(topic, member, 'left', user)
    const unknown: string[] = []
    for (const [topic, state] of Object.entries(here)) {
      const known = this.topics.get(topic)?.has(member)
      if (state === null && !known) unknown.push(topic)
      else if (state !== null) this.enter(topic, member, state, user)
    }
    return { lease_ms: 30_000, renew_ms: 10_000, unknown }
  }

  enter(topic: string, member: string, state: unknown, user: string | null = null): void {
    const members = this.topics.get(topic) ?? new Map()
    this.topics.set(topic, members)
    const had = members.get(member)
    if (had && JSON.stringify(had.state) === JSON.stringify(state)) return
    members.set(member, { user, state })
    this.tell(topic, had ? 'change' : 'join', { member, user, state })
  }

  leave(topic: string, member: string, why: 'left' | 'lost', user: string | null = null): void {
    if (this.topics.get(topic)?.delete(member)) this.tell(topic, 'leave', { member, user, why })
  }

  tell(topic: string, event: string, data: { member: string; [name: string]: unknown }): void {
    this.sim.publish(`${topic}/~presence`, { ...data, life: this.life, version: ++this.version }, event, undefined, data.member)
  }

  members(topic: string): object {
    return { topic, life: this.life, version: this.version, members: [...(this.topics.get(topic) ?? [])].map(([member, { user, state }]) => ({ member, user, state })) }
  }

  /** The process began anew: nobody is known. */
  restart(): void {
    this.life += "'"
    this.version = 0
    this.topics.clear()
  }
}

// A client on a server in memory, on a clock that a test moves.

import type { Contract, Live, Meta, Options, Seam, Status, TopicOptions } from '../../src/api.js'
import { connect } from '../../src/connect.js'
import { Clock } from './clock.js'
import { Sim } from './sim.js'

type Any = Contract & { [feature: string]: { [event: string]: unknown } }

/** What one listener heard of a topic, in order. */
export interface Heard {
  data: unknown[]
  ids: (string | undefined)[]
  seams: string[]
  refused: string[]
  off: () => void
}

export interface World {
  clock: Clock
  sim: Sim
  live: Live<Any>
  /** Each status that was told, as `state transport`. */
  states: string[]
  statuses: Status[]
  errors: unknown[]
  hear(topic: string, options?: TopicOptions, live?: Live<Any>): Heard
}

export const seamOf = (seam: Seam): string => (seam.continuity === 'gap' ? `gap ${seam.gap.reason}` : seam.continuity)

export function world(options: Options = {}, prepare: (sim: Sim, clock: Clock) => void = () => undefined): World {
  const clock = new Clock()
  const sim = new Sim(clock)
  prepare(sim, clock)
  const live = connect<Any>('http://sim.test', { ...options, env: { ...clock.env, ...sim.env, ...options.env } })
  const states: string[] = []
  const statuses: Status[] = []
  const errors: unknown[] = []
  live.on('status', (status) => {
    statuses.push(status)
    states.push(`${status.state}${status.transport ? ` ${status.transport}` : ''}`)
  })
  live.on('error', (error) => errors.push(error))
  return { clock, sim, live, states, statuses, errors, hear: (topic, topicOptions, from = live) => hear(from, topic, topicOptions) }
}

export function hear(live: Live<Any>, name: string, options?: TopicOptions): Heard {
  const topic = live.topic(name, options)
  const heard: Heard = { data: [], ids: [], seams: [], refused: [], off: () => offs.forEach((off) => off()) }
  const offs = [
    topic.on('*', (data: unknown, meta: Meta) => {
      heard.data.push(data)
      heard.ids.push(meta.id)
    }),
    topic.on('tidewire.seam', (seam) => heard.seams.push(seamOf(seam))),
    topic.on('tidewire.refused', (error) => heard.refused.push(error.code)),
  ]
  return heard
}

/** 0 … n-1. */
export const upTo = (n: number): number[] => Array.from({ length: n }, (_, at) => at)

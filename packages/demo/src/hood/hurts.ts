// The buttons that hurt. Each does one thing to this window's connections, and the run around it
// counts what came through: numbered messages before, during and after.

import type { Live } from '@tidewire/client'
import { api } from '../api'
import type { Tap } from '../tap'
import type { App } from '../things'
import { type Audit, audit } from './audit'
import type { Log } from './log'
import { type Line, Probes } from './probe'
import type { Tally } from './tally'

export type HurtName = 'buffer' | 'unbuffer' | 'cut' | 'restart' | 'sleep' | 'background' | 'chat'

export interface Run { name: HurtName; phase: 'before' | 'hurts' | 'returns' | 'counts' | 'done' | 'failed'; what: string; lines?: Line[]; audit?: Audit; tookMs?: number; error?: string }

export interface World { live: Live<App>; tap: Tap; tally: Tally; log: Log; board: string; chatTransport(): 'sse' | 'ws' }

const SLEEP_MS = 24_000
const BACKGROUND_MS = 10_000
const RETURN_MS_MAX = 60_000
const wait = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

/** Waits until something holds; false if it does not in time. */
async function until(holds: () => boolean | Promise<boolean>, ms: number): Promise<boolean> {
  const end = performance.now() + ms
  while (performance.now() < end) {
    if (await holds()) return true
    await wait(100)
  }
  return false
}

const DOES: { [N in HurtName]: (world: World, tell: (what: string) => void) => Promise<void> } = {
  cut: async () => {
    const { cut } = await api.hurt.cut()
    if (!cut) throw new Error('The server found no connection of this window to cut.')
  },
  buffer: async ({ tap }) => {
    const { url } = await api.hurt.buffer()
    tap.relay = url
    await changeNetwork()
  },
  unbuffer: async ({ tap }) => {
    tap.relay = undefined
    await changeNetwork()
  },
  restart: async (_, tell) => {
    const { starts } = await api.hurt.restart()
    tell('The server drains and starts again…')
    const isBack = await until(async () => (await api.isUp().then(({ server }) => server.starts, () => 0)) > starts, 30_000)
    if (!isBack) throw new Error('The server did not come back within 30 s.')
  },
  sleep: async ({ tap }, tell) => {
    tap.sleep()
    try {
      await api.hurt.cut()
      await countdown(SLEEP_MS, (left) => tell(`Asleep: timers stand still. Wakes in ${left} s.`))
    } finally {
      tap.wake()
    }
  },
  background: async (_, tell) => {
    dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))
    try {
      await countdown(BACKGROUND_MS, (left) => tell(`In the background. Back in ${left} s.`))
    } finally {
      dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))
    }
  },
  chat: async ({ chatTransport }) => {
    await api.hurt.chat(chatTransport() === 'ws' ? 'sse' : 'ws')
  },
}

/** As when a laptop joins another network: its connections are gone, and the browser says `online`. */
async function changeNetwork(): Promise<void> {
  await api.hurt.cut()
  dispatchEvent(new Event('online'))
}

async function countdown(ms: number, tell: (left: number) => void): Promise<void> {
  for (let left = Math.round(ms / 1000); left > 0; left--) {
    tell(left)
    await wait(1000)
  }
}

/** Does it, waits until messages come through again, counts. */
export async function hurt(name: HurtName, world: World, show: (run: Run) => void): Promise<void> {
  const { live, log, tally, board } = world
  const probes = new Probes(live, board)
  let run: Run = { name, phase: 'before', what: 'Sending numbered messages first…' }
  const step = (next: Partial<Run>): void => show((run = { ...run, ...next, lines: probes.count() }))
  const ticking = setInterval(() => step({}), 500)
  try {
    await wait(300)
    probes.begin()
    step({})
    if (!(await until(() => probes.passed(3), 15_000))) throw new Error('The numbered messages do not come through even before it hurts.')
    log.add('hurt', STARTS[name])
    step({ phase: 'hurts', what: 'Hurting…' })
    const begun = performance.now()
    await DOES[name](world, (what) => step({ what }))
    const mark = probes.newest
    const done = performance.now()
    step({ phase: 'returns', what: 'Waiting for the client to come back…' })
    const isBack = await until(() => probes.passed(mark) && live.status.state === 'open', RETURN_MS_MAX)
    const tookMs = Math.round(performance.now() - (name === 'restart' || name === 'cut' ? begun : done))
    if (!isBack) log.add('bad', 'A minute later it is still not whole again.')
    // A client that was given another way may change its mind once more.
    await wait(name === 'buffer' || name === 'unbuffer' || name === 'chat' ? 4000 : 1500)
    step({ phase: 'counts', what: 'Counting…', tookMs })
    probes.halt()
    await until(() => probes.isAnswered, 32_000)
    await until(() => probes.isQuiet, 8_000)
    const found = await audit(live, tally)
    step({ phase: 'done', what: '', audit: found })
    report(log, ENDS[name], probes.count(), found)
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown.message : String(thrown)
    log.add('bad', error)
    step({ phase: 'failed', what: '', error })
  } finally {
    clearInterval(ticking)
    probes.close()
  }
}

const STARTS: { [N in HurtName]: string } = {
  cut: 'You cut every connection of this window.',
  buffer: 'You put a network in between that holds event streams back.',
  unbuffer: 'You took the network away that held event streams back.',
  restart: 'You restarted the server.',
  sleep: 'You closed the lid.',
  background: 'You sent this window to the background.',
  chat: 'You answered question 1 of the chat otherwise: a change of config.',
}

const ENDS: { [N in HurtName]: string } = { cut: 'After the cut', buffer: 'Behind a network that buffers', unbuffer: 'On the open network again', restart: 'Over the restart', sleep: 'Over the sleep', background: 'Over the background', chat: 'Over the move of the chat' }

function report(log: Log, what: string, lines: readonly Line[], found: Audit): void {
  const sum = (of: 'sent' | 'heard' | 'lost' | 'repeated'): number => lines.reduce((all, line) => all + line[of], 0)
  const isGood = sum('lost') + sum('repeated') + found.lost + found.repeated === 0
  log.add(isGood ? 'good' : 'bad', `${what}: ${sum('sent')} numbered messages acknowledged, ${sum('heard')} came. ${sum('lost') + found.lost} lost, ${sum('repeated') + found.repeated} repeated.`)
}

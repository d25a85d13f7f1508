// What is measured, and how `tidewire bench` is asked for it. It reads the tool's JSON into the few
// figures that the page shows; the whole JSON stays beside them.

import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

import { coresBusy } from './process.mjs'

const QUIET_CORES = 0.5
const QUIET_TRIES = 10
const TOOL_MS_MAX = 180_000

/** The cases, by name: what the tool is asked to do. Memory at rest needs no floor beside it. */
export function cases({ seconds, rounds, subscribers, idle, bytes, inFlight, rate }) {
  const fanout = ['fanout', '--subscribers', subscribers, '--bytes', bytes, '--seconds', seconds, '--rounds', rounds]
  return {
    steady: [...fanout, '--rate', rate],
    flood: [...fanout, '--in-flight', 1],
    backlog: [...fanout, '--in-flight', inFlight],
    idle: ['idle', '--subscribers', idle, '--seconds', 1, '--rounds', rounds, '--no-floor'],
  }
}

/** Runs one case against a running peer. */
export async function measure(tool, args, transport, door, { url, pid }) {
  const command = [
    'bench', ...args.map(String), '--transport', transport,
    '--subscribe', (transport === 'ws' ? url.replace('http', 'ws') : url) + door.subscribe, '--publish', url + door.publish,
    ...option('--subprotocol', door.subprotocol), ...option('--say', door.say), ...option('--wait-for', door.waitFor),
    '--pid', String(pid), '--json',
  ]
  await untilQuiet()
  const raw = JSON.parse(await output(tool, command))
  return { command, ...figures(raw), raw }
}

const option = (name, value) => (value ? [name, value] : [])

/** The tool ends with 1 when something was lost, and has printed its JSON all the same. */
async function output(tool, command) {
  try {
    return (await promisify(execFile)(tool, command, { encoding: 'utf8', maxBuffer: 1 << 28, timeout: TOOL_MS_MAX })).stdout
  } catch (error) {
    if (error.stdout?.startsWith('{')) return error.stdout
    throw error
  }
}

/** Waits a while for the rest of the machine. The tool itself says whether others took part in a run. */
async function untilQuiet() {
  for (let tries = 0; tries < QUIET_TRIES && await coresBusy(300) > QUIET_CORES; tries += 1) await sleep(700)
}

/** What the page shows of a run; a figure that the tool did not measure is not there. */
export function figures({ figures, failures, disturbed }) {
  const target = (key) => figures[key]?.target ?? undefined
  return {
    timesFloor: figures.cpu_us?.ratio ?? undefined,
    floorCpuUs: figures.cpu_us?.floor ?? undefined,
    floorSpread: figures.cpu_us?.floor_spread ?? undefined,
    cpuUs: target('cpu_us'),
    deliveriesPerSecond: target('deliveries_per_s'),
    p50Ms: target('p50_ms'),
    p99Ms: target('p99_ms'),
    bytesPerConnection: target('resident_bytes'),
    connectsPerSecond: target('connects_per_s'),
    faults: failures.length ? failures.join('; ') : undefined,
    keptUp: figures.kept_up?.target == null ? undefined : figures.kept_up.target === 1,
    disturbed: disturbed || undefined,
  }
}

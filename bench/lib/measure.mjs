// What is measured, and how `tidewire bench` is asked for it. It reads the tool's JSON into the few
// figures that the page shows; the whole JSON stays beside them.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

import { coresBusy } from './process.mjs'

const QUIET_CORES = 0.5
const QUIET_TRIES = 10
const TOOL_MS_MAX = 180_000

/** The cases, by name: what the tool is asked to do. */
export function cases({ seconds, rounds, subscribers, idle, bytes, inFlight, rate }) {
  const fanout = ['fanout', '--subscribers', subscribers, '--bytes', bytes, '--seconds', seconds, '--rounds', rounds]
  return {
    flood: [...fanout, '--in-flight', 1],
    backlog: [...fanout, '--in-flight', inFlight],
    steady: [...fanout, '--rate', rate],
    idle: ['idle', '--subscribers', idle],
  }
}

/** Runs one case against a running peer. */
export async function measure(tool, args, transport, door, peer) {
  const scheme = transport === 'ws' ? peer.url.replace('http', 'ws') : peer.url
  const all = [
    'bench', ...args.map(String), '--transport', transport,
    '--subscribe', scheme + door.subscribe, '--publish', peer.url + door.publish,
    ...option('--subprotocol', door.subprotocol), ...option('--say', door.say), ...option('--wait-for', door.waitFor),
    '--pid', String(peer.pid), '--json',
  ]
  const quiet = await untilQuiet()
  const { stdout } = await promisify(execFile)(tool, all, { encoding: 'utf8', maxBuffer: 1 << 28, timeout: TOOL_MS_MAX })
  const raw = JSON.parse(stdout)
  return { command: all, coresBusyBefore: quiet, ...figures(raw), raw }
}

const option = (name, value) => (value ? [name, value] : [])

/** Waits a while for the rest of the machine; says how many cores it used at last. */
async function untilQuiet() {
  let busy = await coresBusy(300)
  for (let tries = 0; busy > QUIET_CORES && tries < QUIET_TRIES; tries += 1) busy = await coresBusy(1_000)
  return busy
}

function figures(raw) {
  return {}
}

// Starting a peer, waiting until it listens, and stopping it.

import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const START_MS = 15_000
const STOP_MS = 15_000
const URL_PATTERN = /http:\/\/127\.0\.0\.1:\d+/

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130))

/** Starts a peer. Its first printed URL is where it listens, unless the URL is known before. */
export async function start({ command: [program, ...args], cwd, env = {}, url }, folder) {
  mkdirSync(folder, { recursive: true })
  const log = join(folder, 'log')
  const out = openSync(log, 'w')
  const child = spawn(program, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', out, out] })
  closeSync(out)
  const orphan = () => child.kill('SIGKILL')
  process.once('exit', orphan)
  const gone = new Promise((resolve) => child.once('exit', resolve).once('error', resolve)).then(() => process.off('exit', orphan))
  const peer = { url, pid: child.pid, stop: () => stop(child, gone) }
  try {
    await listening(peer, child, log)
  } catch (error) {
    await peer.stop()
    throw error
  }
  return peer
}

async function listening(peer, child, log) {
  const until = Date.now() + START_MS
  while (Date.now() < until && child.exitCode === null && child.pid) {
    peer.url ??= readFileSync(log, 'utf8').match(URL_PATTERN)?.[0]
    if (peer.url && await answers(Number(new URL(peer.url).port))) return
    await sleep(50)
  }
  throw new Error(`does not listen; it said: ${readFileSync(log, 'utf8').slice(-2_000) || 'nothing'}`)
}

async function stop(child, gone) {
  if (child.exitCode === null && child.pid) child.kill('SIGTERM')
  const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await gone
  clearTimeout(late)
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true) })
    socket.on('error', () => resolve(false))
  })
}

/** A port of the loopback that nobody uses at this moment. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** How many files a process of ours may open. */
export function filesMax() {
  return Number(readFileSync('/proc/self/limits', 'utf8').match(/Max open files\s+\d+\s+(\d+)/)[1])
}

/** Cores that the whole machine used over some milliseconds. */
export async function coresBusy(ms) {
  const before = ticks()
  await sleep(ms)
  return (ticks() - before) * 10 / ms
}

/** Hundredths of a second that any core was not idle. */
function ticks() {
  const [user, nice, system, , , irq, softirq, steal] = readFileSync('/proc/stat', 'utf8').split('\n')[0].trim().split(/\s+/).slice(1).map(Number)
  return user + nice + system + irq + softirq + steal
}

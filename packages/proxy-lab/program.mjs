// Programs as children of a test: a folder of their own, free loopback ports, and an end that leaves
// nothing behind. Knows neither proxies nor Tidewire.

import { spawn } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

// Debian keeps servers in /usr/sbin, which is not in everybody's PATH.
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`
const GRACE_MS = 5_000

/** Polls until `condition` gives something truthy, and gives that; fails after the bound. */
export async function until(what, condition, withinMs = 15_000) {
  const end = performance.now() + withinMs
  for (let error; ;) {
    try {
      const found = await condition()
      if (found) return found
      error = undefined
    } catch (caught) {
      if (caught.final) throw caught
      error = caught
    }
    if (performance.now() > end) throw new Error(`not within ${withinMs} ms: ${what}${error ? ` (${error.message})` : ''}`)
    await sleep(20)
  }
}

/** A loopback port that nobody listens on. Somebody may take it first: see `Workbench.attempt`. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** Does somebody take connections there? */
export function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const done = (answer) => { socket.destroy(); resolve(answer) }
    socket.once('connect', () => done(true)).once('error', () => done(false))
  })
}

// What still runs when this process goes, however it goes, goes with it.
const running = new Set()
const folders = new Set()
function killAll() {
  for (const program of running) program.signal('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
}
process.on('exit', killAll)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => { killAll(); process.exit(1) })

/** One program in the foreground, with a process group of its own for its children. */
export class Program {
  #child
  #log
  #said = ''

  constructor(command, args, { cwd, env, log } = {}) {
    this.name = command
    this.#log = log
    this.#child = spawn(command, args, { cwd, env: { ...process.env, ...env, PATH }, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    const hear = (chunk) => { this.#said = (this.#said + chunk).slice(-20_000) }
    this.#child.stdout.setEncoding('utf8').on('data', hear)
    this.#child.stderr.setEncoding('utf8').on('data', hear)
    this.ended = new Promise((resolve) => this.#child.once('exit', resolve).once('error', (error) => { hear(error.message); resolve() }))
    running.add(this)
  }

  /** What it printed, and what it wrote into its log file. */
  get output() {
    if (this.#log === undefined) return this.#said
    try { return this.#said + readFileSync(this.#log, 'utf8') } catch { return this.#said }
  }

  get pid() { return this.#child.pid }
  get over() { return this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null }

  /** To the whole group, so that workers hear it too. */
  signal(signal) {
    if (this.pid === undefined) return
    try { process.kill(-this.pid, signal) } catch { /* gone already */ }
  }

  /** Politely, then by force. Workers that outlive their master are ended as well. */
  async stop(graceMs = GRACE_MS) {
    this.signal('SIGTERM')
    await Promise.race([this.ended, sleep(graceMs, undefined, { ref: false })])
    this.signal('SIGKILL')
    await this.ended
    running.delete(this)
  }

  /** Fails at once if the program ended, with what it said. */
  mustRun() {
    if (this.over) throw Object.assign(new Error(`${this.name} ended:\n${this.output}`), { final: true })
  }

  async listening(port) {
    await until(`${this.name} listens on ${port}`, async () => { this.mustRun(); return answers(port) })
  }
}

/** A folder and the programs that were started in it; `clear` ends them and removes it. */
export class Workbench {
  #programs = []

  static async open() {
    const bench = new Workbench()
    bench.folder = await mkdtemp(join(tmpdir(), 'tidewire-lab-'))
    folders.add(bench.folder)
    // Servers that give up root must still read their config, and need a place to write to.
    await chmod(bench.folder, 0o755)
    bench.work = join(bench.folder, 'work')
    await mkdir(bench.work)
    await chmod(bench.work, 0o777)
    return bench
  }

  port() { return freePort() }

  /** Writes a file beside the config, and gives its path. */
  async file(name, text) {
    const path = join(this.folder, name)
    await writeFile(path, text)
    return path
  }

  async run(command, args, ports, options) {
    const program = new Program(command, args, { cwd: this.folder, ...options })
    this.#programs.push(program)
    for (const port of [ports].flat()) await program.listening(port)
    return program
  }

  get pids() { return this.#programs.map(({ pid }) => pid) }
  get output() { return this.#programs.map(({ name, output }) => `${name}: ${output}`).join('\n') }

  /** Starts something that binds ports; once more with other ports if somebody was quicker. */
  async attempt(start) {
    for (let left = 2; ; left--) {
      try {
        return await start()
      } catch (error) {
        await this.stop()
        if (left === 0 || !/in use|bind|EADDRINUSE/i.test(error.message)) throw error
      }
    }
  }

  async stop() {
    await Promise.all(this.#programs.splice(0).map((program) => program.stop()))
  }

  async clear() {
    await this.stop()
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 })
    folders.delete(this.folder)
  }
}

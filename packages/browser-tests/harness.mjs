// What the browser tests share: the finished binary as a child process, a browser, a steady
// publisher, and waiting for conditions. Nothing here knows what is being tested.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const BINARY = process.env.TIDEWIRE_BIN ?? join(ROOT, 'target/debug/tidewire')
const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/snap/bin/chromium', '/Applications/Chromium.app/Contents/MacOS/Chromium', '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome']

/** Polls until `condition` gives something truthy, and gives that; fails after the bound. */
export async function until(what, condition, withinMs = 30_000) {
  const end = Date.now() + withinMs
  for (let error; ;) {
    try {
      const found = await condition()
      if (found) return found
      error = undefined
    } catch (caught) {
      error = caught
    }
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${what}${error ? ` (${error.message})` : ''}`)
    await tick()
  }
}

const tick = (ms = 40) => new Promise((resolve) => setTimeout(resolve, ms))

/** A folder for this run's data, gone after the test. */
export async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), 'tidewire-test-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Where screenshots go, for a person to look at. Never part of the repository. */
export async function shots() {
  const path = process.env.TIDEWIRE_SHOTS ?? join(tmpdir(), 'tidewire-shots')
  await mkdir(path, { recursive: true })
  return path
}

/** `tidewire dev` as a child process. A restart comes back on the same port with the same data. */
export class Server {
  #child
  #data
  #out = ''

  static async start(t, data) {
    const server = new Server()
    server.#data = data ?? join(await folder(t), 'log')
    server.port = 0
    t.after(() => server.kill())
    await server.start()
    return server
  }

  get url() { return `http://127.0.0.1:${this.port}` }
  get data() { return this.#data }

  async start() {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: build it (cargo build -p tidewire-cli) or set TIDEWIRE_BIN`)
    this.#out = ''
    const child = spawn(BINARY, ['dev', '--listen', `127.0.0.1:${this.port}`, '--data', this.#data], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    const hear = (chunk) => { this.#out += chunk }
    child.stdout.setEncoding('utf8').on('data', hear)
    child.stderr.setEncoding('utf8').on('data', hear)
    child.on('error', hear)
    const found = await until('the server prints its address', () => {
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}:\n${this.#out}`)
      return /http:\/\/127\.0\.0\.1:(\d+)\//.exec(this.#out)
    })
    this.port = Number(found[1])
    await until('the server answers', async () => (await fetch(`${this.url}/v1/plan`)).ok)
  }

  /** SIGKILL: no goodbye, no flush. */
  async kill() {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
  }

  /** SIGSTOP: alive for the kernel, silent for everybody. */
  freeze() { this.#child.kill('SIGSTOP') }
  thaw() { this.#child.kill('SIGCONT') }

  /** The whole log of a topic, by pages. */
  async log(topic) {
    const entries = []
    for (let after = 'start', more = true; more;) {
      const answer = await fetch(`${this.url}/v1/events?${new URLSearchParams({ topic, after, limit: '100' })}`)
      if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`)
      const page = await answer.json()
      entries.push(...page.entries)
      after = page.cursor
      more = page.more
    }
    return entries
  }

  /** Publishes once; the caller handles what goes wrong. */
  async publish(topic, data, { event = 'message', key } = {}) {
    const headers = { 'Content-Type': 'application/json', 'Tidewire-Event': event }
    if (key) headers['Idempotency-Key'] = key
    const answer = await fetch(`${this.url}/v1/topics/${topic}`, { method: 'POST', headers, body: JSON.stringify(data), signal: AbortSignal.timeout(5_000) })
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`)
    return answer.json()
  }
}

/** Publishes steadily to some topics in turn, each message until it is acknowledged, under one key.
 *  `acknowledged` is what the log must hold afterwards, exactly once each. */
export function publisher(server, topics) {
  const acknowledged = []
  let running = true
  let unanswered = 0
  const work = (async () => {
    for (let n = 0; running; n++) {
      const topic = topics[n % topics.length]
      for (let done = false; !done;) {
        try {
          const { id } = await server.publish(topic, { from: 'publisher', text: `steady ${n}` }, { key: `steady-${n}` })
          acknowledged.push({ topic, id, n })
          done = true
        } catch {
          unanswered++ // unknown: the same again with the same key
          await tick()
        }
      }
      await tick(8)
    }
  })()
  return {
    acknowledged,
    get unanswered() { return unanswered },
    async stop() {
      running = false
      await work
    },
  }
}

/** A headless browser, closed after the test. */
export async function browser(t) {
  const executablePath = process.env.CHROMIUM ?? BROWSERS.find((path) => existsSync(path))
  if (!executablePath) throw new Error('no Chromium found: install it (Debian: chromium) or set CHROMIUM')
  const quiet = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
  const launched = await chromium.launch({ executablePath, args: quiet })
  t.after(() => launched.close())
  return launched
}

// What a browser writes on its console when a server is gone. Anything else is a defect.
const EXPECTED = /net::ERR_(CONNECTION_(REFUSED|RESET|CLOSED)|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)|closed before receiving a handshake response/

/** A window of its own: other storage, other cookies. `before` may change the page before it loads;
 *  `complaints` gathers errors on its console that are not `expected`. */
export async function openWindow(launched, url, { name, before, expected, ...options } = {}) {
  const context = await launched.newContext(options)
  const page = await context.newPage()
  page.complaints = []
  page.on('console', (message) => {
    if (message.type() === 'error' && !EXPECTED.test(message.text()) && !expected?.test(message.text())) page.complaints.push(message.text())
  })
  page.on('pageerror', (error) => page.complaints.push(String(error)))
  // Only at the first load: a later one is to find what the page itself has remembered.
  if (name) await page.addInitScript((name) => { if (!localStorage.getItem('tidewire.name')) localStorage.setItem('tidewire.name', name) }, name)
  await before?.(page)
  await page.goto(url)
  return page
}

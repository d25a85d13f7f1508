// The finished binary as a child process, and a steady publisher to it.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { folder, tick, until } from './waiting.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const BINARY = process.env.TIDEWIRE_BIN ?? join(ROOT, 'target/debug/tidewire')

/** The server as a child process. A restart comes back on the same port with the same data. */
export class Server {
  #child
  #args
  #config
  #data
  #headers
  #out = ''

  /** `config` is the text of a config file; `command` is `dev` or `serve`; `key` is an API key of
   *  the config, with which the test itself publishes and reads. */
  static async start(t, { config, command = 'dev', key } = {}) {
    const server = new Server()
    const path = await folder(t)
    server.#data = join(path, 'log')
    server.#headers = key ? { Authorization: `Bearer ${key}` } : {}
    server.#args = [command, '--data', server.#data]
    server.port = 0
    if (config !== undefined) {
      server.#config = join(path, 'tidewire.toml')
      server.#args.push('--config', server.#config)
      await server.configure(config)
    }
    t.after(() => server.kill())
    await server.start()
    return server
  }

  get url() { return `http://127.0.0.1:${this.port}` }
  get data() { return this.#data }
  /** The path of the config file, for commands such as `tidewire token`. */
  get config() { return this.#config }
  /** What it has printed since it was started. */
  get out() { return this.#out }

  async start() {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: build it (cargo build -p tidewire-cli) or set TIDEWIRE_BIN`)
    this.#out = ''
    const child = spawn(BINARY, [...this.#args, '--listen', `127.0.0.1:${this.port}`], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    const hear = (chunk) => { this.#out += chunk }
    child.stdout.setEncoding('utf8').on('data', hear)
    child.stderr.setEncoding('utf8').on('data', hear)
    child.on('error', hear)
    const found = await until('the server prints its address', () => {
      if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}:\n${this.#out}`)
      return /http:\/\/127\.0\.0\.1:(\d+)/.exec(this.#out)
    })
    this.port = Number(found[1])
    await until('the server answers', async () => (await fetch(`${this.url}/readyz`)).ok)
  }

  /** SIGKILL: no goodbye, no flush. */
  kill() { return this.#end('SIGKILL') }
  /** SIGTERM: an orderly way out, with a slot for every client. */
  stop() { return this.#end('SIGTERM') }

  async #end(signal) {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    await gone
  }

  /** SIGSTOP: alive for the kernel, silent for everybody. */
  freeze() { this.#child.kill('SIGSTOP') }
  thaw() { this.#child.kill('SIGCONT') }

  /** Writes the config file; a running server reads it at `reload()`. */
  configure(text) { return writeFile(this.#config, text) }
  reload() { this.#child.kill('SIGHUP') }

  /** How many event streams and sockets are open, as the server counts them. */
  async streams() {
    return (await (await fetch(`${this.url}/readyz`)).json()).streams
  }

  async plan() {
    return (await fetch(`${this.url}/v1/plan`, { headers: this.#headers })).json()
  }

  /** The whole log of a topic, by pages. */
  async log(topic) {
    const entries = []
    for (let after = 'start', more = true; more;) {
      const answer = await fetch(`${this.url}/v1/events?${new URLSearchParams({ topic, after, limit: '100' })}`, { headers: this.#headers })
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
    const headers = { ...this.#headers, 'Content-Type': 'application/json', 'Tidewire-Event': event }
    if (key) headers['Idempotency-Key'] = key
    const answer = await fetch(`${this.url}/v1/topics/${topic}`, { method: 'POST', headers, body: JSON.stringify(data), signal: AbortSignal.timeout(5_000) })
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`)
    return answer.json()
  }
}

/** Publishes steadily to some topics in turn, each message until it is acknowledged, under one key.
 *  `acknowledged` is what the log must hold afterwards, exactly once each. `stop` waits for the
 *  last acknowledgement; after the test nobody does. */
export function publisher(t, server, topics, { everyMs = 8 } = {}) {
  const acknowledged = []
  let running = true
  let abandoned = false
  t.after(() => { running = false; abandoned = true })
  let unanswered = 0
  const work = (async () => {
    for (let n = 0; running; n++) {
      const topic = topics[n % topics.length]
      for (let done = false; !done && !abandoned;) {
        try {
          const { id } = await server.publish(topic, { from: 'publisher', text: `steady ${n}` }, { key: `steady-${n}` })
          acknowledged.push({ topic, id, n })
          done = true
        } catch {
          unanswered++ // unknown: the same again with the same key
          await tick()
        }
      }
      await tick(everyMs)
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

// Tidewire itself: the finished binary, as `tidewire dev` on a free port.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Program, until } from './program.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
export const BINARY = process.env.TIDEWIRE_BIN ?? join(ROOT, 'target/debug/tidewire')
export const TOPIC = 'notifications/lab'

export class Origin {
  static async start(bench) {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: build it (make build) or say where it is with TIDEWIRE_BIN`)
    const origin = new Origin()
    // A busy disk is nothing that the lab is about, so nobody waits for it.
    const config = await bench.file('tidewire.toml', '[feature.notifications]\nstored = "os"\n')
    origin.program = new Program(BINARY, ['dev', '--listen', '127.0.0.1:0', '--data', join(bench.work, 'log'), '--config', config], { cwd: bench.folder })
    const [, port] = await until('tidewire prints its address', () => {
      origin.program.mustRun()
      return /http:\/\/127\.0\.0\.1:(\d+)\//.exec(origin.program.output)
    })
    origin.port = Number(port)
    return origin
  }

  get url() { return `http://127.0.0.1:${this.port}` }

  /** Publishes past every proxy, and gives the entry's place. */
  async publish(data, topic = TOPIC) {
    const answer = await fetch(`${this.url}/v1/topics/${topic}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(data) })
    if (answer.status !== 201) throw new Error(`${answer.status} ${await answer.text()}`)
    return (await answer.json()).id
  }

  /** A planned stop: every stream is told `bye` and ends, which frees what a proxy held back. */
  async stop() { await this.program.stop(5_000) }
}

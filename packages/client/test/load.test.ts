// Under load against the finished binary: what every reader heard is compared with the log, entry by
// entry, after kills, after changes of the plan, and on a path that lets other rungs through all the time.

import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Live, Meta, Seam, Transport } from '../src/api.js'
import { connect } from '../src/connect.js'
import { pause, until } from './fake.js'
import { chance } from './support/clock.js'
import { NodeSocket, planned, type Server, startServer } from './support/server.js'

interface Heard {
  live: Live
  topic: string
  ids: string[]
  seams: string[]
}

/** A client that hears a topic, and everything that it heard. */
function reader(t: TestContext, server: Server, topic: string, env: { fetch?: typeof fetch; WebSocket?: typeof WebSocket } = {}): Heard {
  const live = connect(server.url, { connectMs: 2000, env: { WebSocket: NodeSocket, ...env } })
  t.after(() => live.close())
  const heard: Heard = { live, topic, ids: [], seams: [] }
  live.topic(topic).on('*', (_, meta: Meta) => heard.ids.push(meta.id!))
  live.topic(topic).on('tidewire.seam', (seam: Seam) => heard.seams.push(seam.continuity === 'gap' ? `gap ${seam.gap.reason}` : seam.continuity))
  return heard
}

/** Publishes as fast as it is answered, by the client; gives how often, and what became of it. */
function publisher(t: TestContext, server: Server, door: Transport, topics: string[]): { stop(): Promise<{ acknowledged: string[]; failed: number }> } {
  const live = connect(server.url, { env: { fetch: planned(door), WebSocket: NodeSocket } })
  t.after(() => live.close())
  // A socket is open while somebody listens on it.
  if (door === 'ws') live.topic(`${topics[0]!}-nobody`).on('*', () => undefined)
  const acknowledged: string[] = []
  let failed = 0
  let isRunning = true
  const work = topics.map(async (topic) => {
    for (let n = 0; isRunning; n++) {
      await live.topic(topic).send('message', { door, n }).then(({ id }) => acknowledged.push(id!), () => failed++)
    }
  })
  return {
    async stop() {
      isRunning = false
      await Promise.all(work)
      return { acknowledged, failed }
    },
  }
}

/** What the reader heard is the log after the place where it began: each entry once, in order. */
async function compare(server: Server, { topic, ids, seams }: Heard, what: string): Promise<number> {
  const log = (await server.log(topic)).map(({ id }) => id)
  await until(`${what} hears the last entry`, () => ids.at(-1) === log.at(-1), 30_000)
  const begin = log.indexOf(ids[0]!)
  assert.ok(begin >= 0, `${what} heard ${ids[0]}, which the log does not have`)
  const missing = log.slice(begin).filter((id) => !ids.includes(id))
  assert.deepEqual(missing, [], `${what}: nothing is missing after its seam`)
  assert.equal(ids.length, log.length - begin, `${what}: nothing is heard twice`)
  assert.deepEqual(ids, log.slice(begin), `${what}: in order`)
  assert.deepEqual(seams.filter((seam) => seam.startsWith('gap')), [], `${what}: no gap, since nothing was lost`)
  return ids.length
}

const CONFIG = '[feature.a]\n[feature.b]\n'

test('two publishers, readers on every rung, kill -9 three times: every acknowledged entry, once, in order', { timeout: 120_000 }, async (t) => {
  const server = await startServer(t, { config: CONFIG })
  const topics = ['a/1', 'b/1']
  const readers = (['sse', 'ws', 'poll'] as const).flatMap((door) => topics.map((topic) => [`${topic} by ${door}`, reader(t, server, topic, { fetch: planned(door) })] as const))
  await until('all begin', () => readers.every(([, { seams }]) => seams.length))
  const publishers = [publisher(t, server, 'ws', topics), publisher(t, server, 'sse', topics)]
  for (let kill = 0; kill < 3; kill++) {
    await pause(800)
    await server.kill()
    await pause(100 + 300 * kill)
    await server.start()
  }
  await pause(800)
  const sent = await Promise.all(publishers.map((publisher) => publisher.stop()))
  for (const [what, heard] of readers) await compare(server, heard, what)
  const log = new Set((await Promise.all(topics.map((topic) => server.log(topic)))).flat().map(({ id }) => id))
  for (const { acknowledged, failed } of sent) {
    assert.equal(failed, 0, 'each send has its answer')
    assert.deepEqual(acknowledged.filter((id) => !log.has(id)), [], 'what was acknowledged is there')
    assert.equal(new Set(acknowledged).size, acknowledged.length, 'each is its own entry')
  }
  const all = sent.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0)
  assert.equal(log.size, all, 'and nothing else: a retry was no second message')
  assert.ok(all > 100, `${all} messages`)
  // Whoever comes now hears all of it.
  const late = connect(server.url, { env: { WebSocket: NodeSocket } })
  t.after(() => late.close())
  const ids: string[] = []
  const whole = (await server.log('a/1')).map(({ id }) => id)
  for await (const { id } of late.topic('a/1').events()) if (ids.push(id!) === whole.length) break
  assert.deepEqual(ids, whole)
})

test('a server that leaves in order and comes back, with readers on every rung', { timeout: 60_000 }, async (t) => {
  const server = await startServer(t, { config: CONFIG })
  const readers = (['sse', 'ws', 'poll'] as const).map((door) => [door, reader(t, server, 'a/1', { fetch: planned(door) })] as const)
  await until('all begin', () => readers.every(([, { seams }]) => seams.length))
  const sending = publisher(t, server, 'sse', ['a/1'])
  for (let stop = 0; stop < 2; stop++) {
    await pause(500)
    await server.stop()
    await server.start()
    await until('all are back', () => readers.every(([, { live }]) => live.status.state === 'open'))
  }
  const { failed } = await sending.stop()
  assert.equal(failed, 0)
  for (const [what, heard] of readers) await compare(server, heard, what)
})

test('other transports in the config of a running server, again and again: the topics move, and lose nothing', { timeout: 120_000 }, async (t) => {
  const config = (transport: Transport): string => `[feature.a]\ntransport = "${transport}"\n[feature.b]\n`
  const server = await startServer(t, { config: config('sse') })
  const readers = [1, 2, 3].map((n) => [`reader ${n}`, reader(t, server, 'a/1')] as const)
  await until('all begin', () => readers.every(([, { seams }]) => seams.length))
  const sending = publisher(t, server, 'sse', ['a/1'])
  for (const transport of ['ws', 'poll', 'sse', 'poll', 'ws', 'sse'] as const) {
    await server.configure(config(transport))
    server.reload()
    await until(`all are on ${transport}`, async () => {
      const reports = await Promise.all(readers.map(([, { live }]) => live.explain()))
      return reports.every(({ topics }) => topics[0]!.transport === transport && topics.length === 1)
    }, 15_000)
    await pause(200)
  }
  const { failed, acknowledged } = await sending.stop()
  assert.equal(failed, 0)
  assert.ok(acknowledged.length > 50)
  for (const [what, heard] of readers) await compare(server, heard, what)
})

/** A path that lets some rungs through and others not, and changes its mind. */
class Path {
  isOpen: { [rung in Transport]: boolean } = { sse: true, ws: true, poll: true }
  readonly #cuts = new Set<() => void>()

  /** Breaks what is open off, and lets through only this. */
  only(...rungs: Transport[]): void {
    for (const rung of ['sse', 'ws', 'poll'] as const) this.isOpen[rung] = rungs.includes(rung)
    for (const cut of this.#cuts) cut()
    this.#cuts.clear()
  }

  readonly fetch: typeof fetch = async (input, init) => {
    const { pathname } = new URL(String(input))
    const rung = pathname.endsWith('/sse') ? 'sse' : pathname.endsWith('/events') ? 'poll' : undefined
    if (rung && !this.isOpen[rung]) throw new TypeError('the path cuts it')
    if (pathname.endsWith('/canary') && !this.isOpen.sse) throw new TypeError('the path cuts it')
    if (rung !== 'sse') return fetch(input, init)
    const abort = new AbortController()
    init?.signal?.addEventListener('abort', () => abort.abort(init.signal!.reason))
    this.#cuts.add(() => abort.abort(new TypeError('the path cuts it')))
    return fetch(input, { ...init, signal: abort.signal })
  }

  get WebSocket(): typeof WebSocket {
    const path = this
    return class extends NodeSocket {
      constructor(url: string | URL, protocols?: string | string[]) {
        super(path.isOpen.ws ? url : 'ws://127.0.0.1:9/', protocols)
        path.#cuts.add(() => super.close())
      }
    }
  }
}

test('a path that lets another rung through all the time: topics move up and down, and lose and repeat nothing', { timeout: 120_000 }, async (t) => {
  const server = await startServer(t, { config: '[feature.a]\n[feature.b]\nclient_sends = true\n' })
  const draw = chance(11)
  const topics = ['a/1', 'b/1']
  const paths = [new Path(), new Path(), new Path()]
  const readers = paths.flatMap((path, n) => topics.map((topic) => [`${topic} on path ${n}`, reader(t, server, topic, { fetch: path.fetch, WebSocket: path.WebSocket })] as const))
  await until('all begin', () => readers.every(([, { seams }]) => seams.length))
  const sending = [publisher(t, server, 'sse', topics), publisher(t, server, 'ws', topics)]
  const used = new Set<string>()
  const rungs: Transport[][] = [['ws', 'poll'], ['sse', 'poll'], ['poll'], ['sse', 'ws', 'poll'], ['ws', 'poll']]
  for (let turn = 0; turn < 24; turn++) {
    const path = paths[turn % paths.length]!
    path.only(...rungs[Math.floor(draw() * rungs.length)]!)
    await pause(400)
    // Nobody waits for the next look at a rung that is shut: the network is another one.
    for (const [, { live }] of readers) {
      for (const { transport } of (await live.explain()).topics) used.add(`${transport}`)
      if (draw() < 0.3) live.reconnect()
    }
  }
  for (const path of paths) path.only('sse', 'ws', 'poll')
  const sent = await Promise.all(sending.map((publisher) => publisher.stop()))
  assert.deepEqual(sent.map(({ failed }) => failed), [0, 0])
  for (const [what, heard] of readers) await compare(server, heard, what)
  assert.deepEqual([...used].sort().filter((rung) => rung !== 'null'), ['poll', 'sse', 'ws'], 'every rung was used')
})

test('a process that stands still for a while: its readers notice, come back, and lose nothing', { timeout: 60_000 }, async (t) => {
  const server = await startServer(t, { config: '[feature.a]\n[limits]\nbeat_interval = "1s"\n' })
  const readers = (['sse', 'ws'] as const).map((door) => [door, reader(t, server, 'a/1', { fetch: planned(door) })] as const)
  await until('all begin', () => readers.every(([, { seams }]) => seams.length))
  await server.publish('a/1', 1)
  server.freeze()
  await until('they notice', () => readers.every(([, { live }]) => live.status.state !== 'open'), 15_000)
  server.thaw()
  for (let n = 0; n < 20; n++) await server.publish('a/1', n)
  for (const [what, heard] of readers) await compare(server, heard, what)
})

// The real client behind every proxy, in Node and in real browsers: with default settings events flow
// within two seconds, on the highest rung that works, and none is missing or comes twice.
//
// `make proxies` runs it in Node, `make proxies-browsers` in both browsers. By hand: build the client, then
//
//   TIDEWIRE_LAB_CLIENT=1 npm test -w packages/proxy-lab          the one in packages/client/dist
//   TIDEWIRE_LAB_CLIENT=/path/to/index.js …                       another build
//   TIDEWIRE_LAB_RUNTIMES=node,chromium …                         some of node, chromium, firefox
//   TIDEWIRE_LAB_ONLY=nginx,squid-icap …                          behind some set-ups only

import assert from 'node:assert/strict'
import { resolve } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { serveApp } from './app.mjs'
import { browsers } from './browser.mjs'
import { each } from './lab.mjs'
import { TOPIC } from './origin.mjs'
import { until } from './program.mjs'

const CLIENT = process.env.TIDEWIRE_LAB_CLIENT
const FILE = CLIENT === '1' ? fileURLToPath(new URL('../client/dist/index.js', import.meta.url)) : CLIENT && resolve(CLIENT)
const FLOWS_MS = 2_000
const LATE_MS = 3_000
const EVERY_MS = 100
const EVENTS = 30
const BACKLOG = 12
const list = (text) => text?.split(',')

/** How each runtime opens the client: gives what it has heard so far, and its end. */
const runtimes = {
  async node(path, job) {
    const { connect } = await import(pathToFileURL(FILE))
    const state = { began: Date.now(), heard: [], errors: [] }
    const live = connect(job.url, { env: path.env })
    live.on('status', (status) => { state.status = status })
    live.topic(job.topic, { after: job.after }).on('*', (data, { id }) => state.heard.push({ ...data, id, heard: Date.now() }))
    return { state: () => state, close: () => live.close() }
  },
  chromium: (path, job) => inBrowser(browsers.chromium, path, job),
  firefox: (path, job) => inBrowser(browsers.firefox, path, job),
}

async function inBrowser(browser, path, job) {
  const app = await serveApp(FILE, job)
  try {
    await browser.open(path.bench, path, app.url)
    await until('the page reports', () => app.report, 60_000)
  } catch (error) {
    app.close()
    throw error
  }
  return { state: () => app.report, close: () => app.close() } // the browser ends with the bench
}

for (const name of list(process.env.TIDEWIRE_LAB_RUNTIMES) ?? Object.keys(runtimes)) {
  const missing = name !== 'node' && !browsers[name].path && `no ${name} on this machine`
  const skip = FILE === undefined ? 'without TIDEWIRE_LAB_CLIENT' : missing
  const only = list(process.env.TIDEWIRE_LAB_ONLY)
  // A browser takes a whole core to start; the two seconds are the client's, so nobody else runs then.
  const options = { skip, concurrency: name === 'node' ? 2 : 1 }

  test(`${name}: events flow`, options, (t) => each(t, async (path, t) => {
    const { state, first } = await follow(runtimes[name], path, 'now')
    const { transport, degradedFrom } = state.status
    // A scanner's preview fills up when enough has come: what works for a backlog is right as well.
    assert.ok([path.rungs[0], path.rungsResumed[0]].includes(transport), `${path.rungs[0]} works: ${JSON.stringify(state.status)}`)
    assert.equal(degradedFrom, transport === 'sse' ? undefined : 'sse')
    t.diagnostic(`${path.name}: ${state.status.transport}, the first event after ${first} ms`)
  }, only))

  // A stream that begins with a backlog is another stream to some proxies: see `rungsResumed`.
  test(`${name}: a backlog, and then events`, options, (t) => each(t, async (path, t) => {
    const { state, first } = await follow(runtimes[name], path, 'start')
    assert.ok([...path.rungs, ...path.rungsResumed].includes(state.status.transport), `${JSON.stringify(state.status)}`)
    t.diagnostic(`${path.name}: ${state.status.transport}, the first event after ${first} ms`)
  }, only))
}

/** Publishes steadily while a client follows; asserts that all of it comes, in order, once, in time. */
async function follow(open, path, after) {
  const published = []
  const publish = async () => { published.push(await path.origin.publish({ n: published.length, at: Date.now(), text: 'x'.repeat(200) })) }
  if (after === 'start') for (let n = 0; n < BACKLOG; n++) await publish()
  let running = true
  const steady = (async () => { while (running) { await publish(); await sleep(EVERY_MS) } })()
  let client
  try {
    client = await open(path, { url: path.url, topic: TOPIC, after })
    await until('events flow', () => client.state().heard.length >= EVENTS, 30_000)
    running = false
    await steady
    await until('the newest event', () => client.state().heard.at(-1).id === published.at(-1), 10_000)
    // As it is now: the end is a state too.
    const state = structuredClone(client.state())
    assert.deepEqual(state.errors, [])
    const [{ n }] = state.heard
    if (after === 'start') assert.equal(n, 0)
    assert.deepEqual(state.heard.map(({ id }) => id), published.slice(n), 'nothing missing, nothing twice, in order')
    const first = state.heard[0].heard - state.began
    assert.ok(first <= FLOWS_MS, `the first event came ${first} ms after connect`)
    const late = Math.max(...state.heard.map(({ at, heard }) => heard - Math.max(at, state.began)))
    assert.ok(late <= LATE_MS, `an event came ${late} ms after it was published`)
    return { state, first }
  } catch (error) {
    error.message += `\n${JSON.stringify({ ...client?.state(), heard: client?.state()?.heard.length })}`
    throw error
  } finally {
    running = false
    await steady.catch(() => {})
    client?.close()
  }
}

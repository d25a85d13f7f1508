// The lab: starts a set-up (a proxy with Tidewire behind it), gives it to a test, and clears up.
//
//   test('…', { concurrency: AT_ONCE }, (t) => each(t, async (path) => { path.url, path.rungs, path.env … }))

import { readFileSync } from 'node:fs'
import { chromiumArguments, firefoxPreferences } from './browser.mjs'
import { fetchThrough } from './fetch.mjs'
import { listenersOutside } from './listeners.mjs'
import { Origin } from './origin.mjs'
import { freePort, Workbench } from './program.mjs'
import { setups } from './setups.mjs'
import { webSocketThrough } from './websocket.mjs'

/** What each set-up does, as measured: see `probe.mjs` for the words. A list where it is a matter of luck. */
export const expected = JSON.parse(readFileSync(new URL('expected.json', import.meta.url), 'utf8'))

/** Set-ups at a time: each mostly waits. */
export const AT_ONCE = 4

/** Runs `use(path, t)` behind every set-up, each as a subtest of `t`. */
export const each = (t, use, names = Object.keys(setups)) => Promise.all(names.map((name) => t.test(name, (t) => behind(name, (path) => use(path, t)))))

/** Runs `use(path)` behind one set-up. */
export const behind = (name, use) => withProxy(setups[name], (path) => use(seam(name, path)))

/** Starts `start(context)` with an origin behind it, calls `use(path)`, and ends both. */
export async function withProxy({ start, forward = false }, use) {
  const bench = await Workbench.open()
  let origin
  try {
    origin = await Origin.start(bench)
    const path = await bench.attempt(async () => {
      const port = await freePort()
      return { port: await start({ bench, origin, port }) ?? port, forward, origin, bench }
    })
    const { outside, seen } = listenersOutside(bench.pids)
    if (outside.length > 0) throw new Error(`listens beyond loopback: ${outside}`)
    if (process.platform === 'linux' && bench.pids.length > 0 && !seen.includes(path.port)) throw new Error(`port ${path.port} is not among what the proxy listens on: ${seen}`)
    return await use(path)
  } catch (error) {
    if (error.code !== 'ERR_ASSERTION') error.message += `\n${bench.output}`
    throw error
  } finally {
    await origin?.stop() // first, so that no proxy waits for the end of a stream
    await bench.clear()
  }
}

/** A path as a client sees it. */
function seam(name, path) {
  const { port, forward, origin } = path
  return {
    ...path,
    name,
    title: setups[name].title,
    /** What the app calls its server: the proxy in front of it, or Tidewire itself where the browser brings the proxy. */
    url: forward ? origin.url : `http://127.0.0.1:${port}`,
    /** The transports that work here, best first. A client should be on the first. */
    rungs: rungs(expected[name].sse_gzip, expected[name]),
    /** The same for a stream that begins with a backlog of some KB. */
    rungsResumed: rungs(expected[name].sse_resumed, expected[name]),
    /** For `connect(url, { env })` in Node. */
    env: {
      fetch: forward ? fetchThrough(port) : fetch,
      WebSocket: webSocketThrough({ port, connect: forward }),
    },
    /** How to start a browser so that it goes this way. */
    launch: { chromium: chromiumArguments(forward && port), firefox: firefoxPreferences(forward && port) },
  }
}

function rungs(sse, { socket, poll }) {
  const found = []
  // Where it is a matter of luck, a client has to be ready for the worse.
  if ([sse].flat().every((word) => word === 'live' || word === 'late')) found.push('sse')
  if (socket === 'live') found.push('ws')
  if (poll === 'live') found.push('poll')
  return found
}

export { setups }

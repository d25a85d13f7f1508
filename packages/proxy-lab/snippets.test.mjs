// Each snippet of docs/proxies.md, read from the page and run: events flow live, and WebSocket works.

import assert from 'node:assert/strict'
import test from 'node:test'
import { AT_ONCE, withProxy } from './lab.mjs'
import { snippet } from './page.mjs'
import { probe } from './probe.mjs'
import { snippets } from './setups.mjs'

const ALL_LIVE = { sse: 'live', sse_gzip: 'live', sse_resumed: 'live', socket: 'live', poll: 'live', post: 'live' }

test('the snippet', { concurrency: AT_ONCE }, (t) => Promise.all(Object.keys(snippets).map((name) => t.test(name, (t) => run(name, t)))))

async function run(name, t) {
  const { forward, start, but } = snippets[name]
  // The page says where Tidewire listens by default; the lab knows where it listens now.
  const filled = (origin) => snippet(snippets[name].snippet ?? name).replace(/\b4000\b/g, origin.port)
  const { outcome, delays } = await withProxy({ forward, start: (context) => start(context, filled(context.origin)) }, probe)
  t.diagnostic(`${name}: ${JSON.stringify(delays)}`)
  delete outcome.socket_plain // browsers open a tunnel
  assert.deepEqual(outcome, { ...ALL_LIVE, ...but })
}

// docs/proxies.md says what was measured, and shows no config that was not tried. Starts no proxy.

import assert from 'node:assert/strict'
import test from 'node:test'
import { expected } from './lab.mjs'
import { blocks, text, withTable } from './page.mjs'
import { snippets } from './setups.mjs'

test('the table is what was measured', () => {
  assert.equal(text(), withTable(), 'docs/proxies.md and expected.json differ: npm run table -w packages/proxy-lab')
})

test('what the page counts', () => {
  const neither = Object.values(expected).filter(({ sse_gzip, socket }) => /^held/.test(sse_gzip) && /^refused/.test(socket))
  assert.equal(neither.length, 4, 'set-ups that hold a stream and refuse a socket: "as four of the set-ups above do"')
})

test('each config on the page is tested, once', () => {
  const named = blocks().filter(({ name }) => name !== undefined).map(({ name }) => name)
  assert.deepEqual(named.sort(), [...new Set(Object.entries(snippets).map(([name, { snippet }]) => snippet ?? name))].sort())
  const others = blocks().filter(({ name }) => name === undefined).map(({ language }) => language)
  assert.deepEqual(others.filter((language) => !['text', 'sh'].includes(language)), [], 'a config without a line `<!-- tested: NAME -->`')
})

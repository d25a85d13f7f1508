// Documents, with the provider of Yjs as npm has it: nothing of ours is between it and the binary.

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { WebSocket } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { inBrowsers } from './browsers.mjs'
import { Server } from './server.mjs'
import { tick, until } from './waiting.mjs'

const CONFIG = `
[feature.docs]
client_sends = true
binary = true
keep = "document"
`

/** A document with its provider. Providers of one process would talk to each other otherwise. */
function open(t, server, name = 'docs/plan', { doc = new Y.Doc(), ...options } = {}) {
  const provider = new WebsocketProvider(`ws://127.0.0.1:${server.port}/v1/docs`, name, doc, { WebSocketPolyfill: WebSocket, disableBc: true, maxBackoffTime: 300, ...options })
  const text = doc.getText('text')
  t.after(() => { provider.destroy(); doc.destroy() })
  return {
    doc,
    provider,
    text,
    awareness: provider.awareness,
    get said() { return text.toString() },
    type: (words, at = text.length) => text.insert(at, words),
    synced: () => until('it is synced', () => provider.synced),
    has: (words) => until(`it has ${JSON.stringify(words)}; it has ${text.toString().slice(0, 100)}`, () => text.toString() === words),
  }
}

const start = (t, config = CONFIG) => Server.start(t, { config })

/** A client that nobody has ever seen: what it gets is what the server has. */
async function fresh(t, server, name) {
  const client = open(t, server, name)
  await client.synced()
  return client
}

test('two clients that edit without a connection agree after it is back', async (t) => {
  const server = await start(t)
  const [ann, ben] = [open(t, server), open(t, server)]
  ann.type('Plan: ')
  await ben.has('Plan: ')
  ann.provider.disconnect()
  ben.provider.disconnect()
  ann.type('ann was here. ')
  ben.type('ben was here. ')
  ben.text.delete(0, 1)
  ben.type('p', 0)
  ann.provider.connect()
  ben.provider.connect()
  await until('both have both', () => ann.said === ben.said && ann.said.length === 34)
  assert.match(ann.said, /^plan: /)
  assert.equal((await fresh(t, server)).said, ann.said)
})

test('kill -9 in the middle of typing: what another has seen is there, and the rest comes with who has it', async (t) => {
  const server = await start(t)
  const [ann, ben] = [open(t, server), open(t, server)]
  await ann.synced()
  await ben.synced()
  let typed = 0
  for (let kill = 1; kill <= 3; kill++) {
    let typing = true
    const work = (async () => {
      while (typing) {
        ann.type(`${typed++} `)
        await tick(1)
      }
    })()
    const before = ben.said.length
    await until('ben reads along', () => ben.said.length > before + 300)
    await server.kill()
    const seen = ben.said
    ann.provider.disconnect()
    ben.provider.disconnect()
    typing = false
    await work
    await server.start()
    const late = await fresh(t, server)
    assert.equal(late.said.slice(0, seen.length), seen, 'nothing is lost that was seen')
    ann.provider.connect()
    ben.provider.connect()
    await ben.has(ann.said)
    await late.has(ann.said)
  }
  assert.equal(ann.said, Array.from({ length: typed }, (_, n) => `${n} `).join(''))
})

test('a document of 1 MB, written in 10,000 updates, opens at once', async (t) => {
  const server = await start(t)
  const ann = open(t, server, 'docs/large')
  await ann.synced()
  for (let n = 0; n < 10_000; n++) {
    ann.type(`${n} ${'x'.repeat(95)} `)
    // A page types no faster than its connection.
    if (n % 500 === 0) await until('the connection keeps up', () => ann.provider.ws.bufferedAmount < 64 * 1024)
  }
  const whole = ann.said
  assert(whole.length > 1_000_000)
  const ben = open(t, server, 'docs/large')
  await ben.has(whole)
  ann.provider.destroy()
  ben.provider.destroy()
  await until('it is closed', async () => (await server.streams()) === 0)
  const updates = (await server.log('docs/large')).length
  for (const when of ['warm', 'after a restart']) {
    if (when !== 'warm') {
      await server.stop()
      await server.start()
    }
    const from = performance.now()
    const late = await fresh(t, server, 'docs/large')
    const ms = performance.now() - from
    assert.equal(late.said, whole)
    t.diagnostic(`${updates} entries, ${whole.length} characters: open in ${ms.toFixed(0)} ms ${when}`)
    assert(ms < 10_000)
    late.provider.destroy()
    await until('it is closed', async () => (await server.streams()) === 0)
  }
})

test('who is there, with which cursor: told to the others and to who comes late, and ended', async (t) => {
  const server = await start(t)
  const [ann, ben] = [open(t, server), open(t, server)]
  ann.awareness.setLocalStateField('user', { name: 'Ann' })
  ben.awareness.setLocalStateField('user', { name: 'Ben' })
  const sees = (client, other, name) => until(`it sees ${name}`, () => client.awareness.getStates().get(other.doc.clientID)?.user?.name === name)
  const sawLast = (client, other) => until('it sees it no more', () => !client.awareness.getStates().has(other.doc.clientID))
  await Promise.all([sees(ann, ben, 'Ben'), sees(ben, ann, 'Ann')])
  const late = open(t, server)
  await Promise.all([sees(late, ann, 'Ann'), sees(late, ben, 'Ben')])
  // Without a goodbye.
  ben.provider.ws.terminate()
  ben.provider.shouldConnect = false
  await sawLast(ann, ben)
  // It comes back with the clock that it had, and is seen at once.
  const from = performance.now()
  ben.provider.connect()
  await sees(ann, ben, 'Ben')
  assert(performance.now() - from < 10_000, 'not only when it is renewed, after 15 s')
  await server.kill()
  await sawLast(ann, ben)
  await server.start()
  await Promise.all([sees(ann, ben, 'Ben'), sees(late, ann, 'Ann')])
})

test('a document that is full refuses, says so, and loses nothing', async (t) => {
  const server = await start(t, `${CONFIG}\n[limits]\ndocument_bytes_max = "100KiB"\n`)
  const [ann, ben] = [open(t, server), open(t, server)]
  ann.type('a'.repeat(60_000))
  await ben.has('a'.repeat(60_000))
  const closed = new Promise((resolve) => ann.provider.on('closed', resolve))
  ann.type('b'.repeat(60_000))
  assert.deepEqual(await closed, { code: 4413, reason: 'too_large' })
  assert.equal(ann.said.length, 120_000, 'it still has what was refused')
  assert.equal(ben.said.length, 60_000)
  ann.text.delete(0, 59_990)
  ann.provider.connect()
  await ben.has(ann.said)
  assert.equal(ben.said.length, 60_010)
})

inBrowsers('two pages of a browser write one document', async (t, browser) => {
  const server = await start(t)
  const origin = await pageWithProvider(t)
  const [one, other] = await Promise.all([browser.window(origin), browser.window(origin)])
  for (const page of [one, other]) {
    await page.evaluate((url) => {
      const { Y, WebsocketProvider } = window.yjs
      const doc = new Y.Doc()
      window.text = doc.getText('text')
      window.provider = new WebsocketProvider(url, 'docs/pages', doc)
    }, `ws://127.0.0.1:${server.port}/v1/docs`)
    await until('the page is synced', () => page.evaluate(() => window.provider.synced))
  }
  const said = (page) => page.evaluate(() => window.text.toString())
  const type = (page, words) => page.evaluate((words) => window.text.insert(window.text.length, words), words)
  await type(one, 'one. ')
  await until('the other page has it', async () => (await said(other)) === 'one. ')
  await server.kill()
  await Promise.all([type(one, 'meanwhile. '), type(other, 'too. ')])
  await server.start()
  await until('both have all', async () => {
    const [here, there] = await Promise.all([said(one), said(other)])
    return here === there && here.length === 'one. meanwhile. too. '.length
  })
})

/** A blank page with Yjs and its provider as `window.yjs`. Gives its origin. */
async function pageWithProvider(t) {
  const contents = "import * as Y from 'yjs'\nimport { WebsocketProvider } from 'y-websocket'\nwindow.yjs = { Y, WebsocketProvider }\n"
  const stdin = { contents, resolveDir: fileURLToPath(new URL('.', import.meta.url)) }
  const { outputFiles: [{ text }] } = await build({ stdin, bundle: true, format: 'iife', write: false })
  const page = `<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>documents</title><script src="/yjs.js"></script>`
  const listener = createServer((request, response) => {
    const isScript = request.url === '/yjs.js'
    response.writeHead(200, { 'Content-Type': isScript ? 'text/javascript' : 'text/html; charset=utf-8' }).end(isScript ? text : page)
  })
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    listener.close()
    listener.closeAllConnections()
  })
  return `http://127.0.0.1:${listener.address().port}`
}

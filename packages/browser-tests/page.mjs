// The page of an app that uses the built client: a blank document on a loopback origin of its own,
// with the client's module as `window.tidewire` and everything that it delivers in `window.heard`.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { until, within } from './waiting.mjs'

const PACKAGES = fileURLToPath(new URL('..', import.meta.url))
const TYPES = { js: 'text/javascript', map: 'application/json', html: 'text/html; charset=utf-8' }

/** Serves the built client and blank pages on a free port. Gives its origin. */
export async function appOrigin(t) {
  const listener = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost')
    try {
      const body = pathname.startsWith('/client/') ? await readFile(join(PACKAGES, 'client/dist', pathname.slice('/client/'.length))) : blank(pathname)
      // Not `no-store`: it would keep pages out of the back-forward cache.
      response.writeHead(200, { 'Content-Type': TYPES[/\.(\w+)$/.exec(pathname)?.[1] ?? 'html'], 'Cache-Control': 'no-cache' }).end(body)
    } catch (error) {
      response.writeHead(404, { 'Content-Type': 'text/plain' }).end(error.message)
    }
  })
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    listener.close()
    listener.closeAllConnections()
  })
  return `http://127.0.0.1:${listener.address().port}`
}

const blank = (path) => `<!doctype html><html lang="en"><link rel="icon" href="data:,"><title>app ${path}</title><p>${path}</p></html>`

/** The address of the client's module on the app's origin, as its package names it. */
async function clientModule() {
  const { exports } = JSON.parse(await readFile(join(PACKAGES, 'client/package.json'), 'utf8'))
  const path = exports['.'].default
  await readFile(join(PACKAGES, 'client', path)).catch(() => { throw new Error(`packages/client/${path} is missing: build it (npm run build --workspace packages/client)`) })
  return path.replace(/^\.\/dist/, '/client')
}

/** Loads the client in a page of the app's origin, connects, and listens to each topic.
 *  `topics` is a list of names or of `[name, options]`; `options` are those of `connect`. */
export async function live(page, url, topics, options = {}) {
  await page.evaluate(async (module) => { window.tidewire = await import(module) }, await clientModule())
  await page.evaluate((url, topics, options) => {
    const client = window.tidewire.connect(url, options)
    const heard = { statuses: [], errors: [], topics: {} }
    Object.assign(window, { client, heard })
    const attached = () => Object.keys(heard.topics).filter((name) => heard.topics[name].seams.length > 0)
    client.on('status', (status) => heard.statuses.push({ ...status, attached: attached() }))
    client.on('error', (error) => heard.errors.push(String(error)))
    window.listen = (name, options) => {
      const said = { entries: [], seams: [], refused: [] }
      heard.topics[name] = said
      const topic = client.topic(name, options)
      topic.on('tidewire.seam', (seam) => said.seams.push({ at: performance.now(), ...seam }))
      topic.on('tidewire.refused', ({ code, message, next }) => said.refused.push({ code, message, next }))
      topic.on('*', (data, { id, event }) => said.entries.push({ at: performance.now(), id, event, data }))
    }
    for (const topic of topics) window.listen(...[topic].flat())
  }, url, topics, options)
  return page
}

/** What a topic has heard in a page so far: `entries`, `seams`, `refused`. */
export const heard = (page, topic) => page.evaluate((topic) => window.heard.topics[topic], topic)
/** Each status that was told, with the topics that were attached by then. */
export const statuses = (page) => page.evaluate(() => window.heard.statuses)
export const status = (page) => page.evaluate(() => window.client.status)
/** Adds to an error what the client knows of itself. */
export async function explained(t, page, work) {
  try {
    return await work()
  } catch (error) {
    const report = await within('the client explains', page.evaluate(async () => ({ ...await window.client.explain(), plan: undefined })), 5_000).catch(({ message }) => message)
    t.diagnostic(JSON.stringify(report))
    throw error
  }
}
export const opened = (page) => until('the client is open', async () => (await status(page)).state === 'open')

/** The page has heard exactly the log of the topic, from the first entry that it heard: nothing
 *  missing, nothing twice, in order; and from the log's oldest if `whole`. Gives the entries. */
export async function heardTheLog(page, server, topic, { whole = false } = {}) {
  const log = await server.log(topic)
  await until(`${topic}: the newest entry`, async () => (await heard(page, topic)).entries.at(-1)?.id === log.at(-1).id)
  const { entries } = await heard(page, topic)
  const from = whole ? 0 : log.findIndex(({ id }) => id === entries[0].id)
  assert.deepEqual(entries.map(({ id }) => id), log.slice(from).map(({ id }) => id), `${topic}: the ids are the log's, in order, once`)
  assert.deepEqual(entries.map(({ data }) => data), log.slice(from).map(({ data }) => data), `${topic}: the data are the log's`)
  return entries
}

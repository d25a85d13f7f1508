// An app as a browser sees it: a page of its own origin that uses the client, and reports what it
// hears to where it came from. No driver is needed, so any browser that opens a URL will do.

import { readdir, readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { dirname, join } from 'node:path'

/** Starts the app. `client` is the built client's file; `job` is `{ url, topic, after }`. */
export async function serveApp(client, job) {
  let report
  const folder = dirname(client)
  const parts = (await readdir(folder)).filter((name) => name.endsWith('.js'))
  const files = {
    '/': ['text/html', PAGE],
    '/client.js': ['text/javascript', await readFile(client)],
    // What it loads later lies beside it.
    ...Object.fromEntries(await Promise.all(parts.map(async (part) => [`/${part}`, ['text/javascript', await readFile(join(folder, part))]]))),
    '/job.js': ['text/javascript', `${run}\nrun(${JSON.stringify(job)})`],
  }
  const server = createServer(async (asked, answer) => {
    if (asked.method === 'POST') {
      const chunks = await asked.toArray()
      report = JSON.parse(Buffer.concat(chunks).toString())
      return answer.writeHead(204).end()
    }
    const [type, body] = files[asked.url] ?? ['text/plain', undefined]
    answer.writeHead(body === undefined ? 404 : 200, { 'Content-Type': type, 'Cache-Control': 'no-store' }).end(body)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    /** What the page said last. */
    get report() { return report },
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}

const PAGE = '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>lab</title><script type="module" src="/job.js"></script>'

/** Runs in the page. */
async function run(job) {
  const state = { began: 0, heard: [], status: undefined, errors: [] }
  const say = () => fetch('/report', { method: 'POST', body: JSON.stringify(state) }).catch(() => {})
  addEventListener('error', ({ message }) => { state.errors.push(message) })
  addEventListener('unhandledrejection', ({ reason }) => { state.errors.push(String(reason)) })
  try {
    const { connect } = await import('/client.js')
    state.began = Date.now()
    const live = connect(job.url)
    live.on('status', (status) => { state.status = status })
    live.topic(job.topic, { after: job.after }).on('*', (data, { id }) => state.heard.push({ ...data, id, heard: Date.now() }))
  } catch (error) {
    state.errors.push(String(error))
  }
  for (;;) {
    await say()
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

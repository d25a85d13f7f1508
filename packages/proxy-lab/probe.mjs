// What passes a path, found out with bare requests: no client library, so that nothing hides what a
// proxy does. Gives one word for each way of talking; `expected.json` says which are right.
//
//   live      each event comes at once
//   late      each event comes, but with a delay of its own (100 ms and more)
//   held      nothing comes until the response ends, then everything; `held, opened` if the headers
//             came at once, so that a client takes it for open
//   lost      nothing comes, or not everything, even then
//   refused   the answer has another status than it should

import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { constants, createBrotliDecompress, createGunzip } from 'node:zlib'
import { TOPIC } from './origin.mjs'
import { until } from './program.mjs'
import { handshake, webSocketThrough } from './websocket.mjs'

const EVENTS = 8
const EVERY_MS = 250
const LATE_MS = 100
const PATIENCE_MS = 2_500
const BACKLOG = 'notifications/backlog'

/** `path` is `{ port, forward, origin }`: where the proxy listens, what kind it is, what is behind. */
export async function probe(path) {
  const { origin } = path
  // More than 1 KB, so that a stream that resumes begins with a large write.
  for (let n = 0; n < 8; n++) await origin.publish({ n, text: 'x'.repeat(200) }, BACKLOG)
  const streams = {
    sse: stream(path, { topic: TOPIC }),
    sse_gzip: stream(path, { topic: TOPIC, gzip: 1 }),
    sse_resumed: stream(path, { topic: [TOPIC, BACKLOG], after: 'start', gzip: 1, resumed: 1 }),
  }
  await open(Object.values(streams))
  const [socket, socket_plain, poll, post] = await Promise.all([
    socketWorks(path, path.forward ? { port: path.port, connect: true } : { port: path.port }),
    path.forward ? socketWorks(path, { port: path.port }, true) : undefined,
    pollWorks(path),
    postWorks(path),
  ])
  const sent = []
  for (let n = 0; n < EVENTS; n++) {
    await origin.publish({ probe: n })
    sent.push(performance.now()) // stored, so what is late from now on is late on its way
    await sleep(EVERY_MS)
  }
  const complete = () => Object.values(streams).every(({ heard }) => heard.length === EVENTS)
  await until('', complete, PATIENCE_MS).catch(() => {})
  const before = Object.values(streams).map(({ heard }) => heard.length)
  const early = Object.values(streams).map(({ status }) => status !== undefined)
  await origin.stop()
  await until('', () => Object.values(streams).every(({ over }) => over), 2 * PATIENCE_MS).catch(() => {})

  const outcome = { socket, ...socket_plain && { socket_plain }, poll, post }
  const delays = {}
  for (const [n, [name, found]] of Object.entries(streams).entries()) {
    found.close()
    delays[name] = found.heard.map((at, n) => Math.round(at - sent[n])).sort((a, b) => a - b)
    outcome[name] = verdict(found, before[n], early[n], delays[name])
  }
  return { outcome, delays }
}

/** A busy machine delays some events, a proxy that waits delays each: so the quickest quarter decides. */
function verdict({ status, heard }, before, opened, delays) {
  if (status !== undefined && status !== 200) return `refused ${status}`
  if (before === EVENTS) return delays[EVENTS / 4] >= LATE_MS ? 'late' : 'live'
  if (before > 0 || heard.length < EVENTS) return 'lost'
  return opened ? 'held, opened' : 'held'
}

/** Waits until each stream has said hello; one that is held never does. */
const open = (streams) => until('', () => streams.every(({ hello }) => hello), PATIENCE_MS).catch(() => {})

function ask({ port, forward, origin }, target, { method = 'GET', headers = {} } = {}) {
  const host = forward ? `127.0.0.1:${origin.port}` : `127.0.0.1:${port}`
  return request({ host: '127.0.0.1', port, method, path: forward ? `http://${host}${target}` : target, headers: { Host: host, ...headers }, agent: false })
}

/** An event stream, read as it comes: when did the n-th event of this probe arrive? */
function stream(path, query) {
  const found = { heard: [], hello: false, over: false, close() {} }
  const parameters = new URLSearchParams(Object.entries(query).flatMap(([name, value]) => [value].flat().map((value) => [name, value])))
  const headers = { Accept: 'text/event-stream', ...query.gzip && { 'Accept-Encoding': 'gzip, deflate, br' } }
  const asked = ask(path, `/v1/sse?${parameters}`, { headers })
  found.close = () => asked.destroy()
  const over = () => { found.over = true }
  asked.on('error', over).on('response', (answer) => {
    found.status = answer.statusCode
    const body = decoded(answer)
    let text = ''
    body.on('data', (chunk) => {
      const at = performance.now()
      text += chunk.toString('latin1')
      const frames = text.split('\n\n')
      text = frames.pop()
      for (const frame of frames) {
        if (frame.includes('event: tidewire.hello')) found.hello = true
        const [, n] = /^data: \{"probe":(\d+)\}$/m.exec(frame) ?? []
        if (n !== undefined && Number(n) === found.heard.length) found.heard.push(at)
      }
    }).on('end', over).on('error', over).on('close', over)
    answer.on('close', () => setTimeout(over, 50))
  })
  asked.end()
  return found
}

/** The body without its content coding, as far as it has come. */
export function decoded(answer) {
  const coding = answer.headers['content-encoding']
  if (coding === undefined || coding === 'identity') return answer
  const decoder = coding === 'br' ? createBrotliDecompress({ flush: constants.BROTLI_OPERATION_FLUSH }) : createGunzip({ flush: constants.Z_SYNC_FLUSH, finishFlush: constants.Z_SYNC_FLUSH })
  return answer.pipe(decoder)
}

/** Opens a WebSocket, hears an event on it and publishes one. */
async function socketWorks(path, via, absolute = false) {
  const target = `ws://127.0.0.1:${path.forward ? path.origin.port : path.port}/v1/socket`
  if (absolute) {
    return handshake(target, { via, absolute }).then(({ socket }) => { socket.destroy(); return 'live' }, refusal)
  }
  // Once by hand, which tells why it fails; then as a client would use it.
  const failed = await handshake(target, { via }).then(({ socket }) => { socket.destroy() }, refusal)
  if (failed) return failed
  const socket = new (webSocketThrough(via))(target, 'tidewire.v1')
  try {
    const said = []
    socket.onmessage = ({ data }) => said.push(JSON.parse(data))
    const hears = (what, found) => until(what, () => said.some(found), PATIENCE_MS)
    await hears('hello', ({ hello }) => hello)
    socket.send(JSON.stringify({ do: 'subscribe', ref: 1, topic: 'notifications/socket' }))
    await hears('subscribed', ({ ref, ok }) => ref === 1 && ok)
    await path.origin.publish({ for: 'socket' }, 'notifications/socket')
    await hears('the event', ({ data }) => data?.for === 'socket')
    socket.send(JSON.stringify({ do: 'publish', ref: 2, topic: 'notifications/socket', data: { text: 'x'.repeat(2_000) } }))
    await hears('published', ({ ref, ok }) => ref === 2 && ok)
    return 'live'
  } catch {
    return 'lost'
  } finally {
    socket.close()
  }
}

const refusal = ({ status }) => (status ? `refused ${status}` : 'refused')

/** A long-poll that waits, and is answered by an event. */
async function pollWorks(path) {
  const topic = 'notifications/poll'
  const answer = read(ask(path, `/v1/events?${new URLSearchParams({ topic, after: 'now', wait: '10' })}`))
  await sleep(EVERY_MS)
  await path.origin.publish({ for: 'poll' }, topic)
  const late = sleep(PATIENCE_MS, 'late', { ref: false })
  const got = await Promise.race([answer, late])
  if (got === 'late') return 'lost'
  if (got.status !== 200) return `refused ${got.status}`
  return JSON.parse(got.body).entries[0]?.data.for === 'poll' ? 'live' : 'lost'
}

async function postWorks(path) {
  const asked = ask(path, '/v1/topics/notifications/post', { method: 'POST', headers: { 'Content-Type': 'application/json' } })
  const { status, body } = await read(asked, '{"for":"post"}')
  if (status !== 201) return `refused ${status}`
  return JSON.parse(body).id ? 'live' : 'lost'
}

/** A whole answer. Status 0 means that there was none. */
function read(asked, body) {
  return new Promise((resolve) => {
    asked.on('error', () => resolve({ status: 0, body: '' })).on('response', async (answer) => {
      const chunks = []
      try {
        for await (const chunk of decoded(answer)) chunks.push(chunk)
      } catch { /* cut short: what came is what there is */ }
      resolve({ status: answer.statusCode, body: Buffer.concat(chunks).toString() })
    })
    asked.end(body)
  })
}

// What a browser's own EventSource gets from the finished binary, with no client of ours around it.

import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { inBrowsers } from './browsers.mjs'
import { publisher, Server } from './server.mjs'
import { until } from './waiting.mjs'

const TOPICS = ['chat/general', 'board/tasks', 'notifications/everyone']

/** A page of the server's origin with no script of its own. */
const plainPage = (browser, server) => browser.window(`${server.url}/healthz`)

/** Opens an EventSource in the page and writes down everything that it says, in `window.heard`. */
const listen = (page, topics, after) => page.evaluate((topics, after) => {
  const query = new URLSearchParams([...topics.map((topic) => ['topic', topic]), ['after', after]])
  const source = new EventSource(`/v1/sse?${query}`)
  window.heard = []
  window.failed = []
  window.source = source
  for (const type of ['message', 'tidewire.hello', 'tidewire.gap', 'tidewire.beat', 'tidewire.bye']) {
    source.addEventListener(type, ({ data, lastEventId }) => window.heard.push({ type, data, id: lastEventId }))
  }
  source.onerror = () => window.failed.push({ at: performance.now(), readyState: source.readyState })
}, topics, after)

const heard = (page, type) => page.evaluate((type) => window.heard.filter((event) => event.type === type), type)
const hellos = async (page) => (await heard(page, 'tidewire.hello')).map(({ data, id }) => ({ ...JSON.parse(data), id }))

inBrowsers('one Last-Event-ID resumes several topics exactly, across kill -9', async (t, browser) => {
  const server = await Server.start(t)
  const page = await plainPage(browser, server)
  await listen(page, TOPICS, 'start')
  await until('the first hello', async () => (await hellos(page)).length === 1)
  const steady = publisher(t, server, TOPICS)
  for (let kill = 1; kill <= 3; kill++) {
    const before = steady.acknowledged.length
    await until('the publisher is in full flow', () => steady.acknowledged.length > before + 90)
    await server.kill()
    await until('the browser knows', async () => (await page.evaluate(() => window.source.readyState)) === 0)
    await server.start()
    await until('the browser is back, by itself', async () => (await hellos(page)).length === kill + 1)
  }
  await steady.stop()

  // One log, one order: the pages of each topic, put together by the order of the acknowledgements.
  const sequence = ({ id }) => Number(id.split('.')[1])
  const log = (await Promise.all(TOPICS.map((topic) => server.log(topic)))).flat().sort((a, b) => sequence(a) - sequence(b))
  await until('the newest entry', async () => (await heard(page, 'message')).at(-1)?.id === log.at(-1).id)
  const messages = await heard(page, 'message')
  assert.deepEqual(messages.map(({ id }) => id), log.map(({ id }) => id), 'nothing missing, nothing twice, in order')
  assert.deepEqual(messages.map(({ data }) => JSON.parse(data)), log.map(({ data }) => data))
  assert.deepEqual(new Set(steady.acknowledged.map(({ id }) => id)), new Set(log.map(({ id }) => id)), 'acknowledged is kept')

  const [first, ...again] = await hellos(page)
  assert.equal(first.continuity, 'new')
  assert.deepEqual(again.map(({ continuity }) => continuity), ['resumed', 'resumed', 'resumed'])
  assert.equal(new Set([first, ...again].map(({ connection }) => connection)).size, 4, 'each connection has a name of its own')
  assert.deepEqual(await heard(page, 'tidewire.gap'), [])
  assert.deepEqual(page.complaints, [])
  t.diagnostic(`${log.length} entries, ${steady.unanswered} attempts without an answer`)
})

inBrowsers('a hello with a place moves the bookmark, so that even a silent stream resumes', async (t, browser) => {
  const server = await Server.start(t)
  await server.publish(TOPICS[0], { n: 1 })
  const page = await plainPage(browser, server)
  await listen(page, [TOPICS[0]], 'now')
  const [hello] = await until('the first hello', async () => { const all = await hellos(page); return all.length && all })
  assert.equal(hello.id, hello.at, 'the id of the hello is the place where the stream begins')
  await server.kill()
  await server.start()
  const missed = await server.publish(TOPICS[0], { n: 2 })
  const [message] = await until('what was missed', async () => { const all = await heard(page, 'message'); return all.length && all })
  assert.equal(message.id, missed.id)
  assert.equal((await hellos(page)).at(-1).continuity, 'resumed')
})

inBrowsers('a gap is an event that a bare EventSource hears', async (t, browser) => {
  const server = await Server.start(t)
  const page = await plainPage(browser, server)
  await listen(page, [TOPICS[0]], 'start')
  await server.publish(TOPICS[0], { n: 1 })
  await until('the entry', async () => (await heard(page, 'message')).length === 1)
  await server.kill()
  await rm(server.data, { recursive: true, force: true })
  await server.start()
  await until('the second hello', async () => (await hellos(page)).length === 2)
  const [, hello] = await hellos(page)
  assert.equal(hello.continuity, 'gap')
  assert.equal(hello.gap.reason, 'foreign')
  const [gap] = await until('the gap', async () => { const all = await heard(page, 'tidewire.gap'); return all.length && all })
  assert.deepEqual(JSON.parse(gap.data), hello.gap)
  const { id } = await server.publish(TOPICS[0], { n: 2 })
  await until('the new log goes on', async () => (await heard(page, 'message')).at(-1).id === id)
})

inBrowsers('each client has its own retry, and the browser keeps to it', async (t, browser) => {
  const server = await Server.start(t)
  const plan = await (await fetch(`${server.url}/v1/plan`)).json()
  const drawn = await Promise.all(Array.from({ length: 12 }, () => firstFrame(server)))
  for (const { retry, hello } of drawn) {
    assert.equal(retry, hello.retry_ms, 'the `retry:` field and the hello say the same')
    assert.ok(retry >= plan.retry_ms && retry <= 2 * plan.retry_ms, `${retry} is from one to two times ${plan.retry_ms}`)
  }
  assert.ok(new Set(drawn.map(({ retry }) => retry)).size >= 6, `clients are spread out: ${drawn.map(({ retry }) => retry)}`)

  const page = await plainPage(browser, server)
  await listen(page, [TOPICS[0]], 'now')
  const [{ retry_ms }] = await until('the hello', async () => { const all = await hellos(page); return all.length && all })
  await server.kill()
  const failed = await until('three attempts in vain', async () => {
    const failed = await page.evaluate(() => window.failed)
    return failed.length >= 4 && failed
  })
  for (let n = 1; n < 4; n++) {
    const waited = failed[n].at - failed[n - 1].at
    assert.ok(waited >= retry_ms * 0.95, `attempt ${n} came after ${waited} ms, the slot is ${retry_ms} ms`)
    assert.equal(failed[n].readyState, 0, 'and it has not given up')
  }
})

/** The first frame of a stream, as bytes on the wire. */
async function firstFrame(server) {
  const abort = new AbortController()
  const answer = await fetch(`${server.url}/v1/sse?topic=${TOPICS[0]}`, { signal: abort.signal })
  assert.equal(answer.headers.get('content-type'), 'text/event-stream')
  assert.match(answer.headers.get('cache-control'), /no-store.*no-transform/)
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of answer.body) {
    text += decoder.decode(chunk, { stream: true })
    if (text.includes('\n\n')) break
  }
  abort.abort()
  assert.match(text, /^event: tidewire\.hello$/m)
  return { retry: Number(/^retry: (\d+)$/m.exec(text)[1]), hello: JSON.parse(/^data: (.*)$/m.exec(text)[1]) }
}

inBrowsers('data arrive as they were published', async (t, browser) => {
  const server = await Server.start(t)
  const page = await plainPage(browser, server)
  await listen(page, [TOPICS[0]], 'start')
  const published = [
    ['application/json', '{ "a" :  1.50, "b": "\\u00e9 é 漢 🌊" }'],
    ['application/json', '[1,\n 2]'],
    ['text/plain', 'two\nlines, and a colon: here'],
    ['text/plain', 'id: not.a.cursor'],
    ['text/plain', ' leading space'],
  ]
  for (const [type, body] of published) {
    const answer = await fetch(`${server.url}/v1/topics/${TOPICS[0]}`, { method: 'POST', headers: { 'Content-Type': type }, body })
    assert.equal(answer.status, 201, await answer.text())
  }
  await until('all', async () => (await heard(page, 'message')).length === published.length)
  assert.deepEqual((await heard(page, 'message')).map(({ data }) => data), published.map(([, body]) => body))
})

inBrowsers('anything but 200 closes an EventSource for ever, which is why bad requests must show at once', async (t, browser) => {
  const server = await Server.start(t)
  const page = await plainPage(browser, server)
  await listen(page, [TOPICS[0]], 'not-a-cursor')
  const [failed] = await until('the error', async () => { const all = await page.evaluate(() => window.failed); return all.length && all })
  assert.equal(failed.readyState, 2)
})

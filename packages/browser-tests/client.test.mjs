// The built client in a page, and everything that befalls a page: what it hears is the log, in
// order, once.

import assert from 'node:assert/strict'
import { inBrowsers } from './browsers.mjs'
import { clock, forward, sleep } from './clock.mjs'
import { appOrigin, explained, heard, heardTheLog, live, opened, status, statuses } from './page.mjs'
import { Relay } from './relay.mjs'
import { publisher, Server } from './server.mjs'
import { background, comeBack, foreground, leave, offline, online, rememberShows } from './tabs.mjs'
import { until } from './waiting.mjs'

const NOTES = 'notifications/everyone' // by event stream
const CHAT = 'chat/general' // by socket
const TOPICS = [NOTES, CHAT]
const FROM_START = TOPICS.map((topic) => [topic, { after: 'start' }])

/** A server, a relay in front of it, and a page whose client hears both topics from the start. */
async function scene(t, browser, { init, config } = {}) {
  const server = await Server.start(t, { config })
  const relay = await Relay.start(t, server.port)
  const page = await browser.window(await appOrigin(t), { init })
  await live(page, relay.url, FROM_START)
  await opened(page)
  for (const topic of TOPICS) await until(`${topic} is attached`, async () => (await heard(page, topic)).seams.length > 0)
  return { server, relay, page }
}

/** Publishes steadily while `happens` happens, and some more after it. Nothing may be lost. */
async function underLoad(t, { server, page }, happens) {
  const steady = publisher(t, server, TOPICS)
  const flows = async () => {
    const before = steady.acknowledged.length
    await until('the publisher is in full flow', () => steady.acknowledged.length > before + 40)
  }
  await explained(t, page, async () => {
    await flows()
    await happens(flows)
    await flows()
    await steady.stop()
    for (const topic of TOPICS) await heardTheLog(page, server, topic, { whole: true })
  })
  await healthy(page)
  t.diagnostic(`${steady.acknowledged.length} entries`)
}

/** Nothing was refused, thrown or complained of, and no continuity was broken. */
async function healthy(page) {
  assert.equal((await status(page)).state, 'open')
  for (const topic of TOPICS) {
    const { seams, refused } = await heard(page, topic)
    assert.deepEqual(refused, [])
    assert.ok(seams.every(({ continuity }) => continuity !== 'gap'), `${topic}: ${JSON.stringify(seams)}`)
  }
  assert.deepEqual(await page.evaluate(() => window.heard.errors), [])
  assert.deepEqual(page.complaints, [])
}

const lost = (page) => until('the client has noticed', async () => (await status(page)).state !== 'open')
/** What goes over the network now, as the relay sees it. */
const carried = (relay) => [...relay.carrying('GET /v1/sse'), ...relay.carrying('GET /v1/socket')]

/** Both connections go dead without a word, and what the server writes to them from now on is lost.
 *  What the browser keeps idle stays alive, as after a real sleep, when it throws that away. */
async function goDead(t, { server, relay, page }) {
  await underLoad(t, { server, page }, () => {})
  const [{ request }] = relay.carrying('GET /v1/sse')
  const [name] = /(?<=[?&]connection=)[\w-]+/.exec(request)
  relay.forget(carried(relay))
  for (const topic of TOPICS) await server.publish(topic, { text: 'into the void' })
  // So long that a slow network is no longer the reason.
  await until('the server has written it', async () => (await (await fetch(`${server.url}/v1/path/${name}`)).json()).quiet_ms > 500)
}

/** What was lost with the dead connections arrives on others, long before a beat is due; and it goes
 *  on. On what others is the client's to judge: a stream that was young may have looked held back. */
async function replaced(t, { server, page }) {
  await explained(t, page, () => until('what was lost has come', async () => {
    const texts = await Promise.all(TOPICS.map(async (topic) => (await heard(page, topic)).entries.at(-1).data.text))
    return texts.every((text) => text === 'into the void')
  }, 15_000))
  await opened(page)
  await underLoad(t, { server, page }, () => {})
}

inBrowsers('a server that is killed and started again: nothing lost, none twice', async (t, browser) => {
  const { server, page } = await scene(t, browser)
  await underLoad(t, { server, page }, async (flows) => {
    for (let kill = 0; kill < 2; kill++) {
      await server.kill()
      await lost(page)
      await server.start()
      await opened(page)
      await flows()
    }
  })
  for (const topic of TOPICS) {
    const { seams } = await heard(page, topic)
    assert.ok(seams.filter(({ continuity }) => continuity === 'resumed').length >= 2, `${topic}: ${JSON.stringify(seams)}`)
  }
  assert.equal(await server.streams(), 2, 'one event stream and one socket')
})

const OPEN = 'it says so at the greeting of the socket, a round trip before its topics are attached'
inBrowsers('the client says open when everything that is listened to flows', { todo: { chromium: OPEN, firefox: OPEN } }, async (t, browser) => {
  const { page } = await scene(t, browser)
  const { attached } = (await statuses(page)).find(({ state }) => state === 'open')
  assert.deepEqual(attached, TOPICS)
})

inBrowsers('every connection cut, again and again', async (t, browser) => {
  const { server, relay, page } = await scene(t, browser)
  await underLoad(t, { server, page }, async (flows) => {
    for (let cut = 0; cut < 2; cut++) {
      relay.cut()
      await lost(page)
      await opened(page)
      await flows()
    }
  })
})

inBrowsers('connections that are dead without a word are found by their missing beats, and replaced', async (t, browser) => {
  const all = await scene(t, browser, { init: [[clock]] })
  await goDead(t, all)
  // Steps too short to be taken for a sleep; together more than a beat and its grace.
  for (let step = 0; step < 4; step++) await forward(all.page, 6_000)
  await replaced(t, all)
})

inBrowsers('a dead event stream of a busy topic is found as well', async (t, browser) => {
  const { server, relay, page } = await scene(t, browser, { init: [[clock]] })
  publisher(t, server, [NOTES])
  await until('it flows', async () => (await heard(page, NOTES)).entries.length > 100)
  relay.forget(relay.carrying('GET /v1/sse'))
  const before = (await heard(page, NOTES)).entries.length
  for (let step = 0; step < 4; step++) await forward(page, 6_000)
  await until('it flows again', async () => (await heard(page, NOTES)).entries.length > before + 100, 8_000)
})

inBrowsers('no network for a while', async (t, browser) => {
  const { server, relay, page } = await scene(t, browser)
  await underLoad(t, { server, page }, async (flows) => {
    await offline(page)
    relay.cut()
    await until('the client says offline', async () => (await status(page)).state === 'offline')
    await flows()
    assert.equal(carried(relay).length, 0)
    await online(page)
    await opened(page)
  })
})

inBrowsers('a page in the background hears on', async (t, browser) => {
  const { server, relay, page } = await scene(t, browser)
  await underLoad(t, { server, page }, async (flows) => {
    await background(page)
    const before = (await heard(page, CHAT)).entries.length
    await until('it hears while hidden', async () => (await heard(page, CHAT)).entries.length > before + 20)
    relay.cut()
    await lost(page)
    await flows()
    await opened(page)
    await foreground(page)
  })
})

inBrowsers('a page that is looked at again finds dead connections long before a beat is due', async (t, browser) => {
  const all = await scene(t, browser)
  await background(all.page)
  await goDead(t, all)
  await foreground(all.page)
  await replaced(t, all)
})

inBrowsers('a computer that was asleep leaves good connections alone, and finds dead ones', async (t, browser) => {
  const all = await scene(t, browser, { init: [[clock]] })
  const good = carried(all.relay)
  await sleep(all.page, 3_600_000)
  await until('it asks whether the stream is there', () => all.relay.carrying('GET /v1/path/').length > 0)
  await goDead(t, all)
  assert.deepEqual(carried(all.relay), good)
  await sleep(all.page, 3_600_000)
  await replaced(t, all)
})

inBrowsers('away and back', async (t, browser) => {
  const { server, page } = await scene(t, browser, { init: [[rememberShows]] })
  if (browser.isFirefox) {
    // Firefox judges before it tells `pagehide`, while streams are open, and never caches such a
    // page. So the page is told what it would be told.
    await underLoad(t, { server, page }, async (flows) => {
      await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })))
      await until('the server knows', async () => (await server.streams()) === 0)
      await flows()
      await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })))
      await opened(page)
    })
  } else {
    await underLoad(t, { server, page }, async (flows) => {
      await leave(page, new URL('/away', page.url()).href)
      await until('the server knows', async () => (await server.streams()) === 0)
      await flows()
      assert.deepEqual(await comeBack(page), { cached: true })
      await opened(page)
    })
  }
  await leave(page, new URL('/away', page.url()).href)
  await until('it says goodbye', async () => (await server.streams()) === 0)
})

inBrowsers('one line of the config moves a feature to another transport, under load', async (t, browser) => {
  const config = (answer) => `[feature.notifications]\n[feature.chat]\nclient_sends = ${answer}\n`
  const { server, relay, page } = await scene(t, browser, { config: config(true) })
  const carriers = async () => (await page.evaluate(() => window.client.explain())).topics.map(({ topic, transport }) => `${topic} ${transport}`)
  await underLoad(t, { server, page }, async (flows) => {
    for (const [answer, transport] of [[false, 'sse'], [true, 'ws']]) {
      await server.configure(config(answer))
      server.reload()
      await until(`chat moves to ${transport}`, async () => (await carriers()).includes(`${CHAT} ${transport}`))
      await until('what it left is closed', () => relay.carrying('GET /v1/socket').length === (answer ? 1 : 0))
      await flows()
    }
  })
  assert.deepEqual(await carriers(), [`${NOTES} sse`, `${CHAT} ws`])
  assert.equal(await server.streams(), 2)
})

inBrowsers('a bare EventSource beside it hears the same', async (t, browser) => {
  const { server, relay, page } = await scene(t, browser)
  await page.evaluate((url, topic) => {
    window.bare = []
    const source = new EventSource(`${url}/v1/sse?${new URLSearchParams({ topic, after: 'start' })}`)
    source.onmessage = ({ lastEventId }) => window.bare.push(lastEventId)
  }, relay.url, NOTES)
  await underLoad(t, { server, page }, async () => {
    await server.kill()
    await lost(page)
    await server.start()
    await opened(page)
  })
  const log = (await server.log(NOTES)).map(({ id }) => id)
  await until('the newest entry', async () => (await page.evaluate(() => window.bare.at(-1))) === log.at(-1))
  assert.deepEqual(await page.evaluate(() => window.bare), log)
})

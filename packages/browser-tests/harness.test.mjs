// Each helper, tried for real in each browser: what it says happens to a page happens.

import assert from 'node:assert/strict'
import { inBrowsers } from './browsers.mjs'
import { clock, forward, sleep } from './clock.mjs'
import { appOrigin } from './page.mjs'
import { Relay } from './relay.mjs'
import { Server } from './server.mjs'
import { background, comeBack, crash, freeze, leave, offline, online, rememberShows } from './tabs.mjs'
import { until } from './waiting.mjs'

const channel = (page) => page.evaluate(() => {
  window.said = []
  window.channel = new BroadcastChannel('test')
  window.channel.onmessage = ({ data }) => window.said.push(data)
})
const say = (page, words) => page.evaluate((words) => window.channel.postMessage(words), words)
const hears = (page, words) => until(`it hears ${words}`, () => page.evaluate((words) => window.said.includes(words), words))
/** Waits for the lock in the page, and keeps it. */
const takeLock = (page) => page.evaluate(async () => {
  const all = async () => { const { held, pending } = await navigator.locks.query(); return held.length + pending.length }
  const before = await all()
  navigator.locks.request('test', () => { window.leads = true; return new Promise(() => {}) })
  while ((await all()) === before);
})
const leads = (page) => page.evaluate(() => window.leads === true)
/** Counts what a timer does in the page. */
const count = (page) => page.evaluate(() => { window.ticks = 0; setInterval(() => window.ticks++, 20) })
const ticks = (page) => page.evaluate(() => window.ticks)

inBrowsers('tabs of one profile share storage, messages and locks; another profile has its own', async (t, browser) => {
  const origin = await appOrigin(t)
  const one = await browser.window(`${origin}/one`)
  const two = await browser.tab(one, `${origin}/two`)
  const other = await browser.window(`${origin}/other`)
  await one.evaluate(() => localStorage.setItem('key', 'value'))
  for (const page of [one, two, other]) await channel(page)
  await say(one, 'hello')
  await hears(two, 'hello')
  assert.equal(await two.evaluate(() => localStorage.getItem('key')), 'value')
  assert.deepEqual(await other.evaluate(() => [localStorage.getItem('key'), window.said]), [null, []])

  for (const page of [one, two, other]) await takeLock(page)
  await until('the first in each profile', async () => (await leads(one)) && (await leads(other)))
  assert.deepEqual([await leads(one), await leads(two), await leads(other)], [true, false, true])
  await one.close()
  await until('the lock goes to the next tab', () => leads(two))
})

inBrowsers('a tab behind another one is hidden, and a window is not', async (t, browser) => {
  const origin = await appOrigin(t)
  const page = await browser.window(origin)
  const other = await browser.window(origin)
  await page.evaluate(() => { window.seen = []; document.addEventListener('visibilitychange', () => window.seen.push(document.visibilityState)) })
  const foreground = await background(page)
  assert.equal(await other.evaluate(() => document.visibilityState), 'visible')
  await foreground()
  assert.deepEqual(await page.evaluate(() => window.seen), ['hidden', 'visible'])
})

inBrowsers('a page that is left and come back to is the same page, or says that it is not', async (t, browser) => {
  const origin = await appOrigin(t)
  const page = await browser.window(`${origin}/here`, { init: [[rememberShows]] })
  await page.evaluate(() => { window.kept = 'yes' })
  await leave(page, `${origin}/away`)
  assert.deepEqual(await comeBack(page), { cached: true })
  assert.equal(await page.evaluate(() => window.kept), 'yes')

  await page.evaluate(() => { navigator.locks.request('test', () => new Promise(() => {})); addEventListener('unload', () => {}) })
  await leave(page, `${origin}/away`)
  const { cached } = await comeBack(page)
  assert.equal(await page.evaluate(() => window.kept === 'yes'), cached)
})

inBrowsers('a frozen page does nothing and keeps its lock; thawed it goes on', async (t, browser) => {
  const origin = await appOrigin(t)
  const page = await browser.window(origin)
  await channel(page)
  await takeLock(page)
  await count(page)
  const witness = await browser.tab(page, origin)
  await channel(witness)
  await takeLock(witness)
  const thaw = await freeze(t, page)
  await say(witness, 'while frozen')
  await count(witness)
  await until('time passes for others', async () => (await ticks(witness)) > 20)
  assert.equal(await leads(witness), false)
  await thaw()
  await hears(page, 'while frozen')
  const before = await ticks(page)
  assert.ok(before < 20, `${before} ticks: it stood still`)
  await until('it goes on', async () => (await ticks(page)) > before)
})

inBrowsers('a crashed tab says goodbye to nobody, and the others live', async (t, browser) => {
  const origin = await appOrigin(t)
  const page = await browser.window(`${origin}/crash`)
  const other = await browser.tab(page, `${origin}/other`)
  await channel(other)
  await page.evaluate(() => addEventListener('pagehide', () => new BroadcastChannel('test').postMessage('goodbye')))
  await takeLock(page)
  await takeLock(other)
  await crash(page)
  await until('its lock is free', () => leads(other))
  assert.deepEqual(await other.evaluate(() => window.said), [])
})

inBrowsers('a page without a network is told so, and what it asks for fails; what is open stays', async (t, browser) => {
  const server = await Server.start(t)
  const page = await browser.window(`${server.url}/healthz`, { expected: /./ })
  const reaches = () => page.evaluate(() => fetch('/readyz', { cache: 'no-store' }).then(({ ok }) => ok, () => false))
  await page.evaluate(() => { window.events = []; for (const type of ['online', 'offline']) addEventListener(type, () => window.events.push(type)) })
  const opens = () => page.evaluate(() => new Promise((resolve) => {
    window.socket = new WebSocket(`${location.origin.replace('http', 'ws')}/v1/socket`, 'tidewire.v1')
    window.socket.onopen = () => resolve(true)
    window.socket.onclose = () => resolve(false)
  }))
  await page.evaluate(() => new Promise((resolve) => { window.stream = new EventSource('/v1/sse?topic=chat/general'); window.stream.onopen = resolve }))
  assert.deepEqual([await reaches(), await opens()], [true, true])
  await offline(page)
  await until('it is told', async () => (await page.evaluate(() => window.events.join())) === 'offline')
  assert.deepEqual([await page.evaluate(() => navigator.onLine), await reaches(), await opens()], [false, false, false])
  assert.deepEqual([await server.streams(), await page.evaluate(() => window.stream.readyState)], [2, 1])
  await online(page)
  await until('it is told', async () => (await page.evaluate(() => window.events.join())) === 'offline,online')
  assert.deepEqual([await page.evaluate(() => navigator.onLine), await reaches(), await opens()], [true, true, true])
})

inBrowsers('a clock that the test moves', async (t, browser) => {
  const page = await browser.window(await appOrigin(t), { init: [[clock]] })
  const begun = await page.evaluate(() => {
    window.fired = []
    setTimeout((...args) => window.fired.push(['timeout', ...args]), 60_000, 'with', 'arguments')
    setTimeout(() => window.fired.push(['sooner']), 30_000)
    setTimeout(() => window.fired.push(['never']), 200_000)
    clearTimeout(setTimeout(() => window.fired.push(['cleared']), 10))
    let times = 0
    const repeated = setInterval(() => { window.fired.push(['interval']); if (++times === 2) clearInterval(repeated) }, 40_000)
    return { wall: Date.now(), made: new Date().getTime(), monotonic: performance.now() }
  })
  assert.ok(Math.abs(begun.wall - Date.now()) < 5_000 && begun.made - begun.wall < 1_000)

  await sleep(page, 3_600_000)
  const slept = await page.evaluate(() => ({ wall: Date.now(), made: +new Date(), text: Date.parse(Date()), fixed: new Date(0).getTime(), isDate: new Date() instanceof Date, monotonic: performance.now() }))
  for (const read of ['wall', 'made', 'text']) assert.ok(slept[read] - begun.wall >= 3_599_000, `${read} has jumped`)
  assert.deepEqual([slept.fixed, slept.isDate], [0, true])
  assert.ok(slept.monotonic - begun.monotonic < 60_000, 'what ticks has stood still')
  assert.deepEqual(await page.evaluate(() => window.fired), [])

  await forward(page, 70_000)
  assert.deepEqual(await page.evaluate(() => window.fired), [['sooner'], ['interval'], ['timeout', 'with', 'arguments']])
  await forward(page, 40_000)
  await forward(page, 40_000)
  assert.deepEqual(await page.evaluate(() => window.fired.length), 4, 'the interval once more, until it was cleared')
  assert.ok((await page.evaluate(() => performance.now())) - begun.monotonic >= 150_000)
})

inBrowsers('a relay between page and server is felt by the page, and counts', async (t, browser) => {
  const server = await Server.start(t)
  const relay = await Relay.start(t, server.port, { delayMs: 40 })
  const page = await browser.window(await appOrigin(t), { expected: /./ })
  await page.evaluate((url) => {
    window.stream = new EventSource(`${url}/v1/sse?topic=chat/general`)
    window.socket = new WebSocket(`${url.replace('http', 'ws')}/v1/socket`, 'tidewire.v1')
    window.ended = []
    window.stream.onerror = () => window.ended.push('stream')
    window.socket.onclose = () => window.ended.push('socket')
    window.stream.onmessage = () => { window.heard = true }
  }, relay.url)
  await until('both are open', () => page.evaluate(() => window.stream.readyState === 1 && window.socket.readyState === 1))
  assert.deepEqual([await server.streams(), relay.carrying('GET /v1/sse').length, relay.carrying('GET /v1/socket').length], [2, 1, 1])
  const ms = await page.evaluate(async (url) => {
    await fetch(`${url}/v1/plan`)
    const began = performance.now()
    await fetch(`${url}/v1/plan`, { cache: 'no-store' })
    return performance.now() - began
  }, relay.url)
  assert.ok(ms >= 78, `${ms} ms there and back`) // browsers round their clocks

  relay.stall()
  await server.publish('chat/general', { n: 1 })
  assert.equal(await server.streams(), 2)
  assert.deepEqual(await page.evaluate(() => [window.heard === true, window.ended]), [false, []])
  relay.resume()
  await until('it comes after all', () => page.evaluate(() => window.heard))
  relay.cut()
  await until('the page knows', () => page.evaluate(() => window.ended.includes('stream') && window.ended.includes('socket')))
})

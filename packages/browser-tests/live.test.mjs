// The live page of the finished binary, in a real browser: two windows that see each other, a server
// that is killed under them, and a log that both of them show exactly.

import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { inBrowsers, intercept } from './browsers.mjs'
import { clock, forward } from './clock.mjs'
import { publisher, Server } from './server.mjs'
import { background, comeBack, leave, prefer, rememberShows } from './tabs.mjs'
import { shots, until } from './waiting.mjs'

const TOPICS = { notifications: 'notifications/everyone', chat: 'chat/general', tasks: 'board/tasks' }
const COLUMNS = Object.keys(TOPICS)

const facts = (page, column) => page.evaluate((column) => window.tidewireLive[column], column)
const live = (page) => until('every column is live', async () => {
  if (page.complaints.length > 0) throw new Error(page.complaints.join('; '))
  return page.evaluate(() => Object.values(window.tidewireLive).every(({ state }) => state === 'live'))
})
/** The text of each row of a column. */
const rows = (page, column) => page.$$eval(`#${column} [role=log] li[data-id]`, (found) => found.map((row) => row.textContent))
const count = async (page, column, text) => (await rows(page, column)).filter((row) => row.includes(text)).length
const sees = (page, column, text) => until(`${column} shows "${text}"`, async () => (await count(page, column, text)) === 1)
const text = (page, selector) => page.$eval(selector, (found) => found.textContent)
/** What a screen reader would find. */
const found = (page, role, name) => page.waitForSelector(`::-p-aria([name="${name}"][role="${role}"])`)
const isTicked = async (page, name) => (await found(page, 'checkbox', name)).evaluate((box) => box.checked)

/** A window of somebody with that name, at the live page. A reload is to find what the page itself
 *  has remembered, so the name is given only to a first load. */
const openLive = (browser, server, { name, init = [], ...options } = {}) => browser.window(`${server.url}/live`, { init: [...init, [introduce, name]], ...options })
const introduce = (name) => { if (name && !localStorage.getItem('tidewire.name')) localStorage.setItem('tidewire.name', name) }

/** Puts text into a field, as if pasted, and presses Enter there. */
async function enter(page, selector, text) {
  await fill(page, selector, text)
  await page.keyboard.press('Enter')
}
const fill = (page, selector, text) => page.$eval(selector, (field, text) => {
  field.focus()
  field.select()
  document.execCommand('insertText', false, text) // unlike a change of its value, this is a person's
}, text)

async function send(page, column, text, { to } = {}) {
  if (to) await fill(page, `#${column} form [name=to]`, to)
  await enter(page, `#${column} form [name=text]`, text)
}

const rename = (page, name) => enter(page, '#name', name)

/** The page shows the log of each topic from the first id it saw: nothing missing, nothing twice,
 *  in order; in its facts and in what a person reads. */
async function showsTheLogExactly(page, server) {
  for (const column of COLUMNS) {
    const log = (await server.log(TOPICS[column])).map(({ id }) => id)
    await until(`${column} has the newest entry`, async () => (await facts(page, column)).ids.at(-1) === log.at(-1))
    const { ids, repeats, disorder, unsent } = await facts(page, column)
    assert.deepEqual(ids, log.slice(log.indexOf(ids[0])), `${column}: the ids are the log's`)
    const shown = await page.$$eval(`#${column} [role=log] li[data-id]`, (found) => found.map((row) => row.dataset.id))
    assert.deepEqual(shown, ids.slice(-shown.length), `${column}: the rows are the ids`)
    assert.deepEqual({ repeats, disorder, unsent }, { repeats: 0, disorder: 0, unsent: 0 }, column)
  }
}

inBrowsers('two windows see each other on all three transports', async (t, browser) => {
  const server = await Server.start(t)
  const ana = await openLive(browser, server, { name: 'Ana' })
  const bo = await openLive(browser, server, { name: 'Bo' })
  await Promise.all([live(ana), live(bo)])

  await send(ana, 'chat', 'hello from Ana')
  await send(bo, 'chat', 'hello from Bo')
  for (const page of [ana, bo]) for (const name of ['Ana', 'Bo']) await sees(page, 'chat', `hello from ${name}`)

  await send(ana, 'notifications', 'lunch is here')
  for (const page of [ana, bo]) await sees(page, 'notifications', 'lunch is here')
  await send(ana, 'notifications', 'only for you', { to: 'Bo' })
  await sees(bo, 'notifications', 'only for you')
  await rename(bo, 'Zoë (李) 🌊: a@b!')
  await send(ana, 'notifications', 'for an unusual name', { to: 'Zoë (李) 🌊: a@b!' })
  await sees(bo, 'notifications', 'for an unusual name')
  await rename(bo, 'Bo')
  await sees(bo, 'notifications', 'only for you')
  assert.equal(await count(ana, 'notifications', 'only for you'), 0, 'Ana is not Bo')

  await send(ana, 'tasks', 'Write the release note')
  await (await found(bo, 'checkbox', 'Write the release note')).click()
  await until('Ana sees the tick', () => isTicked(ana, 'Write the release note'))
  await sees(ana, 'tasks', 'Bo ticked')

  await t.test('a reload shows the same, from history', async () => {
    await bo.reload()
    await live(bo)
    for (const text of ['hello from Ana', 'hello from Bo']) await sees(bo, 'chat', text)
    await sees(bo, 'notifications', 'only for you')
    assert.ok(await isTicked(bo, 'Write the release note'))
    assert.equal((await facts(bo, 'notifications')).continuity.at(-1).continuity, 'resumed')
    assert.equal((await facts(bo, 'chat')).continuity.at(-1).continuity, 'resumed')
    await showsTheLogExactly(ana, server)
  })
  await t.test('each column says its transport and why', async () => {
    const plan = await (await fetch(`${server.url}/v1/plan`)).json()
    const chat = plan.features.find(({ feature }) => feature === 'chat')
    await until('the plan is shown', async () => (await text(ana, '#chat .plan')).toLowerCase().includes(chat.why.toLowerCase()))
    assert.equal(await text(ana, '#chat .chip'), 'WebSocket')
    assert.equal(await text(ana, '#notifications .chip'), 'SSE')
  })
  await t.test('another name hears another inbox', async () => {
    await rename(ana, 'Bo')
    await sees(ana, 'notifications', 'only for you')
  })
  assert.deepEqual([...ana.complaints, ...bo.complaints], [])
})

inBrowsers('a server killed under two windows: nothing missing, nothing twice', async (t, browser) => {
  const server = await Server.start(t)
  // History that was there before the windows opened, of more than one page.
  for (let n = 0; n < 30; n++) await server.publish(TOPICS.chat, { from: 'history', text: `old ${n}` })
  const windows = [await openLive(browser, server, { name: 'Ana' }), await openLive(browser, server, { name: 'Bo' })]
  await Promise.all(windows.map(live))

  const steady = publisher(t, server, Object.values(TOPICS))
  const typed = []
  for (let round = 1; round <= 2; round++) {
    const before = steady.acknowledged.length
    await until('the publisher is in full flow', () => steady.acknowledged.length > before + 60)
    await server.kill()

    for (const [which, page] of windows.entries()) {
      await until('the window knows', async () => (await facts(page, 'chat')).state !== 'live')
      for (const n of [1, 2, 3]) {
        typed.push(`round ${round}: ${which} typed ${n} during the outage`)
        await send(page, 'chat', typed.at(-1))
      }
      assert.equal((await facts(page, 'chat')).unsent, 3, 'kept, and shown as unsent')
      assert.equal((await page.$$('#chat .outbox li')).length, 3)
      await send(page, 'tasks', `round ${round}: task of ${which}`)
    }
    await until('every column counts down to its next attempt', async () => {
      const states = await Promise.all(windows.flatMap((page) => COLUMNS.map(async (column) => (await facts(page, column)).state)))
      return states.every((state) => state !== 'live')
    })
    if (round === 1) await windows[0].screenshot({ path: join(await shots(), `outage-${browser.name}.png`) })
    const missed = steady.unanswered
    await until('the publisher is trying in vain', () => steady.unanswered > missed + 5)

    await server.start()
    await Promise.all(windows.map(live))
    for (const page of windows) {
      await until('what was typed is stored', async () => (await facts(page, 'chat')).unsent + (await facts(page, 'tasks')).unsent === 0)
    }
  }
  const before = steady.acknowledged.length
  await until('the publisher goes on after the last restart', () => steady.acknowledged.length > before + 60)
  await steady.stop()

  // The log itself: what was acknowledged is there, once.
  const logs = Object.fromEntries(await Promise.all(Object.values(TOPICS).map(async (topic) => [topic, await server.log(topic)])))
  for (const { topic, id, n } of steady.acknowledged) {
    const found = logs[topic].filter(({ data }) => data.text === `steady ${n}`)
    assert.deepEqual(found.map((entry) => entry.id), [id], `steady ${n} is in the log once, where the answer said`)
  }
  for (const text of typed) {
    assert.equal(logs[TOPICS.chat].filter(({ data }) => data.text === text).length, 1, text)
  }
  // The windows: exactly the log, and told so.
  for (const page of windows) {
    await showsTheLogExactly(page, server)
    for (const column of COLUMNS) {
      const seams = (await facts(page, column)).continuity
      const again = seams.filter(({ how }) => how === 'again')
      assert.ok(again.length >= 2, `${column} came back after each kill`)
      assert.ok(seams.every(({ continuity }) => continuity === 'resumed'), `${column}: ${JSON.stringify(seams)}`)
    }
    assert.deepEqual(page.complaints, [])
  }
  await windows[0].screenshot({ path: join(await shots(), `after-two-kills-${browser.name}.png`) })
  t.diagnostic(`${steady.acknowledged.length} acknowledged, ${steady.unanswered} attempts without an answer, ${typed.length} typed during outages`)
})

inBrowsers('a wiped log is told as a gap, never as continuity', async (t, browser) => {
  const server = await Server.start(t)
  const page = await openLive(browser, server, { name: 'Ana' })
  for (const column of COLUMNS) await server.publish(TOPICS[column], { from: 'before', text: 'before' })
  await live(page)
  for (const column of COLUMNS) await until('seen', async () => (await facts(page, column)).ids.length === 1)
  await server.kill()
  await rm(server.data, { recursive: true, force: true })
  await server.start()
  await live(page)
  for (const column of COLUMNS) {
    const said = await until(`${column} says gap`, async () => (await facts(page, column)).continuity.find(({ continuity }) => continuity === 'gap'))
    assert.equal(said.reason, 'foreign')
    assert.match(await text(page, `#${column} [role=log]`), /entries may be missing here/)
    assert.equal(await text(page, `#${column} .seam`), 'gap: foreign')
  }
  await server.publish(TOPICS.chat, { from: 'after', text: 'after the wipe' })
  await sees(page, 'chat', 'after the wipe')
  await page.screenshot({ path: join(await shots(), `gap-${browser.name}.png`) })
  assert.deepEqual(page.complaints, [])
})

inBrowsers('the page would notice a broken promise', async (t, browser) => {
  const server = await Server.start(t)
  for (let n = 0; n < 3; n++) await server.publish(TOPICS.chat, { from: 'x', text: `entry ${n}` })
  // A server that repeats its first entry and then swaps two.
  const before = (page) => intercept(page, /\/v1\/events\?.*chat/, async (request) => {
    const answer = await fetch(request.url())
    const { entries: [first, second, third], ...rest } = await answer.json()
    return { status: 200, contentType: 'application/json', body: JSON.stringify({ ...rest, entries: [first, first, third, second] }) }
  })
  const page = await openLive(browser, server, { before })
  await until('both are counted', async () => {
    const { repeats, disorder } = await facts(page, 'chat')
    return repeats === 1 && disorder === 1
  })
  assert.equal((await rows(page, 'chat')).length, 3, 'each entry is shown once all the same')
  assert.match(await text(page, '#chat .proof.broken'), /1 repeated · 1 out of order/)
})

inBrowsers('an EventSource that closed for ever is followed by another', async (t, browser) => {
  const server = await Server.start(t)
  await server.publish(TOPICS.notifications, { from: 'x', text: 'before' })
  let refused = 0
  const before = (page) => intercept(page, /\/v1\/sse/, () => (refused++ < 2 ? { status: 502, body: 'a proxy is confused' } : undefined))
  const page = await openLive(browser, server, { before, expected: /status of 502/ })
  await live(page)
  assert.equal(refused, 3)
  await server.publish(TOPICS.notifications, { from: 'x', text: 'after' })
  await sees(page, 'notifications', 'after')
  await showsTheLogExactly(page, server)
})

inBrowsers('a server that hangs without a word is noticed by its missing beats', async (t, browser) => {
  const server = await Server.start(t)
  const page = await openLive(browser, server, { init: [[clock]] })
  await live(page)
  server.freeze()
  await forward(page, 70_000) // more than two beats and a half
  for (const column of COLUMNS) await until(`${column} is not live`, async () => (await facts(page, column)).state !== 'live')
  await send(page, 'chat', 'typed while it hung')
  server.thaw()
  await live(page)
  await sees(page, 'chat', 'typed while it hung')
  await showsTheLogExactly(page, server)
})

inBrowsers('a window that leaves and comes back, or hides, goes on from its cursor', async (t, browser) => {
  const server = await Server.start(t)
  const page = await openLive(browser, server, { init: [[rememberShows]] })
  await live(page)
  const publish = async (text) => { for (const topic of Object.values(TOPICS)) await server.publish(topic, { from: 'x', text }) }
  await publish('while here')
  for (const column of COLUMNS) await sees(page, column, 'while here')
  await leave(page, `${server.url}/healthz`)
  await publish('while away')
  const { cached } = await comeBack(page)
  // Firefox judges before it tells `pagehide`, while streams are still open, and loads the page anew.
  assert.equal(cached, !browser.isFirefox)
  if (!cached) {
    await live(page)
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })))
    await publish('while as good as away')
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })))
    await live(page)
    for (const column of COLUMNS) await sees(page, column, 'while as good as away')
  }
  await live(page)
  for (const column of COLUMNS) await sees(page, column, 'while away')

  const foreground = await background(page)
  await publish('ends the poll that was waiting')
  await until('nobody looks, so nobody asks', async () => (await facts(page, 'tasks')).state === 'paused')
  await publish('while hidden')
  await sees(page, 'chat', 'while hidden')
  assert.equal(await count(page, 'tasks', 'while hidden'), 0)
  await foreground()
  await sees(page, 'tasks', 'while hidden')
  await showsTheLogExactly(page, server)
  assert.deepEqual(page.complaints, [])
})

inBrowsers('it runs under a strict Content-Security-Policy', async (t, browser) => {
  const server = await Server.start(t)
  const policy = (await fetch(`${server.url}/live`)).headers.get('content-security-policy')
  assert.match(policy, /default-src 'none'; script-src 'nonce-\w+'; style-src 'nonce-\w+'; connect-src 'self'/)
  const page = await openLive(browser, server)
  await live(page)
  for (const column of COLUMNS) {
    await send(page, column, `by ${column}`)
    await sees(page, column, `by ${column}`)
  }
  assert.deepEqual(page.complaints, [])
})

inBrowsers('it can be looked at: desktop light and dark, phone, keyboard only', async (t, browser) => {
  const server = await Server.start(t)
  const at = Date.UTC(2026, 0, 5, 9, 30)
  const chat = [['Mira', 'Morning! The staging deploy went through at 9.'], ['Tomás', 'Nice. I restarted it twice on purpose, nobody noticed.'], ['Mira', 'That is the best kind of review.'], ['Jun', 'I am on the train, so my connection will come and go for the next hour. If I disappear in the middle of a sentence, carry on without me; I will read what I missed when the tunnel ends.']]
  for (const [n, [from, text]] of chat.entries()) await server.publish(TOPICS.chat, { from, text, at: at + n * 60_000 })
  for (const [from, text] of [['Deploys', 'staging is on build 1042'], ['Mira', 'Tomás, the review of the release note is yours'], ['Calendar', 'Planning starts in 10 minutes']]) await server.publish(TOPICS.notifications, { from, text, at })
  const made = []
  for (const title of ['Write the release note', 'Book the room for Thursday', 'Reply to the proxy question', 'Order coffee']) made.push((await server.publish(TOPICS.tasks, { title, by: 'Mira' }, { event: 'task.created' })).id)
  await server.publish(TOPICS.tasks, { task: made[1], title: 'Book the room for Thursday', done: true, by: 'Jun' }, { event: 'task.ticked' })

  const looks = { 'desktop-light': [1440, 900, 'light'], 'desktop-dark': [1440, 900, 'dark'], laptop: [1100, 700, 'light'], 'phone-light': [390, 844, 'light'], 'phone-dark': [360, 740, 'dark'] }
  for (const [look, [width, height, scheme]] of Object.entries(looks)) {
    const page = await openLive(browser, server, { name: 'Tomás', viewport: { width, height }, before: (page) => prefer(page, { dark: scheme === 'dark', lessMotion: true }) })
    await live(page)
    await until('the plan is shown', async () => (await text(page, '#chat .chip')) !== '')
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    assert.equal(wide, 0, `${look}: nothing sticks out to the side`)
    await page.screenshot({ path: join(await shots(), `${look}-${browser.name}.png`), fullPage: true })
    assert.deepEqual(page.complaints, [], look)
  }

  const page = await openLive(browser, server, { name: 'Kai' })
  await live(page)
  const reached = new Set()
  for (let n = 0; n < 30; n++) {
    await page.keyboard.press('Tab')
    reached.add(await page.evaluate(() => {
      const { activeElement: on } = document
      return on.labels?.[0]?.textContent.trim() || on.getAttribute('aria-label') || on.getAttribute('aria-labelledby') || on.textContent.trim()
    }))
    if (await page.evaluate(() => document.activeElement.closest('#tasks form') && document.activeElement.matches('button'))) break
  }
  for (const name of ['Your name', 'Notifications', 'To', 'Notification', 'Notify', 'Chat messages', 'Message', 'Send', 'Task list', 'Order coffee', 'New task', 'Add']) {
    assert.ok(reached.has(name), `Tab reaches ${name}: ${[...reached].join(' | ')}`)
  }
  assert.ok(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== 'none'), 'focus is visible')
  t.diagnostic(`screenshots are in ${await shots()}`)
})

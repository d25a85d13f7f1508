// The live page of the finished binary, in a real browser: two windows that see each other, a server
// that is killed under them, and a log that both of them show exactly.

import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { browser, openWindow, publisher, Server, shots, until } from './harness.mjs'

const TOPICS = { notifications: 'notifications/everyone', chat: 'chat/general', tasks: 'board/tasks' }
const COLUMNS = Object.keys(TOPICS)

const facts = (page, column) => page.evaluate((column) => window.tidewireLive[column], column)
const live = (page) => until('every column is live', async () => {
  if (page.complaints.length > 0) throw new Error(page.complaints.join('; '))
  return page.evaluate(() => Object.values(window.tidewireLive).every(({ state }) => state === 'live'))
})
const rows = (page, column) => page.locator(`#${column} [role=log] li[data-id]`)
const sees = (page, column, text) => until(`${column} shows "${text}"`, async () => (await rows(page, column).filter({ hasText: text }).count()) === 1)

async function send(page, column, text, { to } = {}) {
  const form = page.locator(`#${column} form`)
  if (to) await form.getByLabel('To', { exact: true }).fill(to)
  await form.locator('input[name=text]').fill(text)
  await form.locator('input[name=text]').press('Enter')
}

/** The page shows the log of each topic from the first id it saw: nothing missing, nothing twice,
 *  in order; in its facts and in what a person reads. */
async function showsTheLogExactly(page, server) {
  for (const column of COLUMNS) {
    const log = (await server.log(TOPICS[column])).map(({ id }) => id)
    await until(`${column} has the newest entry`, async () => (await facts(page, column)).ids.at(-1) === log.at(-1))
    const { ids, repeats, disorder, unsent } = await facts(page, column)
    assert.deepEqual(ids, log.slice(log.indexOf(ids[0])), `${column}: the ids are the log's`)
    const shown = await rows(page, column).evaluateAll((found) => found.map((row) => row.dataset.id))
    assert.deepEqual(shown, ids.slice(-shown.length), `${column}: the rows are the ids`)
    assert.deepEqual({ repeats, disorder, unsent }, { repeats: 0, disorder: 0, unsent: 0 }, column)
  }
}

test('two windows see each other on all three transports', async (t) => {
  const server = await Server.start(t)
  const chromium = await browser(t)
  const ana = await openWindow(chromium, server.url, { name: 'Ana' })
  const bo = await openWindow(chromium, server.url, { name: 'Bo' })
  await Promise.all([live(ana), live(bo)])

  await send(ana, 'chat', 'hello from Ana')
  await send(bo, 'chat', 'hello from Bo')
  for (const page of [ana, bo]) for (const name of ['Ana', 'Bo']) await sees(page, 'chat', `hello from ${name}`)

  await send(ana, 'notifications', 'lunch is here')
  for (const page of [ana, bo]) await sees(page, 'notifications', 'lunch is here')
  await send(ana, 'notifications', 'only for you', { to: 'Bo' })
  await sees(bo, 'notifications', 'only for you')
  await bo.getByLabel('Your name').fill('Zoë (李) 🌊: a@b!')
  await bo.getByLabel('Your name').press('Enter')
  await send(ana, 'notifications', 'for an unusual name', { to: 'Zoë (李) 🌊: a@b!' })
  await sees(bo, 'notifications', 'for an unusual name')
  await bo.getByLabel('Your name').fill('Bo')
  await bo.getByLabel('Your name').press('Enter')
  await sees(bo, 'notifications', 'only for you')
  assert.equal(await rows(ana, 'notifications').filter({ hasText: 'only for you' }).count(), 0, 'Ana is not Bo')

  await send(ana, 'tasks', 'Write the release note')
  const box = bo.getByRole('checkbox', { name: 'Write the release note' })
  await box.check()
  await until('Ana sees the tick', () => ana.getByRole('checkbox', { name: 'Write the release note' }).isChecked())
  await sees(ana, 'tasks', 'Bo ticked')

  await t.test('a reload shows the same, from history', async () => {
    await bo.reload()
    await live(bo)
    for (const text of ['hello from Ana', 'hello from Bo']) await sees(bo, 'chat', text)
    await sees(bo, 'notifications', 'only for you')
    assert.ok(await bo.getByRole('checkbox', { name: 'Write the release note' }).isChecked())
    assert.equal((await facts(bo, 'notifications')).continuity.at(-1).continuity, 'resumed')
    assert.equal((await facts(bo, 'chat')).continuity.at(-1).continuity, 'resumed')
    await showsTheLogExactly(ana, server)
  })
  await t.test('each column says its transport and why', async () => {
    const plan = await (await fetch(`${server.url}/v1/plan`)).json()
    const chat = plan.features.find(({ feature }) => feature === 'chat')
    await until('the plan is shown', async () => (await ana.locator('#chat .plan').textContent()).toLowerCase().includes(chat.why.toLowerCase()))
    assert.equal(await ana.locator('#chat .chip').textContent(), 'WebSocket')
    assert.equal(await ana.locator('#notifications .chip').textContent(), 'SSE')
  })
  await t.test('another name hears another inbox', async () => {
    await ana.getByLabel('Your name').fill('Bo')
    await ana.getByLabel('Your name').press('Enter')
    await sees(ana, 'notifications', 'only for you')
  })
  assert.deepEqual([...ana.complaints, ...bo.complaints], [])
})

test('a server killed under two windows: nothing missing, nothing twice', async (t) => {
  const server = await Server.start(t)
  const chromium = await browser(t)
  // History that was there before the windows opened, of more than one page.
  for (let n = 0; n < 30; n++) await server.publish(TOPICS.chat, { from: 'history', text: `old ${n}` })
  const windows = [await openWindow(chromium, server.url, { name: 'Ana' }), await openWindow(chromium, server.url, { name: 'Bo' })]
  await Promise.all(windows.map(live))

  const steady = publisher(server, Object.values(TOPICS))
  t.after(() => steady.stop())
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
      assert.equal(await page.locator('#chat .outbox li').count(), 3)
      await send(page, 'tasks', `round ${round}: task of ${which}`)
    }
    await until('every column counts down to its next attempt', async () => {
      const states = await Promise.all(windows.flatMap((page) => COLUMNS.map(async (column) => (await facts(page, column)).state)))
      return states.every((state) => state !== 'live')
    })
    if (round === 1) await windows[0].screenshot({ path: join(await shots(), 'outage.png') })
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
  await windows[0].screenshot({ path: join(await shots(), 'after-two-kills.png') })
  t.diagnostic(`${steady.acknowledged.length} acknowledged, ${steady.unanswered} attempts without an answer, ${typed.length} typed during outages`)
})

test('a wiped log is told as a gap, never as continuity', async (t) => {
  const server = await Server.start(t)
  const page = await openWindow(await browser(t), server.url, { name: 'Ana' })
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
    assert.match(await page.locator(`#${column} [role=log]`).textContent(), /entries may be missing here/)
    assert.equal(await page.locator(`#${column} .seam`).textContent(), 'gap: foreign')
  }
  await server.publish(TOPICS.chat, { from: 'after', text: 'after the wipe' })
  await sees(page, 'chat', 'after the wipe')
  await page.screenshot({ path: join(await shots(), 'gap.png') })
  assert.deepEqual(page.complaints, [])
})

test('the page would notice a broken promise', async (t) => {
  const server = await Server.start(t)
  for (let n = 0; n < 3; n++) await server.publish(TOPICS.chat, { from: 'x', text: `entry ${n}` })
  // A server that repeats its first entry and then swaps two.
  const before = (page) => page.route(/\/v1\/events\?.*chat/, async (route) => {
    const answer = await route.fetch()
    const body = await answer.json()
    const [first, second, third] = body.entries
    await route.fulfill({ response: answer, json: { ...body, entries: [first, first, third, second] } })
  })
  const page = await openWindow(await browser(t), server.url, { before })
  await until('both are counted', async () => {
    const { repeats, disorder } = await facts(page, 'chat')
    return repeats === 1 && disorder === 1
  })
  assert.equal(await rows(page, 'chat').count(), 3, 'each entry is shown once all the same')
  assert.match(await page.locator('#chat .proof.broken').textContent(), /1 repeated · 1 out of order/)
})

test('an EventSource that closed for ever is followed by another', async (t) => {
  const server = await Server.start(t)
  await server.publish(TOPICS.notifications, { from: 'x', text: 'before' })
  let refused = 0
  const before = (page) => page.route(/\/v1\/sse/, (route) => (refused++ < 2 ? route.fulfill({ status: 502, body: 'a proxy is confused' }) : route.continue()))
  const page = await openWindow(await browser(t), server.url, { before, expected: /status of 502/ })
  await live(page)
  assert.equal(refused, 3)
  await server.publish(TOPICS.notifications, { from: 'x', text: 'after' })
  await sees(page, 'notifications', 'after')
  await showsTheLogExactly(page, server)
})

test('a server that hangs without a word is noticed by its missing beats', async (t) => {
  const server = await Server.start(t)
  const page = await openWindow(await browser(t), server.url, { before: (page) => page.clock.install() })
  await live(page)
  server.freeze()
  await page.clock.fastForward(70_000) // more than two beats and a half
  for (const column of COLUMNS) await until(`${column} is not live`, async () => (await facts(page, column)).state !== 'live')
  await send(page, 'chat', 'typed while it hung')
  server.thaw()
  await live(page)
  await sees(page, 'chat', 'typed while it hung')
  await showsTheLogExactly(page, server)
})

test('a window that leaves and comes back, or hides, goes on from its cursor', async (t) => {
  const server = await Server.start(t)
  const page = await openWindow(await browser(t), server.url)
  await live(page)
  const publish = async (text) => { for (const topic of Object.values(TOPICS)) await server.publish(topic, { from: 'x', text }) }
  await publish('while here')
  // What the back-forward cache does to a page, without depending on whether this browser has one.
  await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true })))
  await publish('while away')
  await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })))
  await live(page)
  for (const column of COLUMNS) await sees(page, column, 'while away')

  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { configurable: true, value: hidden })
    document.dispatchEvent(new Event('visibilitychange'))
  }, hidden)
  await hide(true)
  await publish('ends the poll that was waiting')
  await until('nobody looks, so nobody asks', async () => (await facts(page, 'tasks')).state === 'paused')
  await publish('while hidden')
  await sees(page, 'chat', 'while hidden')
  assert.equal(await rows(page, 'tasks').filter({ hasText: 'while hidden' }).count(), 0)
  await hide(false)
  await sees(page, 'tasks', 'while hidden')
  await showsTheLogExactly(page, server)
  assert.deepEqual(page.complaints, [])
})

test('it runs under a strict Content-Security-Policy', async (t) => {
  const server = await Server.start(t)
  const policy = (await fetch(`${server.url}/`)).headers.get('content-security-policy')
  assert.match(policy, /default-src 'none'; script-src 'nonce-\w+'; style-src 'nonce-\w+'; connect-src 'self'/)
  const page = await openWindow(await browser(t), server.url)
  await live(page)
  for (const column of COLUMNS) {
    await send(page, column, `by ${column}`)
    await sees(page, column, `by ${column}`)
  }
  assert.deepEqual(page.complaints, [])
})

test('it can be looked at: desktop light and dark, phone, keyboard only', async (t) => {
  const server = await Server.start(t)
  const chromium = await browser(t)
  const at = Date.UTC(2026, 0, 5, 9, 30)
  const chat = [['Mira', 'Morning! The staging deploy went through at 9.'], ['Tomás', 'Nice. I restarted it twice on purpose, nobody noticed.'], ['Mira', 'That is the best kind of review.'], ['Jun', 'I am on the train, so my connection will come and go for the next hour. If I disappear in the middle of a sentence, carry on without me; I will read what I missed when the tunnel ends.']]
  for (const [n, [from, text]] of chat.entries()) await server.publish(TOPICS.chat, { from, text, at: at + n * 60_000 })
  for (const [from, text] of [['Deploys', 'staging is on build 1042'], ['Mira', 'Tomás, the review of the release note is yours'], ['Calendar', 'Planning starts in 10 minutes']]) await server.publish(TOPICS.notifications, { from, text, at })
  const made = []
  for (const title of ['Write the release note', 'Book the room for Thursday', 'Reply to the proxy question', 'Order coffee']) made.push((await server.publish(TOPICS.tasks, { title, by: 'Mira' }, { event: 'task.created' })).id)
  await server.publish(TOPICS.tasks, { task: made[1], title: 'Book the room for Thursday', done: true, by: 'Jun' }, { event: 'task.ticked' })

  const looks = { 'desktop-light': [1440, 900, 'light'], 'desktop-dark': [1440, 900, 'dark'], laptop: [1100, 700, 'light'], 'phone-light': [390, 844, 'light'], 'phone-dark': [360, 740, 'dark'] }
  for (const [look, [width, height, colorScheme]] of Object.entries(looks)) {
    const page = await openWindow(chromium, server.url, { name: 'Tomás', viewport: { width, height }, colorScheme, reducedMotion: 'reduce' })
    await live(page)
    await until('the plan is shown', async () => (await page.locator('#chat .chip').textContent()) !== '')
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
    assert.equal(wide, 0, `${look}: nothing sticks out to the side`)
    await page.screenshot({ path: join(await shots(), `${look}.png`), fullPage: true })
    assert.deepEqual(page.complaints, [], look)
  }

  const page = await openWindow(chromium, server.url, { name: 'Kai' })
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

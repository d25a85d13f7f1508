// The examples, as a reader of their READMEs runs them: pages in real browsers, programs as processes.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import test, { before } from 'node:test'
import { promisify } from 'node:util'
import { inBrowsers } from './browsers.mjs'
import { build, files, ROOT } from './built.mjs'
import { Server } from './server.mjs'
import { shots, until } from './waiting.mjs'

const run = promisify(execFile)
const node = (script, ...args) => run(process.execPath, [join(ROOT, 'examples/node', script), ...args], { timeout: 60_000 })

before(() => build('packages/client/scripts/build.mjs', 'packages/react/scripts/build.mjs', 'examples/react/build.mjs'))

const texts = (page, selector) => page.$$eval(selector, (found) => found.map(({ textContent }) => textContent.trim()))
const messages = (page) => texts(page, '[aria-label=Messages] li')
const state = async (page) => (await texts(page, '[role=status]'))[0]
const isLive = (page) => until('the page is live', async () => {
  assert.deepEqual(page.complaints, [])
  return (await state(page)) === 'live'
})
const shows = (page, text) => until(`the page shows "${text}"`, () => page.evaluate((text) => document.body.innerText.includes(text), text))

async function say(page, text) {
  await page.type('[aria-label=Message]', text)
  await page.click('form button')
  await until('the form is empty again', () => page.$eval('[aria-label=Message]', ({ value }) => value === ''))
}

/** Two people in windows of their own, each in the same example. */
async function twoPeople(t, browser, path) {
  const server = await Server.start(t)
  const origin = await files(t)
  const open = async (name) => {
    const page = await browser.window(`${origin}${path}?${new URLSearchParams({ server: server.url, name })}`, { viewport: { width: 700, height: 620 } })
    await isLive(page)
    return page
  }
  return { server, ana: await open('Ana'), bo: await open('Bo') }
}

/** What both examples promise: a chat, notifications, and a server that is killed under them. */
async function talk({ server, ana, bo }, separator) {
  await say(ana, 'hello from Ana')
  await say(bo, 'hello from Bo')
  for (const page of [ana, bo]) for (const name of ['Ana', 'Bo']) await shows(page, `hello from ${name}`)

  await server.publish('notifications/Ana', { task: 'Write the release note' }, { event: 'task.assigned' })
  await shows(ana, 'You were given “Write the release note”.')
  assert.ok(!(await bo.evaluate(() => document.body.innerText)).includes('release note'), 'Bo is not Ana')

  await server.kill()
  for (const page of [ana, bo]) await until('the loss is shown', async () => /^(waiting|connecting)/.test(await state(page)))
  await server.start()
  await server.publish('chat/general', { from: 'Cleo', text: 'while you were away' })
  for (const page of [ana, bo]) await isLive(page)
  await say(bo, 'back again')
  const log = (await server.log('chat/general')).map(({ data }) => `${data.from}${separator}${data.text}`)
  assert.equal(log.length, 4)
  for (const page of [ana, bo]) {
    await until('the newest is there', async () => (await messages(page)).at(-1) === log.at(-1))
    assert.deepEqual(await messages(page), log, 'the page is the log: nothing missing, nothing twice')
  }
}

inBrowsers('plain HTML: notifications and a chat, no build', async (t, browser) => {
  const people = await twoPeople(t, browser, '/examples/plain-html/')
  await talk(people, ': ')
  await people.ana.screenshot({ path: join(await shots(), `example-plain-html-${browser.name}.png`) })
  await people.ana.reload()
  await isLive(people.ana)
  await until('a reload shows all of it', async () => (await messages(people.ana)).length === 4)
})

inBrowsers('React: notifications, a chat, and an answer that is reloaded in its middle', async (t, browser) => {
  const people = await twoPeople(t, browser, '/examples/react/')
  await talk(people, ' ')
  const { ana, bo, server } = people
  assert.equal(await ana.title(), 'New: Write the release note')

  const writing = node('answer.mjs', 'demo', server.url, '40')
  await shows(ana, 'Every event gets')
  await ana.screenshot({ path: join(await shots(), `example-react-midst-${browser.name}.png`) })
  await ana.reload()
  await isLive(ana)
  await writing
  const answer = (await server.log('answers/demo')).filter(({ event }) => event === 'token').map(({ data }) => data.text)
  for (const page of [ana, bo]) {
    await shows(page, `${answer.length} tokens`)
    assert.ok((await texts(page, '[aria-label=Answer]'))[0].startsWith(answer.join('')), 'the answer is whole')
    assert.deepEqual(page.complaints, [])
  }
  assert.equal((await messages(ana)).length, 4, 'the chat has its history after the reload')
  await shows(ana, 'You were given “Write the release note”.')
  await ana.screenshot({ path: join(await shots(), `example-react-${browser.name}.png`) })
})

test('Node: subscribe, send, history, a stream, a refusal', async (t) => {
  const server = await Server.start(t)
  const { stdout, stderr } = await node('index.mjs', server.url)
  assert.equal(stderr, '')
  const said = stdout.trimEnd().split('\n')
  const has = (pattern) => assert.ok(said.some((line) => pattern.test(line)), `${pattern} in:\n${stdout}`)
  has(/^status {2}open/)
  has(/^heard {3}\{ text: 'hi from Node' \} \S+\.\d+$/)
  has(/^sent {4}\{ id: '\S+\.\d+', stored: 'fsync' \}$/)
  has(/^history 1 in all$/)
  assert.deepEqual(said.filter((line) => line.startsWith('stream')), [
    "stream  token { text: 'Once ' }", "stream  token { text: 'upon ' }", "stream  token { text: 'a ' }", "stream  token { text: 'time' }", 'stream  end { tokens: 4 }',
  ])
  has(/^refused bad_event give_up$/)
  assert.match(said.at(-1), /^status {2}closed/, 'and it ends by itself')
})

// Debian's Chromium and Firefox, headless, by one driver: Chromium by its own protocol, Firefox by
// WebDriver BiDi. A test is written once and runs in both; where it cannot, it says why in a line.
// Nothing here knows what is being tested.

import { existsSync } from 'node:fs'
import test, { after } from 'node:test'
import puppeteer from 'puppeteer-core'
import { within } from './waiting.mjs'

const BROWSERS = {
  chromium: {
    driver: 'chrome',
    paths: [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/snap/bin/chromium', '/Applications/Chromium.app/Contents/MacOS/Chromium', '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'],
    missing: 'no Chromium found: install it (Debian: chromium) or set CHROMIUM',
    launch: {
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--window-size=1280,900'],
      // The driver would let hidden tabs run at full speed. People's browsers do not.
      ignoreDefaultArgs: ['--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows', '--disable-renderer-backgrounding'],
    },
    // What it writes on its console when a server is gone. Anything else is a defect.
    expected: /net::ERR_(CONNECTION_(REFUSED|RESET|CLOSED)|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|INTERNET_DISCONNECTED)|closed before receiving a handshake response/,
  },
  firefox: {
    driver: 'firefox',
    paths: [process.env.FIREFOX, '/usr/bin/firefox-esr', '/usr/bin/firefox', '/snap/bin/firefox', '/Applications/Firefox.app/Contents/MacOS/firefox'],
    missing: 'no Firefox found: install it (Debian: firefox-esr) or set FIREFOX',
    launch: {
      args: ['--width=1280', '--height=900', '--remote-allow-system-access'], // the last: tabs.mjs asks which process a tab has
      extraPrefsFirefox: {
        // As in people's Firefox; the driver switches it off.
        'fission.bfcacheInParent': true,
        // Tabs of one site in processes of their own, so that one of them can be stopped.
        'dom.ipc.processCount.webIsolated': 32,
      },
    },
    expected: /can.t establish a connection|was interrupted while the page was loading/,
  },
}

// `TIDEWIRE_BROWSERS=firefox` runs one of them only.
const CHOSEN = (process.env.TIDEWIRE_BROWSERS ?? Object.keys(BROWSERS).join()).split(',')
for (const name of CHOSEN) if (!BROWSERS[name]) throw new Error(`TIDEWIRE_BROWSERS: no browser ${name}; there are ${Object.keys(BROWSERS).join(' and ')}`)

// A driver that waits for a browser may wait for ever.
const TEST_MS_MAX = 90_000

/** One test in each browser. `except: { firefox: 'why' }` leaves one out and says so; `todo: { firefox:
 *  'why' }` runs it there and forgives it. The body gets the test and a `Browser`. */
export function inBrowsers(title, ...rest) {
  const body = rest.pop()
  const [{ except = {}, todo = {} } = {}] = rest
  for (const name of CHOSEN) {
    test(`${title} [${name}]`, { skip: except[name] ?? false, todo: todo[name] ?? false, timeout: TEST_MS_MAX }, async (t) => body(t, new Browser(t, name, await launched(name))))
  }
}

// A start takes Firefox two seconds: one for all tests of a file.
const running = new Map()
async function launched(name) {
  const before = await running.get(name)
  if (before?.connected) return before
  const { driver, paths, missing, launch } = BROWSERS[name]
  const executablePath = paths.find((path) => path && existsSync(path))
  if (!executablePath) throw new Error(missing)
  const browser = await puppeteer.launch({ browser: driver, executablePath, headless: true, defaultViewport: null, ...launch })
  running.set(name, browser)
  return browser
}
after(async () => {
  await Promise.all([...running.values()].map((browser) => within('a browser closes', browser.close()).catch(() => browser.process().kill('SIGKILL'))))
  // Whatever a test has left open would keep this process, and all tests, waiting for ever.
  setTimeout(() => {
    console.error(`left open: ${process.getActiveResourcesInfo().join(', ')}`)
    process.exit(1)
  }, 20_000).unref()
})

const nameOf = new WeakMap()

/** Which of the two a page is in. */
export const browserOf = (page) => nameOf.get(page.browser())

/** A browser as one test sees it: whatever the test opens is closed after it. */
export class Browser {
  #t
  #driver

  constructor(t, name, driver) {
    this.#t = t
    this.#driver = driver
    this.name = name
    nameOf.set(driver, name)
  }

  get isFirefox() { return this.name === 'firefox' }

  /** Storage, cookies and connections of its own, as of another person. */
  async profile() {
    const context = await this.#driver.createBrowserContext()
    this.#t.after(() => within('a profile closes', context.close()).catch(() => {}))
    return context
  }

  /** A window with one tab, in a profile of its own or in the given one. */
  async window(url, { profile, ...options } = {}) {
    const page = await (profile ?? await this.profile()).newPage({ type: 'window' })
    return this.#prepare(page, url, options)
  }

  /** A tab in the window of `beside`, in front of it. */
  async tab(beside, url, options = {}) {
    await beside.bringToFront()
    const page = await beside.browserContext().newPage({ type: 'tab' })
    return this.#prepare(page, url, options)
  }

  /** `init` runs in every document before its scripts, `before` changes the page before it loads;
   *  `complaints` gathers what its console calls errors and nobody `expected`. */
  async #prepare(page, url, { init, before, expected, viewport } = {}) {
    page.complaints = []
    const complain = (text, address) => {
      const itsOwn = address?.endsWith('/favicon.ico') // nobody in the page asked for it
      if (!itsOwn && !BROWSERS[this.name].expected.test(text) && !expected?.test(text)) page.complaints.push(text)
    }
    page.on('console', (message) => { if (message.type() === 'error') complain(message.text(), message.location().url) })
    page.on('pageerror', (error) => complain(String(error)))
    if (viewport) await page.setViewport(viewport)
    for (const [script, ...args] of init ?? []) await page.evaluateOnNewDocument(script, ...args)
    await before?.(page)
    await page.goto(url)
    return page
  }
}

/** Requests whose address matches are answered by `respond`, which gives `{ status, contentType,
 *  body }`, or nothing to let the request go on. */
export async function intercept(page, pattern, respond) {
  await page.setRequestInterception(true)
  page.on('request', async (request) => {
    try {
      const answer = pattern.test(request.url()) && await respond(request)
      await (answer ? request.respond(answer) : request.continue())
    } catch (error) {
      if (!page.isClosed()) page.complaints.push(`interception: ${error.message}`)
    }
  })
}

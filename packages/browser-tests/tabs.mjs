// What happens to tabs: hidden and shown, left and come back to, frozen, killed, without a network.
// Each helper returns when the browser itself says that it is so.

import { until, within } from './waiting.mjs'
import { browserOf } from './browsers.mjs'

const visibility = (page) => page.evaluate(() => document.visibilityState)

/** Puts another tab in front, so that the page is hidden. Gives what brings it back. */
export async function background(page) {
  await page.bringToFront()
  const cover = await page.browserContext().newPage({ type: 'tab' })
  await until('the page is hidden', async () => (await visibility(page)) === 'hidden')
  return async () => {
    await foreground(page)
    await cover.close()
  }
}

export async function foreground(page) {
  await page.bringToFront()
  await until('the page is visible', async () => (await visibility(page)) === 'visible')
}

/** Goes to another document, as by a link. Neither this nor `comeBack` is the driver's own: in
 *  Firefox it loses sight of a page that comes from the cache, because nothing is loaded then. */
export async function leave(page, url) {
  await page.evaluate((url) => { setTimeout(() => location.assign(url), 0) }, url)
  await until(`the page is at ${url}`, async () => {
    const { href, ready } = await whereabouts(page)
    return href === url && ready === 'complete'
  })
}

/** Goes back, and gives whether the page came from the back-forward cache. The page must have been
 *  opened with `init: [[rememberShows]]`. */
export async function comeBack(page) {
  const { href: left } = await whereabouts(page)
  await page.evaluate(() => { setTimeout(() => history.back(), 0) })
  return until('the page is back', async () => {
    const { href, shows } = await whereabouts(page)
    return href !== left && shows?.length > 0 && { cached: shows.at(-1) }
  })
}

const whereabouts = (page) => within('the page answers', page.evaluate(() => ({ href: location.href, ready: document.readyState, shows: window.shows })), 2_000)

/** Runs in the page: writes down each `pageshow`, and whether it was from the cache. */
export function rememberShows() {
  window.shows = []
  addEventListener('pageshow', ({ persisted }) => window.shows.push(persisted))
}

/** The page is told that it has no network, and what it asks for anew fails; and has it again. What
 *  is open stays open and, but for Chromium's sockets, goes on to deliver: for a network that is
 *  really gone, let a relay stall or cut as well. */
export const offline = (page) => page.setOfflineMode(true)
export const online = (page) => page.setOfflineMode(false)

/** What the page is told of the person's taste. In Firefox all windows are told the same. */
export async function prefer(page, { dark = false, lessMotion = false }) {
  if (browserOf(page) === 'firefox') {
    return inFirefox(page.browser(), `() => {
      Services.prefs.setIntPref('layout.css.prefers-color-scheme.content-override', ${dark ? 0 : 1})
      Services.prefs.setIntPref('ui.prefersReducedMotion', ${lessMotion ? 1 : 0})
      return 'true'
    }`)
  }
  await page.emulateMediaFeatures([
    { name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' },
    { name: 'prefers-reduced-motion', value: lessMotion ? 'reduce' : 'no-preference' },
  ])
}

/** Stops the page in its tracks: it keeps what it holds and does nothing. Gives what wakes it.
 *
 *  Chromium freezes it as it does with tabs that nobody has looked at for long: `freeze` and
 *  `resume` are told; timers, streams and sockets stand still, but a `BroadcastChannel` is heard and
 *  answered. Firefox has no such thing, so its process is stopped, which is what a phone
 *  does: the page is told nothing, and does not answer the driver either. */
export async function freeze(t, page) {
  if (browserOf(page) === 'chromium') {
    const session = await page.createCDPSession()
    await session.send('Page.setWebLifecycleState', { state: 'frozen' })
    return () => session.send('Page.setWebLifecycleState', { state: 'active' })
  }
  const pid = await processOf(page)
  const thaw = () => signal(pid, 'SIGCONT')
  t.after(thaw) // else nothing could close it
  signal(pid, 'SIGSTOP')
  return thaw
}

/** Kills the process of the page: no goodbye of any kind. The page is of no use afterwards. */
export async function crash(page) {
  if (browserOf(page) === 'chromium') {
    const session = await page.createCDPSession()
    session.send('Page.crash').catch(() => {}) // nobody is left to answer
    return
  }
  signal(await processOf(page), 'SIGKILL')
}

function signal(pid, name) {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (error.code !== 'ESRCH') throw error // it is gone, and that is as good
  }
}

/** Firefox: the process that has this tab and no other one. The protocol has no word for it, so the
 *  browser's own window is asked, and the tab is found by its title. */
async function processOf(page) {
  const mark = `tab ${Math.random()}`
  const title = await page.evaluate((mark) => { const { title } = document; document.title = mark; return title }, mark)
  const tabs = await until('the tab has its mark', async () => {
    const tabs = await inFirefox(page.browser(), () => {
      const windows = [...Services.wm.getEnumerator('navigator:browser')]
      return JSON.stringify(windows.flatMap(({ gBrowser }) => gBrowser.tabs.map(({ label, linkedBrowser }) => ({ label, pid: linkedBrowser.frameLoader?.remoteTab?.osPid }))))
    })
    return tabs.some(({ label }) => label === mark) && tabs
  })
  await page.evaluate((title) => { document.title = title }, title)
  const { pid } = tabs.find(({ label }) => label === mark)
  const others = tabs.filter((tab) => tab.pid === pid && tab.label !== mark)
  if (others.length > 0) throw new Error(`the process of this tab has others too: ${others.map(({ label }) => label).join(', ')}`)
  return pid
}

/** Firefox: runs `script` in the browser's own window, which gives JSON. */
async function inFirefox(driver, script) {
  const { connection } = driver // the driver's line to the browser; it has no method for this
  const { result: { contexts: [{ context }] } } = await connection.send('browsingContext.getTree', { 'moz:scope': 'chrome', maxDepth: 0 })
  const { result } = await connection.send('script.evaluate', { expression: `(${script})()`, target: { context }, awaitPromise: true })
  if (result.type !== 'success') throw new Error(JSON.stringify(result.exceptionDetails))
  return JSON.parse(result.result.value)
}

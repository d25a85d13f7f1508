// Looks at the pages of a running server: a screenshot of each main state, in two sizes more than
// one has on one's desk, light and dark; and axe on each of them. Fails where axe finds something serious.
//
//   node scripts/look.mjs http://127.0.0.1:4000 [folder for the pictures]

import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import puppeteer from 'puppeteer-core'

const [base = 'http://127.0.0.1:4000', folder] = process.argv.slice(2)
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const SIZES = { desk: { width: 1440, height: 900 }, middling: { width: 1024, height: 768 }, phone: { width: 390, height: 844, isMobile: true, hasTouch: true, deviceScaleFactor: 2 } }
const LONG = 'Averylongwordthatnobodywouldeverwriteinataskbutsomebodywillpasteitanyway and then a sentence that goes on, because people explain in titles what belongs into descriptions, and nobody stops them before two hundred'

const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: ['--no-sandbox'] })
let serious = 0
if (folder) mkdirSync(folder, { recursive: true })

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const scheme of ['light', 'dark']) {
    const context = await browser.createBrowserContext()
    const page = await context.newPage()
    await page.setViewport(viewport)
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }, { name: 'prefers-reduced-motion', value: 'reduce' }])
    page.on('pageerror', (error) => { serious++; console.error(`${size} ${scheme}: ${error.message}`) })
    const isPhone = size === 'phone'
    const state = async (name) => {
      await settled(page)
      if (folder) await page.screenshot({ path: join(folder, `${size}-${scheme}-${name}.png`) })
      await page.evaluate(AXE)
      const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ['violations'] }))
      for (const { id, impact, help, nodes } of violations) {
        const isSerious = impact === 'serious' || impact === 'critical'
        if (isSerious) serious++
        console.log(`${size} ${scheme} ${name}: ${impact} ${id}: ${help}: ${nodes.map(({ target, any }) => `${target} ${any[0]?.message ?? ''}`).slice(0, 4).join(' | ')}`)
      }
    }
    const view = async (label, wide) => {
      await page.evaluate((label, selector) => [...document.querySelectorAll(selector)].find((node) => node.textContent.includes(label))?.click(), label, isPhone ? '.views button' : wide)
    }

    await page.goto(base)
    await page.waitForSelector('.people button')
    await state('sign-in')
    await page.evaluate(() => document.querySelector('.people button').click())
    await page.waitForSelector('.card')
    await state('board')
    await page.evaluate(() => document.querySelector('.adder').click())
    await page.waitForSelector('.adder-form input')
    await page.type('.adder-form input', LONG.slice(0, 200))
    await page.keyboard.press('Enter')
    await page.keyboard.press('Escape')
    await state('long')
    await page.evaluate(() => [...document.querySelectorAll('.card')].find((card) => card.textContent.includes('Averylong')).querySelector('.card-open').click())
    await page.waitForSelector('dialog[open]')
    await state('task')
    await page.evaluate(() => [...document.querySelectorAll('dialog .button')].find((node) => node.textContent.includes('Delete')).click())
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(done)))
    await page.evaluate(() => document.querySelector('dialog .danger').click())
    await view('Notes', '#tab-notes')
    await state('notes')
    await view('Assistant', '.tool')
    await state('assistant')
    if (!isPhone) await view('Assistant', '.tool')
    await view('Hood', '.nothing')
    await view('Under the hood', '.tool')
    await page.waitForSelector('.features li')
    await state('hood')
    await page.evaluate(() => document.querySelector('.bell').click())
    await state('bell')
    await context.close()
  }
}
await browser.close()
console.log(serious ? `${serious} serious findings` : 'axe finds nothing serious')
process.exitCode = serious ? 1 : 0

/** Two frames without a change of the page, at most 3 s. */
async function settled(page) {
  await page.evaluate(() => new Promise((done) => {
    const end = setTimeout(done, 3000)
    let quiet
    const again = () => {
      clearTimeout(quiet)
      quiet = setTimeout(() => { observer.disconnect(); clearTimeout(end); done() }, 400)
    }
    const observer = new MutationObserver(again)
    observer.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true })
    again()
  }))
}

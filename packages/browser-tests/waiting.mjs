// What every test shares: waiting for a condition with a bound, a folder for its data, and where
// screenshots go.

import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Polls until `condition` gives something truthy, and gives that; fails after the bound. */
export async function until(what, condition, withinMs = 30_000) {
  const end = Date.now() + withinMs
  for (let error; ;) {
    try {
      const found = await condition()
      if (found) return found
      error = undefined
    } catch (caught) {
      error = caught
    }
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${what}${error ? ` (${error.message})` : ''}`)
    await tick()
  }
}

export const tick = (ms = 40) => new Promise((resolve) => setTimeout(resolve, ms))

/** What `promise` gives, or an error after the bound: for what can hang in a browser. */
export async function within(what, promise, ms = 10_000) {
  let timer
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms) })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** A folder for this run's data, gone after the test. */
export async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), 'tidewire-test-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Where screenshots go, for a person to look at. Never part of the repository. */
export async function shots() {
  const path = process.env.TIDEWIRE_SHOTS ?? join(tmpdir(), 'tidewire-shots')
  await mkdir(path, { recursive: true })
  return path
}

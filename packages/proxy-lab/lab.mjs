// The lab: starts a set-up (a proxy with Tidewire behind it), gives it to a test, and clears up.
//
//   await lab.each(t, async (path) => { path.url, path.forward, path.browser, path.rung … })

import { Origin } from './origin.mjs'
import { freePort, Workbench } from './program.mjs'
import { setups } from './setups.mjs'

Workbench.prototype.port = freePort

/** Starts `start(context)` with an origin behind it, calls `use(path)`, and ends both. */
export async function withProxy({ start, forward = false }, use) {
  const bench = await Workbench.open()
  let origin
  try {
    origin = await Origin.start(bench)
    const path = await bench.attempt(async () => {
      const port = await freePort()
      return { port: await start({ bench, origin, port }) ?? port, forward, origin, bench }
    })
    return await use(path)
  } finally {
    await bench.stop()
    await origin?.stop()
    await bench.clear()
  }
}

export { setups }

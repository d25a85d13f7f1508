// When a page or a machine may have lost its connections without a word: shown again, back from the
// browser's cache, online again, or asleep for a while.

import type { Env, Off } from './api.js'

/** A tick that comes so much later than it should, in ms, followed a sleep. */
const JUMP = 15_000
const TICK = 5_000

export interface Moments {
  /** Look at the connections. */
  wake(): void
  online(): void
  offline(): void
  /** The page goes; `isKept`: it may come back as it is. */
  hide(isKept: boolean): void
  /** It is back. */
  show(): void
}

export function watch(env: Env, moments: Moments): Off {
  const offs: Off[] = []
  const on = (target: EventTarget | undefined, name: string, call: (event: Event) => void): void => {
    target?.addEventListener?.(name, call)
    offs.push(() => target?.removeEventListener?.(name, call))
  }
  const page = globalThis.document as Document | undefined
  on(page, 'visibilitychange', () => page!.visibilityState === 'visible' && moments.wake())
  on(page, 'resume', () => moments.wake())
  if (page) {
    on(globalThis, 'online', () => moments.online())
    on(globalThis, 'offline', () => moments.offline())
    on(globalThis, 'pagehide', (event) => moments.hide((event as PageTransitionEvent).persisted))
    on(globalThis, 'pageshow', (event) => (event as PageTransitionEvent).persisted && moments.show())
  }
  // The wall clock, because others stand still while a machine sleeps.
  let last = env.now()
  let stop: Off
  const tick = (): void => {
    const now = env.now()
    if (now - last > TICK + JUMP) moments.wake()
    last = now
    stop = env.after(TICK, tick)
  }
  stop = env.after(TICK, tick)
  offs.push(() => stop())
  return () => offs.forEach((off) => off())
}

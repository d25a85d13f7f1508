// A clock that a test can move, for documents that do not know of it. It is given to a window as
// `init: [[clock]]` and so stands before any script of the page.

/** Runs in the page. Afterwards `window.testClock` has:
 *  `forward(ms)`: so much time passes at once; timers that are due by then fire, in order, once.
 *  `sleep(ms)`: what a computer does whose lid is closed: the wall clock has jumped when it wakes,
 *  timers and `performance.now()` have stood still. */
export function clock() {
  const RealDate = Date
  const real = { now: Date.now, performance: performance.now.bind(performance), set: setTimeout, clear: clearTimeout }
  let passed = 0 // by forward
  let slept = 0 // by sleep
  const wall = () => real.now.call(RealDate) + passed + slept
  const monotonic = () => real.performance() + passed
  window.Date = new Proxy(RealDate, {
    construct: (target, args, made) => Reflect.construct(target, args.length > 0 ? args : [wall()], made),
    apply: () => new window.Date().toString(),
    get: (target, property) => (property === 'now' ? wall : Reflect.get(target, property)),
  })
  performance.now = monotonic

  const timers = new Map() // number → { due, everyMs, call, handle }
  let numbers = 0
  const arm = (number, timer) => {
    timer.handle = real.set.call(window, () => fire(number), Math.max(0, timer.due - monotonic()))
  }
  const fire = (number) => {
    const timer = timers.get(number)
    if (!timer) return
    real.clear.call(window, timer.handle)
    if (timer.everyMs === null) timers.delete(number)
    else {
      timer.due = monotonic() + timer.everyMs
      arm(number, timer)
    }
    timer.call()
  }
  const start = (repeats) => (call, ms = 0, ...args) => {
    const waitMs = Math.max(0, Number(ms) || 0)
    const timer = { due: monotonic() + waitMs, everyMs: repeats ? waitMs : null, call: () => call(...args) }
    timers.set(++numbers, timer)
    arm(numbers, timer)
    return numbers
  }
  const stop = (number) => {
    real.clear.call(window, timers.get(number)?.handle)
    timers.delete(number)
  }
  Object.assign(window, { setTimeout: start(false), setInterval: start(true), clearTimeout: stop, clearInterval: stop })

  window.testClock = {
    sleep(ms) { slept += ms },
    forward(ms) {
      passed += ms
      const due = [...timers].filter(([, timer]) => timer.due <= monotonic()).sort(([, a], [, b]) => a.due - b.due)
      const rest = [...timers].filter(([, timer]) => timer.due > monotonic())
      for (const [number, timer] of rest) {
        real.clear.call(window, timer.handle)
        arm(number, timer)
      }
      for (const [number] of due) fire(number)
    },
  }
}

/** So much time passes at once in the page. */
export const forward = (page, ms) => page.evaluate((ms) => window.testClock.forward(ms), ms)
/** The page's computer was asleep for so long. */
export const sleep = (page, ms) => page.evaluate((ms) => window.testClock.sleep(ms), ms)

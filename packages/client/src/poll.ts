// The last rung: pages, each of which waits for something to tell.

import { Carrier } from './carrier.js'
import { Flow, part } from './flow.js'
import { catchUp, pageOf, take } from './pages.js'

/** How long the server waits, in s. Proxies cut at 30. */
const WAIT = 25

export class Poll extends Carrier {
  override readonly name = 'poll'

  protected override async attempt(signal: AbortSignal): Promise<void> {
    for (;;) {
      const { ready, late } = part(this.subs.values())
      if (late.length) {
        await catchUp(this.engine, late, signal)
        continue
      }
      const isFirst = !this.isOpen || [...ready.values()].some((sub) => sub.isStale)
      const wait = isFirst ? 0 : WAIT
      const flow = new Flow(ready)
      const page = await pageOf(this.engine.net, flow.query({ wait: `${wait}` }), { signal, ms: wait * 1000 + 10_000 })
      if (!this.isOpen) this.opened({ beat_ms: WAIT * 1000 + 10_000 })
      this.heard(wait > 0)
      take(flow, page, isFirst)
      if (page.more) for (const sub of ready.values()) sub.moveTo(page.cursor)
      else flow.beat(page.cursor)
      this.engine.planIs(page.plan)
      // A path that answers at once what should wait is not asked faster than this.
      if (wait && !page.entries.length) await this.pause(100)
      signal.throwIfAborted()
    }
  }

  protected override async check(): Promise<boolean> {
    // A request that waits can not be looked at; asking again costs as little.
    this.again('asked again')
    return true
  }
}

// Topics by pages of the log: what a poll reads, and what comes before a topic joins others on a stream.

import type { Entry, HistoryOptions, Page } from './api.js'
import type { Engine } from './engine.js'
import { entryOf } from './entry.js'
import { Flow } from './flow.js'
import { type Call, type Json, Loss, type Net } from './net.js'
import { TidewireError } from './error.js'
import { cursorOf, isAfter } from './place.js'
import type { Sub } from './sub.js'

/** Entries in a page, as many as the server gives. */
const most = ({ plan }: Engine): string => `${plan?.page_entries_max ?? 100}`

/** Passes on a page. */
export function take(flow: Flow, page: Json, isFirst: boolean): void {
  const after = cursorOf(flow.after)
  if (page.continuity === 'gap' || isFirst) flow.attached(page)
  else if (page.more && after && !isAfter(page.cursor, after)) throw new Loss('foreign', 'a page that comes no further')
  page.entries.map(entryOf).forEach((entry: Entry) => flow.entry(entry))
}

/** Brings topics as far as the log is now, by pages, those at one place together. */
export async function catchUp(engine: Engine, late: Sub[], signal: AbortSignal): Promise<void> {
  for (const place of new Set(late.map((sub) => sub.place))) {
    const subs = new Map(late.filter((sub) => sub.place === place).map((sub) => [sub.topic, sub]))
    for (let isFirst = true, isMore = true; isMore; isFirst = false) {
      const flow = new Flow(subs)
      const page = await pageOf(engine.net, flow.query({ limit: most(engine) }), { signal })
      take(flow, page, isFirst)
      isMore = page.more
      if (isMore) for (const sub of subs.values()) sub.moveTo(page.cursor)
      else flow.beat(page.cursor)
    }
  }
}

/** A page as the server says it. */
export async function pageOf(net: Net, query: string, call?: Call): Promise<Json> {
  const page = await net.json(`/events?${query}`, call)
  if (!Array.isArray(page?.entries)) throw new Loss('foreign', '/events answers with no page: is this a Tidewire server?')
  return page
}

/** A page as an app asks for it; once more with a new token, if the first was refused. */
export async function history(engine: Engine, topic: string, { after = 'start', limit, last, before, signal }: HistoryOptions = {}): Promise<Page> {
  const { net } = engine
  const forward = { after, limit: `${limit ?? most(engine)}` }
  const query = `${new URLSearchParams({ topic, ...(last === undefined ? forward : { last: `${last}`, ...(before && { before }) }) })}`
  try {
    const { entries, cursor, more, earlier, continuity, gap } = await pageOf(net, query, { signal }).catch((error: Loss) => {
      if (error.next !== 'refresh_token' || !net.forget()) throw error
      return pageOf(net, query, { signal })
    })
    return { entries: entries.map(entryOf), cursor, more, ...(last !== undefined && { earlier }), seam: { continuity, ...(gap && { gap }) } }
  } catch (error) {
    throw error instanceof TidewireError ? error : new TidewireError({ code: 'aborted', message: 'given up', next: 'give_up' })
  }
}

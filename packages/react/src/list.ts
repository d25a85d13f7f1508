// A topic as a list: its newest entries, by pages from the back, then what comes after the first page's
// cursor. The log has one order, so nothing falls between them; after a gap it begins anew.
//
// Invariant: no entry stands in the list twice, and never more than `limit`.

import type { After, Entry, Live, Off, Refusal } from '@tidewire/client'
import type { Failure, List, ListOptions } from './api.js'
import { type Store, store } from './store.js'

/** How long to wait before a page is asked for again, at most; spread by chance, doubling from the first. */
const RETRY_MS_FIRST = 500
const RETRY_MS_MAX = 20_000
/** Entries that a page from the back has at most. */
const PAGE_MAX = 1000

export function list(live: Live, topic: string, event: string | undefined, limit: number, options: () => ListOptions<Entry>): Store<List<Entry>> {
  let kept = new Map<unknown, Entry>()
  /** Where the list stands; nothing before it is loaded. */
  let place: After | undefined
  let attempts = 0
  let load = (): void => {}
  const first: List<Entry> = { entries: [], loading: true, reload: () => load() }

  const keyOf = (entry: Entry): unknown => {
    const { key } = options()
    return key ? key(entry) : (entry.id ?? entry)
  }
  const counts = (entry: Entry): boolean => !event || entry.event === event
  const add = (entry: Entry): void => {
    kept.set(keyOf(entry), entry)
    if (kept.size > limit) kept.delete(kept.keys().next().value)
  }

  return store<List<Entry>>(first, (change) => {
    let off: Off = () => {}
    let abort = new AbortController()
    let isLost = false
    let timer: ReturnType<typeof setTimeout> | undefined

    const shown = () => ({ entries: [...kept.values()] })
    const later = (): void => {
      const most = Math.min(RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** attempts++)
      timer = setTimeout(read, most * Math.random())
    }

    const listen = (after: After): void => {
      const before = off
      const heard = live.topic(topic, { after })
      const offs = [
        heard.on('tidewire.seam', (seam) => {
          if (seam.continuity !== 'gap') {
            attempts = 0
            return change({ error: undefined })
          }
          isLost = true
          change({ gap: seam.gap, loading: true })
          // A server that answers every page with a gap is not to be asked for pages all the time.
          if (attempts) return later()
          attempts = 1
          void read()
        }),
        heard.on('tidewire.refused', (error) => change({ error })),
        heard.on('*', (data, meta) => {
          if (meta.id) place = meta.id
          const entry = { ...meta, data }
          if (!counts(entry)) return
          add(entry)
          change(shown())
        }),
      ]
      off = () => offs.forEach((one) => one())
      before()
    }

    const read = async (): Promise<void> => {
      abort.abort()
      clearTimeout(timer)
      const { signal } = (abort = new AbortController())
      // Where the log is another one, or has lost something, a place in it is none.
      let { after = 'start' } = isLost ? {} : options()
      let all: Entry[] = []
      try {
        for (let more = after === 'start', before: string | undefined; more;) {
          const { entries, cursor, earlier } = await live.topic(topic).history({ last: Math.min(limit, PAGE_MAX), signal, ...(before && { before }) })
          if (signal.aborted) return
          change({ error: undefined })
          all = [...entries.filter(counts), ...all]
          if (!before) after = cursor
          before = entries[0]?.id
          more = !!(before && earlier) && new Set(all.map(keyOf)).size < limit
        }
      } catch (thrown) {
        if (signal.aborted) return
        const error = thrown as Failure & Partial<Refusal>
        if (error.code === 'no_history') after = 'now'
        else {
          const loading = error.next === 'retry' || error.next === 'resume'
          change({ error, loading })
          if (loading) return later()
          // What the pages do not give, the subscription may: now, or after `reconnect()`.
        }
      }
      kept = new Map()
      all.forEach(add)
      place = after
      change({ ...shown(), loading: false })
      listen(after)
    }

    load = () => {
      change({ loading: true, gap: undefined, error: undefined })
      void read()
    }
    if (place) listen(place)
    else void read()
    return () => {
      abort.abort()
      clearTimeout(timer)
      off()
      load = () => {}
    }
  })
}

// Notifications: the last ones from the log, then what comes after them. What came while this window
// was away is in the log, so a reload or a long sleep misses none.

import { useEffect, useState } from 'react'
import { api } from '../api'
import { useApp } from '../context'
import { useHeard } from '../heard'
import type { NoticeEntry } from '../things'

export interface Bell { notices: readonly NoticeEntry[]; unread: number; isNew(id: string): boolean; hasEarlier: boolean; error: boolean; fetchEarlier(): void; seeAll(): void }

const EVENTS: readonly string[] = ['task.assigned', 'mentioned']

export function useBell(onNew: (notice: NoticeEntry) => void): Bell {
  const { me } = useApp()
  const [notices, setNotices] = useState<readonly NoticeEntry[]>([])
  const [fresh, setFresh] = useState<ReadonlySet<string>>(new Set())
  const [older, setOlder] = useState(0)
  const [place, setPlace] = useState<{ me: string; cursor: string; earlier: boolean }>()
  const [error, setError] = useState(false)
  const [turn, setTurn] = useState(0)

  useEffect(() => {
    let isOver = false
    api.notices().then(({ entries, unread, earlier }) => {
      if (isOver) return
      setNotices(entries)
      const unseen = unread ? entries.slice(-unread) : []
      setFresh(new Set(unseen.map(({ id }) => id)))
      setOlder(Math.max(0, unread - unseen.length))
      setPlace({ me: me.id, cursor: entries[entries.length - 1]?.id ?? 'start', earlier })
      setError(false)
    }, () => !isOver && setError(true))
    return () => void (isOver = true)
  }, [me.id, turn])

  const isOurs = place?.me === me.id
  useHeard(isOurs && `notifications/${me.id}`, (data, { event, id }) => {
    if (!id || !EVENTS.includes(event)) return
    const notice = { id, event, data } as NoticeEntry
    setNotices((had) => (had.some((one) => one.id === id) ? had : [...had, notice]))
    setFresh((had) => new Set(had).add(id))
    onNew(notice)
  }, { after: isOurs ? place.cursor : 'now', load: () => setTurn((turn) => turn + 1) })

  return {
    notices, unread: fresh.size + older, error,
    isNew: (id) => fresh.has(id),
    hasEarlier: isOurs && place.earlier,
    fetchEarlier: () => {
      const first = notices[0]?.id
      if (!first || !place) return
      void api.notices(first).then(({ entries, earlier }) => {
        setNotices((had) => [...entries, ...had])
        setPlace({ ...place, earlier })
      }, () => setError(true))
    },
    seeAll: () => {
      const last = notices[notices.length - 1]
      setFresh(new Set())
      setOlder(0)
      if (last) void api.seen(last.id).catch(() => undefined)
    },
  }
}

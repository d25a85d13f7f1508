// Where the others point. A place is said as a part of a task or of a column, so it is the same thing
// on a wide screen and on a phone. Volatile: what is lost is lost, the next one is on its way.

import { type CSSProperties, type RefObject, useEffect, useRef, useState } from 'react'
import { sendVolatile } from '../adapter'
import { useApp } from '../context'
import { useLive, useTopic } from '../live'
import type { Pointing } from '../things'
import { windowId } from '../window'

/** At most so often, however fast the mouse is. */
const SEND_MS = 1000 / 40
const QUIET_MS = 6000
/** How much of the way is left after one frame at 60 Hz. */
const LAG = 0.72

interface Seen { by: string; to: Pointing; at: number; x: number; y: number; isPlaced: boolean }

export function Pointers({ board, scroller }: { board: string; scroller: RefObject<HTMLDivElement | null> }) {
  const { person, me, tally } = useApp()
  const live = useLive()
  const seen = useRef(new Map<string, Seen>())
  const [members, setMembers] = useState<[member: string, by: string][]>([])
  const layer = useRef<HTMLDivElement>(null)

  useTopic(`pointers/${board}`, 'at', (data, meta) => {
    tally.heard(meta.topic, meta.id)
    const member = meta.item ?? data.by
    if (member === windowId) return
    const had = seen.current.get(member)
    if (data.on) seen.current.set(member, { by: data.by, to: data, at: Date.now(), x: had?.x ?? 0, y: had?.y ?? 0, isPlaced: had?.isPlaced ?? false })
    else seen.current.delete(member)
    if (!had || !data.on) setMembers([...seen.current].map(([member, { by }]) => [member, by]))
  })

  // Mine.
  useEffect(() => {
    const root = scroller.current
    if (!root) return
    let waiting: Pointing | undefined
    let timer: ReturnType<typeof setTimeout> | undefined
    let sentAt = 0
    const topic = live.topic(`pointers/${board}`)
    const send = (): void => {
      timer = undefined
      if (!waiting) return
      sentAt = performance.now()
      sendVolatile(topic, 'at', waiting, windowId)
      waiting = undefined
    }
    const say = (pointing: Pointing): void => {
      waiting = pointing
      timer ??= setTimeout(send, Math.max(0, SEND_MS - (performance.now() - sentAt)))
    }
    const move = (event: PointerEvent): void => {
      if (event.pointerType === 'touch') return
      const on = placeOf(event)
      if (on) say({ by: me.id, ...on })
    }
    const leave = (): void => say({ by: me.id, on: null, x: 0, y: 0 })
    root.addEventListener('pointermove', move)
    root.addEventListener('pointerleave', leave)
    return () => {
      root.removeEventListener('pointermove', move)
      root.removeEventListener('pointerleave', leave)
      clearTimeout(timer)
    }
  }, [live, board, me.id, scroller])

  // Theirs.
  useEffect(() => {
    if (!members.length) return
    const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches
    let frame = 0
    let last = performance.now()
    const draw = (now: number): void => {
      frame = requestAnimationFrame(draw)
      const kept = isCalm ? 0 : LAG ** ((now - last) / 16.7)
      last = now
      const base = scroller.current?.getBoundingClientRect()
      if (!base) return
      let isGone = false
      for (const [member, one] of seen.current) {
        if (Date.now() - one.at > QUIET_MS) isGone = seen.current.delete(member)
        const node = layer.current?.querySelector<HTMLElement>(`[data-member="${CSS.escape(member)}"]`)
        const place = where(one.to)
        if (!node) continue
        const isIn = place && place.x >= base.left && place.x <= base.right && place.y >= base.top && place.y <= base.bottom
        node.dataset.shown = String(Boolean(isIn))
        if (!place) continue
        const part = one.isPlaced ? kept : 0
        one.isPlaced = true
        one.x = place.x + (one.x - place.x) * part
        one.y = place.y + (one.y - place.y) * part
        node.style.transform = `translate(${one.x}px, ${one.y}px)`
      }
      if (isGone) setMembers([...seen.current].map(([member, { by }]) => [member, by]))
    }
    frame = requestAnimationFrame(draw)
    return () => cancelAnimationFrame(frame)
  }, [members, scroller])

  return (
    <div className="pointers" ref={layer} aria-hidden="true">
      {members.map(([member, by]) => (
        <div key={member} className="pointer" data-member={member} data-shown="false" style={{ '--person': person(by)?.color } as CSSProperties}>
          <svg width="18" height="20" viewBox="0 0 18 20"><path d="M2 1.500 15.500 9.500l-6 1.300-3 5.700Z" /></svg>
          <span>{person(by)?.name.split(' ')[0] ?? by}</span>
        </div>
      ))}
    </div>
  )
}

function placeOf(event: PointerEvent): Omit<Pointing, 'by'> | undefined {
  const target = event.target as HTMLElement
  const card = target.closest<HTMLElement>('[data-task]:not(.ghost)')
  const column = target.closest<HTMLElement>('[data-column]')
  const node = card ?? column
  if (!node) return undefined
  const { left, top, width, height } = node.getBoundingClientRect()
  const round = (part: number): number => Math.round(part * 1000) / 1000
  // Down a column in pixels: its height says nothing on another screen.
  return { on: card ? { task: Number(card.dataset.task) } : { column: column!.dataset.column! }, x: round((event.clientX - left) / width), y: card ? round((event.clientY - top) / height) : Math.round(event.clientY - top) }
}

function where({ on, x, y }: Pointing): { x: number; y: number } | undefined {
  if (!on) return undefined
  const node = document.querySelector('task' in on ? `[data-task="${on.task}"]:not(.ghost)` : `[data-column="${CSS.escape(on.column)}"]`)
  const box = node?.getBoundingClientRect()
  return box && { x: box.left + x * box.width, y: 'task' in on ? box.top + y * box.height : box.top + y }
}

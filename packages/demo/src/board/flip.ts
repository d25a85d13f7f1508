// Cards that change places glide there, so that the eye can follow who moved what. Not for those who
// asked for less motion.

import { type RefObject, useLayoutEffect, useRef } from 'react'

const GLIDE_MS = 220

export function useFlip(container: RefObject<HTMLElement | null>, on: unknown): void {
  const places = useRef(new Map<string, { x: number; y: number }>())
  useLayoutEffect(() => {
    const root = container.current
    if (!root) return
    const base = root.getBoundingClientRect()
    const isCalm = matchMedia('(prefers-reduced-motion: reduce)').matches
    const next = new Map<string, { x: number; y: number }>()
    for (const node of root.querySelectorAll<HTMLElement>('[data-flip]')) {
      const list = node.closest('.column-cards')
      const box = node.getBoundingClientRect()
      const place = { x: box.left - base.left + root.scrollLeft, y: box.top - base.top + (list?.scrollTop ?? 0) }
      const key = node.dataset.flip!
      next.set(key, place)
      const had = places.current.get(key)
      if (!had || isCalm || (Math.abs(had.x - place.x) < 1 && Math.abs(had.y - place.y) < 1)) continue
      node.animate([{ translate: `${had.x - place.x}px ${had.y - place.y}px` }, { translate: '0 0' }], { duration: GLIDE_MS, easing: 'cubic-bezier(.2,.7,.2,1)' })
    }
    places.current = next
  }, [container, on])
}

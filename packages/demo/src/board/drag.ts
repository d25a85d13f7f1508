// Carrying a card with a mouse, a pen or a finger. Reports where it would land; the board shows it
// there. By finger it begins with a long press, so that a swipe still scrolls.

import { type PointerEvent as ReactPointerEvent, useCallback, useEffect, useRef, useState } from 'react'

export interface Landing { id: number; column: string; before: number | null }

const SLOP_PX = 5
const PRESS_MS = 260
const EDGE_PX = 56

export function useDrag(scroller: React.RefObject<HTMLElement | null>, drop: (landing: Landing) => void): { landing: Landing | undefined; begin: (event: ReactPointerEvent<HTMLElement>, id: number) => void } {
  const [landing, setLanding] = useState<Landing>()
  const newest = useRef({ drop, landing })
  newest.current.drop = drop
  const stop = useRef<() => void>(undefined)
  useEffect(() => () => stop.current?.(), [])

  const show = useCallback((next: Landing | undefined): void => {
    const had = newest.current.landing
    if (had?.id === next?.id && had?.column === next?.column && had?.before === next?.before) return
    newest.current.landing = next
    setLanding(next)
  }, [])

  const begin = useCallback((event: ReactPointerEvent<HTMLElement>, id: number): void => {
    if (event.button !== 0 || id < 0 || stop.current) return
    const card = event.currentTarget
    const isTouch = event.pointerType === 'touch'
    const from = { x: event.clientX, y: event.clientY }
    let at = { ...from }
    let ghost: HTMLElement | undefined
    let frame = 0
    const grip = card.getBoundingClientRect()

    const lift = (): void => {
      ghost = card.cloneNode(true) as HTMLElement
      ghost.classList.add('ghost')
      ghost.setAttribute('aria-hidden', 'true')
      Object.assign(ghost.style, { width: `${grip.width}px`, height: `${grip.height}px`, left: `${grip.left}px`, top: `${grip.top}px` })
      document.body.append(ghost)
      document.documentElement.classList.add('is-dragging')
      if (isTouch) navigator.vibrate?.(8)
      follow()
    }
    const follow = (): void => {
      frame = requestAnimationFrame(follow)
      ghost!.style.translate = `${at.x - from.x}px ${at.y - from.y}px`
      scrollAtEdge(scroller.current, at)
      show(landingAt(at, id) ?? newest.current.landing)
    }
    const end = (isDropped: boolean): void => {
      cancelAnimationFrame(frame)
      clearTimeout(press)
      ghost?.remove()
      document.documentElement.classList.remove('is-dragging')
      for (const [name, call] of hears) document.removeEventListener(name, call as EventListener)
      const landed = newest.current.landing
      show(undefined)
      stop.current = undefined
      if (!ghost) return
      // The click that follows a drop opens nothing.
      addEventListener('click', swallow, { capture: true, once: true })
      setTimeout(() => removeEventListener('click', swallow, { capture: true }), 50)
      if (isDropped && landed) newest.current.drop(landed)
    }
    const moved = (next: PointerEvent): void => {
      if (next.pointerId !== event.pointerId) return
      at = { x: next.clientX, y: next.clientY }
      const isFar = Math.hypot(at.x - from.x, at.y - from.y) > SLOP_PX
      if (ghost || !isFar) return
      if (isTouch) end(false)
      else lift()
    }
    const hears: [string, (event: never) => void][] = [
      ['pointermove', moved],
      ['pointerup', () => end(true)],
      ['pointercancel', () => end(false)],
      ['keydown', (key: KeyboardEvent) => key.key === 'Escape' && end(false)],
      ['touchmove', (touch: TouchEvent) => ghost && touch.cancelable && touch.preventDefault()],
      ['contextmenu', (menu: Event) => isTouch && menu.preventDefault()],
    ]
    for (const [name, call] of hears) document.addEventListener(name, call as EventListener, { passive: false })
    const press = isTouch ? setTimeout(lift, PRESS_MS) : undefined
    stop.current = () => end(false)
  }, [scroller, show])

  return { landing, begin }
}

const swallow = (event: Event): void => {
  event.stopPropagation()
  event.preventDefault()
}

function landingAt({ x, y }: { x: number; y: number }, id: number): Landing | undefined {
  const columns = [...document.querySelectorAll<HTMLElement>('[data-column]')]
  const column = columns.find((one) => {
    const { left, right } = one.getBoundingClientRect()
    return x >= left && x <= right
  })
  if (!column) return undefined
  const cards = [...column.querySelectorAll<HTMLElement>('[data-task]')].filter((card) => card.dataset.task !== String(id))
  const next = cards.find((card) => {
    const { top, height } = card.getBoundingClientRect()
    return y < top + height / 2
  })
  return { id, column: column.dataset.column!, before: next ? Number(next.dataset.task) : null }
}

function scrollAtEdge(scroller: HTMLElement | null, { x, y }: { x: number; y: number }): void {
  if (!scroller) return
  const { left, right, top, bottom } = scroller.getBoundingClientRect()
  const speed = (near: number): number => (near < EDGE_PX ? Math.ceil((EDGE_PX - near) / 9) : 0)
  scroller.scrollBy(speed(right - x) - speed(x - left), 0)
  const list = document.elementsFromPoint(x, y).map((one) => one.closest<HTMLElement>('.column-cards')).find(Boolean)
  list?.scrollBy(0, speed(bottom - y) - speed(y - top - 40))
}

// A page without a browser: happy-dom for React DOM, and waiting for conditions.

import { Window } from 'happy-dom'
import * as React from 'react'
import { type ReactNode, StrictMode } from 'react'
import type { Root } from 'react-dom/client'

const { act } = React

/** Makes this process look like a page to React. Only what React DOM asks for: `fetch` and the like stay Node's. */
export function page(): void {
  const window = new Window({ url: 'http://localhost/' })
  const { document, navigator } = window
  const given = { window, document, navigator, requestAnimationFrame: undefined, IS_REACT_ACT_ENVIRONMENT: true }
  for (const [name, value] of Object.entries(given)) Object.defineProperty(globalThis, name, { value, writable: true, configurable: true })
}

export interface Mounted {
  readonly text: string
  readonly root: Root
  render(element: ReactNode): Promise<void>
  unmount(): Promise<void>
}

export async function mount(element: ReactNode, { strict = false } = {}): Promise<Mounted> {
  const { createRoot } = await import('react-dom/client')
  const container = document.body.appendChild(document.createElement('div'))
  const root = createRoot(container)
  const render = (element: ReactNode) => act(async () => root.render(strict ? <StrictMode>{element}</StrictMode> : element))
  await render(element)
  return {
    get text() {
      return container.textContent ?? ''
    },
    root,
    render,
    unmount: () => act(async () => root.unmount()),
  }
}

/** Lets React do what `change` brings about. */
export async function after<R>(change: () => R | Promise<R>): Promise<R> {
  let given!: R
  await act(async () => {
    given = await change()
  })
  return given
}

/** Polls until `condition` gives something truthy, and gives that; fails after the bound. */
export async function until<R>(what: string, condition: () => R, withinMs = 5_000): Promise<NonNullable<R>> {
  for (const end = Date.now() + withinMs; ;) {
    const found = condition()
    if (found) return found
    if (Date.now() > end) throw new Error(`not within ${withinMs} ms: ${what}`)
    await act(async () => void (await new Promise((resolve) => setTimeout(resolve, 5))))
  }
}

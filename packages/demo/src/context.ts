// What every part of the page may need: who is here, what was counted, and how to tell people things.

import { createContext, useContext } from 'react'
import type { Log } from './hood/log'
import type { Tally } from './hood/tally'
import type { Tap } from './tap'
import type { Person } from './things'

export interface Toast { text: string; tone?: 'info' | 'error'; by?: string; act?: { label: string; call: () => void } }

export interface AppContext {
  me: Person
  people: readonly Person[]
  person(id: string | null | undefined): Person | undefined
  nameOf(id: string | null | undefined): string
  tally: Tally
  log: Log
  tap: Tap
  toast(toast: Toast): void
  /** Says it to those who listen instead of looking. */
  announce(text: string): void
  canHurt: boolean
}

export const Context = createContext<AppContext | undefined>(undefined)

export function useApp(): AppContext {
  const app = useContext(Context)
  if (!app) throw new Error('outside of the app')
  return app
}

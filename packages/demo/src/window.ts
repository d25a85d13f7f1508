// Who this window is. Kept for the tab, so that two windows of one browser can be two people, and a
// reload is the same window.

const SESSION = 'workboard:session'
const WINDOW = 'workboard:window'

const memory = new Map<string, string>()
const storage = (): Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> => {
  try {
    return sessionStorage
  } catch {
    // A browser that may not keep anything: until the next reload, then.
    return { getItem: (key) => memory.get(key) ?? null, setItem: (key, value) => void memory.set(key, value), removeItem: (key) => void memory.delete(key) }
  }
}

export const session = {
  get: (): string | null => storage().getItem(SESSION),
  set: (token: string): void => storage().setItem(SESSION, token),
  clear: (): void => storage().removeItem(SESSION),
}

/** So that "cut" finds the connections of this window, and no others. */
export const windowId: string = (() => {
  const known = storage().getItem(WINDOW)
  if (known) return known
  const made = `w${crypto.getRandomValues(new Uint32Array(2)).join('').slice(0, 15).padStart(15, '0')}`
  storage().setItem(WINDOW, made)
  return made
})()

// A conversation as a list: what was loaded, what came, and what was sent from here and is not
// confirmed. Pure.
//
// Invariant: a message stands in it once, however it came, and what the log has is in log order.

export interface Said { id: string; by: string; text: string; at: number | undefined }
export interface Sending { key: string; text: string; at: number; state: 'sending' | 'failed'; id?: string }
export interface ChatState { readonly said: readonly Said[]; readonly sending: readonly Sending[] }

export const SILENT: ChatState = { said: [], sending: [] }

/** What came live. It confirms the oldest message of ours with the same text. */
export function came(state: ChatState, message: Said, me: string): ChatState {
  if (state.said.some(({ id }) => id === message.id)) return state
  const mine = message.by === me ? (state.sending.find(({ id }) => id === message.id) ?? state.sending.find(({ id, text }) => id === undefined && text === message.text)) : undefined
  return { said: [...state.said, message], sending: mine ? state.sending.filter((one) => one !== mine) : state.sending }
}

/** Older ones, put before. */
export function earlier(state: ChatState, page: readonly Said[]): ChatState {
  const ids = new Set(state.said.map(({ id }) => id))
  return { ...state, said: [...page.filter(({ id }) => !ids.has(id)), ...state.said] }
}

/** The newest page anew, after a gap: what was there before stays only if it joins on. */
export function anew(state: ChatState, page: readonly Said[]): ChatState {
  const first = page[0]
  const at = first ? state.said.findIndex(({ id }) => id === first.id) : -1
  return { ...state, said: [...(at > 0 ? state.said.slice(0, at) : []), ...page] }
}

export const begins = (state: ChatState, key: string, text: string, at: number): ChatState =>
  ({ ...state, sending: [...state.sending.filter((one) => one.key !== key), { key, text, at, state: 'sending' }] })

/** The log has it. Where it came already, it is not shown twice. */
export function stored(state: ChatState, key: string, id: string | null): ChatState {
  if (id === null || state.said.some((one) => one.id === id)) return { ...state, sending: state.sending.filter((one) => one.key !== key) }
  return { ...state, sending: state.sending.map((one) => (one.key === key ? { ...one, id } : one)) }
}

export const fails = (state: ChatState, key: string): ChatState => ({ ...state, sending: state.sending.map((one) => (one.key === key ? { ...one, state: 'failed' } : one)) })

export interface Group { by: string; said: Said[]; at: number | undefined }

/** What one person said within five minutes stands together. */
export function groups(said: readonly Said[]): Group[] {
  const out: Group[] = []
  for (const one of said) {
    const last = out[out.length - 1]
    const before = last?.said[last.said.length - 1]
    if (last && last.by === one.by && (one.at ?? 0) - (before?.at ?? 0) < 300_000) last.said.push(one)
    else out.push({ by: one.by, said: [one], at: one.at })
  }
  return out
}

// What the client reports, in plain words. Pure.

import type { Report, Status, Transport } from '@tidewire/client'

export const transportWords = (transport: Transport | null | undefined): string => ({ sse: 'event stream', ws: 'WebSocket', poll: 'long-poll' })[transport ?? 'sse'] ?? 'nothing'
export const transportSign = (transport: Transport | null | undefined): string => (transport ? { sse: 'SSE', ws: 'WS', poll: 'POLL' }[transport] : '–')

export function statusWords({ state, why, retryInMs, transport, degradedFrom }: Status): string {
  if (state === 'open') return degradedFrom ? `Everything flows; what should come by ${transportWords(degradedFrom)} takes another way here.` : 'Everything flows.'
  if (state === 'waiting') return `The connection is gone (${why}). Again in ${((retryInMs ?? 0) / 1000).toFixed(1)} s.`
  if (state === 'connecting') return transport ? `Connecting by ${transportWords(transport)}.` : 'Connecting.'
  if (state === 'offline') return 'The browser says that there is no network.'
  if (state === 'unauthorized') return 'The session was refused: sign in again.'
  if (state === 'refused') return `The server refuses: ${why}.`
  return state === 'closed' ? 'Closed.' : 'Nobody listens yet.'
}

/** What changed between two reports and is worth a line. */
export function changes(before: Report, now: Report): { kind: 'moved' | 'note'; text: string }[] {
  const lines: { kind: 'moved' | 'note'; text: string }[] = []
  const carried = new Map(before.topics.map(({ topic, transport }) => [topic, transport]))
  const moves = new Map<string, string[]>()
  for (const { topic, transport } of now.topics) {
    const was = carried.get(topic)
    if (!was || !transport || was === transport) continue
    const way = `from ${transportWords(was)} to ${transportWords(transport)}`
    moves.set(way, [...(moves.get(way) ?? []), topic])
  }
  for (const [way, topics] of moves) lines.push({ kind: 'moved', text: `${topics.join(', ')}: moved ${way}, each with its place.` })
  for (const [rung, verdict] of Object.entries(now.path)) {
    if (before.path[rung] !== verdict && before.path[rung] !== undefined) lines.push({ kind: 'note', text: `This network lets ${transportWords(rung as Transport)} through: ${verdictWords(verdict)}.` })
  }
  return lines
}

export const verdictWords = (verdict: string): string => ({ clear: 'yes', buffered: 'no, it holds it back', blocked: 'no, it blocks it', unknown: 'not known yet' })[verdict] ?? verdict

export const count = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`

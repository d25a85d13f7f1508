// How a chunk of the AI SDK's UI message stream travels as a part of a stream, and back. Pure.
//
// Invariant: `chunkOf` gives back what `partOf` was given, whatever the server joined in between.

import type { UIMessageChunk } from 'ai'

/** What is published. */
export interface Part {
  event: string
  data: unknown
  /** Which text it belongs to: the server joins only what is of one. */
  item?: string
  encoding?: 'text'
}

/** What is read. */
export interface Read {
  event: string
  data: unknown
  item?: string
}

/** The events that end a stream. */
export type Ending = 'end' | 'fail' | 'cancel'
export const isEnding = (event: string): event is Ending => event === 'end' || event === 'fail' || event === 'cancel'

// Chunks that are pieces of a text: which text, and the piece. As text parts, a reader who comes late
// gets each text in one piece.
const PIECES: { [type: string]: [of: string, piece: string] } = {
  'text-delta': ['id', 'delta'],
  'reasoning-delta': ['id', 'delta'],
  'tool-input-delta': ['toolCallId', 'inputTextDelta'],
}

/** Names that the server keeps for itself, or that end a stream, are no names of chunks. */
const isEvent = (type: string): boolean => /^(?!tidewire\.|(open|error|end|fail|cancel|chunk)$)[\w.:-]{1,64}$/.test(type)

export function partOf(chunk: UIMessageChunk): Part {
  const { type } = chunk
  const [of, piece] = PIECES[type] ?? []
  if (of && piece) {
    const { [of]: item, [piece]: data, type: _, ...more } = chunk as unknown as { [field: string]: unknown }
    // What says more than its text can not be joined; and an event stream makes an LF of a CR in a text.
    const isPlain = typeof data === 'string' && !data.includes('\r') && typeof item === 'string' && /^[!-~]{1,64}$/.test(item)
    if (isPlain && Object.values(more).every((value) => value === undefined)) return { event: type, data, item, encoding: 'text' }
  }
  return { event: isEvent(type) ? type : 'chunk', data: chunk }
}

/** Nothing for what is no chunk: somebody else's event. */
export function chunkOf({ event, data, item }: Read): UIMessageChunk | undefined {
  const [of, piece] = PIECES[event] ?? []
  if (of && piece && item && typeof data === 'string') return { type: event, [of]: item, [piece]: data } as unknown as UIMessageChunk
  const isChunk = typeof data === 'object' && data !== null && typeof (data as { type?: unknown }).type === 'string'
  return isChunk ? (data as UIMessageChunk) : undefined
}

/** Puts a piece to the one before it, where both are of one text. Gives whether it did. */
export function join(before: Part | undefined, { event, data, item, encoding }: Part, charactersMax: number): boolean {
  if (!before || !encoding || before.event !== event || before.item !== item || before.encoding !== encoding) return false
  const text = `${before.data}${data}`
  if (text.length > charactersMax) return false
  before.data = text
  return true
}

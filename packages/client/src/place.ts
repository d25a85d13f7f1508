// Places in the log, as a client may compare them: all lives of a log share one sequence.

import type { After } from './api.js'

const sequence = (cursor: string): string => cursor.slice(cursor.indexOf('.') + 1)

/** Is `a` a later place than `b`? Both are cursors: `epoch.sequence`, without leading zeros. */
export function isAfter(a: string, b: string): boolean {
  const [x, y] = [sequence(a), sequence(b)]
  return x.length === y.length ? x > y : x.length > y.length
}

/** A cursor, or nothing for `now` and `start`. */
export const cursorOf = (place: After): string | undefined => (place.includes('.') ? place : undefined)

/** Does a walk from `a` hear what one from `b` would not? `start` is before all, `now` after all. */
export function isEarlier(a: After, b: After): boolean {
  if (a === b || a === 'now' || b === 'start') return false
  return a === 'start' || b === 'now' || isAfter(b, a)
}

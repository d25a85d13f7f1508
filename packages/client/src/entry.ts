// Entries as the wires write them, read into what an app hears. Pure.

import type { Entry } from './api.js'
import type { Json } from './net.js'

/** The data of an entry: JSON unless `encoding` says otherwise. */
export function dataOf(data: Json, encoding: string | undefined): unknown {
  return encoding === 'base64' ? Uint8Array.from(atob(data), (digit) => digit.charCodeAt(0)) : data
}

/** An entry that is a JSON object. */
export function entryOf({ topic, event, id, data, encoding }: Json): Entry {
  return { topic, event, ...(id && { id }), data: dataOf(data, encoding) }
}

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

/** A binary message: two bytes with the length of the header, the header, the bytes. */
export function entryOfBytes(bytes: ArrayBuffer): Entry {
  const head = new DataView(bytes).getUint16(0) + 2
  const { topic, event, id } = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 2, head - 2)))
  return { topic, event, ...(id && { id }), data: new Uint8Array(bytes, head) }
}

/** The same, to publish. */
export function bytesOf(command: object, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new TextEncoder().encode(JSON.stringify(command))
  const bytes = new Uint8Array(2 + head.length + data.length)
  new DataView(bytes.buffer).setUint16(0, head.length)
  bytes.set(head, 2)
  bytes.set(data, 2 + head.length)
  return bytes
}

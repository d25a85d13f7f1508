// Entries and publishes as binary messages of a socket: two bytes with the length of the header, the
// header, the bytes. Pure.

import type { Entry } from './api.js'

export function entryOfBytes(bytes: ArrayBuffer): Entry {
  const head = new DataView(bytes).getUint16(0) + 2
  const { topic, event, item, id } = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 2, head - 2)))
  return { topic, event, ...(item && { item }), ...(id && { id }), data: new Uint8Array(bytes, head) }
}

/** A command with bytes. */
export function bytesOf(command: object, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new TextEncoder().encode(JSON.stringify(command))
  const bytes = new Uint8Array(2 + head.length + data.length)
  new DataView(bytes.buffer).setUint16(0, head.length)
  bytes.set(head, 2)
  bytes.set(data, 2 + head.length)
  return bytes
}

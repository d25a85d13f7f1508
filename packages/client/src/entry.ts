// Entries as the wires write them, read into what an app hears. Pure.

import type { Entry } from './api.js'
import type { Json } from './net.js'

/** An entry that is a JSON object. Its data is JSON unless `encoding` says otherwise. */
export const entryOf = ({ topic, event, item, id, data, encoding }: Json): Entry => ({
  topic,
  event,
  ...(item && { item }),
  ...(id && { id }),
  data: encoding === 'base64' ? Uint8Array.from(atob(data), (digit) => digit.charCodeAt(0)) : data,
})

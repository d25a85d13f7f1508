// The vectors that every client of the protocol runs, from conformance/.

import { readFileSync } from 'node:fs'

export function vectors<T>(name: string): T {
  // From build/test/support/.
  return JSON.parse(readFileSync(new URL(`../../../../../conformance/${name}`, import.meta.url), 'utf8')) as T
}

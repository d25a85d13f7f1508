// What `send`, `history` and `events` throw.

import type { Refusal } from './api.js'

/** A refusal as an error. `code` is of the protocol's table, or `unreachable`, `foreign`, `aborted`, `closed`. */
export class TidewireError extends Error implements Refusal {
  readonly code: string
  readonly next: Refusal['next']

  constructor(refusal: Refusal) {
    super(refusal.message)
    this.name = 'TidewireError'
    this.code = refusal.code
    this.next = refusal.next
  }
}

// `connect`: the public face. Holds listeners; what flows and where is the engine's business.

import type { Contract, Live, Options } from './api.js'

/** Connects to a Tidewire server. Nothing is opened until somebody listens or sends. */
export function connect<C extends Contract = Contract>(_url: string, _options: Options = {}): Live<C> {
  throw new Error('not yet')
}

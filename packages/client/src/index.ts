// `connect`, and the types around it.

export { connect } from './connect.js'
export { TidewireError } from './error.js'
export type * from './api.js'

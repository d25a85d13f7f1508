// `hooks`, and the types around it.

export { hooks } from './hooks.js'
export type * from './api.js'

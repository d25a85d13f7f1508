// What an app needs that sends, reads in loops, or whose plan has a socket. A page that only listens
// never loads it.

// All of the core, so that it stays in one file.
import './connect.js'

export { ENDS, entriesOf } from './events.js'
export { Socket } from './socket.js'
export { publish } from './publish.js'

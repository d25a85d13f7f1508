// What an app needs that sends, or whose plan has a socket. A page that only listens never loads it.

export { Socket } from './socket.js'
export { publish } from './publish.js'

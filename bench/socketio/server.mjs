// A peer for the bench: Socket.IO 4, WebSocket only, a room for each topic. A client names its topic
// in the query of its handshake, so that the load tool has to send no more than Socket.IO's own
// `40` (connect).
//
// Set for speed, as its manual advises: only the WebSocket transport, no compression, no bundle of
// the client, and the handshake's request let go. Its pings would need answers from the load tool
// and come every 25 s; here they come once in an hour.

import { createServer } from 'node:http'
import { Server } from 'socket.io'

const BACKLOG = 4096
const HOUR_MS = 3_600_000

const server = createServer({ keepAliveTimeout: HOUR_MS, noDelay: true }, publish)
const io = new Server(server, {
  transports: ['websocket'],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
  pingInterval: HOUR_MS,
})
io.on('connection', (socket) => {
  socket.join(socket.handshake.query.topic)
  socket.conn.request = null
})

async function publish(request, response) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  io.to(request.url.slice('/pub/'.length)).emit('event', Buffer.concat(chunks).toString())
  response.writeHead(204).end()
}

server.listen({ host: '127.0.0.1', port: 0, backlog: BACKLOG }, () => {
  console.log(`http://127.0.0.1:${server.address().port} ${process.pid}`)
})

// A peer for the bench: the server that most articles about live updates in Node.js arrive at. One
// EventEmitter; each event stream is a listener that writes to its response; each WebSocket stands
// in a Set that the publisher walks. A topic is the emitter's event and the Set's key.
//
// Set for speed: no compression on sockets, keep-alive for the publisher, no framework and no log in
// between, the event's text made once and not by every listener.

import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

const BACKLOG = 4096
const HOUR_MS = 3_600_000

const emitter = new EventEmitter().setMaxListeners(0)
const sockets = new Map()
let last = 0

const server = createServer({ keepAliveTimeout: HOUR_MS, noDelay: true }, (request, response) => {
  const { door, topic } = where(request)
  if (door === 'sse') subscribe(topic, request, response)
  else if (door === 'pub') publish(topic, request, response)
  else response.writeHead(404).end()
})

const where = ({ url }) => url.match(/^\/(?<door>[a-z]+)\/(?<topic>.+)/)?.groups ?? {}
const sse = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', connection: 'keep-alive' }

function subscribe(topic, request, response) {
  response.writeHead(200, sse)
  response.flushHeaders()
  const send = (event) => response.write(event)
  emitter.on(topic, send)
  request.on('close', () => emitter.off(topic, send))
}

async function publish(topic, request, response) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const body = Buffer.concat(chunks)
  last += 1
  emitter.emit(topic, Buffer.from(`id: ${last}\ndata: ${body}\n\n`))
  for (const socket of sockets.get(topic) ?? []) socket.send(body, { binary: false })
  response.writeHead(204).end()
}

const upgrades = new WebSocketServer({ server, perMessageDeflate: false })
upgrades.on('connection', (socket, request) => {
  const { topic } = where(request)
  const readers = sockets.get(topic) ?? new Set()
  sockets.set(topic, readers.add(socket))
  socket.on('error', () => {})
  socket.on('close', () => readers.delete(socket))
})

server.listen({ host: '127.0.0.1', port: 0, backlog: BACKLOG }, () => {
  console.log(`http://127.0.0.1:${server.address().port} ${process.pid}`)
})

// A peer for the bench: uWebSockets, through Bun. Sockets use its own publish and subscribe, so the
// fan-out runs in C++; event streams are direct streams, Bun's cheapest kind of body.
//
// Set for speed: no compression, no idle timeout (Bun closes a quiet stream after 10 s), no log.

const readers = new Map()
const encoder = new TextEncoder()

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  idleTimeout: 0,
  fetch(request, server) {
    const { door, topic } = new URL(request.url).pathname.match(/^\/(?<door>[a-z]+)\/(?<topic>.+)/)?.groups ?? {}
    if (door === 'ws') return server.upgrade(request, { data: { topic } }) ? undefined : new Response(null, { status: 400 })
    if (door === 'sse') return new Response(stream(topic), { headers: sse })
    if (door === 'pub') return publish(topic, request)
    return new Response(null, { status: 404 })
  },
  websocket: {
    idleTimeout: 0,
    sendPings: false,
    perMessageDeflate: false,
    open(socket) { socket.subscribe(socket.data.topic) },
    message() {},
  },
})

const sse = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' }

/** The body of one event stream; it stays open because `pull` never ends. */
function stream(topic) {
  const of = readers.get(topic) ?? new Set()
  readers.set(topic, of)
  let mine
  return new ReadableStream({
    type: 'direct',
    pull(controller) {
      mine = controller
      of.add(controller)
      controller.write(':\n\n') // the head leaves with the first write
      controller.flush()
      return new Promise(() => {})
    },
    cancel() { of.delete(mine) },
  })
}

async function publish(topic, request) {
  const text = await request.text()
  server.publish(topic, text)
  const event = encoder.encode(`data: ${text}\n\n`)
  for (const controller of readers.get(topic) ?? []) {
    controller.write(event)
    controller.flush()
  }
  return new Response(null, { status: 204 })
}

console.log(`http://127.0.0.1:${server.port} ${process.pid}`)

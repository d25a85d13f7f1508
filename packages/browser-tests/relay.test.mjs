// The relay itself: it hurts a network as it says it does, and in no other way.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import test from 'node:test'
import { Line, Relay } from './relay.mjs'
import { until, within } from './waiting.mjs'

test('a line: when bytes arrive', async (t) => {
  const cases = [
    ['at once, without conditions', {}, [[1000, 5]], [5]],
    ['after the delay', { delayMs: 40 }, [[1, 0], [1, 3]], [40, 43]],
    ['at its bit rate, one after another', { kbitPerS: 8 }, [[100, 0], [100, 0], [100, 500]], [100, 200, 600]],
    ['the rate before the delay, and a rest in between', { kbitPerS: 80, delayMs: 10 }, [[100, 0], [100, 1]], [20, 30]],
    ['in order, whatever the jitter', { delayMs: 10, jitterMs: 100, random: drawn(0.9, 0, 0.5) }, [[1, 0], [1, 1], [1, 60]], [100, 100, 120]],
  ]
  for (const [what, conditions, sent, expected] of cases) {
    await t.test(what, () => {
      const line = new Line(conditions)
      assert.deepEqual(sent.map(([bytes, nowMs]) => line.arrivalMs(bytes, nowMs)), expected)
    })
  }
})

const drawn = (...numbers) => () => numbers.shift()

test('every byte, both ways, on a bad network, and the end after the last of them', async (t) => {
  const said = Buffer.from(Array.from({ length: 300_000 }, (_, n) => (n * 7919) % 251))
  // It answers with what it hears and ends at once, with everything still on the way.
  const server = await listen(t, (socket) => socket.pipe(socket))
  const relay = await Relay.start(t, server, { delayMs: 15, jitterMs: 10, kbitPerS: 20_000 })
  const client = dial(t, relay.port)
  const heard = gathered(client)
  const began = performance.now()
  client.end(said)
  await until('the connection is closed', () => client.closed)
  assert.ok(Buffer.concat(heard).equals(said), 'each byte, in order, before the end')
  const least = 2 * 15 + (300_000 * 8) / 20_000
  assert.ok(performance.now() - began >= least, `the line allows it in ${least} ms at the earliest`)
  await until('the relay has let go', () => relay.connections.length === 0)
})

test('one side may end while the other still speaks', async (t) => {
  const server = await listen(t, (socket) => socket.on('end', () => socket.end('all of it')).resume())
  const relay = await Relay.start(t, server)
  const client = dial(t, relay.port)
  const heard = gathered(client)
  client.end('a question')
  await until('the connection is closed', () => client.closed)
  assert.equal(Buffer.concat(heard).toString(), 'all of it')
})

test('stalled: nothing comes, nothing closes; then everything, in order', async (t) => {
  const server = await listen(t, (socket) => socket.pipe(socket))
  const [relay, other] = [await Relay.start(t, server), await Relay.start(t, server)]
  const client = dial(t, relay.port)
  const heard = gathered(client)
  client.write('a')
  await until('the echo', () => Buffer.concat(heard).toString() === 'a')
  relay.stall()
  client.write('b')
  const late = dial(t, relay.port)
  const lateHeard = gathered(late)
  late.end('late') // its end is not passed on either
  await until('it is open', () => late.readyState !== 'opening')
  await roundTrips(t, other, 5) // in that time 'b' would have come five times
  assert.equal(Buffer.concat(heard).toString(), 'a')
  assert.deepEqual([client.destroyed, late.destroyed, lateHeard], [false, false, []])
  client.write('c')
  relay.resume()
  await until('what waited', () => Buffer.concat(heard).toString() === 'abc')
  await until('the late one has its answer and the end', () => late.closed)
  assert.equal(Buffer.concat(lateHeard).toString(), 'late')
})

test('a client that leaves during a stall is not gone for the server', async (t) => {
  let open = 0
  const server = await listen(t, (socket) => { open++; socket.resume().on('end', () => socket.end()).on('close', () => open--) })
  const [relay, other] = [await Relay.start(t, server), await Relay.start(t, server)]
  const client = dial(t, relay.port)
  client.write('hello')
  await until('the server has it', () => open === 1)
  relay.stall()
  client.resetAndDestroy()
  const witness = dial(t, other.port)
  await until('the witness has come', () => open === 2)
  witness.end()
  await until('the server has seen the witness go', () => open === 1)
  assert.equal(relay.connections.length, 1)
  relay.cut()
  await until('now both are gone', () => open === 0 && relay.connections.length === 0)
})

test('forgotten: what is open is dead for good, and what comes is served', async (t) => {
  let ended = 0
  const server = await listen(t, (socket) => socket.on('end', () => ended++).pipe(socket))
  const relay = await Relay.start(t, server)
  const client = dial(t, relay.port)
  const heard = gathered(client)
  client.write('a')
  await until('the echo', () => heard.length > 0)
  relay.forget()
  client.write('b')
  await roundTrips(t, relay, 5)
  relay.stall()
  relay.resume() // no way back
  client.destroy()
  await roundTrips(t, relay, 5)
  assert.deepEqual([Buffer.concat(heard).toString(), ended, relay.connections.length], ['a', 0, 3])
})

test('cut: both sides are reset, and the next connection is served', async (t) => {
  const resets = []
  const server = await listen(t, (socket) => socket.on('error', ({ code }) => resets.push(code)).pipe(socket))
  const relay = await Relay.start(t, server)
  const client = dial(t, relay.port)
  client.on('error', ({ code }) => resets.push(code))
  const heard = gathered(client)
  client.write('x')
  await until('the echo', () => heard.length > 0)
  relay.cut()
  await until('both know', () => resets.length === 2)
  assert.deepEqual(resets, ['ECONNRESET', 'ECONNRESET'])
  await roundTrips(t, relay, 1)
  assert.equal(relay.accepted, 2)
})

test('cut in every state: half closed, being closed, with bytes that nobody takes', async (t) => {
  const server = await listen(t, (socket) => socket.once('data', (data) => {
    if (data.toString() === 'pour') while (socket.write(Buffer.alloc(64 * 1024)));
    else socket.resume()
  }))
  const relay = await Relay.start(t, server)
  const [half, closing, full] = [dial(t, relay.port), dial(t, relay.port), dial(t, relay.port)]
  half.end('half')
  full.pause()
  full.write('pour')
  await until('it pours', () => relay.connections.some(({ bytesDown }) => bytesDown > 100_000))
  await until('the half is passed on', () => relay.connections.some(({ bytesUp }) => bytesUp === 4))
  closing.end('c')
  await until('it is on its way', () => relay.connections.some(({ bytesUp }) => bytesUp === 1))
  relay.cut()
  await until('all are gone', () => relay.connections.length === 0)
})

test('cut while the other side resets: no socket is left behind', async (t) => {
  const sockets = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
  await until('those of other tests are gone', () => sockets() === 0)
  const server = await listen(t, (socket) => socket.resume())
  const relay = await Relay.start(t, server)
  const clients = Array.from({ length: 20 }, () => dial(t, relay.port))
  for (const client of clients) client.write('x')
  await until('all are served', () => relay.connections.filter(({ bytesUp }) => bytesUp === 1).length === clients.length)
  for (const client of clients) Object.assign(client, { resetAndClosing: true }).destroy() // a reset that is there at once
  relay.cut()
  await until('nothing is left', () => sockets() === 0, 5_000)
})

test('refused, and taken again on the same port; what is open stays', async (t) => {
  const server = await listen(t, (socket) => socket.pipe(socket))
  const relay = await Relay.start(t, server)
  const client = dial(t, relay.port)
  const heard = gathered(client)
  client.write('1')
  await until('the echo', () => heard.length > 0)
  await relay.refuse()
  const refused = dial(t, relay.port)
  assert.equal(await fails(refused), 'ECONNREFUSED')
  client.write('2')
  await until('the old one works', () => Buffer.concat(heard).toString() === '12')
  await relay.accept()
  await roundTrips(t, relay, 1)
})

test('a server that is gone resets who comes', async (t) => {
  const relay = await Relay.start(t, 1) // nobody listens there
  const client = dial(t, relay.port)
  assert.equal(await fails(client), 'ECONNRESET')
})

test('a reader that does not read is felt by the writer', async (t) => {
  let writer
  const server = await listen(t, (socket) => {
    writer = socket
    const piece = Buffer.alloc(64 * 1024)
    const more = () => { while (socket.write(piece)); }
    socket.on('drain', more)
    more()
  })
  const relay = await Relay.start(t, server)
  const client = dial(t, relay.port)
  client.pause()
  let [before, same] = [-1, 0]
  await until('the writer stands still', () => {
    const written = writer?.bytesWritten ?? -1
    same = written === before ? same + 1 : 0
    before = written
    return written > 0 && same >= 5
  })
  assert.ok(before < 32 * 1024 * 1024, `${before} bytes are what kernels and the relay hold`)
  client.resume()
  await until('it goes on', () => writer.bytesWritten > before)
})

test('it knows who is there and what they asked last', async (t) => {
  const server = await listen(t, (socket) => socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\n\r\n')))
  const relay = await Relay.start(t, server)
  const [stream, socket] = [dial(t, relay.port), dial(t, relay.port)]
  stream.write('GET /v1/plan HTTP/1.1\r\n\r\n')
  socket.write('GET /v1/socket HTTP/1.1\r\nUpgrade: websocket\r\n\r\n')
  await until('both have asked', () => relay.carrying('GET /v1/').length === 2)
  stream.write('GET /v1/sse?topic=a HTTP/1.1\r\n\r\n')
  socket.write('GET /not/a/request HTTP/1.1\r\n\r\n') // bytes of a WebSocket by now
  await until('the stream', () => relay.carrying('GET /v1/sse?').length === 1)
  await until('the socket has sent that', () => relay.carrying('GET /v1/socket')[0]?.bytesUp === 78)
  socket.end()
  stream.end()
})

/** A server on a free port, and its sockets, gone after the test. */
async function listen(t, onSocket) {
  const sockets = new Set()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    onSocket(socket)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return server.address().port
}

function dial(t, port) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  t.after(() => socket.destroy())
  return socket
}

function gathered(socket) {
  const chunks = []
  socket.on('data', (chunk) => chunks.push(chunk))
  return chunks
}

/** The code of the error with which a connection ends. */
const fails = async (socket) => (await within('an error', once(socket, 'error')))[0].code

/** So many echoes through a relay, one after another. */
async function roundTrips(t, relay, times) {
  const client = dial(t, relay.port)
  const heard = gathered(client)
  for (let n = 0; n < times; n++) {
    client.write('.')
    await until('the echo', () => heard.length > n)
  }
}

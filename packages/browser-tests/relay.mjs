// A TCP relay in front of a server: a network that a test can hurt. It cuts, stalls, refuses, delays
// and throttles, and counts who is there. It knows nothing of HTTP but the first line of a request,
// which says what a connection is for.

import { connect, createServer } from 'node:net'

// What may wait inside for each direction of a connection. Beyond it the sender is not read, so that
// a slow reader is felt through the relay as it is without one.
const WAITING_BYTES_MAX = 256 * 1024
// Slow lines pass such pieces, as networks do, and not what came in one read.
const PIECE_BYTES = 1400

const END = Symbol('end')
const RESET = Symbol('reset')

/** When bytes that enter a line now come out at its other end. Pure: the time is an argument. */
export class Line {
  #leftAt = 0 // when the last byte so far has left the sender
  #cameAt = 0 // when it arrives: order is kept, whatever the jitter

  /** `conditions` may change while the line is in use; what has entered keeps its time. */
  constructor(conditions) {
    this.conditions = conditions
  }

  arrivalMs(bytes, nowMs) {
    const { delayMs = 0, jitterMs = 0, kbitPerS = Infinity, random = Math.random } = this.conditions
    this.#leftAt = Math.max(this.#leftAt, nowMs) + (bytes * 8) / kbitPerS // 1 kbit/s is 1 bit/ms
    this.#cameAt = Math.max(this.#cameAt, this.#leftAt + delayMs + jitterMs * random())
    return this.#cameAt
  }
}

/** Resets a connection at once. `resetAndDestroy` ends it first: bytes that nobody takes hold that up,
 *  and a socket that breaks meanwhile was seen to stay for ever, and the process with it. */
function reset(socket) {
  if (!socket.connecting && !socket.writableEnded) socket.resetAndClosing = true
  socket.destroy()
}

/** Bytes in one direction, from one socket to the other. */
class Flow {
  #from
  #to
  #link
  #line
  #waiting = [] // [what, arrivalMs]
  #waitingBytes = 0
  #timer = null
  #blocked = false
  bytes = 0

  /** `link` says whether it is `stalled`, and the `conditions`. */
  constructor(from, to, link, onData = () => {}) {
    this.#from = from
    this.#to = to
    this.#link = link
    this.#line = new Line(link.conditions)
    from.on('data', (chunk) => {
      onData(chunk)
      for (let at = 0; at < chunk.length; at += PIECE_BYTES) this.#enter(chunk.subarray(at, at + PIECE_BYTES))
    })
    // An end and a reset wait their turn: what was sent before them arrives before them.
    from.on('end', () => this.#enter(END))
    from.on('error', () => this.#enter(RESET))
    to.on('drain', () => { this.#blocked = false; this.pump() })
    to.on('close', () => this.#drop())
  }

  #enter(what) {
    const bytes = what.length ?? 0
    this.#waiting.push([what, this.#line.arrivalMs(bytes, performance.now())])
    this.#waitingBytes += bytes
    this.pump()
  }

  /** Passes on what has arrived, and comes back when the next piece does. */
  pump() {
    clearTimeout(this.#timer)
    while (this.#waiting.length > 0 && !this.#link.stalled && !this.#blocked) {
      const [[what, arrivalMs]] = this.#waiting
      const waitMs = arrivalMs - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), Math.ceil(waitMs))
        break
      }
      this.#waiting.shift()
      if (what === END) this.#to.end()
      else if (what === RESET) reset(this.#to)
      else {
        this.#waitingBytes -= what.length
        this.bytes += what.length
        this.#blocked = !this.#to.write(what)
      }
    }
    const full = this.#waitingBytes >= WAITING_BYTES_MAX
    if (this.#link.stalled || full) this.#from.pause()
    else this.#from.resume()
  }

  #drop() {
    clearTimeout(this.#timer)
    this.#waiting = []
    this.#waitingBytes = 0
  }
}

/** One connection through the relay. */
class Connection {
  #client
  #server
  #up
  #down
  #isForgotten = false
  /** What was asked last, such as `GET /v1/sse?topic=…`; empty before the first request. */
  request = ''
  #upgraded = false

  constructor(client, link, gone) {
    this.#client = client
    this.#server = connect({ host: '127.0.0.1', port: link.port, allowHalfOpen: true, noDelay: true })
    const isStalled = () => link.stalled || this.#isForgotten
    const own = { conditions: link.conditions, get stalled() { return isStalled() } }
    this.#up = new Flow(client, this.#server, own, (chunk) => this.#read(chunk))
    this.#down = new Flow(this.#server, client, own)
    let open = 2
    for (const socket of [client, this.#server]) socket.on('close', () => { if (--open === 0) gone(this) })
    this.pump()
  }

  get bytesUp() { return this.#up.bytes }
  get bytesDown() { return this.#down.bytes }

  #read(chunk) {
    const found = !this.#upgraded && /^([A-Z]+ \S+) HTTP\/1\.1\r\n/.exec(chunk.toString('latin1', 0, 4096))
    if (!found) return
    this.request = found[1]
    this.#upgraded = /\r\nupgrade:/i.test(chunk.toString('latin1'))
  }

  pump() {
    this.#up.pump()
    this.#down.pump()
  }

  forget() {
    this.#isForgotten = true
    this.pump()
  }

  cut() {
    reset(this.#client)
    reset(this.#server)
  }
}

/** Listens on a loopback port of its own and passes everything to the port of the server. */
export class Relay {
  #listener
  #link
  #connections = new Set()
  #unserved = new Set()
  /** How many connections came in so far. */
  accepted = 0
  port = 0

  /** `conditions`: `delayMs` one way, `jitterMs` on top of it at most, `kbitPerS` each way. */
  static async start(t, port, conditions = {}) {
    const relay = new Relay()
    relay.#link = { port, conditions: { ...conditions }, stalled: false }
    t.after(() => relay.#close())
    await relay.accept()
    return relay
  }

  get url() { return `http://127.0.0.1:${this.port}` }
  /** The open connections, oldest first. Those too that are dead without a word. */
  get connections() { return [...this.#connections] }
  /** Those whose latest request begins so, such as `GET /v1/sse`. */
  carrying(request) { return this.connections.filter((connection) => connection.request.startsWith(request)) }

  /** Changes the conditions for what is sent from now on. */
  set conditions(conditions) {
    for (const name of Object.keys(this.#link.conditions)) delete this.#link.conditions[name]
    Object.assign(this.#link.conditions, conditions)
  }

  /** Resets every connection, on both sides. New ones are served. */
  cut() {
    for (const connection of this.#connections) connection.cut()
    for (const socket of this.#unserved) reset(socket)
  }

  /** The network goes dead without a word: nothing is read, written or closed, an end is not passed
   *  on, and a new connection opens and hears nothing. */
  stall() {
    this.#link.stalled = true
    this.#pump()
  }

  /** Ends a stall: what waits is passed on, in order. */
  resume() {
    this.#link.stalled = false
    for (const socket of this.#unserved) this.#serve(socket)
    this.#unserved.clear()
    this.#pump()
  }

  /** As a router does that has lost its table: these connections are dead from now on without a
   *  word, for both sides. New ones are served. */
  forget(connections = this.#connections) {
    for (const connection of connections) connection.forget()
  }

  /** New connections are refused; the open ones stay. */
  refuse() {
    return new Promise((resolve) => {
      this.#listener.close(() => {})
      setImmediate(resolve)
    })
  }

  /** New connections are taken again, on the same port. */
  async accept() {
    this.#listener = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#take(socket))
    await new Promise((resolve, reject) => {
      this.#listener.once('error', reject).listen(this.port, '127.0.0.1', resolve)
    })
    this.port = this.#listener.address().port
  }

  #take(socket) {
    this.accepted++
    socket.on('error', () => {}) // its flow passes it on
    if (!this.#link.stalled) return this.#serve(socket)
    this.#unserved.add(socket)
    socket.on('close', () => this.#unserved.delete(socket))
  }

  #serve(socket) {
    this.#connections.add(new Connection(socket, this.#link, (connection) => this.#connections.delete(connection)))
  }

  #pump() {
    for (const connection of this.#connections) connection.pump()
  }

  async #close() {
    this.cut()
    this.#listener.close()
  }
}

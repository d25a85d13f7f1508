// A WebSocket on bare bytes (RFC 6455), with the face of a browser's: the raw probe needs one that
// hides nothing, Node 20 has none, and none that Node has goes through a proxy's CONNECT.

import { createHash, randomBytes } from 'node:crypto'
import { connect } from 'node:net'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/**
 * Does the opening handshake. `via` is `{ port, connect }`: the proxy, and whether to ask it for a
 * tunnel first, as browsers do for `ws://` through a forward proxy. Gives the open bytes and what
 * came behind the answer, or fails with the status that was answered.
 */
export async function handshake(url, { via, protocols = [], headers = {}, absolute = false } = {}) {
  const target = new URL(url)
  const port = Number(target.port || 80)
  const socket = connect({ host: via ? '127.0.0.1' : target.hostname, port: via?.port ?? port, noDelay: true })
  const inbox = new Inbox(socket)
  try {
    if (via?.connect) {
      socket.write(`CONNECT ${target.hostname}:${port} HTTP/1.1\r\nHost: ${target.hostname}:${port}\r\n\r\n`)
      const { status } = await inbox.head()
      if (status !== 200) throw refused(status, 'CONNECT')
    }
    const key = randomBytes(16).toString('base64')
    const path = `${target.pathname}${target.search}`
    const lines = [`GET ${absolute ? `http://${target.host}${path}` : path} HTTP/1.1`, `Host: ${target.host}`, 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${key}`]
    if (protocols.length > 0) lines.push(`Sec-WebSocket-Protocol: ${protocols.join(', ')}`)
    for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`)
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
    const { status, fields } = await inbox.head()
    if (status !== 101) throw refused(status, 'the handshake')
    const wanted = createHash('sha1').update(key + GUID).digest('base64')
    if (fields.get('sec-websocket-accept') !== wanted) throw new Error('the handshake was answered for another key')
    return { socket, inbox, protocol: fields.get('sec-websocket-protocol') ?? '' }
  } catch (error) {
    socket.destroy()
    throw error
  }
}

const refused = (status, what) => Object.assign(new Error(`${what} was answered ${status}`), { status })

/** What arrived and was not read yet, and somebody who waits for more. */
class Inbox {
  #bytes = Buffer.alloc(0)
  #wake = () => {}
  #end

  constructor(socket) {
    socket.on('data', (chunk) => { this.#bytes = Buffer.concat([this.#bytes, chunk]); this.#wake() })
    const end = (error) => { this.#end ??= error instanceof Error ? error : new Error('the connection ended'); this.#wake() }
    socket.on('error', end).on('close', end)
  }

  async #until(found) {
    for (;;) {
      const answer = found(this.#bytes)
      if (answer !== undefined) return answer
      if (this.#end) throw this.#end
      await new Promise((resolve) => { this.#wake = resolve })
    }
  }

  #take(count) {
    const taken = this.#bytes.subarray(0, count)
    this.#bytes = this.#bytes.subarray(count)
    return taken
  }

  /** A response's head. */
  async head() {
    const end = await this.#until((bytes) => { const at = bytes.indexOf('\r\n\r\n'); return at < 0 ? undefined : at + 4 })
    const [first, ...rest] = this.#take(end).toString('latin1').trimEnd().split('\r\n')
    const fields = new Map(rest.map((line) => { const at = line.indexOf(':'); return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()] }))
    return { status: Number(first.split(' ')[1]), fields }
  }

  async bytes(count) {
    await this.#until((bytes) => bytes.length >= count || undefined)
    return this.#take(count)
  }

  /** A frame from a server: no mask, and none of the bits that no extension asked for. */
  async frame() {
    const [first, second] = await this.bytes(2)
    let length = second & 0x7f
    if (length === 126) length = (await this.bytes(2)).readUInt16BE()
    else if (length === 127) length = Number((await this.bytes(8)).readBigUInt64BE())
    return { last: (first & 0x80) !== 0, opcode: first & 0x0f, payload: Buffer.from(await this.bytes(length)) }
  }
}

/** A frame as a client sends it: masked. */
function frame(opcode, payload) {
  const size = payload.length
  const head = size < 126 ? Buffer.from([0x80 | opcode, 0x80 | size]) : Buffer.alloc(size < 65_536 ? 4 : 10)
  if (size >= 126) {
    head[0] = 0x80 | opcode
    head[1] = 0x80 | (size < 65_536 ? 126 : 127)
    if (size < 65_536) head.writeUInt16BE(size, 2)
    else head.writeBigUInt64BE(BigInt(size), 2)
  }
  const mask = randomBytes(4)
  return Buffer.concat([head, mask, payload.map((byte, n) => byte ^ mask[n % 4])])
}

/** A class with a browser's `WebSocket` face whose connections go through `via`, if there is one. */
export const webSocketThrough = (via) => class WebSocket extends BareWebSocket {
  constructor(url, protocols) { super(url, protocols, via) }
}

class BareWebSocket extends EventTarget {
  static CONNECTING = 0
  static OPEN = 1
  static CLOSING = 2
  static CLOSED = 3
  readyState = 0
  binaryType = 'blob'
  bufferedAmount = 0
  extensions = ''
  protocol = ''
  onopen = null
  onmessage = null
  onerror = null
  onclose = null
  #socket
  #code = 1006
  #reason = ''

  constructor(url, protocols = [], via) {
    super()
    this.url = String(url)
    this.#open([protocols].flat(), via)
  }

  async #open(protocols, via) {
    try {
      const { socket, inbox, protocol } = await handshake(this.url, { via, protocols })
      if (this.readyState !== 0) return socket.destroy() // closed meanwhile
      this.#socket = socket
      this.protocol = protocol
      this.readyState = 1
      this.#say(new Event('open'))
      await this.#read(inbox)
    } catch (error) {
      if (this.#code === 1006 && this.readyState < 2) this.#say(Object.assign(new Event('error'), { message: error.message }))
    }
    this.#over()
  }

  async #read(inbox) {
    for (let parts = [], text = true; ;) {
      const { last, opcode, payload } = await inbox.frame()
      if (opcode === 9) this.#socket.write(frame(10, payload))
      if (opcode === 8) {
        this.#code = payload.length >= 2 ? payload.readUInt16BE() : 1005
        this.#reason = payload.subarray(2).toString()
        this.#socket.end(frame(8, payload.subarray(0, 2)))
        return
      }
      if (opcode > 2) continue
      if (opcode > 0) text = opcode === 1
      parts.push(payload)
      if (!last) continue
      const whole = Buffer.concat(parts)
      parts = []
      this.#say(new MessageEvent('message', { data: text ? whole.toString() : this.binaryType === 'blob' ? new Blob([whole]) : new Uint8Array(whole).buffer }))
    }
  }

  #over() {
    if (this.readyState === 3) return
    this.readyState = 3
    this.#socket?.destroy()
    this.#say(Object.assign(new Event('close'), { code: this.#code, reason: this.#reason, wasClean: this.#code !== 1006 }))
  }

  #say(event) {
    this.dispatchEvent(event)
    this[`on${event.type}`]?.(event)
  }

  send(data) {
    if (this.readyState === 0) throw new DOMException('not open yet', 'InvalidStateError')
    if (this.readyState !== 1) return
    if (typeof data === 'string') this.#socket.write(frame(1, Buffer.from(data)))
    else this.#socket.write(frame(2, ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength) : Buffer.from(data)))
  }

  close(code, reason = '') {
    if (this.readyState >= 2) return
    const opened = this.readyState === 1
    this.readyState = 2
    if (!opened) return queueMicrotask(() => this.#over())
    const payload = Buffer.alloc(code === undefined ? 0 : 2)
    if (code !== undefined) payload.writeUInt16BE(code)
    this.#socket.write(frame(8, Buffer.concat([payload, Buffer.from(reason)])))
  }
}

// Event-stream bytes to frames: conformance/sse-frames.json cut at every place, and the bound.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { entryOf } from '../src/entry.js'
import { type Frame, parser } from '../src/parser.js'
import { vectors } from './support/vectors.js'

type Data = { json: string } | { text: string } | { binary: string }
type Chunk = string | { hex: string }
interface Expected {
  event?: string
  data: string
  id?: string
  topic?: string
  encoding?: string
  item?: string
  retry_ms?: number
}

const { entries, signals, streams, round_trips } = vectors<{
  entries: { name: string; topic: string; event: string; data: Data; id: string | null; item?: string; frame: string }[]
  signals: { name: string; kind: string; frame: string; at?: string | null; retry_ms?: number }[]
  streams: { name: string; chunks: Chunk[]; events: Expected[] }[]
  round_trips: { text: string; arrives?: string }[]
}>('sse-frames.json')

const MOST = 1 << 20

/** What a parser makes of these pieces, as the stream reads them: decoded one by one. */
function frames(pieces: Uint8Array[], most = MOST): Frame[] {
  const heard: Frame[] = []
  // What a frame does not have, and what it has empty, is the same.
  const feed = parser((frame) => heard.push(Object.fromEntries(Object.entries(frame).filter(([name, value]) => value || !/^(id|topic|item|encoding|retry)$/.test(name))) as unknown as Frame), most)
  const decoder = new TextDecoder()
  for (const piece of pieces) feed(decoder.decode(piece, { stream: true }))
  return heard
}

const bytesOf = (chunk: Chunk): Uint8Array => (typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk.hex, 'hex'))

/** A stream whole, byte by byte, and cut in two at every byte, with nothing between. */
function* cuts(bytes: Uint8Array): Generator<[string, Uint8Array[]]> {
  yield ['in one piece', [bytes]]
  yield ['byte by byte', Array.from(bytes, (_, at) => bytes.subarray(at, at + 1))]
  for (let at = 0; at <= bytes.length; at++) yield [`cut at ${at}`, [bytes.subarray(0, at), new Uint8Array(), bytes.subarray(at)]]
}

const framesOf = (text: string): Frame[] => frames([Buffer.from(text)])

// What the client reads otherwise than a browser, on purpose: an empty `id` is no place, and `retry`
// counts only where it stands in a frame with data, as the server writes it.
const asWeRead = ({ event = 'message', data, id, topic, item, encoding, retry_ms }: Expected): Frame => ({ event, data, ...(id && { id }), ...(topic && { topic }), ...(item && { item }), ...(encoding && { encoding }), ...(retry_ms !== undefined && { retry: retry_ms }) })

/** The streams of the vectors in which the server's own bytes can never come, and why. */
const NOT_OURS = new Map([
  ['retry is heard without an event, and told with the next', 'the server writes `retry` only in frames with data'],
  ['no data, no event', 'the server writes no frame without data'],
  ['an id with NUL is passed over', 'a cursor has no NUL'],
])

for (const { name, chunks, events } of streams) {
  const expected = events.map(asWeRead)
  test(`sse-frames.json, stream: ${name}`, { skip: NOT_OURS.get(name) ?? false }, () => {
    assert.deepEqual(frames(chunks.map(bytesOf)), expected, 'as written')
    for (const [how, pieces] of cuts(Buffer.concat(chunks.map(bytesOf)))) assert.deepEqual(frames(pieces), expected, how)
  })
}

for (const { name, topic, event, data, id, item, frame } of entries) {
  test(`sse-frames.json, entry: ${name}`, () => {
    for (const [how, pieces] of cuts(Buffer.from(frame))) {
      const [heard, ...more] = frames(pieces)
      assert.ok(heard && !more.length, how)
      assert.deepEqual([heard.topic, heard.event, heard.id ?? null, heard.item], [topic, event, id, item], how)
      const kind = 'json' in data ? undefined : 'text' in data ? 'text' : 'base64'
      assert.equal(heard.encoding, kind, how)
      const { data: value } = entryOf({ ...heard, data: heard.encoding ? heard.data : JSON.parse(heard.data) })
      const published = 'json' in data ? JSON.parse(data.json) : 'text' in data ? data.text.replace(/\r\n?/g, '\n') : new Uint8Array(Buffer.from(data.binary, 'hex'))
      assert.deepEqual(value, published, how)
    }
  })
}

for (const { name, kind, at, retry_ms, frame } of signals) {
  test(`sse-frames.json, signal: ${name}`, () => {
    for (const [how, pieces] of cuts(Buffer.from(frame))) {
      const [heard, gap] = frames(pieces)
      assert.equal(heard?.event, `tidewire.${kind}`, how)
      assert.equal(heard.id ?? null, at ?? null, how)
      if (retry_ms !== undefined) assert.equal(heard.retry, retry_ms, how)
      assert.ok(JSON.parse(heard.data), how)
      if (gap) assert.equal(gap.event, 'tidewire.gap', how)
    }
  })
}

for (const { text, arrives = text } of round_trips) {
  test(`sse-frames.json, round trip: ${JSON.stringify(text)}`, () => {
    const frame = `${text.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`).join('')}encoding: text\n\n`
    assert.equal(framesOf(frame)[0]?.data, arrives)
  })
}

test('a frame ends at its blank line, whatever line ends it has', () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const heard: string[] = []
    const feed = parser(({ data }) => heard.push(data), MOST)
    feed(`data: a${end}${end}`)
    assert.deepEqual(heard, ['a'], `${JSON.stringify(end)}: told at once, not with what comes next`)
    // The second half of a CRLF is no further line.
    feed(end === '\r' ? `data: b${end}${end}` : `\ndata: b${end}${end}`)
    assert.deepEqual(heard, ['a', 'b'])
  }
})

test('a frame of exactly the bound is told, one more character is not', () => {
  const line = `data: ${'x'.repeat(94)}`
  assert.equal(line.length, 100)
  assert.equal(frames([Buffer.from(`${line}\n\n`)], 100).length, 1)
  assert.throws(() => frames([Buffer.from(line)], 99), /99/)
})

test('the bound holds for a line that never ends, for lines that never end a frame, and for comments', () => {
  for (const piece of ['data: xxxxxxxxxx', 'data: x\n', ': beat\n', 'id: 7\n', 'x']) {
    const feed = parser(() => undefined, 1000)
    let fed = 0
    assert.throws(() => {
      for (; fed < 5000; fed += piece.length) feed(piece)
    }, Error, piece)
    assert.ok(fed < 1300, `${JSON.stringify(piece)}: stopped after ${fed} characters`)
  }
})

test('many frames in one piece are no long frame', () => {
  assert.equal(frames([Buffer.from('data: x\n\n'.repeat(1000))], 100).length, 1000)
})

test('names of fields that JavaScript knows do no harm', () => {
  assert.deepEqual(framesOf('__proto__: x\nconstructor: y\ntoString: z\ndata: a\n\n'), [{ event: 'message', data: 'a' }])
})

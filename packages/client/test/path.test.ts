// What is known of the network, and which rung follows from it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Path } from '../src/path.js'
import { bytesOf, entryOfBytes } from '../src/binary.js'
import { Clock } from './support/clock.js'

/** A `sessionStorage` that holds what a test says. */
function storage(kept: { [key: string]: string } = {}): Storage {
  return { getItem: (key: string) => kept[key] ?? null, setItem: (key: string, value: string) => void (kept[key] = value) } as Storage
}

const pathOf = (clock: Clock, kept?: Storage): Path => new Path('http://127.0.0.1/v1', { ...clock.env, fetch, WebSocket: undefined }, kept)

test('the ladder: the planned rung, then the next one that works, then pages', () => {
  const path = pathOf(new Clock())
  assert.deepEqual([path.pick('sse', true), path.pick('ws', true), path.pick('poll', true)], ['sse', 'ws', 'poll'])
  path.set('sse', 'buffered')
  assert.deepEqual([path.pick('sse', true), path.pick('ws', true)], ['ws', 'ws'])
  path.set('ws', 'blocked')
  assert.deepEqual([path.pick('sse', true), path.pick('ws', true)], ['poll', 'poll'])
  // What nobody keeps has no pages: its own rung is tried on.
  assert.deepEqual([path.pick('sse', false), path.pick('ws', false)], ['sse', 'ws'])
  path.set('sse', 'clear')
  assert.deepEqual([path.pick('sse', true), path.pick('ws', true), path.pick('ws', false)], ['sse', 'sse', 'sse'])
})

test('a rung that is shut is looked at again after 30 s, then after twice as long, at most 10 min', () => {
  const clock = new Clock()
  const path = pathOf(clock)
  const waits = Array.from({ length: 7 }, () => {
    path.set('sse', 'buffered')
    return path.retestIn('sse')! / 1000
  })
  assert.deepEqual(waits, [30, 60, 120, 240, 480, 600, 600])
  clock.time += 590_000
  assert.equal(path.retestIn('sse'), 10_000)
  clock.time += 20_000
  assert.equal(path.retestIn('sse'), 0)
})

test('a rung that worked, however often, is looked at again after 30 s when it is shut', () => {
  const path = pathOf(new Clock())
  for (let connection = 0; connection < 10; connection++) path.set('ws', 'clear')
  assert.equal(path.retestIn('ws'), undefined)
  path.set('ws', 'blocked')
  assert.equal(path.retestIn('ws'), 30_000)
})

test('a rung that is clear and shut by turns is looked at less and less often', () => {
  const path = pathOf(new Clock())
  const waits = Array.from({ length: 3 }, () => {
    path.set('sse', 'buffered')
    const wait = path.retestIn('sse')! / 1000
    path.set('sse', 'clear')
    return wait
  })
  assert.deepEqual(waits, [30, 60, 120])
})

test('the next page of the tab knows it already; another network knows nothing', () => {
  const clock = new Clock()
  const kept = storage()
  pathOf(clock, kept).set('sse', 'buffered')
  const next = pathOf(clock, kept)
  assert.equal(next.verdict('sse'), 'buffered')
  next.forget()
  assert.deepEqual([next.verdict('sse'), pathOf(clock, kept).verdict('sse')], ['unknown', 'unknown'])
})

for (const text of ['', 'x', 'null', '7', '[]', '{"sse":7}', '"sse"']) {
  test(`somebody else's text in the storage does no harm: ${text}`, () => {
    const path = pathOf(new Clock(), storage({ 'tidewire:path:http://127.0.0.1/v1': text }))
    assert.equal(path.pick('sse', true), 'sse')
    path.set('sse', 'blocked')
    assert.equal(path.pick('sse', true), 'ws')
  })
}

test('a storage that refuses does no harm', () => {
  const refuse = (): never => {
    throw new Error('QuotaExceededError')
  }
  const path = pathOf(new Clock(), { getItem: refuse, setItem: refuse } as unknown as Storage)
  path.set('sse', 'blocked')
  assert.equal(path.verdict('sse'), 'blocked')
})

test('binary messages: what is written is read, and the length of the head counts bytes', () => {
  for (const data of [new Uint8Array(), Uint8Array.of(0, 10, 13, 255), new Uint8Array(70_000).fill(7)]) {
    const bytes = bytesOf({ topic: 'files/é', event: 'part', id: 'k.7' }, data)
    assert.deepEqual(entryOfBytes(bytes.buffer), { topic: 'files/é', event: 'part', id: 'k.7', data })
  }
  // The example of docs/protocol.md.
  assert.equal(Buffer.from(bytesOf({ do: 'publish', ref: 4, topic: 'pointers/1' }, Uint8Array.of(1, 2, 0x41))).toString('latin1'), '\0\x2d{"do":"publish","ref":4,"topic":"pointers/1"}\x01\x02A')
})

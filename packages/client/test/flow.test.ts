// What a stream and a poll share: one order for all of their topics, and who must come as far first.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { After, Entry } from '../src/api.js'
import { entryOf } from '../src/entry.js'
import { Flow, part } from '../src/flow.js'
import { Loss } from '../src/net.js'
import { Sub } from '../src/sub.js'

/** A topic with one reader that notes the ids it hears. */
function topic(name: string, after: After, isKept = true): { sub: Sub; heard: string[]; seams: string[] } {
  const sub = new Sub(name, isKept)
  const heard: string[] = []
  const seams: string[] = []
  sub.join({ hear: ({ id, data }) => heard.push(id ?? `${data}`), seam: (seam) => seams.push(seam.continuity === 'gap' ? seam.gap.reason : seam.continuity) }, after)
  return { sub, heard, seams }
}

const entry = (topic: string, id?: string, data: unknown = 0): Entry => ({ topic, event: 'message', ...(id && { id }), data })
const subsOf = (...topics: { sub: Sub }[]): Map<string, Sub> => new Map(topics.map(({ sub }) => [sub.topic, sub]))

/** It was attached, at its place. */
function flowing(name: string, after: string): ReturnType<typeof topic> {
  const one = topic(name, after)
  one.sub.attached({ continuity: 'resumed' }, after)
  return one
}

test('a flow is asked for after the earliest of its places', () => {
  assert.equal(new Flow(subsOf(topic('a', 'now'))).after, 'now')
  assert.equal(new Flow(subsOf(topic('a', 'k.9'), topic('b', 'k.10'))).after, 'k.9')
  assert.equal(new Flow(subsOf(topic('a', 'k.9'), topic('b', 'start'))).after, 'start')
  // What nobody keeps has no place.
  assert.equal(new Flow(subsOf(topic('a', 'k.9'), topic('p', 'start', false))).after, 'k.9')
  assert.equal(new Flow(subsOf(topic('a', 'k.9'), topic('b', 'k.9'))).query({ limit: '5' }), 'after=k.9&limit=5&topic=a&topic=b')
})

test('one entry moves all topics of the flow, because they have one order', () => {
  const [a, b] = [flowing('a', 'k.1'), flowing('b', 'k.1')]
  const flow = new Flow(subsOf(a, b))
  flow.attached({ continuity: 'resumed', at: 'k.1' })
  flow.entry(entry('a', 'k.7'))
  assert.equal(b.sub.place, 'k.7')
  flow.beat('k.9')
  assert.equal(a.sub.place, 'k.9')
})

test('an entry of a topic that nobody asked for moves the place and is heard by nobody', () => {
  const a = flowing('a', 'k.1')
  const flow = new Flow(subsOf(a))
  flow.attached({ continuity: 'resumed', at: 'k.1' })
  flow.entry(entry('other', 'k.2'))
  assert.deepEqual(a.heard, [])
})

for (const [what, ids] of [['comes again', ['k.2', 'k.2']], ['is older than the one before', ['k.3', 'k.2']], ['is not after the place that was asked for', ['k.1']]] as const) {
  test(`an entry that ${what} is noticed, and not passed on`, () => {
    const a = flowing('a', 'k.1')
    const flow = new Flow(subsOf(a))
    flow.attached({ continuity: 'resumed', at: 'k.1' })
    assert.throws(() => ids.forEach((id) => flow.entry(entry('a', id))), (loss: Loss) => loss.code === 'foreign' && /order/.test(loss.message))
    assert.deepEqual(a.heard, ids.slice(0, -1))
  })
}

test('a gap says to each topic what holds for it', () => {
  const [behind, ahead, passing] = [flowing('a', 'k.2'), flowing('b', 'k.8'), topic('p', 'now', false)]
  const flow = new Flow(subsOf(behind, ahead, passing))
  flow.attached({ continuity: 'gap', gap: { reason: 'trimmed', oldest: 'k.5', newest: 'k.9' }, at: 'k.2' })
  assert.deepEqual(behind.seams, ['resumed', 'trimmed'])
  assert.deepEqual(ahead.seams, ['resumed', 'resumed'], 'it had come further than what is gone')
  assert.deepEqual(passing.seams, ['new'])
  // What is left from before `oldest` follows, and is no disorder.
  flow.entry(entry('a', 'k.4'))
  assert.deepEqual(behind.heard, ['k.4'])
})

for (const at of ['k.0', undefined]) {
  test(`another log: reading goes on where the server says, or from the start (at: ${at})`, () => {
    const [a, b] = [flowing('a', 'zz.50'), flowing('b', 'zz.60')]
    const flow = new Flow(subsOf(a, b))
    flow.attached({ continuity: 'gap', gap: { reason: 'foreign', oldest: 'k.2', newest: 'k.9' }, at })
    for (const [topic, id] of [['b', 'k.1'], ['a', 'k.3'], ['b', 'k.4']] as const) flow.entry(entry(topic, id))
    assert.deepEqual([a.heard, b.heard], [['k.3'], ['k.1', 'k.4']])
  })
}

test('what arrives for a topic that is wanted from earlier meanwhile is left for the flow that follows', () => {
  const [a, b] = [flowing('a', 'k.5'), flowing('b', 'k.5')]
  const flow = new Flow(subsOf(a, b))
  flow.attached({ continuity: 'resumed', at: 'k.5' })
  const late: string[] = []
  a.sub.join({ hear: ({ id }) => late.push(id!) }, 'k.2')
  flow.entry(entry('a', 'k.6'))
  flow.entry(entry('b', 'k.7'))
  flow.beat('k.8')
  assert.deepEqual([a.sub.place, late, a.heard, b.heard], ['k.2', [], [], ['k.7']])
  const { late: stale, ready } = part([a.sub, b.sub])
  assert.deepEqual([stale, [...ready.keys()]], [[a.sub], ['b']])
  const next = new Flow(subsOf(a))
  next.attached({ continuity: 'resumed', at: 'k.2' })
  for (const id of ['k.3', 'k.6', 'k.9']) next.entry(entry('a', id))
  assert.deepEqual([late, a.heard], [['k.3', 'k.6', 'k.9'], ['k.6', 'k.9']])
})

test('topics that begin together are taken up together, others must first come as far', () => {
  const parts = (...topics: { sub: Sub }[]): string => {
    const { ready, late } = part(topics.map(({ sub }) => sub))
    return `ready ${[...ready.keys()].join(' ')}; late ${late.map(({ topic }) => topic).join(' ')}`
  }
  assert.equal(parts(topic('a', 'now'), topic('b', 'now')), 'ready a b; late ')
  assert.equal(parts(topic('a', 'k.1'), topic('b', 'k.1')), 'ready a b; late ')
  assert.equal(parts(topic('a', 'start'), topic('b', 'now')), 'ready ; late a b')
  assert.equal(parts(flowing('a', 'k.9'), topic('b', 'now')), 'ready a; late b')
  assert.equal(parts(flowing('a', 'k.9'), flowing('b', 'k.7')), 'ready a b; late ')
  assert.equal(parts(topic('p', 'now', false), topic('b', 'k.1')), 'ready p b; late ')
  const mixed = topic('a', 'start')
  mixed.sub.join({ hear: () => undefined }, 'now')
  assert.equal(parts(mixed), 'ready ; late a', 'a stream from the start does not say where now is')
})

test('every kind of data is read as it was published', () => {
  assert.deepEqual(entryOf({ topic: 'a', event: 'e', id: 'k.1', data: { x: [1, null] } }), { topic: 'a', event: 'e', id: 'k.1', data: { x: [1, null] } })
  assert.deepEqual(entryOf({ topic: 'a', event: 'e', data: 'two\nlines', encoding: 'text' }), { topic: 'a', event: 'e', data: 'two\nlines' })
  assert.deepEqual(entryOf({ topic: 'a', event: 'e', data: 'AP8=', encoding: 'base64' }).data, Uint8Array.of(0, 255))
  assert.deepEqual(entryOf({ topic: 'a', event: 'e', data: '', encoding: 'base64' }).data, new Uint8Array())
  for (const data of [null, false, 0, '']) assert.deepEqual(entryOf({ topic: 'a', event: 'e', data }).data, data)
})

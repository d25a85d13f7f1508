// Chunks to parts and back, without a server.

import assert from 'node:assert/strict'
import test from 'node:test'
import type { UIMessageChunk } from 'ai'
import { chunkOf, join, type Part, partOf } from '../src/parts.js'
import { answerTopic, chatTopic } from '../src/topic.js'

const CHUNKS: UIMessageChunk[] = [
  { type: 'start', messageId: 'm1' },
  { type: 'text-delta', id: '0', delta: 'Once ' },
  { type: 'text-delta', id: '0', delta: '' },
  { type: 'text-delta', id: '0', delta: 'a\r\nb', providerMetadata: { p: { cached: true } } },
  { type: 'text-delta', id: '0', delta: 'a\r\nb' },
  { type: 'text-delta', id: 'an id with spaces', delta: 'x' },
  { type: 'text-delta', id: 'l'.repeat(65), delta: 'x' },
  { type: 'reasoning-delta', id: 'r1', delta: 'hm' },
  { type: 'tool-input-delta', toolCallId: 'call_1', inputTextDelta: '{"city":' },
  { type: 'tool-input-available', toolCallId: 'call_1', toolName: 'weather', input: { city: 'Oslo' } },
  { type: 'data-weather', data: { degrees: 20 } },
  { type: 'data-with spaces and é', data: 1 },
  { type: 'error', errorText: 'no' },
  { type: 'abort' },
  { type: 'finish', finishReason: 'stop' },
]

test('every chunk comes back as it was', () => {
  for (const chunk of CHUNKS) {
    const part = partOf(chunk)
    // What a wire gives back.
    const read = JSON.parse(JSON.stringify(part)) as Part
    assert.deepEqual(chunkOf(read), chunk)
    assert.match(part.event, /^[\w.:-]{1,64}$/)
    assert.ok(!['open', 'error', 'end', 'fail', 'cancel'].includes(part.event), part.event)
  }
})

test('pieces of a text are text parts, all else is JSON', () => {
  assert.deepEqual(partOf({ type: 'text-delta', id: '0', delta: 'hi' }), { event: 'text-delta', item: '0', data: 'hi', encoding: 'text' })
  assert.equal(partOf({ type: 'text-delta', id: '0', delta: 'a\rb' }).encoding, undefined, 'a CR does not pass an event stream')
  assert.equal(partOf({ type: 'error', errorText: '' }).event, 'chunk')
})

test('what is no chunk is passed over', () => {
  for (const data of ['text', null, 1, [], { kind: 'x' }]) assert.equal(chunkOf({ event: 'note', data }), undefined)
})

test('only pieces of one text are joined, up to a bound', () => {
  const before = partOf({ type: 'text-delta', id: '0', delta: 'ab' })
  assert.ok(join(before, partOf({ type: 'text-delta', id: '0', delta: 'cd' }), 4))
  assert.equal(before.data, 'abcd')
  assert.ok(!join(before, partOf({ type: 'text-delta', id: '0', delta: 'e' }), 4), 'too long')
  assert.ok(!join(before, partOf({ type: 'text-delta', id: '1', delta: 'e' }), 9), 'another text')
  assert.ok(!join(before, partOf({ type: 'reasoning-delta', id: '0', delta: 'e' }), 9), 'another kind')
  assert.ok(!join(undefined, before, 9))
})

test('any id makes a topic', () => {
  assert.equal(chatTopic('c1'), 'answers/c1')
  assert.equal(answerTopic("a/b c!é'", 'x:y@z', 'replies'), 'replies/a%2Fb%20c%21%C3%A9%27/x:y@z')
  assert.notEqual(answerTopic('c1'), answerTopic('c1'))
  for (const id of ['', '.', '..']) assert.throws(() => chatTopic(id), TypeError)
})

// Places in the log: what a client may conclude from two cursors, and from no more.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cursorOf, isAfter, isEarlier } from '../src/place.js'
import { vectors } from './support/vectors.js'

const { cursors, after, lineages } = vectors<{
  cursors: { good: { text: string; epoch: string; sequence: string }[] }
  after: { text: string; means: 'now' | 'start' | 'cursor' | null }[]
  lineages: { name: string; ids: { place: string; id: string }[] }[]
}>('cursor.json')

test('cursor.json: what is a cursor, and what a word', () => {
  for (const { text } of cursors.good) assert.equal(cursorOf(text), text)
  for (const { text, means } of after) if (means) assert.equal(cursorOf(text), means === 'cursor' ? text : undefined)
})

test('cursor.json: cursors are ordered by their sequences, as numbers of 64 bits', () => {
  for (const a of cursors.good) {
    for (const b of cursors.good) assert.equal(isAfter(a.text, b.text), BigInt(a.sequence) > BigInt(b.sequence), `${a.text} after ${b.text}`)
  }
})

for (const { name, ids } of lineages) {
  test(`cursor.json: the ids of a log are in the order of their places, over all of its lives: ${name}`, () => {
    for (const a of ids) for (const b of ids) assert.equal(isAfter(a.id, b.id), BigInt(a.place) > BigInt(b.place), `${a.id} after ${b.id}`)
  })
}

test('a place is earlier if a walk from it hears more', () => {
  const order = ['start', 'a.1', 'b.9', 'a.10', 'now'] as const
  order.forEach((a, i) => order.forEach((b, j) => assert.equal(isEarlier(a, b), i < j, `${a} before ${b}`)))
})

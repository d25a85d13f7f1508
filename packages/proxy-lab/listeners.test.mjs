// What counts as loopback, in the kernel's spelling.

import assert from 'node:assert/strict'
import test from 'node:test'
import { listenersOutside, loopback } from './listeners.mjs'

test('loopback is 127.0.0.0/8 and ::1, and nothing else', () => {
  assert.deepEqual(['0100007F', '0200007F', '00000000000000000000000001000000', '0000000000000000FFFF00000100007F'].map(loopback), [true, true, true, true])
  assert.deepEqual(['00000000', '0100A8C0', '7F000001', '00000000000000000000000000000000', '000080FE000000000000000001000000'].map(loopback), [false, false, false, false, false])
})

test('nobody else is blamed', () => assert.deepEqual(listenersOutside([]), { seen: [], outside: [] }))

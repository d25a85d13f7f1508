// conformance/path.json: the canaries, the probes, and the lives of streams.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Answer, canarySays, Judge, probeSays } from '../src/judge.js'
import { vectors } from './support/vectors.js'

interface Held {
  verdict: string
  by?: string
  probe_ms?: number | null
  canary_ms?: number | null
}

interface Step {
  at_ms: number
  piece?: ('hello' | 'beat' | 'entry')[]
  canary?: { gap_ms: number; arrivals_ms: number[] }
  probe?: { sent_ms: number; answer: Answer }
  then: Held
}

const { canaries, probes, streams } = vectors<{
  canaries: { name: string; gap_ms: number; arrivals_ms: number[]; says: string }[]
  probes: { name: string; received_events: number; rtt_ms: number; silent_ms: number; missing_ms?: number; answer: Answer; says: string }[]
  streams: { name: string; early: boolean; beat_ms: number; begins: Held; steps: Step[] }[]
}>('path.json')

for (const { name, gap_ms, arrivals_ms, says } of canaries) {
  test(`path.json, canary: ${name}`, () => assert.equal(canarySays(gap_ms, arrivals_ms), says))
}

for (const { name, received_events, rtt_ms, silent_ms, missing_ms, answer, says } of probes) {
  test(`path.json, probe: ${name}`, () => assert.equal(probeSays(received_events, rtt_ms, silent_ms, answer, missing_ms), says))
}

for (const { name, early, beat_ms, begins, steps } of streams) {
  test(`path.json, stream: ${name}`, () => {
    const judge = new Judge(early)
    const holds = (then: Held, when: string): void => {
      assert.equal(judge.verdict, then.verdict, `the verdict ${when}`)
      if (then.verdict === 'buffered') assert.equal(judge.by, then.by, `who said so ${when}`)
      if (then.probe_ms !== undefined) assert.equal(judge.probeAt ?? null, then.probe_ms, `the next probe ${when}`)
      if (then.canary_ms !== undefined) assert.equal(judge.canaryGap ?? null, then.canary_ms, `the next canary ${when}`)
    }
    holds(begins, 'at the beginning')
    steps.forEach(({ at_ms, piece, canary, probe, then }, index) => {
      if (piece) {
        for (const kind of piece) judge.event(at_ms, kind, beat_ms)
        judge.piece(at_ms)
      }
      if (canary) judge.canary(at_ms, canary.gap_ms, canary.arrivals_ms)
      if (probe) judge.answered(at_ms, at_ms - probe.sent_ms, probe.answer)
      holds(then, `after step ${index}, at ${at_ms} ms`)
    })
  })
}

test('the vectors are there', () => assert.ok(canaries.length >= 17 && probes.length >= 23 && streams.length >= 33))

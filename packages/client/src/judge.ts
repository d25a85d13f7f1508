// Does the path hold event streams back? Pure: time comes in as arguments.
//
// A proxy that holds a stream back gives no error. Two witnesses find it: the canary, a short answer
// whose three events must not arrive together, and the probe, which asks the server what it has
// written to our stream. The rules stand in prose in conformance/path.json, which the Rust client
// runs too. Every time is in ms since the stream was asked for.

const GAP = 250
const GAP_MOST = 2000
/** How much later than a round trip bytes may come without being late. */
const SLACK = 300
/** The longest silence of a stream that beats early. */
const QUIET_EARLY = 550
/** How late a beat may be before the server is asked. */
const QUIET_LATE = 1000
/** What arrives so far apart was not held together. */
const APART = 100
/** Between two probes that count as two. */
const AGAIN = 1000
/** The longest wait between two probes that tell nothing. */
const PAUSE_MOST = 10_000

export type CanaryWord = 'clear' | 'buffered' | 'again' | 'unknown'
export type ProbeWord = 'clear' | 'stuck' | 'wait' | 'unknown'

/** What `GET /v1/path/NAME` says. */
export interface Written {
  events: number
  open_ms: number
  quiet_ms: number
  blocked: boolean
}

export type Answer = Written | 'not_found' | 'failed'

/** A canary, by when its three events came. */
export function canarySays(gap: number, arrivals: number[]): CanaryWord {
  if (arrivals.length < 3) return 'unknown'
  const spread = arrivals[2]! - arrivals[0]!
  if (spread > 0.6 * gap) return 'clear'
  if (spread < 0.16 * gap) return 'buffered'
  return gap < GAP_MOST ? 'again' : 'unknown'
}

/** A stream that has been silent for so long, of which something was `missing` for so long, beside what the server wrote to it. */
export function probeSays(received: number, rtt: number, silent: number, answer: Answer, missing = 0): ProbeWord {
  if (typeof answer === 'string') return 'unknown'
  if (answer.events <= received) return 'clear'
  const late = rtt + SLACK
  const isOld = answer.quiet_ms >= late || (!received && answer.open_ms >= late) || missing >= late
  return isOld && silent >= late && !answer.blocked ? 'stuck' : 'wait'
}

/** Hears one stream's life and says what to ask, and what it means. */
export class Judge {
  verdict: 'unknown' | 'clear' | 'buffered' = 'unknown'
  by: 'canary' | 'probe' | undefined
  /** When to ask the server what it wrote. While a question is on its way, nothing is due. */
  probeAt: number | undefined
  /** The gap of the canary to send now, if none is on its way. */
  canaryGap: number | undefined
  /** Has the stream itself shown that it is not held back? */
  isProven = false
  #beat: number | undefined
  #helloAt: number | undefined
  #received = 0
  #byteAt = 0
  // The whole events of the piece that is read.
  #piece = ''
  // When a probe of this silence first missed something.
  #missingAt: number | undefined
  #stuck = 0
  #toldNothing = 0
  // The server does not know our stream although it speaks to us: no use asking.
  #isBlind = false
  #heldCanaries = 0
  #patience = Infinity

  constructor(readonly isEarly: boolean) {
    if (isEarly) this.canaryGap = GAP
    this.#probeWhenQuiet(0)
  }

  /** Bytes came, and their whole events were told; or we were too busy to read and begin to listen again. */
  piece(now: number): void {
    // A proxy that fills blocks brings beats apart too, each among the entries of its block.
    if (this.#piece === 'beat' && now >= this.#byteAt + APART) this.#prove()
    this.#piece = ''
    this.#byteAt = now
    this.#nothingIsStuck(now)
  }

  /** A whole event came, of a piece that is told next; `beat` is what a hello says. */
  event(now: number, kind: 'hello' | 'beat' | 'entry', beat?: number): void {
    this.#received++
    this.#piece += kind
    if (kind === 'hello') {
      this.#helloAt = now
      this.#beat = beat
    } else if (kind === 'beat' && this.verdict === 'clear' && now >= this.#helloAt! + APART) this.#prove()
  }

  /** A canary came back, or did not. */
  canary(now: number, gap: number, arrivals: number[]): void {
    this.canaryGap = undefined
    if (this.isProven || this.by) return
    const says = canarySays(gap, arrivals)
    const wider = Math.min(gap * 2, GAP_MOST)
    if (says === 'clear') {
      this.verdict = 'clear'
      this.#heldCanaries = 0
    }
    if (says === 'again') this.canaryGap = wider
    if (says !== 'buffered') return
    const held = Math.max(0, arrivals[2]! - gap)
    this.#patience = 2 * held + SLACK
    if (this.#stuck) this.#decide('probe')
    // On a slow line canaries wait behind the stream's own bytes: then these keep coming.
    else if (this.#heldCanaries++ && now - this.#byteAt >= held + SLACK) this.#decide('canary')
    else if (gap < GAP_MOST) this.canaryGap = wider
  }

  /** A probe was answered after a round trip. */
  answered(now: number, rtt: number, answer: Answer): void {
    if (this.by) return
    const says = probeSays(this.#received, rtt, now - this.#byteAt, answer, now - (this.#missingAt ?? now))
    if (says === 'wait') this.#missingAt ??= now
    if (says === 'clear') {
      const { events, open_ms, quiet_ms } = answer as Written
      // All of it came, and it was not written at once.
      if (events > 1 && open_ms - quiet_ms >= APART) this.#prove()
      this.#nothingIsStuck(now)
    } else if (says === 'stuck') {
      this.#stuck++
      this.probeAt = now + Math.max(AGAIN, 2 * rtt)
      if (this.#stuck > 1 || (this.#heldCanaries && !this.isProven)) this.#decide('probe')
    } else if (answer === 'not_found' && this.#received) {
      this.#isBlind = true
      this.probeAt = undefined
    } else {
      // It told nothing: ask less and less often.
      this.probeAt = now + Math.min(PAUSE_MOST, (rtt + SLACK) * 2 ** this.#toldNothing++)
      if (says === 'unknown' && !this.#received && !this.#byteAt && now >= this.#patience) this.#decide('canary')
    }
  }

  #nothingIsStuck(now: number): void {
    this.#stuck = this.#toldNothing = 0
    this.#missingAt = undefined
    this.#probeWhenQuiet(now)
  }

  #prove(): void {
    if (this.by) return
    this.isProven = true
    this.canaryGap = undefined
    this.verdict = 'clear'
  }

  #decide(by: 'canary' | 'probe'): void {
    this.verdict = 'buffered'
    this.by = by
    this.canaryGap = this.probeAt = undefined
  }

  /** The next probe comes when nothing was heard for longer than a stream is quiet. */
  #probeWhenQuiet(now: number): void {
    if (this.#isBlind || this.by) return
    // Before a hello, nothing speaks against the path, and a server that thousands come back to is slow.
    const quiet = this.isEarly && !this.isProven ? QUIET_EARLY : this.#beat === undefined ? undefined : this.#beat + QUIET_LATE
    this.probeAt = quiet === undefined ? undefined : now + quiet
  }
}

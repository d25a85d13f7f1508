// The measured section of `docs/performance.md`: tables made from the results and from nothing else.

import { readFileSync, writeFileSync } from 'node:fs'

const BEGIN = '<!-- measured: begin. `make bench-peers` writes what follows; do not edit it. -->'
const END = '<!-- measured: end -->'
/** The part of the cases that may have run beside other work. */
const DISTURBED_MAX = 0.1
const DOORS = { sse: 'SSE', ws: 'WebSocket' }

/** Puts the measured section in its place in the page. */
export function write(page, results) {
  const text = readFileSync(page, 'utf8')
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error(`${page} has no place for the figures: ${BEGIN} … ${END}`)
  writeFileSync(page, `${text.slice(0, begin)}${BEGIN}\n\n${section(results)}\n${text.slice(end)}`)
}

/** The section, as Markdown. */
export function section(results) {
  const { settings } = results
  return [
    ...about(results),
    '![The same figures as a picture: CPU for a delivery, deliveries a second under backlog, memory of an idle connection](performance.svg)',
    '',
    `### Fan-out to ${count(settings.subscribers)} subscribers`,
    '',
    ...fanout(results),
    '',
    ...(results.measured.some((each) => mark(each)) ? ['\\* See *What went wrong*.', ''] : []),
    `### ${count(settings.idle)} idle connections`,
    '',
    ...idle(results),
    '',
    ...remarks(results),
    '### Versions',
    '',
    ...table(['Server', 'Version'], results.peers.map(({ title, version }) => [title, version])),
    '',
    '### Commands',
    '',
    '<details><summary>All of them, with the ports of that run</summary>',
    '',
    '```sh',
    ...commands(results),
    '```',
    '',
    '</details>',
    '',
  ].join('\n')
}

function about({ date, took, machine, settings, measured }) {
  const { seconds, rounds, bytes, inFlight, rate } = settings
  return [
    ...warning(measured),
    `Measured on ${date.slice(0, 10)} in ${Math.round(took / 60)} minutes on ${machine}. Each case: ${plural(rounds, 'round')} of ${plural(seconds, 'second')}, events of ${bytes} bytes.`,
    `*Steady* is ${rate} events a second, *flood* one event on its way at a time, *backlog* ${inFlight}.`,
    ...floors(measured),
    '',
  ]
}

/** How good the yardstick was. */
function floors(measured) {
  const sorted = (values) => values.filter((each) => each !== undefined).sort((a, b) => a - b)
  const micros = sorted(measured.map(({ floorCpuUs }) => floorCpuUs))
  const spreads = sorted(measured.map(({ floorSpread }) => floorSpread))
  if (!micros.length) return []
  const middle = spreads[Math.floor(spreads.length / 2)]
  return [`The floor took ${micros[0].toFixed(1)} to ${micros.at(-1).toFixed(1)} µs of CPU for a delivery; the floors around one case lay ${Math.round(middle * 100)} % apart in the middle, ${Math.round(spreads.at(-1) * 100)} % at most.`]
}

/** A run beside other work is a rehearsal, and says so before any figure. */
function warning(measured) {
  const disturbed = measured.filter((each) => each.disturbed).length
  if (disturbed <= measured.length * DISTURBED_MAX) return []
  return [`> **A rehearsal, not a measurement.** Other programs kept more than half a core busy in ${disturbed} of ${measured.length} cases. Do not quote these figures; run \`make bench-peers\` on a quiet machine.`, '']
}

function fanout(results) {
  const head = ['Server', 'Door', 'Steady: CPU × floor', 'p50 / p99 ms', 'Flood: CPU × floor', 'deliveries/s', 'Backlog: CPU × floor', 'deliveries/s']
  return table(head, rows(results, ['steady', 'flood', 'backlog'], ({ steady, flood, backlog }) => [
    ratio(steady), latency(steady), ratio(flood), rate(flood), ratio(backlog), rate(backlog),
  ]))
}

function idle(results) {
  return table(['Server', 'Door', 'Bytes per connection', 'Connects/s'], rows(results, ['idle'], ({ idle }) => [
    cell(idle, ({ bytesPerConnection }) => count(round(bytesPerConnection, 2))),
    cell(idle, ({ connectsPerSecond }) => count(round(connectsPerSecond, 2))),
  ]))
}

/** One row for each peer and door that was measured. */
export function rows({ peers, measured }, wanted, cells) {
  return peers.flatMap(({ name, title, doors }) => doors.flatMap((door) => {
    const mine = measured.filter((each) => each.peer === name && each.transport === door && wanted.includes(each.case))
    if (!mine.length) return []
    return [[title, DOORS[door], ...cells(Object.fromEntries(mine.map((each) => [each.case, each])))]]
  }))
}

/** What a reader must know about single figures: what failed, was lost, or ran beside other work. */
function remarks({ peers, measured, skipped }) {
  const title = (name) => peers.find((each) => each.name === name)?.title ?? name
  const where = ({ peer, transport, case: of }) => `${title(peer)} (${DOORS[transport]}, ${of})`
  const late = measured.filter(({ keptUp }) => keptUp === false)
  const disturbed = measured.filter((each) => each.disturbed)
  const lines = [
    ...skipped.map(({ title, why }) => `- ${title} is not in the table: ${why}`),
    ...measured.filter(({ error }) => error).map((each) => `- ${where(each)} failed: ${each.error}`),
    ...measured.filter(({ faults }) => faults).map((each) => `- ${where(each)}: ${each.faults}.`),
    ...(late.length ? [`- Did not keep up with the rate: ${late.map(where).join('; ')}.`] : []),
    ...(disturbed.length ? [`- Other programs kept more than half a core busy: ${disturbed.map(where).join('; ')}.`] : []),
  ]
  return lines.length ? ['### What went wrong', '', ...lines, ''] : []
}

function commands({ measured }) {
  return measured.filter(({ command }) => command).map(({ command }) => ['tidewire', ...command.map(quoted)].join(' '))
}

const quoted = (word) => (/^[\w./:=-]+$/.test(word) ? word : `'${word}'`)
const cell = (figures, text) => (!figures ? '' : figures.error ? 'failed' : text(figures))
const mark = ({ faults, disturbed, keptUp }) => (faults || disturbed || keptUp === false ? ' \\*' : '')
const ratio = (figures) => cell(figures, (each) => (each.timesFloor === undefined ? '' : each.timesFloor.toFixed(2) + mark(each)))
const rate = (figures) => cell(figures, ({ deliveriesPerSecond }) => count(round(deliveriesPerSecond, 3)))
const latency = (figures) => cell(figures, ({ p50Ms, p99Ms }) => `${ms(p50Ms)} / ${ms(p99Ms)}`)
const ms = (value) => (value < 10 ? value.toFixed(1) : count(Math.round(value)))
const plural = (number, noun) => `${number} ${noun}${Number(number) === 1 ? '' : 's'}`

export function count(number) {
  return Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, ',')
}

/** To so many digits that count. */
export function round(number, digits) {
  return Number(Number(number).toPrecision(digits))
}

function table(head, body) {
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...body.map(line)]
}

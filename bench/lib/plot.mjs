// The picture of the table: three panels beside each other, one line for each server and door. One
// file without references, with colours for a light and for a dark page.

import { count, round } from './page.mjs'

const LINE = 22
const TOP = 78
const LABELS = 292
const PANEL = 204
const GAP = 44
const BOTTOM = 46
const DOORS = { sse: 'SSE', ws: 'WS' }

const STYLE = `
  text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 13px } .soft { fill: #59636e; font-size: 11px } .ours { font-weight: 600 }
  .value { paint-order: stroke; stroke: #ffffff; stroke-width: 3px; stroke-linejoin: round } .value.ours { stroke: #f3f6f9; font-weight: 400 }
  .grid { stroke: #d1d9e0 } .floor { stroke: #59636e; stroke-dasharray: 3 3 } .band { fill: #f3f6f9 } .page { fill: #ffffff }
  .sse { fill: #0b66c3 } .ws { fill: #c2571a }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .soft { fill: #9198a1 } .grid { stroke: #3d444d } .floor { stroke: #9198a1 }
    .band { fill: #161c24 } .page { fill: #0d1117 } .value { stroke: #0d1117 } .value.ours { stroke: #161c24 } .sse { fill: #58a6ff } .ws { fill: #f0883e }
  }`

/** The SVG of the results. */
export function plot(results) {
  const lines = linesOf(results)
  const panels = panelsOf(lines, results.settings)
  const height = TOP + lines.length * LINE + BOTTOM
  const width = LABELS + panels.length * (PANEL + GAP)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="t">`,
    `<title id="t">CPU for a delivery, deliveries a second under backlog and memory of an idle connection, for each server</title>`,
    `<style>${STYLE}\n</style>`,
    `<rect class="page" width="${width}" height="${height}"/>`,
    ...lines.map(band(width)),
    ...lines.map(label),
    ...legend(height),
    ...panels.flatMap((panel, at) => draw(panel, LABELS + at * (PANEL + GAP), lines)),
    '</svg>',
    '',
  ].join('\n')
}

function linesOf({ peers, measured }) {
  return peers.flatMap(({ name, title, doors }) => doors.flatMap((door) => {
    const mine = measured.filter((each) => each.peer === name && each.transport === door && !each.error)
    if (!mine.length) return []
    const of = Object.fromEntries(mine.map((each) => [each.case, each]))
    return [{ name, title: title.replaceAll('`', ''), door, of, first: door === doors[0] }]
  }))
}

function panelsOf(lines, { rate, inFlight }) {
  return [
    panel(lines, `CPU for a delivery, × floor`, `steady, ${rate} events/s · less is better`, ({ steady }) => steady?.timesFloor, linear, (value) => round(value, 2), 1),
    panel(lines, 'Deliveries a second', `${inFlight} in flight, logarithmic · more is better`, ({ backlog }) => backlog?.deliveriesPerSecond, logarithmic, short),
    panel(lines, 'Bytes per idle connection', 'logarithmic · less is better', ({ idle }) => idle?.bytesPerConnection, logarithmic, short),
  ].filter(({ values }) => values.some((value) => value !== undefined))
}

function panel(lines, title, under, pick, scaleOf, text, reference) {
  const values = lines.map(({ of }) => pick(of))
  const known = values.filter((value) => value > 0)
  return { title, under, values, text, reference, ...scaleOf(known) }
}

/** From nought to above the largest. */
function linear(values) {
  const max = Math.max(1.2, ...values) * 1.15
  const step = max > 6 ? 2 : 1
  return { bars: true, ticks: upTo(max, step), at: (value) => value / max }
}

/** Whole powers of ten around the values. */
function logarithmic(values) {
  const low = Math.floor(Math.log10(Math.min(...values)))
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values) * 1.6)))
  const ticks = Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at))
  return { ticks, at: (value) => (Math.log10(value) - low) / (high - low) }
}

const upTo = (max, step) => Array.from({ length: Math.floor(max / step) + 1 }, (_, at) => at * step)
const ours = (name) => (name.startsWith('tidewire') ? ' ours' : '')
const middle = (at) => TOP + at * LINE + LINE / 2

const band = (width) => ({ name }, at) => (ours(name) ? `<rect class="band" x="0" y="${TOP + at * LINE}" width="${width}" height="${LINE}"/>` : '')

function label({ name, title, door, first }, at) {
  const y = middle(at) + 4
  return `${first ? `<text class="name${ours(name)}" x="14" y="${y}">${escape(title)}</text>` : ''}<text class="soft" x="${LABELS - 10}" y="${y}" text-anchor="end">${DOORS[door]}</text>`
}

function legend(height) {
  const y = height - 14
  return [
    `<circle class="sse" cx="20" cy="${y - 4}" r="5"/><text class="soft" x="30" y="${y}">Server-Sent Events</text>`,
    `<circle class="ws" cx="150" cy="${y - 4}" r="5"/><text class="soft" x="160" y="${y}">WebSocket</text>`,
  ]
}

function draw({ title, under, values, text, ticks, at, bars, reference }, x, lines) {
  const bottom = TOP + lines.length * LINE
  const to = (value) => (x + at(value) * PANEL).toFixed(1)
  return [
    `<text class="title" x="${x}" y="26">${title}</text><text class="soft" x="${x}" y="43">${under}</text>`,
    ...ticks.map((tick) => `<line class="grid" x1="${to(tick)}" x2="${to(tick)}" y1="${TOP - 6}" y2="${bottom}"/><text class="soft" x="${to(tick)}" y="${TOP - 12}" text-anchor="middle">${short(tick)}</text>`),
    ...(reference ? [`<line class="floor" x1="${to(reference)}" x2="${to(reference)}" y1="${TOP - 6}" y2="${bottom}"/><text class="soft" x="${to(reference)}" y="${bottom + 16}" text-anchor="middle">floor</text>`] : []),
    ...lines.map(({ name, door }, row) => value(values[row], { name, door }, middle(row), { x, to, text, bars })),
  ]
}

function value(figure, { name, door }, y, { x, to, text, bars }) {
  if (!(figure > 0)) return ''
  const end = to(figure)
  const shape = bars
    ? `<rect class="${door}" x="${x}" y="${y - 6}" width="${(end - x).toFixed(1)}" height="12" rx="2"/>`
    : `<circle class="${door}" cx="${end}" cy="${y}" r="5"/>`
  return `${shape}<text class="value${ours(name)}" x="${Number(end) + (bars ? 5 : 9)}" y="${y + 4}">${text(figure)}</text>`
}

/** 1,234,000 → 1.2M. */
function short(number) {
  if (number >= 1e6) return `${round(number / 1e6, 2)}M`
  if (number >= 1e4) return `${round(number / 1e3, 3)}k`
  return count(round(number, 3))
}

const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

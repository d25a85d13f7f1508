// docs/proxies.md as data: the snippets that it shows, and the table of what was measured.

import { readFileSync, writeFileSync } from 'node:fs'
import { expected } from './lab.mjs'
import { setups } from './setups.mjs'

const PAGE = new URL('../../docs/proxies.md', import.meta.url)
const BEGIN = '<!-- measured: `npm run table -w packages/proxy-lab` writes this table -->'
const END = '<!-- end of what was measured -->'

export const text = () => readFileSync(PAGE, 'utf8')

/** Every fenced block: its language, its body, and its name if a line `<!-- tested: NAME -->` stands before it. */
export function blocks(page = text()) {
  return [...page.matchAll(/(?:<!-- tested: ([\w-]+) -->\n)?^```([\w-]*)\n([^]*?)^```$/gm)].map(([, name, language, body]) => ({ name, language, body }))
}

/** The snippet of that name. */
export function snippet(name) {
  const found = blocks().filter((block) => block.name === name)
  if (found.length !== 1) throw new Error(`docs/proxies.md has ${found.length} blocks marked \`<!-- tested: ${name} -->\`, not one`)
  return found[0].body
}

/** The table as Markdown. */
export function table() {
  const rows = Object.entries(setups).map(([name, { title, forward }]) => {
    const { sse, sse_gzip, sse_resumed, socket, socket_plain, poll, post } = expected[name]
    const sockets = socket_plain === undefined ? socket : `${socket} (without CONNECT: ${socket_plain})`
    return [forward ? `${title}, forward` : title, sse, sse_gzip, sse_resumed, sockets, poll, post]
  })
  const head = ['Set-up', 'Event stream', 'the same, gzip allowed', 'the same, with a backlog', 'WebSocket', 'Long-poll', 'POST']
  const line = (cells) => `| ${cells.map(emphasised).join(' | ')} |`
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

const emphasised = (cell) => (Array.isArray(cell) ? cell.map(emphasised).join(' or ') : word(cell))
const word = (cell) => (/^(held|late|refused|lost)/.test(cell) ? `**${cell}**` : cell)

/** The page with the table as it should be. */
export function withTable(page = text()) {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`docs/proxies.md: the table stands between the lines\n${BEGIN}\n${END}`)
  return `${page.slice(0, from + BEGIN.length)}\n\n${table()}\n\n${page.slice(to)}`
}

export const write = () => writeFileSync(PAGE, withTable())

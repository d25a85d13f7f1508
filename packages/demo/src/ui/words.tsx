// Text that people or the assistant wrote, as elements: mentions, and the few marks of Markdown that
// an answer uses. Nothing is ever taken as HTML.

import { Fragment, type ReactNode } from 'react'
import type { Person } from '../things'

/** Plain text with its mentions. */
export function Mentions({ text, person }: { text: string; person: (id: string) => Person | undefined }) {
  return (
    <>
      {text.split(/(@[a-z]+)/g).map((part, n) => {
        const found = part.startsWith('@') ? person(part.slice(1)) : undefined
        return found ? <b key={n} className="mention">@{found.name.split(' ')[0]}</b> : <Fragment key={n}>{part}</Fragment>
      })}
    </>
  )
}

const inline = (text: string): ReactNode =>
  text.split(/(\*\*[^*]+\*\*|`[^`]+`)/g).map((part, n) => {
    if (/^\*\*.+\*\*$/.test(part)) return <strong key={n}>{part.slice(2, -2)}</strong>
    if (/^`.+`$/.test(part)) return <code key={n}>{part.slice(1, -1)}</code>
    return <Fragment key={n}>{part}</Fragment>
  })

/** Paragraphs, lists and headings; what is half written shows as it is. */
export function Prose({ text }: { text: string }) {
  const blocks: { kind: 'p' | 'ul' | 'ol' | 'h'; lines: string[] }[] = []
  for (const line of text.split('\n')) {
    const item = /^\s*(?:([-*•])|\d+[.)])\s+(.*)$/.exec(line)
    const kind = item ? (item[1] ? 'ul' : 'ol') : /^#{1,4} /.test(line) ? 'h' : 'p'
    const last = blocks[blocks.length - 1]
    if (!line.trim()) blocks.push({ kind: 'p', lines: [] })
    else if (last?.kind === kind && kind !== 'h') last.lines.push(item ? item[2]! : line)
    else blocks.push({ kind, lines: [item ? item[2]! : line.replace(/^#+ /, '')] })
  }
  return (
    <div className="prose">
      {blocks.filter(({ lines }) => lines.length).map(({ kind, lines }, n) => {
        if (kind === 'h') return <h4 key={n}>{inline(lines[0]!)}</h4>
        if (kind === 'p') return <p key={n}>{lines.map((line, m) => <Fragment key={m}>{m > 0 && <br />}{inline(line)}</Fragment>)}</p>
        const List = kind
        return <List key={n}>{lines.map((line, m) => <li key={m}>{inline(line)}</li>)}</List>
      })}
    </div>
  )
}

// The strip of figures over the board. It reads `stats/…`, of which the server keeps the newest value
// of each item: a reader that begins has them all at once, and needs no request of its own.

import type { CSSProperties } from 'react'
import { useValues } from '../adapter'
import { useApp } from '../context'
import type { Board, Count } from '../things'
import { Avatar } from '../ui/avatar'

export function Stats({ board }: { board: Board }) {
  const { people, person } = useApp()
  const counts = useValues<Count>(`stats/${board.id}`)

  const total = counts.get('total')
  if (total?.kind !== 'total') return <div className="stats" aria-busy="true"><span className="skeleton line" /></div>
  const all = total.open + total.done
  const part = all ? total.done / all : 0
  const loads = [...people.map(({ id }) => id), null].flatMap((id) => {
    const count = counts.get(`person.${id ?? '~nobody'}`)
    return count?.kind === 'person' && count.open ? [{ id, open: count.open }] : []
  })
  const most = Math.max(1, ...loads.map(({ open }) => open))
  return (
    <section className="stats" aria-label="Figures of this board">
      <div className="stats-total">
        <span className="progress" role="img" aria-label={`${Math.round(part * 100)} % done`} style={{ '--part': part } as CSSProperties} />
        <span><b>{total.done}</b> of {all} done</span>
      </div>
      <dl className="stats-columns">
        {board.columns.filter(({ done }) => !done).map((column) => {
          const count = counts.get(`column.${column.id}`)
          return <div key={column.id}><dt>{column.name}</dt><dd>{count?.kind === 'column' ? count.tasks : 0}</dd></div>
        })}
      </dl>
      <ul className="stats-people" aria-label="Open tasks by person">
        {loads.map(({ id, open }) => (
          <li key={id ?? 'nobody'} title={`${person(id)?.name ?? 'Nobody'}: ${open} open`} style={{ '--person': person(id)?.color, '--part': open / most } as CSSProperties}>
            <Avatar person={person(id)} size={20} quiet /><span className="bar" /><span className="figure">{open}</span><span className="hidden">open for {person(id)?.name ?? 'nobody'}</span>
          </li>
        ))}
      </ul>
    </section>
  )
}

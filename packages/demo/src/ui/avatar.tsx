// A person as initials on their colour. The name is there for those who can not see it.

import type { CSSProperties } from 'react'
import type { Person } from '../things'

interface Props { person: Person | undefined; size?: 16 | 20 | 24 | 28 | 40 | 48; quiet?: boolean; title?: string }

export function Avatar({ person, size = 24, quiet = false, title }: Props) {
  const name = title ?? person?.name ?? 'Nobody'
  return (
    <span className="avatar" data-size={size} data-nobody={person ? undefined : ''} style={{ '--person': person?.color } as CSSProperties} title={quiet ? undefined : name} role={quiet ? undefined : 'img'} aria-label={quiet ? undefined : name} aria-hidden={quiet || undefined}>
      {person?.initials ?? ''}
    </span>
  )
}

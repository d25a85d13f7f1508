// The icons: one stroke, one grid of 16, the colour of the text around them. Never the only label.

const paths = {
  plus: 'M8 3v10M3 8h10',
  close: 'm4 4 8 8m0-8-8 8',
  bell: 'M3.5 11.5h9c-.9-1-1.2-2.2-1.2-4.2a3.3 3.3 0 0 0-6.6 0c0 2-.3 3.2-1.2 4.2ZM6.7 13.6a1.4 1.4 0 0 0 2.6 0',
  chat: 'M2.5 4A1.5 1.5 0 0 1 4 2.5h8A1.5 1.5 0 0 1 13.5 4v5.5A1.5 1.5 0 0 1 12 11H7l-3 2.5V11a1.5 1.5 0 0 1-1.5-1.5Z',
  notes: 'M4 2.5h5.5l3 3v8H4ZM9.5 2.5v3h3M6 8h4.5M6 10.5h3',
  board: 'M2.5 3h3v10h-3ZM6.5 3h3v7h-3ZM10.5 3h3v8.5h-3Z',
  spark: 'M8 2.5c.5 3 2 4.8 5.5 5.5C10 8.700 8.500 10.500 8 13.500 7.500 10.500 6 8.700 2.500 8 6 7.300 7.500 5.500 8 2.500Z',
  gauge: 'M2.500 11a5.500 5.500 0 1 1 11 0M8 11l2.500-3.500M7.300 11h1.400',
  calendar: 'M3 4.200h10v9H3ZM3 6.800h10M5.800 2.800v2.600M10.200 2.800v2.600',
  comment: 'M3 4h10v6.500H7.500L5 12.800v-2.300H3Z',
  send: 'M8 13V3.500M4 7l4-3.800L12 7',
  stop: 'M5 5h6v6H5Z',
  check: 'm3.500 8.500 3 3 6-7',
  more: 'M3.800 8h.01M8 8h.01M12.200 8h.01',
  panel: 'M2.500 3.500h11v9h-11ZM9.700 3.500v9',
  trash: 'M3 4.500h10M6.300 4.200V3h3.400v1.200M4.500 4.800l.5 8.200h6l.5-8.200',
  search: 'M7 11.500a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9ZM10.300 10.300l3.200 3.200',
  window: 'M3 5.500V13h7.500M5.500 3H13v7.500H5.500Z',
  sun: 'M8 10.700a2.700 2.700 0 1 0 0-5.400 2.700 2.700 0 0 0 0 5.400ZM8 1.800v1.400M8 12.800v1.400M1.800 8h1.400M12.800 8h1.400M3.600 3.600l1 1M11.400 11.400l1 1M3.600 12.400l1-1M11.400 4.600l1-1',
  moon: 'M13 9.500A5.500 5.500 0 0 1 6.500 3a5.500 5.500 0 1 0 6.500 6.500Z',
  out: 'M6.500 3H3v10h3.500M6.500 8H13m-2.500-2.700L13 8l-2.500 2.700',
  arrow: 'm6 3.500 4.500 4.500L6 12.500',
  refresh: 'M13 8a5 5 0 1 1-1.500-3.600L13 6M13 2.800V6H9.800',
} as const

export type IconName = keyof typeof paths

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  )
}

/** The mark: three columns, one of them further. */
export function Mark({ size = 24 }: { size?: number }) {
  return (
    <svg className="mark" width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" />
      <rect className="mark-column" x="6.500" y="7.500" width="5" height="17" rx="1.800" />
      <rect className="mark-column" x="13.500" y="7.500" width="5" height="10" rx="1.800" />
      <rect className="mark-column" x="20.500" y="7.500" width="5" height="13.500" rx="1.800" />
    </svg>
  )
}

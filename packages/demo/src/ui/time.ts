// Days and times in words. Pure: now is an argument.

const DAY_MS = 86_400_000
const midnight = (at: Date): number => new Date(at.getFullYear(), at.getMonth(), at.getDate()).getTime()

export interface Due { words: string; tone: 'late' | 'soon' | 'later' }

/** A day as people say it, and whether it presses. */
export function dueWords(day: string, now: Date): Due {
  const [year = 0, month = 1, date = 1] = day.split('-').map(Number)
  const due = new Date(year, month - 1, date)
  const days = Math.round((due.getTime() - midnight(now)) / DAY_MS)
  const short = due.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', ...(due.getFullYear() !== now.getFullYear() && { year: 'numeric' }) })
  if (days < -1) return { words: short, tone: 'late' }
  if (days === -1) return { words: 'Yesterday', tone: 'late' }
  if (days === 0) return { words: 'Today', tone: 'soon' }
  if (days === 1) return { words: 'Tomorrow', tone: 'soon' }
  if (days < 7) return { words: due.toLocaleDateString('en-GB', { weekday: 'long' }), tone: 'later' }
  return { words: short, tone: 'later' }
}

export function dayWords(at: number, now: Date): string {
  const date = new Date(at)
  const days = Math.round((midnight(now) - midnight(date)) / DAY_MS)
  if (days === 0) return 'Today'
  if (days === 1) return 'Yesterday'
  return date.toLocaleDateString('en-GB', { weekday: 'long', day: 'numeric', month: 'long' })
}

export const clockWords = (at: number): string => new Date(at).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })
export const exactWords = (at: number): string => new Date(at).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })

export function agoWords(at: number, now: number): string {
  const seconds = Math.max(0, Math.round((now - at) / 1000))
  if (seconds < 60) return 'just now'
  const minutes = Math.round(seconds / 60)
  if (minutes < 60) return `${minutes} min ago`
  const hours = Math.round(minutes / 60)
  if (hours < 24) return `${hours} h ago`
  const days = Math.round(hours / 24)
  return days === 1 ? 'yesterday' : `${days} days ago`
}

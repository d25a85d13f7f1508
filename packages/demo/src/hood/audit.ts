// Asks the log what was there, and compares it with what this window heard: the other half of
// "nothing lost". Only for topics that are kept and given entry by entry.

import type { Live } from '@tidewire/client'
import type { App } from '../things'
import { compare, type Compared, type Tally } from './tally'

/** Features whose past is given as it was: `latest` gives the newest values, `text` joins parts. */
const WHOLE = ['board', 'chat', 'notifications']
/** What comes may be on its way while the log is asked. */
const GRACE_MS = 800
const PAGES_MAX = 5

export interface Audit extends Compared { topics: number; unasked: number; at: number }

export async function audit(live: Live<App>, tally: Tally): Promise<Audit> {
  const sum: Audit = { matched: 0, lost: 0, repeated: 0, unordered: 0, topics: 0, unasked: 0, at: Date.now() }
  const asked: [string, string[]][] = []
  for (const { topic, ids } of tally.topics.values()) {
    const first = ids[0]
    if (!WHOLE.includes(topic.split('/')[0]!) || !first) continue
    try {
      asked.push([topic, await logOf(live, topic, first)])
    } catch {
      sum.unasked++
    }
  }
  await new Promise((done) => setTimeout(done, GRACE_MS))
  for (const [topic, log] of asked) {
    const { ids, repeated } = tally.of(topic)
    const found = compare(ids, [ids[0]!, ...log])
    sum.topics++
    sum.matched += found.matched
    sum.lost += found.lost
    sum.unordered += found.unordered
    sum.repeated += Math.max(repeated, found.repeated)
  }
  return sum
}

async function logOf(live: Live<App>, topic: string, after: string): Promise<string[]> {
  const ids: string[] = []
  for (let page = 0; page < PAGES_MAX; page++) {
    const { entries, cursor, more } = await live.topic(topic as 'board/x').history({ after })
    ids.push(...entries.flatMap(({ id }) => id ?? []))
    if (!more) break
    after = cursor
  }
  return ids
}

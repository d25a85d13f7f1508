// One row for each feature: what carries it, why, and where it stands.

import type { Report, Transport } from '@tidewire/client'
import { useApp } from '../context'
import { transportSign, transportWords, verdictWords } from './words'

interface Planned { feature: string; transport: Transport; why: string; history?: string; keep?: string }

const WHAT: Record<string, string> = { notifications: 'the bell', board: 'the tasks', stats: 'the figures', answers: 'the assistant', chat: 'the team’s chat', pointers: 'mice and typing', docs: 'the notes' }

export function Features({ report }: { report: Report | undefined }) {
  const { tally } = useApp()
  const planned = ((report?.plan as { features?: Planned[] } | undefined)?.features ?? []).filter(({ feature }) => feature in WHAT).sort((a, b) => Object.keys(WHAT).indexOf(a.feature) - Object.keys(WHAT).indexOf(b.feature))
  return (
    <section aria-labelledby="hood-features">
      <h3 id="hood-features">How each feature travels</h3>
      {!planned.length && <p className="soft">The plan is not known yet.</p>}
      <ul className="features">
        {planned.map(({ feature, transport, why, keep, history }) => {
          const isOwn = feature === 'docs'
          const topics = report!.topics.filter(({ topic }) => topic.split('/')[0] === feature)
          const carried = topics.find((topic) => topic.transport)?.transport ?? undefined
          const now = carried ?? (isOwn ? 'ws' : undefined)
          const heard = [...tally.topics.values()].filter(({ topic }) => topic.split('/')[0] === feature)
          const sum = heard.reduce((all, one) => all + one.heard, 0)
          const last = topics.find(({ topic, after }) => /\./.test(after) && heard.some((one) => one.topic === topic))?.after ?? heard.find((one) => one.last)?.last
          return (
            <li key={feature}>
              <div className="feature-head">
                <span className="feature-dot" data-tone={carried ? 'good' : isOwn ? 'own' : 'idle'} role="img" aria-label={carried ? 'connected' : isOwn ? 'on a socket of its own' : topics.length ? 'waiting' : 'not in use'} />
                <b>{feature}</b><span className="soft">{WHAT[feature]}</span>
                <span className="transport" data-transport={now ?? transport} data-idle={now ? undefined : ''} title={transportWords(now ?? transport)}>{transportSign(now ?? transport)}</span>
              </div>
              <p className="feature-why">{why}{carried && carried !== transport ? `. Here it comes by ${transportWords(carried)} instead.` : ''}</p>
              <dl>
                <div><dt>last id</dt><dd><code>{isOwn || feature === 'pointers' ? 'none' : (last ?? '–')}</code></dd></div>
                <div><dt>heard</dt><dd>{isOwn ? 'by Yjs' : sum}</dd></div>
                <div><dt>kept</dt><dd>{keep && keep !== 'all' ? keep : (history ?? 'all')}</dd></div>
                <div><dt>network lets it through</dt><dd>{verdictWords(report!.path[now ?? transport] ?? 'unknown')}</dd></div>
              </dl>
            </li>
          )
        })}
      </ul>
    </section>
  )
}

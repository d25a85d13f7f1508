// Under the hood: how each feature travels, what was counted, and the buttons that hurt.

import { useEffect, useRef, useState, useSyncExternalStore } from 'react'
import { useApp } from '../context'
import { useLive, useStatus } from '../live'
import { Icon } from '../ui/icons'
import { exactWords } from '../ui/time'
import { type Audit, audit } from './audit'
import { Features } from './features'
import { hurt, type HurtName, type Run } from './hurts'
import { count, statusWords } from './words'
import type { Watch } from './watch'

interface Hurt { name: HurtName; label: string; does: string }

const HURTS: Hurt[] = [
  { name: 'cut', label: 'Cut', does: 'The server resets every connection of this window, in the middle of a byte.' },
  { name: 'buffer', label: 'Buffer my event stream', does: 'Puts a network in between that holds event streams back and says nothing.' },
  { name: 'restart', label: 'Restart the server', does: 'It drains, closes its log, and starts anew. For everybody.' },
  { name: 'sleep', label: 'Close the lid', does: 'Connections die, timers stand still for 24 s, then the clock jumps.' },
  { name: 'background', label: 'Go to the background', does: 'What a phone does to a page, for 10 s: put away, then shown again.' },
  { name: 'chat', label: 'Move chat', does: 'Changes the answer to question 1 in the server’s config, while people write.' },
]

export function Hood({ board, watch, canHurt, onClose }: { board: string; watch: Watch; canHurt: boolean; onClose: () => void }) {
  const { log, tally, tap, announce } = useApp()
  const live = useLive()
  const status = useStatus()
  const report = useSyncExternalStore(watch.subscribe, watch.report)
  const [runs, setRuns] = useState<ReadonlyMap<HurtName, Run>>(new Map())
  const [checked, setChecked] = useState<Audit>()
  const [isChecking, setChecking] = useState(false)
  const running = [...runs.values()].find(({ phase }) => phase !== 'done' && phase !== 'failed')
  const plan = report?.plan as { features?: { feature: string; transport: 'sse' | 'ws' }[] } | undefined
  const chatTransport = plan?.features?.find(({ feature }) => feature === 'chat')?.transport ?? 'ws'

  const begin = (name: HurtName): void => {
    void hurt(name, { live, tap, tally, log, board, chatTransport: () => chatTransport }, (run) => {
      setRuns((had) => new Map(had).set(name === 'unbuffer' ? 'buffer' : name, run))
      if (run.audit) setChecked(run.audit)
      if (run.phase === 'done') announce('Done. The count is in the panel.')
    })
  }
  const check = async (): Promise<void> => {
    setChecking(true)
    setChecked(await audit(live, tally))
    setChecking(false)
  }

  return (
    <aside className="hood" aria-label="Under the hood">
      <header className="sheet-head"><Icon name="gauge" /><h2>Under the hood</h2><button type="button" className="button icon-only quiet" aria-label="Close the panel under the hood" onClick={onClose}><Icon name="close" /></button></header>
      <div className="hood-body" tabIndex={0} role="region" aria-label="Connections">
        <Totals checked={checked} isChecking={isChecking} check={() => void check()} said={statusWords(status)} isOpen={status.state === 'open'} />
        <section aria-labelledby="hood-hurts">
          <h3 id="hood-hurts">Buttons that hurt</h3>
          {!canHurt && <p className="soft">This server does not let itself be hurt.</p>}
          <ul className="hurts">
            {HURTS.map(({ name, label, does }) => {
              const isBuffered = name === 'buffer' && tap.relay !== undefined
              const run = runs.get(name)
              const isOurs = run !== undefined && run === running
              return (
                <li key={name} data-running={isOurs || undefined}>
                  <div><h4>{name === 'chat' ? `Move chat to ${chatTransport === 'ws' ? 'an event stream' : 'WebSocket'}` : isBuffered ? 'Stop buffering' : label}</h4><p>{isBuffered ? 'The relay is in between now. Takes it away, as another network would.' : does}</p></div>
                  <button type="button" className="button small" disabled={!canHurt || Boolean(running)} aria-label={isBuffered ? 'Stop buffering' : label} onClick={() => begin(isBuffered ? 'unbuffer' : name)}>{isOurs ? '…' : isBuffered ? 'Undo' : 'Do it'}</button>
                  {run && <Outcome run={run} />}
                </li>
              )
            })}
          </ul>
        </section>
        <Features report={report} />
        <Happenings />
      </div>
    </aside>
  )
}

function Totals({ checked, isChecking, check, said, isOpen }: { checked: Audit | undefined; isChecking: boolean; check: () => void; said: string; isOpen: boolean }) {
  const { tally } = useApp()
  useTick(500)
  let heard = 0
  let repeated = 0
  let gaps = 0
  for (const topic of tally.topics.values()) {
    heard += topic.heard
    repeated += topic.repeated
    gaps += topic.gaps
  }
  return (
    <section className="totals" aria-label="Counted by this page">
      <p className="totals-said" data-tone={isOpen ? 'good' : 'wait'}>{said}</p>
      <dl>
        <div><dt>heard</dt><dd>{heard}</dd></div>
        <div data-tone={checked?.lost ? 'bad' : undefined}><dt>lost</dt><dd>{checked ? checked.lost : '?'}</dd></div>
        <div data-tone={repeated ? 'bad' : undefined}><dt>repeated</dt><dd>{repeated}</dd></div>
        <div><dt>gaps told</dt><dd>{gaps}</dd></div>
      </dl>
      <p className="totals-check">
        {checked ? <>Checked at {exactWords(checked.at)}: the log has {count(checked.matched + checked.lost, 'entry', 'entries')} of {count(checked.topics, 'topic')} since this window began to listen, {checked.matched} of them came{checked.unordered ? `, ${checked.unordered} out of order` : ''}.{checked.unasked ? ` ${count(checked.unasked, 'topic')} could not be asked.` : ''}</> : 'Only the log knows what is missing. Ask it.'}
        <button type="button" className="button small" disabled={isChecking} onClick={check}><Icon name="refresh" size={14} />{isChecking ? 'Asking…' : 'Compare with the log'}</button>
      </p>
      <details><summary>What this page can not know</summary><p>Pointers and typing have no place in the log: at most once, nobody counts them. Of <code>stats</code> a late reader gets the newest values only, of <code>answers</code> joined text: ids prove less there. The notes are merged by Yjs, which has no ids to count.</p></details>
    </section>
  )
}

function Outcome({ run }: { run: Run }) {
  const { lines, audit: found, phase, what, error, tookMs } = run
  const isOver = phase === 'done'
  return (
    <div className="outcome" data-phase={phase} role={isOver || error ? 'status' : undefined}>
      {what && <p>{what}</p>}
      {error && <p data-tone="bad">{error}</p>}
      {lines?.map(({ feature, sent, heard, lost, repeated, waiting, silenceMs }) => (
        <p key={feature} className="outcome-line">
          <b>{feature}</b>
          {isOver
            ? <span><span className="verdict" data-tone={lost + repeated ? 'bad' : 'good'}>{lost} lost, {repeated} repeated</span> of {sent}; longest silence {(silenceMs / 1000).toFixed(1)} s{waiting ? `; ${waiting} without an answer` : ''}</span>
            : <span>{sent} acknowledged, {heard} came{waiting ? `, ${waiting} on the way` : ''}</span>}
        </p>
      ))}
      {isOver && found && <p className="outcome-line"><b>log</b><span><span className="verdict" data-tone={found.lost + found.repeated ? 'bad' : 'good'}>{found.lost} lost, {found.repeated} repeated</span> of {count(found.matched + found.lost, 'real entry', 'real entries')}; whole again after {((tookMs ?? 0) / 1000).toFixed(1)} s</span></p>}
    </div>
  )
}

function Happenings() {
  const { log } = useApp()
  const lines = useSyncExternalStore(log.subscribe, log.lines)
  return (
    <section aria-labelledby="hood-log">
      <h3 id="hood-log">What happened</h3>
      {!lines.length && <p className="soft">Nothing yet.</p>}
      <ol className="happenings">{[...lines].reverse().map(({ n, at, kind, text }) => <li key={n} data-kind={kind}><time dateTime={new Date(at).toISOString()}>{exactWords(at)}</time><span>{text}</span></li>)}</ol>
    </section>
  )
}

function useTick(ms: number): void {
  const [, tick] = useState(0)
  const timer = useRef<ReturnType<typeof setInterval>>(undefined)
  useEffect(() => {
    timer.current = setInterval(() => tick((n) => n + 1), ms)
    return () => clearInterval(timer.current)
  }, [ms])
}

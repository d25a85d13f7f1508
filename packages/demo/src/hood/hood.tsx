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
  { name: 'buffer', label: 'Buffer my event stream', does: 'Joins a network that holds event streams back without a word.' },
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
    <section className="hood" aria-label="Under the hood">
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
                  <div><h4>{name === 'chat' ? `Move chat to ${chatTransport === 'ws' ? 'an event stream' : 'WebSocket'}` : isBuffered ? 'Stop buffering' : label}</h4><p>{isBuffered ? 'Goes back to a network that lets everything through.' : does}</p></div>
                  <button type="button" className="button small" disabled={!canHurt || Boolean(running)} aria-label={isOurs ? undefined : isBuffered ? 'Undo: stop buffering' : `Do it: ${label}`} onClick={() => begin(isBuffered ? 'unbuffer' : name)}>{isOurs ? '…' : isBuffered ? 'Undo' : 'Do it'}</button>
                  {run && <Outcome run={run} />}
                </li>
              )
            })}
          </ul>
        </section>
        <Features report={report} />
        <Happenings />
      </div>
    </section>
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
      <details><summary>How it is counted, and what can not be known</summary><p>While something hurts, this window sends numbered messages to itself: <code>answers</code> is to carry them by event stream, <code>chat</code> by WebSocket. “The app” are the entries of the board, the chat and the bell that came since this window was opened, beside what the log says.</p><p>Pointers and typing have no place in the log: at most once, nobody counts them. Of <code>stats</code> a late reader gets the newest values only, of <code>answers</code> joined text: ids prove less there. The notes are merged by Yjs, which has no ids to count.</p></details>
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
      {lines && (
        <table>
          <thead><tr><th scope="col"><span className="hidden">What was counted</span></th><th scope="col">sent</th><th scope="col">came</th><th scope="col">lost</th><th scope="col">twice</th><th scope="col">silence</th></tr></thead>
          <tbody>
            {lines.map((line) => <Row key={line.feature} name={line.feature} sent={line.sent} came={line.heard} lost={isOver ? line.lost : undefined} twice={line.repeated} silence={`${(line.silenceMs / 1000).toFixed(1)} s`} />)}
            {isOver && found && <Row name="the app" sent={found.matched + found.lost} came={found.matched} lost={found.lost} twice={found.repeated} silence="" />}
          </tbody>
        </table>
      )}
      {isOver && <p>Whole again after {((tookMs ?? 0) / 1000).toFixed(1)} s. {lines?.some(({ waiting }) => waiting) ? 'Of some numbers nobody knows whether they were stored: they are not counted. ' : ''}</p>}
    </div>
  )
}

function Row({ name, sent, came, lost, twice, silence }: { name: string; sent: number; came: number; lost: number | undefined; twice: number; silence: string }) {
  const toneOf = (n: number | undefined): string | undefined => (n === undefined ? undefined : n ? 'bad' : 'good')
  return <tr><th scope="row">{name}</th><td>{sent}</td><td>{came}</td><td data-tone={toneOf(lost)}>{lost ?? '…'}</td><td data-tone={toneOf(lost === undefined ? undefined : twice)}>{twice}</td><td>{silence}</td></tr>
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

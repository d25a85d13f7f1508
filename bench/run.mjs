// Tidewire and its peers on the same work, one after another: `make bench-peers`.
//
//   node bench/run.mjs [--seconds 3] [--rounds 1] [--only nchan,bun] [--cases flood,idle] …
//
// It installs what is missing, starts one server at a time on the loopback, measures it with
// `tidewire bench` (which measures the floor before and after each run), stops it, and writes
// bench/results/peers.json, the measured section of docs/performance.md and docs/performance.svg.

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { join, relative } from 'node:path'
import { parseArgs } from 'node:util'

import { cargoBinary, HERE, ROOT } from './lib/install.mjs'
import { cases, measure } from './lib/measure.mjs'
import { count, write } from './lib/page.mjs'
import { PEERS } from './lib/peers.mjs'
import { plot } from './lib/plot.mjs'
import { filesMax, start } from './lib/process.mjs'

/** Files that a server opens beside its connections. */
const FILES_BESIDE = 500

const { values: asked } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '1' },
    subscribers: { type: 'string', default: '10000' },
    idle: { type: 'string', default: '10000' },
    bytes: { type: 'string', default: '200' },
    'in-flight': { type: 'string', default: '16' },
    rate: { type: 'string', default: '5' },
    only: { type: 'string', default: PEERS.map(({ name }) => name).join() },
    doors: { type: 'string', default: 'sse,ws' },
    cases: { type: 'string', default: 'steady,flood,backlog,idle' },
    again: { type: 'string', default: '1' },
    'page-only': { type: 'boolean', default: false },
    'no-page': { type: 'boolean', default: false },
  },
})

/** A trial leaves the published figures alone. */
const file = join(HERE, 'results', asked['no-page'] ? 'trial.json' : 'peers.json')
const results = asked['page-only'] ? JSON.parse(readFileSync(file, 'utf8')) : await measureAll()
if (!asked['no-page']) {
  write(join(ROOT, 'docs/performance.md'), results)
  writeFileSync(join(ROOT, 'docs/performance.svg'), plot(results))
  console.log('Written: docs/performance.md, docs/performance.svg.')
}
if (results.measured.some(({ error }) => error)) process.exitCode = 1

async function measureAll() {
  const began = Date.now()
  const settings = settingsOf(asked)
  const tool = builtTool()
  const version = `Tidewire ${run(tool, ['--version']).trim().split(' ').pop()}, ${run('git', ['describe', '--always', '--dirty'], ROOT).trim()}`
  const { ready, skipped } = installed(version)
  const folder = mkdtempSync(join(tmpdir(), 'tidewire-peers-'))
  const measured = []
  try {
    for (const peer of ready) measured.push(...await measurePeer(peer, tool, settings, join(folder, peer.name)))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  const peers = ready.map(({ name, title, doors, installed: { version } }) => ({ name, title, version, doors: Object.keys(doors) }))
  const results = { date: new Date().toISOString(), took: Math.round((Date.now() - began) / 1_000), machine: machine(), settings, peers, skipped, measured }
  mkdirSync(join(HERE, 'results'), { recursive: true })
  writeFileSync(file, lines(results))
  console.log(`Written: ${relative(ROOT, file)}, after ${results.took} s.`)
  return results
}

/** JSON with a line for each measurement, so that two runs can be compared by `git diff`. */
function lines({ measured, ...rest }) {
  const head = JSON.stringify(rest, null, 1).replace(/\n}$/, '')
  return `${head},\n "measured": [\n  ${measured.map((each) => JSON.stringify(each)).join(',\n  ')}\n ]\n}\n`
}

function settingsOf({ seconds, rounds, subscribers, idle, bytes, 'in-flight': inFlight, rate }) {
  const room = filesMax() - FILES_BESIDE
  const bounded = (name, wanted) => {
    if (Number(wanted) > room) console.log(`${name}: ${wanted} needs more open files than this machine allows; taking ${room}.`)
    return Math.min(Number(wanted), room)
  }
  return {
    seconds: Number(seconds), rounds: Number(rounds), bytes: Number(bytes), inFlight: Number(inFlight), rate: Number(rate),
    subscribers: bounded('--subscribers', subscribers), idle: bounded('--idle', idle),
  }
}

function builtTool() {
  console.log('Building tidewire.')
  run(join(ROOT, 'scripts/install-build-needs.sh'), [], ROOT)
  return cargoBinary('..', 'tidewire').binary
}

/** Installs all the peers first, so that no build runs beside a measurement. */
function installed(version) {
  const wanted = PEERS.filter(({ name }) => asked.only.split(',').includes(name))
  const ready = [], skipped = []
  for (const peer of wanted) {
    try {
      ready.push({ ...peer, installed: peer.install({ version }) })
    } catch (error) {
      console.error(`${peer.name} can not be installed: ${error.message}`)
      skipped.push({ title: peer.title, why: 'it could not be installed.' })
    }
  }
  return { ready, skipped }
}

/** Every door and case of a peer; one that ran beside other work is thrown away and measured again. */
async function measurePeer(peer, tool, settings, folder) {
  const measured = []
  for (const transport of asked.doors.split(',').filter((each) => peer.doors[each])) {
    const all = cases(settings)
    for (const name of asked.cases.split(',')) {
      const what = { peer: peer.name, transport, case: name }
      const once = () => fresh(peer, tool, folder, (running) => measure(tool, all[name], transport, peer.doors[transport], running))
      let figures = await once()
      for (let left = Number(asked.again); figures.disturbed && left > 0; left -= 1) figures = await once()
      measured.push({ ...what, ...figures })
      say(measured.at(-1))
    }
  }
  return measured
}

/** Runs something against a newly started peer; a failure is a result too. */
async function fresh(peer, tool, folder, work) {
  let running
  try {
    const how = await peer.start({ tidewire: tool, folder, installed: peer.installed })
    running = await start({ cwd: join(HERE, peer.name.replace(/-.*/, '')), ...how }, folder)
    return await work(running)
  } catch (error) {
    return { error: (error.stderr || error.message).trim().split('\n').at(-1) }
  } finally {
    await running?.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

function say({ peer, transport, case: of, error, timesFloor, cpuUs, deliveriesPerSecond, p50Ms, p99Ms, bytesPerConnection, connectsPerSecond, faults, keptUp, disturbed }) {
  const parts = [
    error && `FAILED: ${error}`,
    timesFloor !== undefined && `${timesFloor.toFixed(2)} × floor (${cpuUs.toFixed(2)} µs)`,
    deliveriesPerSecond !== undefined && `${count(deliveriesPerSecond)} deliveries/s`,
    p50Ms !== undefined && `p50 ${p50Ms.toFixed(1)} p99 ${p99Ms.toFixed(1)} ms`,
    bytesPerConnection !== undefined && `${count(bytesPerConnection)} bytes/connection`,
    connectsPerSecond !== undefined && `${count(connectsPerSecond)} connects/s`,
    faults,
    keptUp === false && 'did not keep up',
    disturbed && 'disturbed by other programs',
  ]
  console.log(`${peer.padEnd(14)} ${transport.padEnd(4)} ${of.padEnd(8)} ${parts.filter(Boolean).join(' · ')}`)
}

function machine() {
  const gib = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} cores (${cpus()[0].model.trim()}), ${gib} GiB, Linux ${release().match(/^\d+\.\d+/)}`
}

function run(command, args, cwd) {
  return execFileSync(command, args, { cwd, encoding: 'utf8' })
}

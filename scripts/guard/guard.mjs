// Counts the instructions of the hot paths and compares them with the baseline: `make guard`.
//
//   node scripts/guard/guard.mjs             compares; ends with 1 if something costs more
//   node scripts/guard/guard.mjs --update    makes what is counted now the baseline
//   node scripts/guard/guard.mjs … NAME      only cases with this in their name
//
// It builds the tests of the `tidewire` crate with the profile `guard` and runs the ignored ones
// whose path has `guard` in it, each in a process of its own under callgrind, which counts only while
// `tidewire::guard::counted` runs. What the cases are stands in `crates/tidewire/src/guard.rs`; what
// is said about counts, in `compare.mjs`. The profile of each case stays beside the binary, for
// `callgrind_annotate`.

import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { compare, perOperation, table } from './compare.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const BASELINE = join(ROOT, 'scripts/guard/baseline.json')
const CASE_MS_MAX = 180_000
// Somebody's own flags, for another kind of processor say, would count something else.
const ENVIRONMENT = { ...process.env, RUSTFLAGS: '', CARGO_ENCODED_RUSTFLAGS: '' }

const isUpdate = process.argv.includes('--update')
const only = process.argv.slice(2).find((word) => !word.startsWith('--')) ?? ''

const tell = (...command) => execFileSync(command[0], command.slice(1), { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'inherit'], env: ENVIRONMENT }).trim()
/** As `tell`, but the error of a command that fails is only that it failed: it has said why itself. */
const attempt = (...command) => {
  try { return tell(...command) } catch (error) { return fail(`${command[0]} ended with ${error.status ?? error.code}`) }
}

function fail(message) {
  console.error(`guard: ${message}`)
  process.exit(1)
}

/** What changes counts without a change of ours. */
function conditions() {
  const rustc = tell('rustc', '-vV')
  const of = (key) => new RegExp(`^${key}: (.*)$`, 'm').exec(rustc)?.[1] ?? 'unknown'
  return { rustc: `${of('release')} (${of('commit-hash').slice(0, 9)})`, target: of('host'), libc: tell('getconf', 'GNU_LIBC_VERSION') }
}

function build() {
  const messages = attempt('cargo', 'test', '--locked', '--profile', 'guard', '--package', 'tidewire', '--lib', '--no-run', '--message-format', 'json-render-diagnostics')
  const made = messages.split('\n').map((line) => JSON.parse(line)).filter(({ executable, profile }) => executable && profile.test)
  if (made.length !== 1) fail(`cargo made ${made.length} test binaries, not one`)
  return made[0].executable
}

function casesOf(binary) {
  const tests = tell(binary, '--list', '--ignored', '--format', 'terse').split('\n')
  return tests.map((line) => line.replace(/: test$/, '')).filter((test) => /(^|::)guard::/.test(test) && nameOf(test).includes(only))
}

function nameOf(test) {
  return test.replace(/(^|::)guard::/, '$1').replaceAll('::', ' ')
}

async function countOf(binary, folder, test) {
  const profile = join(folder, `${nameOf(test).replaceAll(' ', '.')}.out`)
  const callgrind = ['--tool=callgrind', '--toggle-collect=tidewire::guard::counted*', `--callgrind-out-file=${profile}`]
  const harness = ['--exact', test, '--ignored', '--nocapture', '--test-threads=1']
  const run = promisify(execFile)('valgrind', [...callgrind, binary, ...harness], { timeout: CASE_MS_MAX, env: ENVIRONMENT, maxBuffer: 1 << 24 })
  const { stdout } = await run.catch(({ stdout, stderr, message }) => fail(`${test}: ${message}\n${stdout}${stderr}`))
  return perOperation(readFileSync(profile, 'utf8'), stdout) ?? fail(`${test} ran and counted nothing: is \`counted\` still what it calls?`)
}

async function countAll(binary) {
  const folder = join(dirname(binary), '../counts')
  mkdirSync(folder, { recursive: true })
  const [waiting, counts] = [casesOf(binary), {}]
  const work = async () => {
    for (let test = waiting.pop(); test; test = waiting.pop()) counts[nameOf(test)] = await countOf(binary, folder, test)
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work))
  console.log(`guard: profiles are in ${relative(ROOT, folder)}/, for callgrind_annotate`)
  return Object.fromEntries(Object.entries(counts).sort())
}

try {
  tell('valgrind', '--version')
} catch {
  fail('valgrind is not there: `make needs` installs it')
}
const counted = { madeWith: conditions(), cases: await countAll(build()) }
const baseline = JSON.parse(readFileSync(BASELINE, 'utf8'))
if (only) baseline.cases = Object.fromEntries(Object.entries(baseline.cases).filter(([name]) => name.includes(only)))
const { rows, failed, words } = compare(baseline, counted)
console.log(table(rows))
if (isUpdate) {
  if (only) fail('a baseline is made of all cases')
  writeFileSync(BASELINE, `${JSON.stringify({ ...baseline, ...counted }, undefined, 2)}\n`)
  console.log(`guard: ${relative(ROOT, BASELINE)} says so now`)
} else {
  words.forEach((line) => console.error(`guard: ${line}`))
  console.log(failed.length === 0 ? `guard: ${rows.length} cases` : `guard: ${failed.length} of ${rows.length} cases failed`)
  process.exitCode = failed.length === 0 ? 0 : 1
}

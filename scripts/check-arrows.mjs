// The rules of the house that a machine can check: which crate may know which, what the pure middle
// must not know, how long a file may be, and that the tables in the code stand in the docs.
//
//   node scripts/check-arrows.mjs
//
// It reads `cargo metadata` and the files, and has no dependencies. It ends with 1 and one line for
// each broken rule.

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const LINES_MAX = 600

// proto ← core ← {disk, docs} ← tidewire ← demo ← cli, and proto ← client ← cli. There are no others. A crate's
// tests may use itself with other features, and nothing else that it could not use anyway.
const ARROWS = {
  'tidewire-proto': [],
  'tidewire-core': ['tidewire-proto'],
  'tidewire-disk': ['tidewire-proto', 'tidewire-core'],
  'tidewire-docs': ['tidewire-proto', 'tidewire-core'],
  tidewire: ['tidewire-proto', 'tidewire-core', 'tidewire-disk', 'tidewire-docs'],
  'tidewire-client': ['tidewire-proto'],
  'tidewire-demo': ['tidewire'],
  'tidewire-cli': ['tidewire', 'tidewire-demo', 'tidewire-client', 'tidewire-proto'],
}

// `proto` and `core` know no HTTP, no sockets, no files and no broker; `proto` not even a runtime.
const OUTSIDE = /^(hyper|http|axum|tower|reqwest|h2|h3|quinn|tungstenite|tokio-tungstenite|async-nats|nats|redis|fred|rustls|tokio-rustls|native-tls|openssl|socket2|mio|rustix|nix|libc|tempfile|memmap2)(-|$)/
const RUNTIME = /^(tokio|async-|futures|smol)/
const PURE = {
  'tidewire-proto': (name) => OUTSIDE.test(name) || RUNTIME.test(name),
  'tidewire-core': (name) => OUTSIDE.test(name),
  'tidewire-docs': (name) => OUTSIDE.test(name),
}
const IO_IN_SOURCE = /\b(?:std|tokio)::(?:fs|net|process)\b|\btokio::(?:io|signal)\b/

const broken = []
const check = (holds, message) => { if (!holds) broken.push(message) }
const read = (path) => readFileSync(join(ROOT, path), 'utf8')

const { packages } = JSON.parse(execFileSync('cargo', ['metadata', '--format-version', '1', '--no-deps'], { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 26 }))
const ours = new Set(packages.map(({ name }) => name))

for (const { name, dependencies } of packages) {
  const allowed = ARROWS[name]
  check(allowed, `${name}: a crate without arrows; a new crate only where the set of dependencies changes, and then name it in ARROWS`)
  for (const { name: used, kind } of dependencies) {
    const toItself = used === name && kind === 'dev'
    if (ours.has(used) && !toItself) check(allowed?.includes(used), `${name} → ${used} is not an arrow of this house${kind ? ` (${kind} dependency)` : ''}`)
    if (kind === 'dev') continue
    check(!PURE[name]?.(used), `${name} must not depend on ${used}: it does no I/O`)
  }
}

for (const path of rustFiles('crates')) {
  const text = read(path)
  const lines = text.split('\n')
  const first = lines.find((line) => line.trim() && !line.startsWith('#!'))
  check(first?.startsWith('//!'), `${path}: opens with //! (what it is, what it must not know, its invariant)`)

  const tail = lines.findIndex((line, n) => line === '#[cfg(test)]' && /^mod tests\b/.test(lines[n + 1] ?? ''))
  const own = tail === -1 ? lines.length - 1 : tail
  check(own <= LINES_MAX, `${path}: ${own} lines without its tests, ${LINES_MAX} at most: split it`)

  if (/^crates\/tidewire-(proto|core|docs)\/src\//.test(path)) {
    for (const [n, line] of lines.slice(0, own).entries()) {
      if (!/^\s*\/\//.test(line)) check(!IO_IN_SOURCE.test(line), `${path}:${n + 1}: no I/O here: ${line.trim()}`)
    }
  }
}

inDocs('code', words('crates/tidewire-proto/src/code.rs', /^codes! \{\n([^]*?)^\}/m, /^\s*\w+ "(\w+)" \d+ \d+ /gm), ['docs/protocol.md'])
inDocs('limit', words('crates/tidewire-core/src/limits.rs', /^pub struct Limits \{\n([^]*?)^\}/m, /^\s*pub (\w+):/gm), ['docs/guide/limits.md', 'docs/guide/configuration.md', 'docs/guide/config.md'])

/** The words of a table in the code. None found means that this script no longer understands it. */
function words(path, table, row) {
  const body = table.exec(read(path))?.[1] ?? ''
  const found = [...body.matchAll(row)].map(([, word]) => word)
  check(found.length > 0, `${path}: its table is not where scripts/check-arrows.mjs looks for it`)
  return found
}

/** Each word stands in backticks in one of the pages. */
function inDocs(what, wanted, pages) {
  const there = pages.filter((page) => existsSync(join(ROOT, page)))
  if (there.length === 0) return check(false, `${pages[0]} is missing: it must name each ${what} (${wanted.length} of them)`)
  const text = there.map(read).join('\n')
  const missing = wanted.filter((word) => !text.includes(`\`${word}\``))
  check(missing.length === 0, `${there.join(', ')}: no row for the ${what} ${missing.map((word) => `\`${word}\``).join(', ')}`)
}

function rustFiles(folder) {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.rs'))
    .map((entry) => relative(ROOT, join(entry.parentPath ?? entry.path, entry.name)).replaceAll('\\', '/'))
    .filter((path) => !path.includes('/target/'))
    .sort()
}

for (const message of broken) console.error(`broken: ${message}`)
console.log(broken.length === 0 ? `arrows: ${packages.length} crates keep the rules of the house` : `arrows: ${broken.length} broken`)
process.exitCode = broken.length === 0 ? 0 : 1

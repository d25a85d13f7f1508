// Builds dist/: the pages of Workboard, as the server embeds them. With --check it builds aside and
// says whether dist/ is the build of the sources; dist/ is checked in, so that `cargo build` needs no Node.
//
// Same sources, same bytes: names under assets/ carry the hash of what is in them, and nothing else varies.

import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const folder = fileURLToPath(new URL('..', import.meta.url))
const dist = join(folder, 'dist')
/** All that a page loads in its life, gzipped; and what it loads before it shows. */
const BYTES_MAX = 250 * 1024
const FIRST_BYTES_MAX = 130 * 1024

const { outputFiles, metafile } = await build({
  absWorkingDir: folder, entryPoints: { app: 'src/main.tsx', style: 'src/styles/index.css' }, outdir: 'dist/assets', metafile: true, write: false,
  bundle: true, splitting: true, format: 'esm', target: ['es2022', 'chrome120', 'firefox121', 'safari17'], jsx: 'automatic', minify: true, legalComments: 'none', charset: 'utf8',
  entryNames: '[name]-[hash]', chunkNames: '[name]-[hash]',
  alias: { '@tidewire/client': join(folder, '../client/src/index.ts'), '@tidewire/react': join(folder, '../react/src/index.ts') },
  define: { 'process.env.NODE_ENV': '"production"' },
})

const files = new Map(outputFiles.map(({ path, contents }) => [path.slice(dist.length + 1), Buffer.from(contents)]))
const named = (pattern) => [...files.keys()].find((name) => pattern.test(name))
for (const name of readdirSync(join(folder, 'public'))) files.set(name, readFileSync(join(folder, 'public', name)))
const page = readFileSync(join(folder, 'src/index.html'), 'utf8').replace('{script}', `/${named(/^assets\/app-.*\.js$/)}`).replace('{style}', `/${named(/^assets\/style-.*\.css$/)}`)
files.set('index.html', Buffer.from(page))

if (process.argv.includes('--check')) {
  const there = new Map(readdirSync(dist, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => {
    const path = join(entry.parentPath, entry.name)
    return [path.slice(dist.length + 1), readFileSync(path)]
  }))
  const wrong = [
    ...[...files].filter(([name, bytes]) => !there.get(name)?.equals(bytes)).map(([name]) => `${name}: ${there.has(name) ? 'differs' : 'is missing'}`),
    ...[...there.keys()].filter((name) => !files.has(name)).map((name) => `${name}: belongs to no source`),
  ]
  if (wrong.length) {
    console.error(`packages/demo/dist is not the build of packages/demo/src:\n  ${wrong.join('\n  ')}\nRun: npm run build --workspace packages/demo, and commit dist/.`)
    process.exit(1)
  }
  console.log('packages/demo/dist is the build of its sources')
} else {
  rmSync(dist, { recursive: true, force: true })
  for (const [name, bytes] of files) {
    mkdirSync(dirname(join(dist, name)), { recursive: true })
    writeFileSync(join(dist, name), bytes)
  }
}

const zipped = (names) => [...names].reduce((sum, name) => sum + gzipSync(files.get(name), { level: 9 }).length, 0)
const first = new Set(['index.html', named(/^assets\/style-/)])
const load = (name) => {
  if (first.has(name)) return
  first.add(name)
  for (const { path, kind } of metafile.outputs[`dist/${name}`].imports) if (kind === 'import-statement') load(path.slice('dist/'.length))
}
load(named(/^assets\/app-.*\.js$/))
const [all, early] = [zipped(files.keys()), zipped(first)]
console.log(`Workboard: ${all} bytes gzipped in all (bound ${BYTES_MAX}), ${early} of them before it shows (bound ${FIRST_BYTES_MAX}); ${createHash('sha256').update([...files.keys()].sort().join()).digest('hex').slice(0, 8)}`)
if (all > BYTES_MAX || early > FIRST_BYTES_MAX) {
  console.error('Workboard is over its bound')
  process.exit(1)
}

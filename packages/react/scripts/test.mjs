// Checks the types, then runs the tests on each React that the package works with: the one in
// devDependencies and the oldest, which packages/react-18 brings. The client is its source.
//
//   node scripts/test.mjs [part of a test's file name]

import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const folder = fileURLToPath(new URL('..', import.meta.url))
const part = process.argv[2] ?? ''
const tests = readdirSync(join(folder, 'test')).filter((name) => /\.test\.tsx?$/.test(name) && name.includes(part))

execFileSync('npx', ['tsc', '-p', join(folder, 'test')], { stdio: 'inherit' })
rmSync(join(folder, 'build'), { recursive: true, force: true })
let failed = false
for (const owner of ['react', 'react-18']) {
  const from = createRequire(join(folder, '..', owner, 'package.json'))
  const outdir = join(folder, 'build', owner)
  const reacts = {
    name: 'one React',
    setup: (build) => build.onResolve({ filter: /^react(-dom)?(\/|$)/ }, ({ path }) => ({ path: pathToFileURL(from.resolve(path)).href, external: true })),
  }
  await build({
    absWorkingDir: folder, entryPoints: tests.map((name) => join('test', name)), outdir, plugins: [reacts],
    bundle: true, platform: 'node', format: 'esm', target: 'es2022', jsx: 'automatic', sourcemap: 'inline', logLevel: 'warning',
    external: ['happy-dom'],
    alias: { '@tidewire/client': join(folder, '../client/src/index.ts') },
  })
  const { version } = from('react/package.json')
  console.log(`# React ${version}`)
  const ran = spawnSync(process.execPath, ['--enable-source-maps', '--test', '--test-timeout=60000', ...tests.map((name) => join(outdir, name.replace(/tsx?$/, 'js')))], { stdio: 'inherit' })
  failed ||= ran.status !== 0
}
process.exitCode = failed ? 1 : 0

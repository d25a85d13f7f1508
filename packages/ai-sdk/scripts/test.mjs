// Checks the types, then runs the tests: the package's source and the client's, with the AI SDK and React
// as npm has them.
//
//   node scripts/test.mjs [part of a test's file name]

import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const folder = fileURLToPath(new URL('..', import.meta.url))
const part = process.argv[2] ?? ''
const tests = readdirSync(join(folder, 'test')).filter((name) => /\.test\.tsx?$/.test(name) && name.includes(part))

execFileSync('npx', ['tsc', '-p', join(folder, 'test')], { stdio: 'inherit' })
const outdir = join(folder, 'build')
rmSync(outdir, { recursive: true, force: true })
await build({
  absWorkingDir: folder, entryPoints: tests.map((name) => join('test', name)), outdir,
  bundle: true, platform: 'node', format: 'esm', target: 'es2022', jsx: 'automatic', sourcemap: 'inline', logLevel: 'warning',
  external: ['ai', 'ai/*', '@ai-sdk/*', 'happy-dom', 'react', 'react/*', 'react-dom', 'react-dom/*', 'zod', 'esbuild'],
  alias: { '@tidewire/client': join(folder, '../client/src/index.ts') },
})
const ran = spawnSync(process.execPath, ['--enable-source-maps', '--test', '--test-timeout=60000', ...tests.map((name) => join(outdir, name.replace(/tsx?$/, 'js')))], { stdio: 'inherit' })
process.exitCode = ran.status === 0 ? 0 : 1

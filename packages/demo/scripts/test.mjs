// Checks the types, then runs the tests of what is pure, built for Node.
//
//   node scripts/test.mjs [part of a test's file name]

import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const folder = fileURLToPath(new URL('..', import.meta.url))
const part = process.argv[2] ?? ''
const tests = readdirSync(join(folder, 'test')).filter((name) => /\.test\.ts$/.test(name) && name.includes(part))

execFileSync('npx', ['tsc', '-p', folder], { stdio: 'inherit' })
const outdir = join(folder, 'build')
rmSync(outdir, { recursive: true, force: true })
await build({ absWorkingDir: folder, entryPoints: tests.map((name) => join('test', name)), outdir, bundle: true, platform: 'node', format: 'esm', target: 'es2022', sourcemap: 'inline', logLevel: 'warning' })
const { status } = spawnSync(process.execPath, ['--enable-source-maps', '--test', '--test-timeout=30000', ...tests.map((name) => join(outdir, name.replace(/ts$/, 'js')))], { stdio: 'inherit' })
process.exitCode = status ?? 1

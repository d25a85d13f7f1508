// Builds dist/: ESM with source maps (what tabs share is a file of its own, loaded when it is needed),
// and the types.

import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const folder = fileURLToPath(new URL('..', import.meta.url))
rmSync(`${folder}dist`, { recursive: true, force: true })
await build({ absWorkingDir: folder, entryPoints: ['src/index.ts'], outdir: 'dist', bundle: true, splitting: true, chunkNames: '[name]-[hash]', format: 'esm', target: 'es2022', sourcemap: true, sourcesContent: true })
execFileSync('npx', ['tsc', '-p', folder, '--emitDeclarationOnly'], { stdio: 'inherit' })

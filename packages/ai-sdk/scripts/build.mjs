// Builds dist/: an ESM file for pages and one for the app's server, with source maps, and the types.
// Needs the client's dist/.

import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const folder = fileURLToPath(new URL('..', import.meta.url))
rmSync(`${folder}dist`, { recursive: true, force: true })
await build({ absWorkingDir: folder, entryPoints: ['src/index.ts', 'src/server.ts'], outdir: 'dist', bundle: true, packages: 'external', format: 'esm', target: 'es2022', sourcemap: true, sourcesContent: true })
execFileSync('npx', ['tsc', '-p', folder, '--emitDeclarationOnly'], { stdio: 'inherit' })

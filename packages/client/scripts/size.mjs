// How many bytes an app ships for the client: minified, gzip -9. Fails beyond the bound.

import { gzipSync } from 'node:zlib'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const BOUND = 8 * 1024

const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL('../src/index.ts', import.meta.url))],
  bundle: true, format: 'esm', target: 'es2022', minify: true, write: false,
})
const bytes = outputFiles[0].contents
const size = gzipSync(bytes, { level: 9 }).length
console.log(`@tidewire/client: ${bytes.length} bytes minified, ${size} gzipped (bound ${BOUND})`)
if (size > BOUND) {
  console.error(`the client is ${size - BOUND} bytes over its bound`)
  process.exit(1)
}

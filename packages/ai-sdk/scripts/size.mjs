// How many bytes an app ships for the transport, beside the AI SDK and the client: minified, gzip -9. Fails beyond the bound.

import { gzipSync } from 'node:zlib'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const BOUND = 2 * 1024

const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL('../src/index.ts', import.meta.url))],
  bundle: true, packages: 'external', format: 'esm', target: 'es2022', minify: true, write: false,
})
const bytes = outputFiles[0].contents
const size = gzipSync(bytes, { level: 9 }).length
console.log(`@tidewire/ai-sdk: ${bytes.length} bytes minified, ${size} gzipped (bound ${BOUND})`)
if (size > BOUND) {
  console.error(`the transport is ${size - BOUND} bytes over its bound`)
  process.exit(1)
}

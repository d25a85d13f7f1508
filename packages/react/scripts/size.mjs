// How many bytes an app ships for the hooks, beside React and the client: minified, gzip -9. Fails beyond the bounds.

import { gzipSync } from 'node:zlib'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const BOUNDS = { index: 2 * 1024, presence: 1024 }

let isOver = false
for (const [entry, bound] of Object.entries(BOUNDS)) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(`../src/${entry}.ts`, import.meta.url))],
    bundle: true, packages: 'external', format: 'esm', target: 'es2022', minify: true, write: false,
  })
  const bytes = outputFiles[0].contents
  const size = gzipSync(bytes, { level: 9 }).length
  console.log(`@tidewire/react, ${entry}: ${bytes.length} bytes minified, ${size} gzipped (bound ${bound})`)
  isOver ||= size > bound
}
if (isOver) {
  console.error('the hooks are over their bound')
  process.exit(1)
}

// How many bytes an app ships for the client: minified, gzip -9. Fails beyond the bounds.
//
// The core is all that is loaded at once. What only some apps or networks need comes in files of its
// own, when it is needed: `upkeep` beside the first event stream, `talk` to send, for loops and for
// sockets, `tabs` on HTTP/1.1, `views` for latest values and texts, `here` for presence. What one of them
// brings with it that the core does not have counts as its own.

import { gzipSync } from 'node:zlib'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const BOUNDS = { core: 8 * 1024, upkeep: 4.5 * 1024, talk: 3.5 * 1024, tabs: 2 * 1024, views: 1024, here: 2.5 * 1024 }

const { metafile, outputFiles } = await build({
  absWorkingDir: fileURLToPath(new URL('..', import.meta.url)), entryPoints: ['src/index.ts'], outdir: 'out', metafile: true,
  bundle: true, splitting: true, chunkNames: '[name]-[hash]', format: 'esm', target: 'es2022', minify: true, write: false,
})

const text = (path) => outputFiles.find((file) => file.path.endsWith(path)).contents
const loaded = (path, seen = new Set()) => {
  if (!seen.has(path)) {
    seen.add(path)
    for (const { path: next, kind } of metafile.outputs[path].imports) if (kind === 'import-statement') loaded(next, seen)
  }
  return seen
}
const core = loaded('out/index.js')
const late = (name) => Object.keys(metafile.outputs).filter((path) => path.startsWith(`out/${name}-`)).flatMap((path) => [...loaded(path)]).filter((path) => !core.has(path))
const parts = { core, ...Object.fromEntries(['upkeep', 'talk', 'tabs', 'views', 'here'].map((name) => [name, late(name)])) }
let isOver = false
for (const [part, files] of Object.entries(parts)) {
  const bytes = Buffer.concat([...files].map(text))
  const size = gzipSync(bytes, { level: 9 }).length
  console.log(`@tidewire/client, ${part}: ${bytes.length} bytes minified, ${size} gzipped (bound ${BOUNDS[part]})`)
  isOver ||= size > BOUNDS[part]
}
if (isOver) {
  console.error('the client is over its bound')
  process.exit(1)
}

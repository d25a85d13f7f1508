// Builds dist/: app.tsx with everything it imports. What the client loads only where it is needed
// becomes files of its own.

import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

await build({
  absWorkingDir: fileURLToPath(new URL('.', import.meta.url)),
  entryPoints: ['app.tsx'], outdir: 'dist', bundle: true, splitting: true, format: 'esm', target: 'es2022', jsx: 'automatic',
  minify: true, sourcemap: true, define: { 'process.env.NODE_ENV': '"production"' },
})

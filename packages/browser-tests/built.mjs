// What the tests of examples and READMEs need: the packages built as they are now, and a web server
// on this machine with the repository's files.

import { execFileSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TYPES = { html: 'text/html; charset=utf-8', js: 'text/javascript', map: 'application/json' }

/** Builds them, in this order. */
export function build(...scripts) {
  for (const script of scripts) execFileSync(process.execPath, [join(ROOT, script)], { stdio: ['ignore', 'ignore', 'inherit'] })
}

/** Serves the repository's files on a free port. Gives its origin. */
export async function files(t) {
  const listener = createServer(async ({ url }, response) => {
    const { pathname } = new URL(url, 'http://localhost')
    const path = pathname.endsWith('/') ? `${pathname}index.html` : pathname
    try {
      const body = await readFile(join(ROOT, path))
      response.writeHead(200, { 'Content-Type': TYPES[/\.(\w+)$/.exec(path)?.[1]] ?? 'text/plain' }).end(body)
    } catch (error) {
      response.writeHead(404, { 'Content-Type': 'text/plain' }).end(error.message)
    }
  })
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    listener.close()
    listener.closeAllConnections()
  })
  return `http://127.0.0.1:${listener.address().port}`
}

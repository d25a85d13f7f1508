// The code in the README: it compiles under strict rules, and the API in it answers.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { CONFIGS, startServer } from './app.js'

// From build/.
const PACKAGE = fileURLToPath(new URL('..', import.meta.url))
const CONFIG = `
  import { simulateReadableStream } from 'ai'
  import { MockLanguageModelV4 } from 'ai/test'
  export const tidewire: { url: string } = { url: process.env.TIDEWIRE_URL! }
  const usage = { inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 }, outputTokens: { total: 1, text: 1, reasoning: 0 } }
  export const model = new MockLanguageModelV4({ doStream: async () => ({ stream: simulateReadableStream({ chunks: [
    { type: 'stream-start', warnings: [] }, { type: 'text-start', id: '0' }, { type: 'text-delta', id: '0', delta: 'hi' }, { type: 'text-end', id: '0' },
    { type: 'finish', finishReason: { unified: 'stop', raw: 'stop' }, usage },
  ] }) }) })
`

test('the code compiles, and the API says a topic where the answer is', { timeout: 60_000 }, async (t) => {
  const folder = join(PACKAGE, 'build/readme')
  await mkdir(folder, { recursive: true })
  t.after(() => rm(folder, { recursive: true, force: true }))
  const text = await readFile(join(PACKAGE, 'README.md'), 'utf8')
  const [route, leave] = [...text.matchAll(/^```ts\n([^]*?)^```/gm)].map(([, code]) => code!)
  const [page] = [...text.matchAll(/^```tsx\n([^]*?)^```/gm)].map(([, code]) => code!)
  const files = { 'route.ts': route!, 'leave.ts': leave!, 'chat.tsx': page!, 'config.ts': CONFIG }
  for (const [name, code] of Object.entries(files)) await writeFile(join(folder, name), code)
  const paths = { '@tidewire/client': ['../../../client/src/index.ts'], '@tidewire/ai-sdk': ['../../src/index.ts'], '@tidewire/ai-sdk/server': ['../../src/server.ts'] }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ extends: '../../test/tsconfig.json', compilerOptions: { paths }, include: ['.'] }))
  await promisify(execFile)('npx', ['tsc', '-p', folder]).catch(({ stdout }) => assert.fail(stdout))

  const server = await startServer(t, CONFIGS.text)
  process.env.TIDEWIRE_URL = server.url
  const alias = Object.fromEntries(Object.entries(paths).map(([name, [path]]) => [name, join(folder, path!)]))
  await build({ entryPoints: [join(folder, 'route.ts')], outfile: join(folder, 'route.mjs'), bundle: true, platform: 'node', format: 'esm', external: ['ai', 'ai/test'], alias, logLevel: 'error' })
  const { POST } = (await import(join(folder, 'route.mjs'))) as { POST(request: Request): Promise<Response> }
  const messages = [{ id: 'u', role: 'user', parts: [{ type: 'text', text: 'hello' }] }]
  const answer = await POST(new Request('http://app/', { method: 'POST', body: JSON.stringify({ id: 'c1', messages }) }))
  const { topic } = (await answer.json()) as { topic: string }
  for (let log = await server.log(topic); ; log = await server.log(topic)) {
    if (log.at(-1)?.event !== 'end') continue
    assert.deepEqual(log.filter(({ event }) => event === 'text-delta').map(({ item, data }) => [item, data]), [['0', 'hi']])
    break
  }
  assert.deepEqual((await server.log('answers/c1')).map(({ event, data }) => [event, data]), [['answer', { topic }]])
})

// The code in the READMEs of the client and of the hooks, and the React example: it compiles under strict
// rules. The READMEs' runs too, that of the client against a real server; examples.test.mjs runs the example.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { before } from 'node:test'
import { promisify } from 'node:util'
import { build as bundle } from 'esbuild'
import { build, ROOT } from './built.mjs'
import { Server } from './server.mjs'

const run = promisify(execFile)
const STRICT = ['--strict', '--noUncheckedIndexedAccess', '--exactOptionalPropertyTypes', '--noEmit', '--target', 'es2022', '--module', 'nodenext', '--skipLibCheck', '--types', '', '--jsx', 'react-jsx', '--lib', 'es2022,dom,dom.iterable,dom.asynciterable']

before(() => build('packages/client/scripts/build.mjs', 'packages/react/scripts/build.mjs'))

/** What the client's README speaks of. */
const FEATURES = `
[feature.chat]
client_sends = true
presence = true
[feature.pointers]
client_sends = true
history = "none"
[feature.stats]
keep = "latest"
[feature.answers]
keep = "text"
`

/** The blocks of one language in a README, in order. */
async function blocks(path, language) {
  const text = await readFile(join(ROOT, path), 'utf8')
  const found = [...text.matchAll(/^```(\w+)\n([^]*?)^```/gm)].filter(([, of]) => of === language).map(([, , code]) => code)
  assert.ok(found.length > 0, `${path} has blocks of ${language}`)
  return found
}

/** A folder inside the repository, where imports of packages are found. Gone after the test. */
async function workshop(t, name) {
  const path = join(ROOT, 'packages/browser-tests/build', name)
  await mkdir(path, { recursive: true })
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

async function compiles(...files) {
  await run('npx', ['tsc', ...STRICT, ...files], { cwd: ROOT }).catch(({ stdout }) => assert.fail(stdout))
}

test('the client: every block in order is one program', async (t) => {
  const server = await Server.start(t, { config: FEATURES })
  const path = await workshop(t, 'client')
  const code = (await blocks('packages/client/README.md', 'ts')).join('\n')
  const given = 'declare const show: (...things: unknown[]) => void\ndeclare const append: (text: string) => void\n'
  await writeFile(join(path, 'readme.ts'), given + code)
  await compiles(join(path, 'readme.ts'))

  // What a page and its own server would give.
  const world = `
    globalThis.show = (...things) => console.log('show', JSON.stringify(things))
    globalThis.append = (text) => console.log('append', text)
    globalThis.localStorage = { getItem: () => null, setItem: (name, value) => console.log('stored', name) }
    const ask = globalThis.fetch
    globalThis.fetch = (url, init) => url === '/rt-token' ? Promise.resolve(new Response('a-token')) : ask(url, init)
  `
  await writeFile(join(path, 'world.mjs'), world)
  await writeFile(join(path, 'main.ts'), `import './world.mjs'\n${given}${code.replace('https://rt.example.com', server.url)}\nlive.close()\n`)
  await bundle({ entryPoints: [join(path, 'main.ts')], outfile: join(path, 'main.mjs'), bundle: true, format: 'esm', platform: 'node', logLevel: 'error' })
  for (const text of ['Once', 'upon']) await server.publish('answers/42', { text }, { event: 'token' })
  await server.publish('answers/42', { tokens: 2 }, { event: 'end' })
  await server.publish('answers/43', {}, { event: 'end' })
  const { stdout, stderr } = await run(process.execPath, [join(path, 'main.mjs')], { timeout: 30_000 })
  assert.equal(stderr, '')
  const said = stdout.trimEnd().split('\n')
  assert.deepEqual(said.slice(0, 3), ['show [{"text":"Once"}]', 'show [{"text":"upon"}]', 'show [{"tokens":2}]'])
  assert.deepEqual(said.filter((line) => line.startsWith('append')), ['append Once', 'append upon'])
  assert.ok(said.some((line) => line.startsWith('show ["key_conflict"')), stdout)
  assert.deepEqual((await server.log('stats/eu')).map(({ item, data }) => [item, data]), [['cpu', 7]])
  assert.deepEqual((await server.log('chat/general')).map(({ data }) => data.text), ['hi', 'hello', 'once'])
})

test('the hooks: every component renders', async (t) => {
  const path = await workshop(t, 'react')
  const [live] = await blocks('packages/react/README.md', 'ts')
  const components = (await blocks('packages/react/README.md', 'tsx')).join('\n')
  await writeFile(join(path, 'live.ts'), live)
  await writeFile(join(path, 'components.tsx'), `import { useTopic, useLatest, useList, usePresence, useStream, useSend, useStatus } from './live.js'\ndeclare const toast: (text: string) => void\n${components}`)
  await writeFile(join(path, 'main.tsx'), `
    import { renderToString } from 'react-dom/server'
    import { Answer, Chat, Connection, People, Say, Stats, Tasks, Toasts, Typing } from './components.js'
    process.stdout.write(renderToString(<><Chat room="a" /><Tasks /><Toasts user={undefined} /><Typing room="a" /><Stats /><People room="a" name="Ann" /><Answer id="1" /><Say room="a" /><Connection /></>))
  `)
  await compiles(join(path, 'components.tsx'))
  await bundle({ entryPoints: [join(path, 'main.tsx')], outfile: join(path, 'main.cjs'), bundle: true, format: 'cjs', platform: 'node', jsx: 'automatic', logLevel: 'error' })
  const { stdout } = await run(process.execPath, [join(path, 'main.cjs')], { timeout: 30_000 })
  assert.equal(stdout, '<p>Loading…</p><ol></ol><ul></ul><p></p><dl></dl><p></p><p aria-busy="true"><button>Stop</button></p><button>Say hi</button>')
})

test('the React example compiles', () => compiles(join(ROOT, 'examples/react/app.tsx')))

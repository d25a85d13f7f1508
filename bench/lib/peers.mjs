// The peers: what each is called, how it is installed and started, and where one subscribes and
// publishes. Adding a peer is adding a row here.
//
// `doors` says how the load tool comes in, by transport: `subscribe` and `publish` are paths with
// `{topic}` in them, `say` and `waitFor` what a client sends and hears before events flow.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { cargoBinary, debianPackages, folderOf, HERE, librariesOf, npmBinary, npmPackages } from './install.mjs'
import { filesMax, freePort } from './process.mjs'

const NGINX = join(HERE, 'nchan/debian')
const PRODUCTION = { NODE_ENV: 'production' }
const same = { sse: { subscribe: '/sse/{topic}', publish: '/pub/{topic}' }, ws: { subscribe: '/ws/{topic}', publish: '/pub/{topic}' } }

const tidewire = (feature) => ({
  sse: { subscribe: `/v1/sse?topic=${feature}/{topic}`, waitFor: 'tidewire.hello', publish: `/v1/topics/${feature}/{topic}` },
  ws: {
    subscribe: '/v1/socket',
    subprotocol: 'tidewire.v1',
    say: `{"do":"subscribe","ref":1,"topic":"${feature}/{topic}"}`,
    waitFor: '"ok"',
    publish: `/v1/topics/${feature}/{topic}`,
  },
})

const startTidewire = ({ tidewire, folder }) => ({
  command: [tidewire, 'dev', '--listen', '127.0.0.1:0', '--config', join(HERE, 'tidewire/tidewire.toml'), '--data', join(folder, 'data')],
})

/** @type {Peer[]} In the order of the table. */
export const PEERS = [
  {
    name: 'tidewire',
    title: 'Tidewire, `history = "none"`',
    install: ({ version }) => ({ version }),
    start: startTidewire,
    doors: tidewire('passing'),
  },
  {
    name: 'tidewire-kept',
    title: 'Tidewire, every event on disk first',
    install: ({ version }) => ({ version }),
    start: startTidewire,
    doors: tidewire('kept'),
  },
  {
    name: 'bun',
    title: 'uWebSockets, through Bun',
    install: () => ({ ...npmPackages('bun'), version: `Bun ${npmVersion('bun', 'bun')}` }),
    start: () => ({ command: [npmBinary('bun', /^@oven\/bun-/, 'bin/bun'), 'server.mjs'], env: PRODUCTION }),
    doors: same,
  },
  {
    name: 'nchan',
    title: 'nginx + nchan',
    install: installNginx,
    start: startNginx,
    doors: { sse: { subscribe: '/sub/{topic}', publish: '/pub/{topic}' }, ws: { subscribe: '/sub/{topic}', publish: '/pub/{topic}' } },
  },
  {
    name: 'axum',
    title: 'axum + `broadcast`',
    install: () => ({ ...cargoBinary('axum', 'peer-axum'), version: `axum ${cargoVersion('axum', 'axum')}, tokio ${cargoVersion('axum', 'tokio')}` }),
    start: ({ installed }) => ({ command: [installed.binary] }),
    doors: same,
  },
  {
    name: 'node',
    title: 'Node.js: EventEmitter, `ws`',
    install: () => ({ ...npmPackages('node'), version: `${nodeVersion('node')}, ws ${npmVersion('node', 'ws')}` }),
    start: () => ({ command: [nodeOf('node'), 'server.mjs'], env: PRODUCTION }),
    doors: same,
  },
  {
    name: 'socketio',
    title: 'Socket.IO',
    install: () => ({ ...npmPackages('socketio'), version: `Socket.IO ${npmVersion('socketio', 'socket.io')}, ${nodeVersion('socketio')}` }),
    start: () => ({ command: [nodeOf('socketio'), 'server.mjs'], env: PRODUCTION }),
    doors: { ws: { subscribe: '/socket.io/?EIO=4&transport=websocket&topic={topic}', say: '40', waitFor: '40{', publish: '/pub/{topic}' } },
  },
]

function installNginx() {
  const { nginx, nchan } = debianPackages('nchan', { nginx: 'nginx', nchan: 'libnginx-mod-nchan' })
  librariesOf(join(NGINX, 'usr/sbin/nginx'), ['libcrypt1', 'libpcre2-8-0', 'libssl3', 'zlib1g'])
  folderOf('/var/lib/nginx')
  return { version: `nginx ${upstream(nginx)}, nchan ${upstream(nchan)}` }
}

/** Nginx wants its port in a file, and does not print it. */
async function startNginx({ folder }) {
  const port = await freePort()
  const words = { MODULE: join(NGINX, 'usr/lib/nginx/modules/ngx_nchan_module.so'), FILES: filesMax(), FOLDER: folder, PORT: port }
  const config = readFileSync(join(HERE, 'nchan/nginx.conf'), 'utf8').replace(/@([A-Z]+)@/g, (_, word) => words[word])
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'nginx.conf'), config)
  return {
    command: [join(NGINX, 'usr/sbin/nginx'), '-e', 'stderr', '-p', folder, '-c', join(folder, 'nginx.conf')],
    url: `http://127.0.0.1:${port}`,
  }
}

/** The Node.js of the lock file; on a processor it has no package for, the one that runs this. */
function nodeOf(folder) {
  return npmBinary(folder, /^node-linux-/, 'bin/node') ?? process.execPath
}

function nodeVersion(folder) {
  const ours = nodeOf(folder) === process.execPath
  return `Node.js ${ours ? process.versions.node : npmVersion(folder, `node-linux-${process.arch}`)}`
}

function npmVersion(folder, name) {
  return JSON.parse(readFileSync(join(HERE, folder, 'node_modules', name, 'package.json'), 'utf8')).version
}

function cargoVersion(folder, name) {
  const lock = readFileSync(join(HERE, folder, 'Cargo.lock'), 'utf8')
  return lock.match(new RegExp(`name = "${name}"\nversion = "([^"]+)"`))?.[1]
}

/** `1:1.3.6+dfsg-2` → `1.3.6`. */
function upstream(debian) {
  return debian.replace(/^\d+:/, '').replace(/[-+].*$/, '')
}

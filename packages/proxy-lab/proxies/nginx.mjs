// nginx. A set-up is one or more `server` blocks; the rest of the config keeps it in its folder.

const main = (work, servers) => `
daemon off;
pid ${work}/nginx.pid;
error_log stderr warn;
worker_processes 1;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path ${work}/body;
  proxy_temp_path ${work}/proxy;
  fastcgi_temp_path ${work}/fastcgi;
  uwsgi_temp_path ${work}/uwsgi;
  scgi_temp_path ${work}/scgi;
${servers}
}
`

/** Runs `servers`; `ports` must listen then. */
async function run({ bench }, servers, ports) {
  const config = await bench.file('nginx.conf', main(bench.work, servers))
  await bench.run('nginx', ['-p', bench.folder, '-e', 'stderr', '-c', config], ports)
}

const server = (port, to, lines = '') => `  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${to};
${lines.replace(/^(?=.)/gm, '      ')}
    }
  }`

const one = (lines) => async (context) => {
  const { port, origin } = context
  await run(context, server(port, origin.port, lines), [port])
}

const two = (outer, inner) => async (context) => {
  const { port, origin, bench } = context
  const between = await bench.port()
  await run(context, [server(port, between, outer), server(between, origin.port, inner)].join('\n'), [port, between])
}

const HTTP11 = 'proxy_http_version 1.1;\nproxy_set_header Connection "";'

export const setups = {
  nginx: { title: 'nginx 1.22, `proxy_pass` only', start: one() },
  'nginx-ignores-headers': { title: 'nginx with `proxy_ignore_headers X-Accel-Buffering`', start: one('proxy_ignore_headers X-Accel-Buffering;') },
  'nginx-gzip': { title: 'nginx with `gzip` on everything', start: one(`${HTTP11}\ngzip on;\ngzip_proxied any;\ngzip_types *;`) },
  'nginx-nginx': { title: 'nginx behind nginx, `proxy_pass` only', start: two() },
}

/** The page says port 80; the lab uses a free one, on loopback. */
const onPort = (text, port) => text.replace('listen 80;', `listen 127.0.0.1:${port};`)

export const snippets = {
  nginx: { start: (context, text) => run(context, onPort(text, context.port), context.port) },
  // With everything around it that would hold a stream.
  'nginx-hostile': {
    snippet: 'nginx',
    start: (context, text) => run(context, `proxy_ignore_headers X-Accel-Buffering;\ngzip on;\ngzip_proxied any;\ngzip_types *;\n${onPort(text, context.port)}`, context.port),
  },
  // The same block on both of two: what the page tells those who have both.
  'nginx-twice': {
    snippet: 'nginx',
    start: async (context, text) => {
      const between = await context.bench.port()
      const outer = onPort(text, context.port).replaceAll(`127.0.0.1:${context.origin.port}`, `127.0.0.1:${between}`)
      // The second `map` of the same variable would be an error.
      const inner = onPort(text, between).replace(/^map [^]*?^}$/m, '')
      await run(context, `${outer}\n${inner}`, [context.port, between])
    },
  },
  // In front of it an nginx that nobody can change: it goes on refusing sockets.
  'nginx-inner': {
    but: { socket: 'refused 426' },
    start: async (context, text) => {
      const between = await context.bench.port()
      await run(context, [server(context.port, between), onPort(text, between)].join('\n'), [context.port, between])
    },
  },
}

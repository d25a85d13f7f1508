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

export const snippets = {
  /** A `server` block for port 80, on its own. */
  nginx: async (context, text) => run(context, listens(text, context.port, context.origin.port), [context.port]),
}

/** The page says port 80 and Tidewire's 4000; the lab uses free ports on loopback. */
const listens = (text, port, to) => text.replace(/listen 80;/g, `listen 127.0.0.1:${port};`).replace(/\b4000\b/g, to)

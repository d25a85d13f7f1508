// HAProxy, with the time-outs of Debian's haproxy.cfg.

const run = async ({ bench, port }, config) => {
  await bench.run('haproxy', ['-db', '-f', await bench.file('haproxy.cfg', config)], port)
}

const plain = ({ port, origin }) => `
defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
frontend web
  bind 127.0.0.1:${port}
  default_backend tidewire
backend tidewire
  server one 127.0.0.1:${origin.port}
`

export const setups = {
  haproxy: { title: 'HAProxy 2.6', start: (context) => run(context, plain(context)) },
}

export const snippets = {
  haproxy: { start: (context, text) => run(context, text.replace(/bind :80\b/, `bind 127.0.0.1:${context.port}`)) },
}

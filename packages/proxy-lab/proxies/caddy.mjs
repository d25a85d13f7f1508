// Caddy, without its administration port and without certificates.

const run = async ({ bench, port }, site) => {
  const options = '{\n  admin off\n  auto_https off\n}\n'
  const path = await bench.file('Caddyfile', `${options}${site}`)
  const env = { HOME: bench.work, XDG_DATA_HOME: bench.work, XDG_CONFIG_HOME: bench.work }
  await bench.run('caddy', ['run', '--config', path, '--adapter', 'caddyfile'], port, { env })
}

const address = ({ port }) => `http://:${port} {\n  bind 127.0.0.1`
const site = (context, lines) => `${address(context)}\n  ${lines}\n  reverse_proxy 127.0.0.1:${context.origin.port}\n}\n`

export const setups = {
  caddy: { title: 'Caddy 2.6, `reverse_proxy`', start: (context) => run(context, site(context, '')) },
  'caddy-gzip': { title: 'Caddy with `encode gzip`', start: (context) => run(context, site(context, 'encode gzip')) },
}

export const snippets = {
  caddy: { start: (context, text) => run(context, text.replace('rt.example.com {', address(context))) },
}

// mitmproxy. As it comes it hands on whole bodies: it reads a response to its end first.

const run = async ({ bench, port }, ...options) => {
  await bench.run('mitmdump', ['--quiet', '--listen-host', '127.0.0.1', '--listen-port', port, '--set', `confdir=${bench.work}`, ...options], port)
}

const reverse = ({ origin }) => ['--mode', `reverse:http://127.0.0.1:${origin.port}`]

export const setups = {
  'mitmproxy-reverse': { title: 'mitmproxy 8.1 as a reverse proxy', start: (context) => run(context, ...reverse(context)) },
  'mitmproxy-forward': { title: 'mitmproxy 8.1', forward: true, start: (context) => run(context) },
}

const script = async ({ bench }, text) => ['--scripts', await bench.file('stream.py', text)]

export const snippets = {
  mitmproxy: { start: async (context, text) => run(context, ...reverse(context), ...await script(context, text)) },
}

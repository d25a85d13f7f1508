// Privoxy as a forward proxy, with the actions and filters of Debian's package.

const main = ({ bench, port }, actions = '') => `
confdir /etc/privoxy
logdir ${bench.work}
actionsfile match-all.action
actionsfile default.action
${actions}
filterfile default.filter
listen-address 127.0.0.1:${port}
toggle 1
enforce-blocks 0
buffer-limit 4096
keep-alive-timeout 5
tolerate-pipelining 1
socket-timeout 300
`

const run = async ({ bench, port }, config) => {
  await bench.run('privoxy', ['--no-daemon', await bench.file('privoxy.config', config)], port)
}

export const setups = {
  privoxy: { title: 'Privoxy 3.0.34', forward: true, start: (context) => run(context, main(context)) },
}

export const snippets = {
  privoxy: {
    forward: true,
    start: async (context, text) => {
      const actions = await context.bench.file('lab.action', text.replace('rt.example.com', '127.0.0.1'))
      await run(context, main(context, `actionsfile ${actions}`))
    },
  },
}

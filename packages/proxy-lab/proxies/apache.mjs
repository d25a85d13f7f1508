// Apache httpd, by its bare programs: no /etc/apache2.

const MODULES = '/usr/lib/apache2/modules'

const main = (work, port, modules) => `
ServerRoot ${work}
DefaultRuntimeDir ${work}
PidFile ${work}/apache.pid
ErrorLog ${work}/error.log
ServerName localhost
${process.getuid() === 0 ? 'User www-data\nGroup www-data' : ''}
${['mpm_event', 'authz_core', 'proxy', 'proxy_http', ...modules].map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`).join('\n')}
Listen 127.0.0.1:${port}
`

const run = async ({ bench, port }, config, modules = []) => {
  const path = await bench.file('apache.conf', main(bench.work, port, modules) + config)
  await bench.run('apache2', ['-D', 'FOREGROUND', '-f', path], port, { log: `${bench.work}/error.log` })
}

const proxyPass = ({ origin }) => `ProxyPass "/" "http://127.0.0.1:${origin.port}/"\n`

export const setups = {
  apache: { title: 'Apache 2.4, `ProxyPass` only', start: (context) => run(context, proxyPass(context)) },
  'apache-deflate': { title: 'Apache with DEFLATE on everything', start: (context) => run(context, `${proxyPass(context)}SetOutputFilter DEFLATE\n`, ['filter', 'deflate']) },
}

export const snippets = {
  apache: { start: (context, text) => run(context, text.replace('*:80', `127.0.0.1:${context.port}`)) },
}

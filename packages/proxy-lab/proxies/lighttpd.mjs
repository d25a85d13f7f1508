// lighttpd.

const main = ({ bench, port }) => `
server.bind = "127.0.0.1"
server.port = ${port}
server.document-root = "${bench.work}"
server.upload-dirs = ( "${bench.work}" )
`

const run = async (context, lines) => {
  const path = await context.bench.file('lighttpd.conf', main(context) + lines)
  await context.bench.run('lighttpd', ['-D', '-f', path], context.port)
}

const proxy = ({ origin }) => `server.modules += ( "mod_proxy" )
proxy.server = ( "" => ( ( "host" => "127.0.0.1", "port" => ${origin.port} ) ) )
`

export const setups = {
  lighttpd: { title: 'lighttpd 1.4.69', start: (context) => run(context, proxy(context)) },
}

export const snippets = {
  lighttpd: { start: (context, text) => run(context, text) },
}

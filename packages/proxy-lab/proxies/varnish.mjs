// Varnish. It compiles its config with the C compiler, which takes a second.

const backend = ({ origin }) => `vcl 4.1;
backend default { .host = "127.0.0.1"; .port = "${origin.port}"; }
`

const run = async ({ bench, port }, vcl) => {
  const path = await bench.file('default.vcl', vcl)
  await bench.run('varnishd', ['-F', '-f', path, '-a', `127.0.0.1:${port}`, '-T', 'none', '-n', `${bench.work}/varnish`, '-s', 'malloc,16m'], port)
}

const GZIP = 'sub vcl_backend_response { set beresp.do_gzip = true; }\n'

export const setups = {
  varnish: { title: 'Varnish 7.1, built-in rules', start: (context) => run(context, backend(context)) },
  'varnish-gzip': { title: 'Varnish with `do_gzip`', start: (context) => run(context, backend(context) + GZIP) },
}

export const snippets = {
  varnish: { start: (context, text) => run(context, text) },
}

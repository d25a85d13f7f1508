// Squid as a forward proxy, with the rules of Debian's squid.conf; and with an ICAP service that
// looks at the beginning of every response, as virus scanners and content filters do.

import { readdirSync } from 'node:fs'

// Debian lets CONNECT only to port 443. The lab's origin stands elsewhere, so its port takes that
// place: what is measured is what `wss://` meets.
const main = ({ bench, port, origin }) => `
http_port 127.0.0.1:${port}
acl SSL_ports port ${origin.port}
acl Safe_ports port 80 443 1025-65535
http_access deny !Safe_ports
http_access deny CONNECT !SSL_ports
http_access allow localhost
http_access deny all
pid_filename none
access_log none
cache_log ${bench.work}/cache.log
cache_mem 8 MB
coredump_dir ${bench.work}
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname lab
udp_incoming_address 127.0.0.1
udp_outgoing_address 127.0.0.1
`

const run = async (context, lines = '') => {
  const { bench, port } = context
  const path = await bench.file('squid.conf', main(context) + lines)
  await bench.run('squid', ['-N', '-n', `lab${port}`, '-f', path], port, { log: `${bench.work}/cache.log` })
}

const icapd = (work, port, services) => `
PidFile ${work}/c-icap.pid
CommandsSocket ${work}/c-icap.ctl
ServerLog ${work}/c-icap.log
AccessLog ${work}/c-icap.access
TmpDir ${work}
ModulesDir ${services}
ServicesDir ${services}
Port 127.0.0.1:${port}
StartServers 1
MaxServers 2
ThreadsPerChild 8
MinSpareThreads 2
MaxSpareThreads 16
Timeout 300
Service echo srv_echo.so
`

/** Starts the service, and gives its port. */
async function icap({ bench }) {
  const port = await bench.port()
  const library = readdirSync('/usr/lib').find((name) => { try { return readdirSync(`/usr/lib/${name}`).includes('c_icap') } catch { return false } })
  const path = await bench.file('c-icap.conf', icapd(bench.work, port, `/usr/lib/${library}/c_icap`))
  await bench.run('c-icap', ['-N', '-f', path], port, { log: `${bench.work}/c-icap.log` })
  return port
}

const scan = (port) => `icap_enable on
icap_service scan respmod_precache icap://127.0.0.1:${port}/echo
adaptation_access scan allow all
`

export const setups = {
  squid: { title: 'Squid 5.7', forward: true, start: (context) => run(context) },
  'squid-icap': { title: 'Squid with an ICAP service that asks for a preview', forward: true, start: async (context) => run(context, scan(await icap(context))) },
}

export const snippets = {
  'squid-icap': { forward: true, start: async (context, text) => run(context, text.replace(/\b1344\b/, await icap(context))) },
}

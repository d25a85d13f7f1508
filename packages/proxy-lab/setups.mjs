// Every set-up of the lab, in the order of the table in docs/proxies.md.
//
// A set-up has a `title`; `forward` if clients name it as their proxy; and `start({ bench, origin,
// port })`, which starts the proxy on `port` of the loopback with `origin` behind it.

import * as apache from './proxies/apache.mjs'
import * as caddy from './proxies/caddy.mjs'
import * as haproxy from './proxies/haproxy.mjs'
import * as lighttpd from './proxies/lighttpd.mjs'
import * as mitmproxy from './proxies/mitmproxy.mjs'
import * as nginx from './proxies/nginx.mjs'
import * as privoxy from './proxies/privoxy.mjs'
import * as squid from './proxies/squid.mjs'
import * as varnish from './proxies/varnish.mjs'

const direct = { title: 'no proxy', start: ({ origin }) => origin.port }
const proxies = [nginx, haproxy, apache, varnish, caddy, lighttpd, squid, privoxy, mitmproxy]

export const setups = Object.assign({ direct }, ...proxies.map(({ setups }) => setups))
export const snippets = Object.assign({}, ...proxies.map(({ snippets }) => snippets))

// Every set-up of the lab, in the order of the table in docs/proxies.md.
//
// A set-up has a `title`; `forward` if clients name it as their proxy; and `start({ bench, origin,
// port })`, which starts the proxy on `port` of the loopback with `origin` behind it.

import { setups as nginx } from './proxies/nginx.mjs'

const direct = { title: 'no proxy', start: ({ origin }) => origin.port }

export const setups = { direct, ...nginx }

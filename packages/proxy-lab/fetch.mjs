// `fetch` through a forward proxy, for Node, whose own knows none: absolute-form requests, as
// browsers send them for `http://`. As much of it as a client needs: no redirects, no cache.

import { request } from 'node:http'
import { Readable } from 'node:stream'
import { decoded } from './probe.mjs'

export const fetchThrough = (port) => async function fetch(input, init) {
  const asked = new Request(input, { ...init, duplex: 'half' })
  const body = asked.body === null ? undefined : Buffer.from(await asked.arrayBuffer())
  const { host } = new URL(asked.url)
  return new Promise((resolve, reject) => {
    const headers = { Host: host, 'Accept-Encoding': 'gzip, deflate, br', ...Object.fromEntries(asked.headers), ...body && { 'Content-Length': body.length } }
    const fail = (error) => reject(asked.signal.aborted ? asked.signal.reason : new TypeError('fetch failed', { cause: error }))
    request({ host: '127.0.0.1', port, method: asked.method, path: asked.url, headers, agent: false, signal: asked.signal })
      .on('error', fail)
      .on('response', (answer) => {
        const empty = [101, 204, 205, 304].includes(answer.statusCode)
        if (empty) answer.resume()
        resolve(new Response(empty ? null : Readable.toWeb(decoded(answer)), { status: answer.statusCode, headers: fields(answer) }))
      })
      .end(body)
  })
}

function fields({ rawHeaders }) {
  const headers = new Headers()
  for (let n = 0; n < rawHeaders.length; n += 2) headers.append(rawHeaders[n], rawHeaders[n + 1])
  return headers
}

// Who listens where: the lab must not open a port to the network, whatever a proxy's defaults are.
// Reads Linux's /proc; elsewhere it sees nothing and says so by an empty list.

import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'

const LISTENING = '0A'
const UDP_UNCONNECTED = '07'

/** Of the sessions that `leaders` began: the ports they listen on, and the addresses that are not loopback. */
export function listenersOutside(leaders) {
  if (!existsSync('/proc/net/tcp')) return { seen: [], outside: [] }
  const sockets = new Set(membersOf(leaders).flatMap(socketsOf))
  const all = ['tcp', 'tcp6', 'udp', 'udp6'].flatMap(table).filter(({ inode }) => sockets.has(inode))
  return {
    seen: all.map(({ port }) => port),
    outside: all.filter(({ address }) => !loopback(address)).map(({ protocol, address, port }) => `${protocol} ${address}:${port}`),
  }
}

/** Processes of the sessions. The name in `stat` may hold spaces, so it is cut off first. */
function membersOf(leaders) {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((pid) => {
    const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, 'utf8'), '')
    const [, , , session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return leaders.includes(Number(session))
  })
}

const socketsOf = (pid) => attempt(() => readdirSync(`/proc/${pid}/fd`), [])
  .map((fd) => /^socket:\[(\d+)\]$/.exec(attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`), ''))?.[1])
  .filter((inode) => inode !== undefined)

function table(protocol) {
  const text = attempt(() => readFileSync(`/proc/net/${protocol}`, 'utf8'), '')
  return text.trim().split('\n').slice(1).map((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
    const [address, port] = local.split(':')
    return { protocol, address, port: parseInt(port, 16), state, inode }
  }).filter(({ state }) => state === (protocol.startsWith('tcp') ? LISTENING : UDP_UNCONNECTED))
}

/** In the kernel's spelling: 127.0.0.0/8 ends with 7F on a little-endian machine; ::1; and ::ffff:127.0.0.0/8. */
export const loopback = (address) => /^.{6}7F$/.test(address) || address === '00000000000000000000000001000000' || /^0{16}FFFF0000.{6}7F$/.test(address)

function attempt(call, otherwise) {
  try { return call() } catch { return otherwise }
}

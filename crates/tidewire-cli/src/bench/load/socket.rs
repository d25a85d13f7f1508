//! Sockets of the load: non-blocking, one source address for every two thousand.
//!
//! It must not know what is said on them.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::{
    event::epoll::{self, EventData, EventFlags},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
        socket_with, sockopt,
    },
};

/// Connections from one source address. A port range has some 28,000 ports.
const PER_ADDRESS: u32 = 2_000;
/// What is watched on every socket. Edge-triggered: the kernel keeps no list of what is still ready.
const INTEREST: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// Begins to connect; the socket may not be connected yet.
///
/// # Errors
/// When the system has no socket or port left, or refuses at once.
pub(crate) fn dial(to: SocketAddr, who: u32, small: bool) -> rustix::io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    if small {
        sockopt::set_socket_recv_buffer_size(&socket, 4_096)?;
    }
    if let IpAddr::V4(address) = to.ip()
        && address.is_loopback()
    {
        bind(&socket, &SocketAddr::new(source(who).into(), 0))?;
    }
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// The source address of the connection with this number.
fn source(who: u32) -> Ipv4Addr {
    let number = who / PER_ADDRESS + 2;
    Ipv4Addr::from(0x7f00_0000 | (number & 0x00ff_ffff))
}

/// Connects and waits for it, for the few connections that publish.
///
/// # Errors
/// When nobody listens.
pub(crate) fn open(to: SocketAddr) -> std::io::Result<OwnedFd> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream.into())
}

/// Watches a socket under this token.
///
/// # Errors
/// When the kernel has no memory for it.
pub(crate) fn watch(epoll: &OwnedFd, socket: &OwnedFd, token: u64) -> rustix::io::Result<()> {
    epoll::add(epoll, socket, EventData::new_u64(token), INTEREST)
}

/// Ends a connection at once, so that no port waits for a minute.
pub(crate) fn cut(socket: OwnedFd) {
    let _closes_slower = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    drop(socket);
}

/// What a read or a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    Bytes(usize),
    /// Not now.
    Later,
    /// The peer has ended it.
    End,
    Failed(Errno),
}

/// Reads what is there.
pub(crate) fn read(socket: &OwnedFd, into: &mut [u8]) -> Moved {
    loop {
        match recv(socket, &mut *into, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Moved::End,
            Ok((bytes, _)) => return Moved::Bytes(bytes),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Moved::Later,
            Err(error) => return Moved::Failed(error),
        }
    }
}

/// Writes what fits.
pub(crate) fn write(socket: &OwnedFd, bytes: &[u8]) -> Moved {
    loop {
        match send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(bytes) => return Moved::Bytes(bytes),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN | Errno::NOTCONN | Errno::INPROGRESS) => return Moved::Later,
            Err(error) => return Moved::Failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_loopback_addresses() {
        assert_eq!(source(0), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(1_999), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(600_000), Ipv4Addr::new(127, 0, 1, 46));
    }
}

//! Plain sockets under stress: input in pieces, peers that vanish, readers that are slow, many who
//! come and go. Every promise here holds on swept sockets and on those with a task of their own.

mod ends;
mod input;
mod many;
mod slow;

use serde_json::Value;
use socket2::SockRef;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{
    Server,
    raw::{Raw, address, handshake},
};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A server whose log is memory, so that a storm of publishes does not wait for the disk.
async fn quiet_server() -> Server {
    let (log, features) = crate::support::log::HeldLog::new();
    Server::dev_on(log, features).await
}

/// A connection whose kernel takes little, so that the server's side fills quickly.
async fn narrow(server: &Server, bytes: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(bytes).unwrap();
    socket.connect(address(server).parse().unwrap()).await.unwrap()
}

/// A socket on such a connection, its hello taken.
async fn narrow_socket(server: &Server, bytes: u32) -> Raw {
    upgraded(narrow(server, bytes).await).await
}

/// A socket that ends, when it is dropped, with a RST or with a FIN.
async fn lingering(server: &Server, is_reset: bool) -> Raw {
    let stream = TcpStream::connect(address(server)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    if is_reset {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    upgraded(stream).await
}

/// A socket by hand, its hello taken.
async fn socket(server: &Server) -> Raw {
    lingering(server, false).await
}

async fn upgraded(stream: TcpStream) -> Raw {
    let mut raw = Raw::over(stream);
    raw.send(handshake("/v1/socket")).await;
    assert_eq!(raw.head().await.status, 101);
    assert!(raw.frame().await.unwrap().json()["hello"].is_object());
    raw
}

/// The next text message; pings, pongs and beats are passed over.
async fn told(raw: &mut Raw) -> Value {
    loop {
        let frame = raw.frame().await.expect("a message, not the end");
        if !matches!(frame.first, PING | PONG) {
            let told = frame.json();
            if !told["beat"].is_object() {
                return told;
            }
        }
    }
}

/// The references of the next answers, sorted; each must be good. What else is told is passed over.
async fn answered(raw: &mut Raw, count: usize) -> Vec<u64> {
    let mut references = Vec::new();
    while references.len() < count {
        let told = told(raw).await;
        if let Some(reference) = told["ref"].as_u64() {
            assert!(told["ok"].is_object(), "{told}");
            references.push(reference);
        }
    }
    references.sort_unstable();
    references
}

/// Chance with a seed, so that a failure can be had again.
struct Chance(u64);

impl Chance {
    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

//! Plain sockets under stress: input in pieces, peers that vanish, readers that are slow, many who
//! come and go. Every promise here holds on swept sockets and on those with a task of their own.

mod ends;
mod input;
mod slow;

use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{
    Server,
    raw::{Frame, Raw, address, handshake},
};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A connection whose kernel takes little, so that the server's side fills quickly.
async fn narrow(server: &Server, bytes: u32) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(bytes).unwrap();
    socket.connect(address(server).parse().unwrap()).await.unwrap()
}

/// A socket on such a connection, its hello taken.
async fn narrow_socket(server: &Server, bytes: u32) -> Raw {
    let mut raw = Raw::over(narrow(server, bytes).await);
    raw.send(handshake("/v1/socket")).await;
    assert_eq!(raw.head().await.status, 101);
    assert!(raw.frame().await.unwrap().json()["hello"].is_object());
    raw
}

/// A socket by hand, its hello taken.
async fn socket(server: &Server) -> Raw {
    let mut raw = Raw::upgraded(server, "/v1/socket").await;
    assert!(raw.frame().await.unwrap().json()["hello"].is_object());
    raw
}

/// The next text message; pings and beats are passed over.
async fn told(raw: &mut Raw) -> Value {
    loop {
        let frame: Frame = raw.frame().await.expect("a message, not the end");
        if frame.first != PING {
            let told = frame.json();
            if !told["beat"].is_object() {
                return told;
            }
        }
    }
}

//! The floor: the least that a server can do. One thread, one epoll set, and for every message a
//! plain loop of `send(2)` over the subscribers of its topic.
//!
//! It is the yardstick that other servers are divided by, so it must not know anything that costs:
//! no log, no cursors, no slow readers, no frames. Whoever publishes sends the bytes that are to go
//! out, as `[topic: u32][length: u32][bytes]`, little-endian, after [`CONTROL`].

use std::{collections::HashMap, net::SocketAddr, os::fd::OwnedFd};

use anyhow::Context;
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, EventData, EventFlags},
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind,
        getsockname, listen, recv, send, socket_with,
    },
};
use tidewire::tidewire_proto::frame::accept_key;

/// What a connection that publishes says first.
pub(crate) const CONTROL: &[u8] = b"FLOOR\r\n\r\n";
/// The topic that stands for "every new subscriber gets this with its head".
pub(crate) const GREETING: u32 = u32::MAX;

const LISTENER: u64 = u64::MAX;
const BACKLOG: i32 = 65_535;
const TOPICS_MAX: usize = 100_000;
const SSE_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

/// Where a connection stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// In `waiting`: its request is not whole.
    Waiting,
    Subscriber {
        topic: u32,
        index: u32,
    },
    Control,
    Gone,
}

#[derive(Debug)]
struct Floor {
    epoll: OwnedFd,
    listener: OwnedFd,
    places: Vec<Place>,
    waiting: HashMap<u64, (OwnedFd, Vec<u8>)>,
    topics: Vec<Vec<Option<OwnedFd>>>,
    control: Option<OwnedFd>,
    commands: Vec<u8>,
    greeting: Vec<u8>,
}

/// Listens on a free loopback port, says which, and serves until it is killed.
///
/// # Errors
/// When the kernel has no socket left.
pub(crate) fn serve() -> anyhow::Result<()> {
    let kind = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = socket_with(AddressFamily::INET, SocketType::STREAM, kind, None)?;
    bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
    listen(&listener, BACKLOG)?;
    let address = SocketAddr::try_from(getsockname(&listener)?).context("no address")?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    println!("floor listens on http://{address}/");
    let mut floor = Floor {
        epoll,
        listener,
        places: Vec::new(),
        waiting: HashMap::new(),
        topics: Vec::new(),
        control: None,
        commands: Vec::new(),
        greeting: Vec::new(),
    };
    let mut events = Vec::with_capacity(1_024);
    loop {
        events.clear();
        epoll::wait(&floor.epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                LISTENER => floor.accept(),
                token => floor.event(token, event.flags),
            }
        }
    }
}

impl Floor {
    fn accept(&mut self) {
        // Accepted sockets block: a `send` waits for a slow reader instead of losing something.
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC) {
            let token = self.places.len() as u64;
            let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
            if epoll::add(&self.epoll, &socket, EventData::new_u64(token), flags).is_ok() {
                self.places.push(Place::Waiting);
                self.waiting.insert(token, (socket, Vec::new()));
            }
        }
    }

    fn event(&mut self, token: u64, flags: EventFlags) {
        match self.places[token as usize] {
            Place::Waiting => self.request(token),
            Place::Control => self.obey(),
            Place::Subscriber { topic, index } => {
                if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
                    self.topics[topic as usize][index as usize] = None;
                    self.places[token as usize] = Place::Gone;
                }
            }
            Place::Gone => {}
        }
    }

    fn request(&mut self, token: u64) {
        let mut chunk = [0; 2_048];
        let Some((socket, request)) = self.waiting.get_mut(&token) else { return };
        match recv(&*socket, &mut chunk, RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                self.waiting.remove(&token);
                self.places[token as usize] = Place::Gone;
                return;
            }
            Ok((read, _)) => request.extend_from_slice(&chunk[..read]),
            Err(_) => return,
        }
        let Some(end) = memchr::memmem::find(request, b"\r\n\r\n") else { return };
        let Some((socket, request)) = self.waiting.remove(&token) else { return };
        if request.starts_with(CONTROL) {
            self.commands = request[end + 4..].to_vec();
            self.control = Some(socket);
            self.places[token as usize] = Place::Control;
            self.obey();
            return;
        }
        let (mut answer, topic) = answer(&request);
        answer.extend_from_slice(&self.greeting);
        let _gone = send(&socket, &answer, SendFlags::NOSIGNAL);
        if topic >= self.topics.len() {
            self.topics.resize_with(topic + 1, Vec::new);
        }
        let index = self.topics[topic].len() as u32;
        self.topics[topic].push(Some(socket));
        self.places[token as usize] = Place::Subscriber { topic: topic as u32, index };
    }

    /// Reads what is to be sent, and sends it.
    fn obey(&mut self) {
        let Some(control) = &self.control else { return };
        let mut chunk = [0; 64 << 10];
        while let Ok((read, _)) = recv(control, &mut chunk, RecvFlags::DONTWAIT) {
            if read == 0 {
                break;
            }
            self.commands.extend_from_slice(&chunk[..read]);
        }
        let commands = std::mem::take(&mut self.commands);
        let mut rest = &commands[..];
        while let Some((topic, blob, further)) = command(rest) {
            rest = further;
            if topic == GREETING {
                self.greeting = blob.to_vec();
                continue;
            }
            for socket in self.topics.get(topic as usize).into_iter().flatten().flatten() {
                let _gone = send(socket, blob, SendFlags::NOSIGNAL);
            }
        }
        self.commands = rest.to_vec();
    }
}

/// The first command, and what follows it.
fn command(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let (topic, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (blob, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((u32::from_le_bytes(*topic), blob, rest))
}

/// The response head for a request, and the topic: the number at the end of the path.
fn answer(request: &[u8]) -> (Vec<u8>, usize) {
    let text = String::from_utf8_lossy(request);
    let path = text.split(' ').nth(1).unwrap_or_default();
    let number = path.rsplit('/').next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let topic = if number < TOPICS_MAX { number } else { 0 };
    let key = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let Some(accept) = key.and_then(accept_key) else { return (SSE_HEAD.to_vec(), topic) };
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    (head.into_bytes(), topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_length_prefixed() {
        let bytes = [&3_u32.to_le_bytes()[..], &2_u32.to_le_bytes(), b"abc"].concat();
        assert_eq!(command(&bytes), Some((3, &b"ab"[..], &b"c"[..])));
        (0..10).for_each(|at| assert_eq!(command(&bytes[..at]), None));
    }

    #[test]
    fn requests_are_answered_in_their_protocol() {
        assert_eq!(answer(b"GET /bench/7 HTTP/1.1\r\n\r\n").1, 7);
        assert!(answer(b"GET /bench/0 HTTP/1.1\r\n\r\n").0.starts_with(b"HTTP/1.1 200"));
        let (head, _) =
            answer(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        assert!(String::from_utf8_lossy(&head).contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }
}

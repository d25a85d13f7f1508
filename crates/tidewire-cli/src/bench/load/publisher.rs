//! A connection that publishes: one HTTP request at a time, or blobs to the floor server.
//!
//! It must not know subscribers. Invariant: one request at a time on a connection, so what goes
//! through one publisher has one order.

use std::os::fd::OwnedFd;

use anyhow::{Context, bail};

use super::{
    answer,
    socket::{self, Moved},
};
use crate::bench::{
    door::{Door, Template, Transport},
    floor::{CONTROL, GREETING},
    frames,
};

/// Messages in one batch, and bytes of it, that every Tidewire takes.
pub(crate) const BATCH_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 3 << 20;
/// Bytes of an answer that are read at once.
const READ_BYTES: usize = 64 << 10;

/// How messages are published.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// A POST for each message, the payload as its body.
    Each { url: Template, headers: Vec<String> },
    /// A POST for all that wait: one JSON object with topic and data a line.
    Batch { url: Template, headers: Vec<String> },
    /// A `publish` command on a WebSocket for each message.
    Socket { url: Template },
    /// Length-prefixed blobs to the floor server: exactly the bytes that each subscriber gets.
    Floor { url: Template, before: Vec<u8>, after: Vec<u8> },
}

impl Way {
    pub(crate) fn url(&self) -> &Template {
        match self {
            Self::Each { url, .. }
            | Self::Batch { url, .. }
            | Self::Socket { url }
            | Self::Floor { url, .. } => url,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Publisher {
    way: Way,
    /// First segment of every topic.
    feature: String,
    socket: OwnedFd,
    /// What was added and is not in a request yet.
    body: Vec<u8>,
    path: String,
    messages: usize,
    out: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    /// A request is under way.
    waiting: bool,
    /// The body of the last answer.
    pub(crate) answer: Vec<u8>,
}

impl Publisher {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub(crate) fn open(way: Way, feature: &str) -> anyhow::Result<Self> {
        let address = way.url().address;
        let socket = socket::open(address)
            .with_context(|| format!("no publisher can connect to {address}"))?;
        let out = match &way {
            Way::Floor { .. } => CONTROL.to_vec(),
            Way::Socket { url } => upgrade(url),
            _ => Vec::new(),
        };
        // A WebSocket answers its handshake before it takes anything.
        let waiting = matches!(way, Way::Socket { .. });
        Ok(Self {
            way,
            feature: feature.to_owned(),
            socket,
            body: Vec::new(),
            path: String::new(),
            messages: 0,
            out,
            sent: 0,
            received: Vec::new(),
            waiting,
            answer: Vec::new(),
        })
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Is an answer still to come?
    pub(crate) fn busy(&self) -> bool {
        self.waiting || self.sent < self.out.len()
    }

    /// May a message be added now?
    pub(crate) fn takes(&self) -> bool {
        match self.way {
            Way::Floor { .. } => true,
            Way::Each { .. } | Way::Socket { .. } => !self.waiting && self.messages == 0,
            Way::Batch { .. } => {
                !self.waiting && self.messages < BATCH_MAX && self.body.len() < BATCH_BYTES_MAX
            }
        }
    }

    /// Adds a message; [`send`](Self::send) sends it.
    pub(crate) fn add(&mut self, topic: u64, payload: &[u8]) {
        self.messages += 1;
        match &self.way {
            Way::Each { url, .. } => {
                self.path = url.path(&topic_name(&self.feature, topic), "");
                self.body.extend_from_slice(payload);
            }
            Way::Batch { url, .. } => {
                self.path = url.path("", "");
                let name = topic_name(&self.feature, topic);
                self.body.extend_from_slice(format!("{{\"topic\":\"{name}\",\"data\":").as_bytes());
                self.body.extend_from_slice(payload);
                self.body.extend_from_slice(b"}\n");
            }
            Way::Socket { .. } => {
                let name = topic_name(&self.feature, topic);
                let payload = String::from_utf8_lossy(payload);
                self.body = frames::text(&format!(
                    r#"{{"do":"publish","ref":1,"topic":"{name}","data":{payload}}}"#
                ));
            }
            Way::Floor { before, after, .. } => {
                let bytes = before.len() + payload.len() + after.len();
                let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
                self.body.extend_from_slice(&number(topic));
                self.body.extend_from_slice(&number(bytes as u64));
                self.body.extend_from_slice(before);
                self.body.extend_from_slice(payload);
                self.body.extend_from_slice(after);
            }
        }
    }

    /// Adds, for the floor server, what every new subscriber gets at once.
    pub(crate) fn add_greeting(&mut self, payloads: &[Vec<u8>]) {
        let Way::Floor { before, after, .. } = &self.way else { return };
        let parts = payloads.iter().flat_map(|payload| [before, payload, after]);
        let blob: Vec<u8> = parts.flatten().copied().collect();
        let length = u32::try_from(blob.len()).unwrap_or(u32::MAX);
        self.body.extend_from_slice(&GREETING.to_le_bytes());
        self.body.extend_from_slice(&length.to_le_bytes());
        self.body.extend_from_slice(&blob);
        self.messages += 1;
    }

    /// Sends what was added.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn send(&mut self) -> anyhow::Result<()> {
        if self.messages == 0 {
            return Ok(());
        }
        let (kind, headers) = match &self.way {
            Way::Floor { .. } => ("", None),
            Way::Socket { .. } => {
                self.waiting = true;
                ("", None)
            }
            Way::Each { headers, .. } => ("application/json", Some(headers)),
            Way::Batch { headers, .. } => ("application/x-ndjson", Some(headers)),
        };
        if let Some(headers) = headers {
            let (path, host, length) = (&self.path, &self.way.url().host, self.body.len());
            let mut head = format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
            );
            headers.iter().for_each(|line| head.extend([line, "\r\n"]));
            head.push_str("\r\n");
            self.out.extend_from_slice(head.as_bytes());
            self.waiting = true;
        }
        self.out.append(&mut self.body);
        self.messages = 0;
        self.flush()
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        while self.sent < self.out.len() {
            match socket::write(&self.socket, &self.out[self.sent..]) {
                Moved::Bytes(bytes) => self.sent += bytes,
                Moved::Later => return Ok(()),
                Moved::End => bail!("the server has closed a publisher's connection"),
                Moved::Failed(error) => bail!("a publisher's connection is gone: {error}"),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads; true when an answer has come.
    ///
    /// # Errors
    /// When the connection is gone, or the answer is no success.
    pub(crate) fn read(&mut self) -> anyhow::Result<bool> {
        let mut chunk = [0; READ_BYTES];
        loop {
            match socket::read(&self.socket, &mut chunk) {
                Moved::Bytes(bytes) => self.received.extend_from_slice(&chunk[..bytes]),
                Moved::Later => break,
                Moved::End => bail!("the server has closed a publisher's connection"),
                Moved::Failed(error) => bail!("a publisher's connection is gone: {error}"),
            }
        }
        if matches!(self.way, Way::Socket { .. }) {
            return self.socket_answer();
        }
        let Some(answer) = answer::parse(&self.received) else { return Ok(false) };
        self.received.drain(..answer.taken);
        self.waiting = false;
        if !(200..300).contains(&answer.status) {
            let text = String::from_utf8_lossy(&answer.body);
            bail!("a publish was answered {}: {}", answer.status, text.trim());
        }
        self.answer = answer.body;
        Ok(true)
    }

    /// One publish is under way at a time, so its answer is the next message that has one.
    fn socket_answer(&mut self) -> anyhow::Result<bool> {
        let has = |what: &str| memchr::memmem::find(&self.received, what.as_bytes()).is_some();
        if has("\"error\"") || has("HTTP/1.1 4") {
            bail!("a publish was answered {}", String::from_utf8_lossy(&self.received).trim());
        }
        let opened = has("\"hello\"");
        if !has("\"ok\"") && !opened {
            return Ok(false);
        }
        self.answer = std::mem::take(&mut self.received);
        self.waiting = false;
        Ok(!opened)
    }
}

/// The opening handshake of a WebSocket that publishes.
fn upgrade(url: &Template) -> Vec<u8> {
    let door = Door {
        template: url.clone(),
        transport: Transport::Ws,
        headers: Vec::new(),
        subprotocol: Some("tidewire.v1".to_owned()),
        says: Vec::new(),
        wait_for: None,
    };
    door.request("", "")
}

/// The name of a topic of the run.
pub(crate) fn topic_name(feature: &str, topic: u64) -> String {
    format!("{feature}/{topic}")
}

//! The subscribers' side: from the first byte of a request to the last delivery.
//!
//! It must not know what a delivery means: it finds markers and hands them over. Invariant: between
//! two reads a subscriber that stands costs its [`Subscriber`] and nothing else, unless a marker or
//! a frame's header was cut in two.

use std::{collections::HashMap, os::fd::OwnedFd};

use super::{
    answer::head_end,
    socket::{self, Moved},
};
use crate::bench::{
    clock,
    door::{Door, Transport},
    frames::{self, Control},
    marker::{self, Marker, TAIL_BYTES_MAX},
};

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// Room before what is read, for what the last read has left.
const HEADROOM: usize = 64;
/// Longest that the beginning of a stream may be until a subscription stands.
const OPENING_BYTES_MAX: usize = 8 << 20;

const _: () = assert!(TAIL_BYTES_MAX <= HEADROOM && size_of::<Subscriber>() <= 32);

/// What is called for every marker: who, its next position, the time, the marker.
pub(super) type Take<'a> = dyn FnMut(u32, &mut u32, u64, Marker) + 'a;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Connecting, or not yet told that the subscription stands.
    Opening,
    Standing,
    /// Stands and does not read.
    Hostile,
    Gone,
}

#[derive(Debug)]
struct Subscriber {
    socket: Option<OwnedFd>,
    /// Position of the next message of its topic.
    next: u32,
    /// What is left of the WebSocket frame under way.
    left: u64,
    stage: Stage,
    /// It has an entry in `tails`.
    has_tail: bool,
    /// It has an entry in `headers`.
    has_header: bool,
}

/// A handshake under way.
#[derive(Debug)]
struct Opening {
    request: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    /// What is said after a WebSocket's handshake.
    says: Vec<u8>,
    /// The response head is behind us, and `received` begins after it.
    head_done: bool,
    hostile: bool,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Subscribers {
    all: Vec<Subscriber>,
    openings: HashMap<u32, Opening>,
    tails: HashMap<u32, Vec<u8>>,
    headers: HashMap<u32, Vec<u8>>,
    buffer: Vec<u8>,
    standing: u32,
    gone: u32,
    /// New ones will not read.
    pub(super) hostile: bool,
}

impl Default for Subscribers {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            openings: HashMap::new(),
            tails: HashMap::new(),
            headers: HashMap::new(),
            buffer: vec![0; HEADROOM + READ_BYTES],
            standing: 0,
            gone: 0,
            hostile: false,
        }
    }
}

impl Subscribers {
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn standing(&self) -> u32 {
        self.standing
    }

    pub(super) fn opening(&self) -> usize {
        self.openings.len()
    }

    pub(super) fn gone(&self) -> u32 {
        self.gone
    }

    /// Each healthy subscriber and its next position.
    pub(super) fn positions(&self) -> impl Iterator<Item = (u32, u32)> {
        let all = (0_u32..).zip(&self.all);
        all.filter(|(_, each)| each.stage != Stage::Hostile).map(|(who, each)| (who, each.next))
    }

    /// One more, whose socket is connecting.
    pub(super) fn begin(&mut self, socket: OwnedFd, request: Vec<u8>, says: Vec<u8>) {
        let opening = Opening {
            request,
            sent: 0,
            received: Vec::new(),
            says,
            head_done: false,
            hostile: self.hostile,
        };
        self.openings.insert(self.len(), opening);
        self.all.push(Subscriber {
            socket: Some(socket),
            next: 0,
            left: 0,
            stage: Stage::Opening,
            has_tail: false,
            has_header: false,
        });
    }

    /// Something happened on a socket. Returns why the connection ended, if it did.
    pub(super) fn event(
        &mut self,
        who: u32,
        ending: bool,
        door: &Door,
        bytes: &mut u64,
        take: &mut Take<'_>,
    ) -> Option<String> {
        let stage = self.all.get(who as usize)?.stage;
        let done = match stage {
            Stage::Gone | Stage::Hostile => return None,
            Stage::Opening => {
                self.push(who).and_then(|()| self.pull(who, ending, door, bytes, take))
            }
            Stage::Standing => self.pull(who, ending, door, bytes, take),
        };
        let error = done.err()?;
        self.end(who);
        Some(error)
    }

    fn end(&mut self, who: u32) {
        let subscriber = &mut self.all[who as usize];
        subscriber.socket = None;
        subscriber.stage = Stage::Gone;
        self.openings.remove(&who);
        self.tails.remove(&who);
        self.headers.remove(&who);
        self.gone += 1;
    }

    /// Sends what is left of a request.
    fn push(&mut self, who: u32) -> Result<(), String> {
        let subscriber = &self.all[who as usize];
        let (Some(opening), Some(socket)) = (self.openings.get_mut(&who), &subscriber.socket)
        else {
            return Ok(());
        };
        while opening.sent < opening.request.len() {
            match socket::write(socket, &opening.request[opening.sent..]) {
                Moved::Bytes(sent) => opening.sent += sent,
                Moved::Later => return Ok(()),
                Moved::End => return Err("closed before the request was sent".to_owned()),
                Moved::Failed(error) => return Err(format!("no connection: {error}")),
            }
        }
        Ok(())
    }

    /// Reads what is there. A short read has emptied the socket: the next bytes are a new event.
    fn pull(
        &mut self,
        who: u32,
        ending: bool,
        door: &Door,
        bytes: &mut u64,
        take: &mut Take<'_>,
    ) -> Result<(), String> {
        loop {
            let Some(socket) = &self.all[who as usize].socket else { return Ok(()) };
            let read = match socket::read(socket, &mut self.buffer[HEADROOM..]) {
                Moved::Bytes(read) => read,
                Moved::Later => return Ok(()),
                Moved::End => return Err(self.closed(who)),
                Moved::Failed(error) => return Err(format!("connection lost: {error}")),
            };
            *bytes += read as u64;
            if self.all[who as usize].stage == Stage::Opening {
                self.open(who, read, door, take)?;
            } else {
                self.deliver(who, read, door.transport, take)?;
            }
            if read < READ_BYTES && !ending {
                return Ok(());
            }
        }
    }

    /// Why a connection may have been closed.
    fn closed(&self, who: u32) -> String {
        let heard =
            self.openings.get(&who).map(|opening| String::from_utf8_lossy(&opening.received));
        match heard {
            Some(heard) => {
                format!("closed before the subscription stood, after {:?}", excerpt(&heard))
            }
            None => "closed by the server".to_owned(),
        }
    }

    /// Bytes of a subscriber that stands lie in the buffer.
    fn deliver(
        &mut self,
        who: u32,
        read: usize,
        transport: Transport,
        take: &mut Take<'_>,
    ) -> Result<(), String> {
        if transport == Transport::Ws {
            self.frames(who, HEADROOM, HEADROOM + read)?;
        }
        let subscriber = &mut self.all[who as usize];
        let mut start = HEADROOM;
        if subscriber.has_tail {
            subscriber.has_tail = false;
            let tail = self.tails.remove(&who).unwrap_or_default();
            start -= tail.len();
            self.buffer[start..HEADROOM].copy_from_slice(&tail);
        }
        let now = clock::now_ns();
        let whole = &self.buffer[start..HEADROOM + read];
        let next = &mut subscriber.next;
        let rest = marker::scan(whole, |marker| take(who, next, now, marker));
        if !rest.is_empty() {
            subscriber.has_tail = true;
            self.tails.insert(who, rest.to_vec());
        }
        Ok(())
    }

    /// Walks over the WebSocket frames in this part of the buffer; answers pings.
    fn frames(&mut self, who: u32, from: usize, to: usize) -> Result<(), String> {
        let subscriber = &mut self.all[who as usize];
        let (mut said, mut closed) = (Vec::new(), None);
        let control = |control| match control {
            Control::Ping(payload) => said.extend(frames::pong(&payload)),
            Control::Close(code, reason) => closed = Some(format!("closed with {code} {reason}")),
        };
        let fresh = &self.buffer[from..to];
        let kept = if subscriber.has_header {
            let mut joined = self.headers.remove(&who).unwrap_or_default();
            joined.extend_from_slice(fresh);
            frames::walk(&mut subscriber.left, &joined, control).to_vec()
        } else {
            match frames::walk(&mut subscriber.left, fresh, control) {
                [] => Vec::new(),
                kept => kept.to_vec(),
            }
        };
        subscriber.has_header = !kept.is_empty();
        if subscriber.has_header {
            self.headers.insert(who, kept);
        }
        if let (false, Some(socket)) = (said.is_empty(), &subscriber.socket) {
            // A pong that does not fit is one that the server does not read either.
            let _unsent = socket::write(socket, &said);
        }
        closed.map_or(Ok(()), Err)
    }

    /// Bytes of a handshake lie in the buffer.
    fn open(
        &mut self,
        who: u32,
        read: usize,
        door: &Door,
        take: &mut Take<'_>,
    ) -> Result<(), String> {
        let mut fresh = HEADROOM;
        let Some(opening) = self.openings.get_mut(&who) else { return Ok(()) };
        opening.received.extend_from_slice(&self.buffer[HEADROOM..HEADROOM + read]);
        if opening.received.len() > OPENING_BYTES_MAX {
            return Err("no sign that the subscription stands".to_owned());
        }
        if !opening.head_done {
            let Some(end) = head_end(&opening.received) else { return Ok(()) };
            if opening.received.get(9..12) != Some(door.status()) {
                let heard = String::from_utf8_lossy(&opening.received);
                return Err(format!("answered {:?}", excerpt(&heard)));
            }
            opening.head_done = true;
            // How many bytes of this read belong to the head.
            fresh += read - (opening.received.len() - end);
            opening.received.drain(..end);
            opening.request.append(&mut opening.says);
            self.push(who)?;
        }
        if door.transport == Transport::Ws {
            self.frames(who, fresh, HEADROOM + read)?;
        }
        self.stand(who, door, take);
        Ok(())
    }

    /// Does the subscription stand now? Then what came behind the sign are deliveries.
    fn stand(&mut self, who: u32, door: &Door, take: &mut Take<'_>) {
        let Some(opening) = self.openings.get(&who) else { return };
        if let Some(sign) = &door.wait_for
            && memchr::memmem::find(&opening.received, sign.as_bytes()).is_none()
        {
            return;
        }
        let Some(opening) = self.openings.remove(&who) else { return };
        let subscriber = &mut self.all[who as usize];
        self.standing += 1;
        subscriber.stage = if opening.hostile { Stage::Hostile } else { Stage::Standing };
        let (now, next) = (clock::now_ns(), &mut subscriber.next);
        let rest = marker::scan(&opening.received, |marker| take(who, next, now, marker));
        subscriber.has_tail = !rest.is_empty();
        if subscriber.has_tail {
            self.tails.insert(who, rest.to_vec());
        }
    }

    /// Every second hostile reader takes one byte; the others never do.
    pub(super) fn drip(&mut self) {
        let mut byte = [0];
        for subscriber in self.all.iter().filter(|each| each.stage == Stage::Hostile).step_by(2) {
            if let Some(socket) = &subscriber.socket {
                let _whatever = socket::read(socket, &mut byte);
            }
        }
    }

    /// Ends every connection.
    pub(super) fn cut(&mut self) {
        for subscriber in self.all.drain(..) {
            subscriber.socket.into_iter().for_each(socket::cut);
        }
        self.openings.clear();
        self.tails.clear();
        self.headers.clear();
        self.standing = 0;
        self.gone = 0;
    }
}

impl Drop for Subscribers {
    fn drop(&mut self) {
        self.cut();
    }
}

/// The beginning of what a server said, for an error.
fn excerpt(text: &str) -> String {
    text.chars().take(160).collect()
}

//! The messages of the y-websocket protocol (y-protocols 1.0: `sync.js`, `awareness.js`, `auth.js`), as
//! bytes. Pure.
//!
//! Numbers are lib0's: seven bits a byte, the lowest first, below 2⁵³. Knows nothing of documents: an
//! update and a state vector are bytes here.

use bytes::Bytes;

const SYNC: u8 = 0;
const AWARENESS: u8 = 1;
const AUTH: u8 = 2;
const QUERY_AWARENESS: u8 = 3;
const STEP_1: u8 = 0;
const STEP_2: u8 = 1;
const UPDATE: u8 = 2;
const PERMISSION_DENIED: u8 = 0;
/// JavaScript's largest safe integer: lib0 writes none above.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// What it has: a state vector. It wants what it has not.
    Step1(Bytes),
    /// What the server had not, said after the server's step 1: it may be nothing new at all.
    Step2(Bytes),
    /// What was edited just now.
    Update(Bytes),
    /// States of clients.
    Awareness(Vec<State>),
    /// It wants the states of all.
    AskAwareness,
    /// A message that asks for nothing here.
    Other,
}

/// The state of one client: the text of a JSON value, `null` when it has gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) client: u64,
    pub(crate) clock: u64,
    pub(crate) json: Bytes,
}

impl State {
    pub(crate) fn is_gone(&self) -> bool {
        &self.json[..] == b"null"
    }
}

/// Reads a message. Nothing if it is none.
pub(crate) fn parse(message: &Bytes) -> Option<Said> {
    let mut walk = Walk(message);
    let said = match walk.u8()? {
        SYNC => {
            let step = walk.u8()?;
            let bytes = message.slice_ref(walk.buffer()?);
            match step {
                STEP_1 => Said::Step1(bytes),
                STEP_2 => Said::Step2(bytes),
                UPDATE => Said::Update(bytes),
                _ => return None,
            }
        }
        AWARENESS => Said::Awareness(states(message, walk.buffer()?)?),
        AUTH => return Some(Said::Other),
        QUERY_AWARENESS => Said::AskAwareness,
        _ => return None,
    };
    walk.0.is_empty().then_some(said)
}

/// The states in an awareness update.
pub(crate) fn states(message: &Bytes, update: &[u8]) -> Option<Vec<State>> {
    let mut walk = Walk(update);
    let count = walk.count()?;
    let mut states = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let (client, clock) = (walk.number()?, walk.number()?);
        let json = message.slice_ref(walk.buffer()?);
        states.push(State { client, clock, json });
    }
    walk.0.is_empty().then_some(states)
}

/// What the server has: it wants what it has not.
pub(crate) fn step_1(state_vector: &[u8]) -> Vec<u8> {
    sync(STEP_1, state_vector)
}

/// The answer to a step 1.
pub(crate) fn step_2(update: &[u8]) -> Vec<u8> {
    sync(STEP_2, update)
}

/// What was edited.
pub(crate) fn update(update: &[u8]) -> Vec<u8> {
    sync(UPDATE, update)
}

/// States of clients.
pub(crate) fn awareness(states: &[State]) -> Vec<u8> {
    let mut out = vec![AWARENESS];
    push_buffer(&awareness_update(states), &mut out);
    out
}

/// States of clients, as the data of an entry.
pub(crate) fn awareness_update(states: &[State]) -> Vec<u8> {
    let mut update = Vec::new();
    push_number(states.len() as u64, &mut update);
    for State { client, clock, json } in states {
        push_number(*client, &mut update);
        push_number(*clock, &mut update);
        push_buffer(json, &mut update);
    }
    update
}

/// A message that says nothing, but is one: a provider that hears none for 30 s reconnects.
#[must_use]
pub fn beat() -> Vec<u8> {
    awareness(&[])
}

/// Why something is refused. The provider shows it on the console.
#[must_use]
pub fn denied(reason: &str) -> Vec<u8> {
    let mut out = vec![AUTH, PERMISSION_DENIED];
    push_buffer(reason.as_bytes(), &mut out);
    out
}

fn sync(step: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    out.extend_from_slice(&[SYNC, step]);
    push_buffer(bytes, &mut out);
    out
}

fn push_buffer(bytes: &[u8], out: &mut Vec<u8>) {
    push_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn push_number(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left to read of some bytes.
#[derive(Clone, Copy)]
pub(crate) struct Walk<'a>(pub(crate) &'a [u8]);

impl<'a> Walk<'a> {
    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return (number <= NUMBER_MAX).then_some(number);
            }
            shift += 7;
            if shift > 49 {
                return None;
            }
        }
    }

    /// How many things follow. Each takes a byte at least, so there are no more than bytes.
    pub(crate) fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    /// Bytes, with their number before them.
    pub(crate) fn buffer(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.buffer()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(client: u64, clock: u64, json: &'static str) -> State {
        State { client, clock, json: Bytes::from_static(json.as_bytes()) }
    }

    /// Written by `y-protocols` 1.0.7 and `lib0` 0.2.120 in Node.
    #[test]
    fn the_bytes_are_those_of_the_javascript_library() {
        assert_eq!(step_1(&[0]), [0, 0, 1, 0]);
        assert_eq!(step_2(&[0, 0]), [0, 1, 2, 0, 0]);
        assert_eq!(update(&[0, 0]), [0, 2, 2, 0, 0]);
        assert_eq!(denied("no"), [2, 0, 2, 110, 111]);
        let two = [state(300, 1, "{\"a\":1}"), state(7, 2, "null")];
        let expected =
            [1, 19, 2, 172, 2, 1, 7, 123, 34, 97, 34, 58, 49, 125, 7, 2, 4, 110, 117, 108, 108];
        assert_eq!(awareness(&two), expected);
        assert_eq!(beat(), [1, 1, 0]);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let read = |bytes: Vec<u8>| parse(&Bytes::from(bytes));
        assert_eq!(read(step_1(&[0])), Some(Said::Step1(Bytes::from_static(&[0]))));
        assert_eq!(read(step_2(&[0, 0])), Some(Said::Step2(Bytes::from_static(&[0, 0]))));
        assert_eq!(read(update(&[0, 0])), Some(Said::Update(Bytes::from_static(&[0, 0]))));
        let two = vec![state(NUMBER_MAX, 1, "{}"), state(7, 2, "null")];
        assert_eq!(read(awareness(&two)), Some(Said::Awareness(two)));
        assert_eq!(read(vec![QUERY_AWARENESS]), Some(Said::AskAwareness));
    }

    #[test]
    fn what_is_no_message_is_none() {
        let too_many = [AWARENESS, 4, 255, 255, 255, 127];
        let not_whole = [SYNC, UPDATE, 9, 0];
        let more = [SYNC, UPDATE, 1, 0, 0];
        let endless = [SYNC, STEP_1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255];
        for bytes in [&[][..], &[9], &[SYNC], &[SYNC, 7, 0], &too_many, &not_whole, &more, &endless]
        {
            assert_eq!(parse(&Bytes::copy_from_slice(bytes)), None, "{bytes:?}");
        }
    }
}

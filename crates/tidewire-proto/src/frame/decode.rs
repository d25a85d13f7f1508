//! The decoder: bytes of one connection in, [`Event`]s out (RFC 6455 sections 5.4, 5.5, 6.2).
//!
//! It must not know where the bytes come from, nor answer for itself: a ping is an event, the pong
//! is the caller's. Invariant: it holds memory only for a message under way, at most
//! `message_bytes_max` and at most about twice what has arrived of it; between messages, nothing.

use bytes::{Buf as _, Bytes, BytesMut};

use super::{
    CONTROL_BYTES_MAX, CloseFrame, FrameError, HEADER_BYTES_MAX, Header, Opcode, Role, mask::Mask,
    utf8::Utf8,
};

/// Most bytes that [`Decoder::feed`] leaves in its input when it asks for more: a masked control
/// frame that lacks its last byte. (A header that lacks its last byte is shorter.)
pub const WAITING_BYTES_MAX: usize = 2 + 4 + CONTROL_BYTES_MAX - 1;
const _: () = assert!(HEADER_BYTES_MAX <= WAITING_BYTES_MAX);

/// What one connection may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Longest message, in bytes of payload over all its fragments. Default 256 KiB: the memory
    /// that one connection can hold. Zero admits only empty messages.
    pub message_bytes_max: usize,
    /// Most frames in one message, empty ones included; an unfragmented message has one. Default
    /// 1024: what bounds the work that a peer causes without ever sending a byte of payload. Zero
    /// admits no message at all.
    pub fragments_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { message_bytes_max: 256 * 1024, fragments_max: 1024 }
    }
}

/// What a peer said. The bytes are the event's own, of exactly their size: keeping one keeps
/// nothing of the read buffer alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole text message; its bytes are valid UTF-8.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping, to be answered with a pong of the same payload, at most 125 bytes (section 5.5.3).
    Ping(Bytes),
    /// A pong; at most 125 bytes.
    Pong(Bytes),
    /// The peer closes: the last event. `None` when it gave no code.
    Close(Option<CloseFrame>),
}

/// Decodes what one peer sends.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: DecodeLimits,
    /// The data message under way, from its first header to its last byte.
    message: Option<Message>,
    /// A close frame or an error was reported; what follows means nothing.
    ended: bool,
}

impl Decoder {
    /// A decoder for the bytes that reach this end of a connection. Allocates nothing.
    #[must_use]
    pub fn new(role: Role, limits: DecodeLimits) -> Self {
        Self { role, limits, message: None, ended: false }
    }

    /// Takes what it can use from the front of `input`, up to the next event. Call it again until
    /// it returns `None`: it then needs more bytes, and has left at most [`WAITING_BYTES_MAX`] in
    /// `input`, an unfinished header or control frame. When it left none, the caller may drop the
    /// buffer.
    ///
    /// After [`Event::Close`] or an error it returns only `None`, and discards its input
    /// (sections 1.4 and 7.1.7).
    ///
    /// # Errors
    /// [`FrameError`] as soon as the bytes so far break a rule; its
    /// [`close_code`](FrameError::close_code) is what to fail the connection with.
    pub fn feed(&mut self, input: &mut BytesMut) -> Result<Option<Event>, FrameError> {
        if self.ended {
            input.clear();
            return Ok(None);
        }
        let outcome = self.advance(input);
        if matches!(outcome, Err(_) | Ok(Some(Event::Close(_)))) {
            self.ended = true;
            self.message = None;
            input.clear();
        }
        outcome
    }

    /// Memory held for the message under way, in bytes; zero between messages. At most
    /// `message_bytes_max`.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.payload.capacity())
    }

    /// Is a data message under way, that an end of the stream would cut off?
    #[must_use]
    pub fn is_inside_message(&self) -> bool {
        self.message.is_some()
    }

    /// Has a close frame or an error been reported?
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn advance(&mut self, input: &mut BytesMut) -> Result<Option<Event>, FrameError> {
        loop {
            if let Some(message) = &mut self.message {
                match message.take_payload(input, self.limits.message_bytes_max)? {
                    Progress::Starved => return Ok(None),
                    Progress::Whole => {
                        return self.message.take().map(Message::into_event).transpose();
                    }
                    Progress::BetweenFrames => {}
                }
            }
            let Some((header, header_bytes)) = Header::read(input, self.role)? else {
                return Ok(None);
            };
            if header.opcode.is_control() {
                return take_control(&header, header_bytes, input);
            }
            self.begin_frame(&header)?;
            input.advance(header_bytes);
        }
    }

    /// Checks a data frame against what came before it and against the limits, before any of its
    /// payload is looked at.
    fn begin_frame(&mut self, header: &Header) -> Result<(), FrameError> {
        let mut message = match (self.message.take(), header.opcode) {
            (Some(message), Opcode::Continuation) => message,
            (None, Opcode::Continuation) => return Err(FrameError::NothingToContinue),
            (Some(_), _) => return Err(FrameError::MessageUnderWay),
            (None, opcode) => Message::new(opcode),
        };
        message.begin_frame(header, &self.limits)?;
        self.message = Some(message);
        Ok(())
    }
}

/// A control frame is taken whole or not at all: it is short, and comes in the middle of a message
/// whose memory it must not disturb.
fn take_control(
    header: &Header,
    header_bytes: usize,
    input: &mut BytesMut,
) -> Result<Option<Event>, FrameError> {
    let Ok(payload_bytes) = usize::try_from(header.payload_bytes) else {
        return Err(FrameError::ControlTooLong);
    };
    let end = header_bytes + payload_bytes;
    let Some(payload) = input.get_mut(header_bytes..end) else { return Ok(None) };
    if let Some(key) = header.mask_key {
        Mask::new(key).apply(payload);
    }
    let event = match header.opcode {
        Opcode::Close => Event::Close(CloseFrame::read(payload)?),
        Opcode::Ping => Event::Ping(Bytes::copy_from_slice(payload)),
        _ => Event::Pong(Bytes::copy_from_slice(payload)),
    };
    input.advance(end);
    Ok(Some(event))
}

/// A data message that has begun.
#[derive(Debug)]
struct Message {
    /// `Some` for text, with the verdict so far; `None` for binary.
    text: Option<Utf8>,
    /// Unmasked, over all fragments.
    payload: Vec<u8>,
    fragments: usize,
    /// The frame whose payload is arriving; `None` between fragments.
    frame: Option<OpenFrame>,
}

/// A data frame whose header was read and whose payload has not all arrived.
#[derive(Debug)]
struct OpenFrame {
    fin: bool,
    mask: Option<Mask>,
    remaining_bytes: usize,
}

/// How far the input carried a message.
enum Progress {
    /// The frame needs more bytes.
    Starved,
    /// A fragment is complete; another header comes next.
    BetweenFrames,
    /// The message is complete.
    Whole,
}

impl Message {
    fn new(opcode: Opcode) -> Self {
        let text = (opcode == Opcode::Text).then(Utf8::default);
        Self { text, payload: Vec::new(), fragments: 0, frame: None }
    }

    fn begin_frame(&mut self, header: &Header, limits: &DecodeLimits) -> Result<(), FrameError> {
        self.fragments += 1;
        if self.fragments > limits.fragments_max {
            return Err(FrameError::TooManyFragments(limits.fragments_max));
        }
        let room_bytes = limits.message_bytes_max.saturating_sub(self.payload.len());
        let remaining_bytes = usize::try_from(header.payload_bytes)
            .ok()
            .filter(|bytes| *bytes <= room_bytes)
            .ok_or(FrameError::MessageTooBig(limits.message_bytes_max))?;
        let mask = header.mask_key.map(Mask::new);
        self.frame = Some(OpenFrame { fin: header.fin, mask, remaining_bytes });
        Ok(())
    }

    /// Moves what `input` has of the open frame's payload into the message.
    fn take_payload(
        &mut self,
        input: &mut BytesMut,
        message_bytes_max: usize,
    ) -> Result<Progress, FrameError> {
        let Some(frame) = &mut self.frame else { return Ok(Progress::BetweenFrames) };
        let taken_bytes = frame.remaining_bytes.min(input.len());
        let start = self.payload.len();
        reserve(&mut self.payload, taken_bytes, message_bytes_max);
        self.payload.extend_from_slice(input.get(..taken_bytes).unwrap_or_default());
        input.advance(taken_bytes);
        frame.remaining_bytes -= taken_bytes;
        let fresh = self.payload.get_mut(start..).unwrap_or_default();
        if let Some(mask) = &mut frame.mask {
            mask.apply(fresh);
        }
        if let Some(text) = &mut self.text {
            text.feed(fresh).map_err(|_| FrameError::TextNotUtf8)?;
        }
        if frame.remaining_bytes > 0 {
            return Ok(Progress::Starved);
        }
        let fin = frame.fin;
        self.frame = None;
        Ok(if fin { Progress::Whole } else { Progress::BetweenFrames })
    }

    fn into_event(self) -> Result<Event, FrameError> {
        // Boxed, so that no spare capacity outlives the arrival.
        let payload = Bytes::from(self.payload.into_boxed_slice());
        match self.text {
            None => Ok(Event::Binary(payload)),
            Some(text) if text.may_end() => Ok(Event::Text(payload)),
            Some(_) => Err(FrameError::TextNotUtf8),
        }
    }
}

/// Makes room for `more` bytes that are really here: at least doubling, so that many small pieces
/// cost no more than one large one, but never past the limit. The announced length plays no part.
fn reserve(payload: &mut Vec<u8>, more: usize, message_bytes_max: usize) {
    let needed = payload.len() + more;
    if needed > payload.capacity() {
        let doubled = payload.capacity().saturating_mul(2).min(message_bytes_max);
        payload.reserve_exact(needed.max(doubled) - payload.len());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{encode_close, encode_masked, encode_text, write_header};
    use super::*;

    /// Feeds a client's decoder one chunk and drains it.
    fn drain(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<Event>, FrameError> {
        let mut input = BytesMut::from(bytes);
        let mut events = Vec::new();
        while let Some(event) = decoder.feed(&mut input)? {
            events.push(event);
        }
        assert!(input.is_empty(), "these tests feed whole frames or payload");
        Ok(events)
    }

    fn client(message_bytes_max: usize, fragments_max: usize) -> Decoder {
        Decoder::new(Role::Client, DecodeLimits { message_bytes_max, fragments_max })
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Event>, FrameError> {
        drain(&mut Decoder::new(Role::Client, DecodeLimits::default()), bytes)
    }

    fn text(text: &'static str) -> Event {
        Event::Text(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn fragments_become_one_message_and_control_frames_pass_between() {
        let events = decode(b"\x01\x03Hel\x89\x01?\x00\x00\x8a\x00\x80\x02lo\x81\x00").unwrap();
        let ping = Event::Ping(Bytes::from("?"));
        assert_eq!(events, [ping, Event::Pong(Bytes::new()), text("Hello"), text("")]);
        let empty = decode(b"\x02\x00\x00\x00\x80\x00").unwrap();
        assert_eq!(empty, [Event::Binary(Bytes::new())]);
    }

    #[test]
    fn fragments_keep_their_order() {
        assert_eq!(decode(b"\x80\x00"), Err(FrameError::NothingToContinue));
        assert_eq!(decode(b"\x00\x00"), Err(FrameError::NothingToContinue));
        assert_eq!(decode(b"\x81\x00\x80\x00"), Err(FrameError::NothingToContinue));
        assert_eq!(decode(b"\x01\x00\x81\x00"), Err(FrameError::MessageUnderWay));
        assert_eq!(decode(b"\x02\x00\x02\x00"), Err(FrameError::MessageUnderWay));
    }

    #[test]
    fn lengths_at_their_edges() {
        for bytes in [0, 1, 125, 126, 127, 65_535, 65_536, 65_537] {
            let payload = vec![b'x'; bytes];
            let mut masked = BytesMut::new();
            encode_masked(&mut masked, Opcode::Text, &payload, [3, 1, 4, 1]);
            let mut server = Decoder::new(Role::Server, DecodeLimits::default());
            let event = Event::Text(Bytes::from(payload));
            assert_eq!(drain(&mut server, &masked), Ok(vec![event]));
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_header_alone() {
        let header = |bytes: usize| {
            let mut out = BytesMut::new();
            write_header(&mut out, Opcode::Binary, bytes);
            out
        };
        for limit in [0, 1, 125, 126, 65_535, 65_536, 262_144] {
            let mut decoder = client(limit, 8);
            assert_eq!(drain(&mut decoder, &header(limit)).map(|events| events.len()).ok(), {
                Some(usize::from(limit == 0))
            });
            assert_eq!(decoder.held_bytes(), 0);
            let over = drain(&mut client(limit, 8), &header(limit + 1));
            assert_eq!(over, Err(FrameError::MessageTooBig(limit)));
        }
        let largest = b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff";
        assert_eq!(drain(&mut client(9, 8), largest), Err(FrameError::MessageTooBig(9)));
    }

    #[test]
    fn the_limit_holds_over_all_fragments() {
        let mut decoder = client(5, 8);
        assert_eq!(drain(&mut decoder, b"\x01\x03abc\x80\x02de"), Ok(vec![text("abcde")]));
        assert_eq!(drain(&mut decoder, b"\x01\x03abc"), Ok(vec![]));
        assert_eq!(drain(&mut decoder, b"\x00\x03"), Err(FrameError::MessageTooBig(5)));
    }

    #[test]
    fn the_limit_does_not_hold_for_control_frames() {
        let ping = [&[0x89, 125][..], &[0; 125]].concat();
        let events = drain(&mut client(0, 0), &ping).unwrap();
        assert_eq!(events, [Event::Ping(Bytes::from(vec![0; 125]))]);
    }

    #[test]
    fn fragments_are_counted_empty_ones_too() {
        let mut decoder = client(100, 3);
        let three = b"\x01\x00\x00\x00\x80\x01a";
        assert_eq!(drain(&mut decoder, three), Ok(vec![text("a")]));
        // The count begins again with each message.
        assert_eq!(drain(&mut decoder, three), Ok(vec![text("a")]));
        let four = b"\x01\x00\x00\x00\x00\x00\x80\x00";
        let error = drain(&mut decoder, four).unwrap_err();
        assert_eq!((error, error.close_code()), (FrameError::TooManyFragments(3), 1008));
    }

    #[test]
    fn text_fails_at_the_first_byte_that_cannot_be_text() {
        let mut decoder = Decoder::new(Role::Client, DecodeLimits::default());
        assert_eq!(drain(&mut decoder, b"\x81\x7e\x10\x00good so far \xf4"), Ok(vec![]));
        assert_eq!(drain(&mut decoder, b"\x90"), Err(FrameError::TextNotUtf8));
        // A code point may lie across frames, and a control frame between them.
        let snowman = b"\x01\x01\xe2\x89\x00\x00\x01\x98\x80\x01\x83";
        assert_eq!(decode(snowman), Ok(vec![Event::Ping(Bytes::new()), text("☃")]));
        // But not across messages.
        assert_eq!(decode(b"\x81\x02\xe2\x98"), Err(FrameError::TextNotUtf8));
        assert_eq!(decode(b"\x01\x01\xe2\x80\x00"), Err(FrameError::TextNotUtf8));
        let binary = Event::Binary(Bytes::from_static(b"\xff\xe2"));
        assert_eq!(decode(b"\x82\x02\xff\xe2"), Ok(vec![binary]));
    }

    #[test]
    fn nothing_follows_a_close() {
        let mut out = BytesMut::new();
        encode_close(&mut out, 1000, "");
        encode_text(&mut out, "late");
        let mut decoder = Decoder::new(Role::Client, DecodeLimits::default());
        let close = CloseFrame { code: 1000, reason: String::new() };
        assert_eq!(decoder.feed(&mut out), Ok(Some(Event::Close(Some(close)))));
        assert!(out.is_empty() && decoder.has_ended());
        encode_text(&mut out, "later");
        assert_eq!(decoder.feed(&mut out), Ok(None));
        assert!(out.is_empty());
        assert_eq!(decode(b"\x88\x00"), Ok(vec![Event::Close(None)]));
    }

    #[test]
    fn nothing_follows_an_error() {
        let mut decoder = Decoder::new(Role::Client, DecodeLimits::default());
        assert_eq!(drain(&mut decoder, b"\x01\x05ab"), Ok(vec![]));
        assert!(decoder.is_inside_message());
        assert_eq!(drain(&mut decoder, b"cde\xff\x00"), Err(FrameError::ReservedBits));
        assert!(!decoder.is_inside_message() && decoder.has_ended());
        assert_eq!(drain(&mut decoder, b"\x81\x00"), Ok(vec![]));
    }

    #[test]
    fn memory_follows_what_arrived_and_not_what_was_announced() {
        let limit = 262_144;
        let mut decoder = client(limit, 8);
        assert_eq!(decoder.held_bytes(), 0);
        drain(&mut decoder, b"\x82\x7f\x00\x00\x00\x00\x00\x04\x00\x00").unwrap();
        assert_eq!(decoder.held_bytes(), 0);
        let mut arrived = 0;
        while arrived + 1000 < limit {
            drain(&mut decoder, &[7; 1000]).unwrap();
            arrived += 1000;
            assert!(decoder.held_bytes() <= (2 * arrived).min(limit), "{arrived}");
        }
        let events = drain(&mut decoder, &vec![7; limit - arrived]).unwrap();
        assert_eq!(events, [Event::Binary(Bytes::from(vec![7; limit]))]);
        assert_eq!(decoder.held_bytes(), 0);
    }

    #[test]
    fn a_message_that_drips_is_moved_seldom_and_given_out_without_slack() {
        let mut decoder = Decoder::new(Role::Client, DecodeLimits::default());
        drain(&mut decoder, b"\x82\x7e\x27\x10").unwrap();
        let mut moves = 0;
        for _ in 1..10_000 {
            let held = decoder.held_bytes();
            drain(&mut decoder, b"x").unwrap();
            moves += usize::from(decoder.held_bytes() != held);
        }
        assert!(moves <= 15, "{moves}");
        assert!(decoder.held_bytes() > 10_000);
        let mut events = drain(&mut decoder, b"x").unwrap();
        let Some(Event::Binary(payload)) = events.pop() else { panic!("{events:?}") };
        let payload = payload.try_into_mut().unwrap();
        assert_eq!((payload.len(), payload.capacity()), (10_000, 10_000));
    }

    #[test]
    fn an_event_does_not_share_the_read_buffer() {
        let mut input = BytesMut::with_capacity(4096);
        encode_text(&mut input, "small");
        let mut decoder = Decoder::new(Role::Client, DecodeLimits::default());
        let event = decoder.feed(&mut input).unwrap();
        assert_eq!(event, Some(text("small")));
        // Only the sole owner of a buffer can have all of its room back.
        assert!(input.try_reclaim(4096));
    }
}

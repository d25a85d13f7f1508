//! WebSocket frames: the codec of RFC 6455, for either end of a connection.
//!
//! Bytes in, [`Event`]s out, and back; the caller owns the socket, the read buffer, the random mask
//! keys and the decision what to answer. This module knows nothing of Tidewire's own messages, does
//! no I/O, asks no clock, and negotiates no extension (so a reserved bit is always an error).
//!
//! Invariant: how the bytes were cut on their way never shows. Any chunking of one stream of bytes
//! gives the same events and the same error. And memory follows what arrived, never what a peer
//! announced.
//!
//! | Part | What |
//! |---|---|
//! | `header` | the 2 to 14 bytes before a payload, both ways |
//! | `mask` | the exclusive-or of section 5.3 |
//! | `utf8` | is this text, told while it arrives |
//! | `close` | the payload of a close frame and the codes that may travel |
//! | `decode` | the state machine: fragments, limits, order |
//! | `encode` | whole frames, for a server and for a client |
//! | `handshake` | the one computation of the opening handshake |

mod close;
mod decode;
mod encode;
mod error;
mod handshake;
mod header;
mod mask;
mod utf8;

pub use self::{
    close::{CLOSE_REASON_BYTES_MAX, CloseFrame, is_close_code},
    decode::{DecodeLimits, Decoder, Event, WAITING_BYTES_MAX},
    encode::{
        encode_binary, encode_close, encode_masked, encode_masked_close, encode_ping, encode_pong,
        encode_text, write_header,
    },
    error::FrameError,
    handshake::accept_key,
    header::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode},
};

/// Which end of the connection this is. It decides one rule: a client masks every frame it sends
/// and a server masks none (RFC 6455 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We are the server: what arrives was sent by a client and must be masked.
    Server,
    /// We are the client: what arrives was sent by a server and must not be masked.
    Client,
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::{mask::Mask, *};

    /// What came of a whole stream, for comparison between chunkings.
    type Outcome = (Vec<Event>, Option<FrameError>);

    /// Feeds `chunks` to one decoder, and asserts on the way what must hold after every step.
    fn decode<'a>(
        role: Role,
        limits: DecodeLimits,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> Outcome {
        let mut decoder = Decoder::new(role, limits);
        let mut input = BytesMut::new();
        let mut events = Vec::new();
        for chunk in chunks {
            input.extend_from_slice(chunk);
            loop {
                let fed = decoder.feed(&mut input);
                assert!(decoder.held_bytes() <= limits.message_bytes_max);
                match fed {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(error) => {
                        assert_eq!(decoder.held_bytes(), 0);
                        return (events, Some(error));
                    }
                }
            }
            assert!(input.len() <= WAITING_BYTES_MAX);
        }
        (events, None)
    }

    fn chunked(stream: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut sizes = sizes.iter().copied().cycle();
        let mut rest = stream;
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
            chunks.push(rest[..size].to_vec());
            rest = &rest[size..];
        }
        chunks
    }

    fn write_fragment(
        out: &mut BytesMut,
        fin: bool,
        opcode: Opcode,
        key: Option<[u8; 4]>,
        payload: &[u8],
    ) {
        Header { fin, opcode, mask_key: key, payload_bytes: payload.len() as u64 }.write(out);
        let mut payload = payload.to_vec();
        if let Some(key) = key {
            Mask::new(key).apply(&mut payload);
        }
        out.extend_from_slice(&payload);
    }

    /// Several messages of every kind, whole and in fragments, with control frames between.
    fn sample_stream() -> (BytesMut, Vec<Event>) {
        let mut out = BytesMut::new();
        let key = Some([0xa1, 0x02, 0xf3, 0x44]);
        encode_masked(&mut out, Opcode::Text, "héllo".as_bytes(), [1, 2, 3, 4]);
        let snow = "snow ☃ and 𝄞".as_bytes();
        write_fragment(&mut out, false, Opcode::Text, key, &snow[..6]);
        encode_masked(&mut out, Opcode::Ping, b"mid", [9, 8, 7, 6]);
        write_fragment(&mut out, false, Opcode::Continuation, key, b"");
        write_fragment(&mut out, true, Opcode::Continuation, key, &snow[6..]);
        encode_masked(&mut out, Opcode::Binary, &[7; 126], [0, 0, 0, 0]);
        encode_masked(&mut out, Opcode::Pong, &[5; 125], [4, 3, 2, 1]);
        encode_masked(&mut out, Opcode::Text, b"", [4, 3, 2, 1]);
        encode_masked_close(&mut out, 1000, "done", [6, 6, 6, 6]);
        let events = vec![
            Event::Text(Bytes::from("héllo")),
            Event::Ping(Bytes::from("mid")),
            Event::Text(Bytes::from("snow ☃ and 𝄞")),
            Event::Binary(Bytes::from(vec![7; 126])),
            Event::Pong(Bytes::from(vec![5; 125])),
            Event::Text(Bytes::new()),
            Event::Close(Some(CloseFrame { code: 1000, reason: "done".to_owned() })),
        ];
        (out, events)
    }

    #[test]
    fn every_split_point_gives_the_same_events() {
        let (stream, events) = sample_stream();
        let limits = DecodeLimits::default();
        for at in 0..=stream.len() {
            let (left, right) = stream.split_at(at);
            let found = decode(Role::Server, limits, [left, right]);
            assert_eq!(found, (events.clone(), None), "split at byte {at}");
        }
        assert_eq!(decode(Role::Server, limits, stream.chunks(1)), (events, None));
    }

    #[test]
    fn a_server_is_read_by_a_client() {
        let mut out = BytesMut::new();
        encode_text(&mut out, "héllo");
        encode_binary(&mut out, &[0; 70_000]);
        encode_ping(&mut out, b"a");
        encode_pong(&mut out, b"b");
        encode_close(&mut out, 4001, "slow");
        let events = vec![
            Event::Text(Bytes::from("héllo")),
            Event::Binary(Bytes::from(vec![0; 70_000])),
            Event::Ping(Bytes::from("a")),
            Event::Pong(Bytes::from("b")),
            Event::Close(Some(CloseFrame { code: 4001, reason: "slow".to_owned() })),
        ];
        let limits = DecodeLimits::default();
        assert_eq!(decode(Role::Client, limits, [&out[..]]), (events.clone(), None));
        assert_eq!(decode(Role::Client, limits, out.chunks(3)), (events, None));
    }

    #[derive(Debug, Clone)]
    struct Sent {
        text: Option<String>,
        binary: Vec<u8>,
        fragment_bytes: Vec<usize>,
        pings: Vec<Option<Vec<u8>>>,
        key: [u8; 4],
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let ping = prop::option::weighted(0.3, prop::collection::vec(any::<u8>(), 0..=125));
        (
            prop::option::of("\\PC{0,200}"),
            prop::collection::vec(any::<u8>(), 0..600),
            prop::collection::vec(0..90_usize, 1..8),
            prop::collection::vec(ping, 1..6),
            any::<[u8; 4]>(),
        )
            .prop_map(|(text, binary, fragment_bytes, pings, key)| Sent {
                text,
                binary,
                fragment_bytes,
                pings,
                key,
            })
    }

    impl Sent {
        /// Writes the message in fragments of the drawn sizes, a ping before some of them; tells
        /// what a decoder should report.
        fn write(&self, out: &mut BytesMut, key: Option<[u8; 4]>) -> Vec<Event> {
            let payload = self.text.as_deref().map_or(&self.binary[..], str::as_bytes);
            let start = if self.text.is_some() { Opcode::Text } else { Opcode::Binary };
            let mut events = Vec::new();
            let mut rest = payload;
            for (index, size) in self.fragment_bytes.iter().enumerate() {
                if let Some(Some(ping)) = self.pings.get(index) {
                    write_fragment(out, true, Opcode::Ping, key, ping);
                    events.push(Event::Ping(Bytes::copy_from_slice(ping)));
                }
                let fin = index + 1 == self.fragment_bytes.len();
                let taken = if fin { rest.len() } else { (*size).min(rest.len()) };
                let opcode = if index == 0 { start } else { Opcode::Continuation };
                write_fragment(out, fin, opcode, key, &rest[..taken]);
                rest = &rest[taken..];
            }
            let payload = Bytes::copy_from_slice(payload);
            events.push(match start {
                Opcode::Text => Event::Text(payload),
                _ => Event::Binary(payload),
            });
            events
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            messages in prop::collection::vec(sent(), 0..5),
            sizes in prop::collection::vec(1..300_usize, 1..8),
            role in prop::sample::select(vec![Role::Server, Role::Client]),
        ) {
            let mut out = BytesMut::new();
            let mut events = Vec::new();
            for message in &messages {
                let key = (role == Role::Server).then_some(message.key);
                events.extend(message.write(&mut out, key));
            }
            let chunks = chunked(&out, &sizes);
            let found = decode(role, DecodeLimits::default(), chunks.iter().map(Vec::as_slice));
            prop_assert_eq!(found, (events, None));
        }

        #[test]
        fn damaged_streams_never_panic_and_chunking_never_shows(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            sizes in prop::collection::vec(1..40_usize, 1..6),
            message_bytes_max in 0..300_usize,
            fragments_max in 1..4_usize,
        ) {
            let (mut stream, _) = sample_stream();
            for (index, byte) in damage {
                let at = index.index(stream.len());
                stream[at] = byte;
            }
            let limits = DecodeLimits { message_bytes_max, fragments_max };
            let whole = decode(Role::Server, limits, [&stream[..]]);
            let chunks = chunked(&stream, &sizes);
            prop_assert_eq!(&decode(Role::Server, limits, chunks.iter().map(Vec::as_slice)), &whole);
            prop_assert_eq!(&decode(Role::Server, limits, stream.chunks(1)), &whole);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_chunking_never_shows(
            stream in prop::collection::vec(any::<u8>(), 0..2_000),
            // Real opcodes and lengths in front, or most random streams end at their first byte.
            first in prop::sample::select(vec![0x01_u8, 0x02, 0x81, 0x82, 0x88, 0x89, 0x8a, 0xff]),
            second in any::<u8>(),
            sizes in prop::collection::vec(1..700_usize, 1..6),
            role in prop::sample::select(vec![Role::Server, Role::Client]),
            message_bytes_max in 0..1_500_usize,
        ) {
            let stream = [&[first, second][..], &stream].concat();
            let limits = DecodeLimits { message_bytes_max, fragments_max: 3 };
            let whole = decode(role, limits, [&stream[..]]);
            let chunks = chunked(&stream, &sizes);
            prop_assert_eq!(decode(role, limits, chunks.iter().map(Vec::as_slice)), whole);
        }
    }
}

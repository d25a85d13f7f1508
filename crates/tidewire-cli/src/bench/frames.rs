//! Just enough of a WebSocket client: skip payloads, notice pings and closes.
//!
//! It must not know sockets or markers. It does not check what the protocol's own tests check; it
//! finds frame boundaries at the cost of a few instructions for each frame, and keeps nothing but a
//! number between reads, unless a read ends inside a header or a control frame.

use bytes::BytesMut;
use tidewire::tidewire_proto::frame::{Opcode, encode_masked};

/// Masks are there against proxies that mistake frames for requests; on loopback any will do.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A text frame as a client sends it.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_masked(&mut out, Opcode::Text, text.as_bytes(), MASK);
    out.to_vec()
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_masked(&mut out, Opcode::Pong, payload, MASK);
    out.to_vec()
}

/// What a server may say besides data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// It wants this back.
    Ping(Vec<u8>),
    /// It ends the connection, with this code (0 if there was none) and reason.
    Close(u16, String),
}

/// Walks over frames. `left` is what is left of the payload under way; returns the bytes at the end
/// that are not a whole header or control frame yet: the caller puts them before the next.
pub(crate) fn walk<'a>(
    left: &mut u64,
    bytes: &'a [u8],
    mut control: impl FnMut(Control),
) -> &'a [u8] {
    let mut rest = bytes;
    loop {
        let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
        rest = &rest[skipped..];
        *left -= skipped as u64;
        if *left > 0 || rest.is_empty() {
            return &[];
        }
        let Some((header_bytes, payload_bytes)) = header(rest) else { return rest };
        let opcode = rest[0] & 0x0f;
        if opcode < 0x8 {
            rest = &rest[header_bytes..];
            *left = payload_bytes;
            continue;
        }
        let whole =
            header_bytes.saturating_add(usize::try_from(payload_bytes).unwrap_or(usize::MAX));
        let Some(payload) = rest.get(header_bytes..whole) else { return rest };
        match opcode {
            0x8 => control(closed(payload)),
            0x9 => control(Control::Ping(payload.to_vec())),
            _ => {}
        }
        rest = &rest[whole..];
    }
}

fn closed(payload: &[u8]) -> Control {
    let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
    Control::Close(code, String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned())
}

/// Bytes of the header and of the payload; `None` while the header is not whole.
fn header(bytes: &[u8]) -> Option<(usize, u64)> {
    let masked = if *bytes.get(1)? & 0x80 == 0 { 0 } else { 4 };
    match bytes[1] & 0x7f {
        126 => Some((4 + masked, u64::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])))),
        127 => Some((10 + masked, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        short => Some((2 + masked, u64::from(short))),
    }
}

#[cfg(test)]
mod tests {
    use tidewire::tidewire_proto::frame::{encode_close, encode_ping, encode_text};

    use super::*;

    fn walked(chunks: &[&[u8]]) -> (Vec<Control>, u64) {
        let (mut seen, mut left, mut kept) = (Vec::new(), 0, Vec::new());
        for chunk in chunks {
            let whole = [&kept[..], chunk].concat();
            kept = walk(&mut left, &whole, |control| seen.push(control)).to_vec();
        }
        assert!(kept.is_empty());
        (seen, left)
    }

    #[test]
    fn frames_are_walked_wherever_they_are_cut() {
        let mut out = BytesMut::new();
        encode_text(&mut out, "hi");
        encode_ping(&mut out, b"beat");
        encode_text(&mut out, &"x".repeat(300));
        encode_text(&mut out, &"y".repeat(70_000));
        encode_close(&mut out, 1012, "restarting");
        let wanted =
            vec![Control::Ping(b"beat".to_vec()), Control::Close(1012, "restarting".into())];
        for at in (0..400).chain(out.len() - 40..=out.len()) {
            let (left, right) = out.split_at(at);
            assert_eq!(walked(&[left, right]), (wanted.clone(), 0), "cut at {at}");
        }
        let single: Vec<_> = out.chunks(1).collect();
        assert_eq!(walked(&single), (wanted, 0));
    }

    #[test]
    fn what_a_client_says_is_masked() {
        assert_eq!(text("Hello"), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        assert_eq!(pong(b"")[..2], [0x8a, 0x80]);
    }
}

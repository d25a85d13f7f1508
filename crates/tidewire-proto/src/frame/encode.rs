//! Whole frames out: unmasked for a server, masked for a client.
//!
//! Every function appends to a buffer of the caller's and cannot fail: what may not travel is cut
//! or left out, as each function says, so that no call can damage the stream. Where the mask key
//! comes from is the caller's affair; section 5.3 of RFC 6455 wants a fresh unpredictable one for
//! every frame.

use bytes::{BufMut as _, BytesMut};

use super::{CONTROL_BYTES_MAX, Header, Opcode, close::close_payload, mask::Mask};

/// Appends the header of a whole unmasked frame (FIN set) whose payload of `payload_bytes` the
/// caller sends behind it: how one payload is shared by many connections without a copy.
/// `payload_bytes` is at most 125 for a control opcode.
pub fn write_header(out: &mut BytesMut, opcode: Opcode, payload_bytes: usize) {
    Header { fin: true, opcode, mask_key: None, payload_bytes: payload_bytes as u64 }.write(out);
}

/// Appends a text message in one unmasked frame.
pub fn encode_text(out: &mut BytesMut, text: &str) {
    encode(out, Opcode::Text, text.as_bytes());
}

/// Appends a binary message in one unmasked frame.
pub fn encode_binary(out: &mut BytesMut, payload: &[u8]) {
    encode(out, Opcode::Binary, payload);
}

/// Appends an unmasked ping; of `payload` at most [`CONTROL_BYTES_MAX`] bytes.
pub fn encode_ping(out: &mut BytesMut, payload: &[u8]) {
    encode(out, Opcode::Ping, payload);
}

/// Appends an unmasked pong; of `payload` at most [`CONTROL_BYTES_MAX`] bytes (a ping never
/// carries more).
pub fn encode_pong(out: &mut BytesMut, payload: &[u8]) {
    encode(out, Opcode::Pong, payload);
}

/// Appends an unmasked close frame. The reason is cut to
/// [`CLOSE_REASON_BYTES_MAX`](super::CLOSE_REASON_BYTES_MAX) bytes where a character ends. A code
/// that may not travel, such as 1005 ("no code"), gives a close frame without payload: the right
/// answer to one that had none.
pub fn encode_close(out: &mut BytesMut, code: u16, reason: &str) {
    encode(out, Opcode::Close, &close_payload(code, reason));
}

/// Appends one whole frame (FIN set) masked with `mask_key`, as a client sends it. Of the payload
/// of a control frame, at most [`CONTROL_BYTES_MAX`] bytes. That a text is UTF-8 is the caller's
/// to see to.
pub fn encode_masked(out: &mut BytesMut, opcode: Opcode, payload: &[u8], mask_key: [u8; 4]) {
    let payload = fitting(opcode, payload);
    let payload_bytes = payload.len() as u64;
    Header { fin: true, opcode, mask_key: Some(mask_key), payload_bytes }.write(out);
    let start = out.len();
    out.put_slice(payload);
    if let Some(fresh) = out.get_mut(start..) {
        Mask::new(mask_key).apply(fresh);
    }
}

/// Appends a close frame masked with `mask_key`; code and reason as in [`encode_close`].
pub fn encode_masked_close(out: &mut BytesMut, code: u16, reason: &str, mask_key: [u8; 4]) {
    encode_masked(out, Opcode::Close, &close_payload(code, reason), mask_key);
}

fn encode(out: &mut BytesMut, opcode: Opcode, payload: &[u8]) {
    let payload = fitting(opcode, payload);
    write_header(out, opcode, payload.len());
    out.put_slice(payload);
}

/// As much of `payload` as a frame of this kind may carry.
fn fitting(opcode: Opcode, payload: &[u8]) -> &[u8] {
    match payload.get(..CONTROL_BYTES_MAX) {
        Some(cut) if opcode.is_control() => cut,
        _ => payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
        let mut out = BytesMut::new();
        write(&mut out);
        out
    }

    #[test]
    fn the_examples_of_section_5_7() {
        let hello = encoded(|out| encode_text(out, "Hello"));
        assert_eq!(&hello[..], b"\x81\x05Hello");
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let masked = encoded(|out| encode_masked(out, Opcode::Text, b"Hello", key));
        assert_eq!(&masked[..], b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        assert_eq!(&encoded(|out| encode_ping(out, b"Hello"))[..], b"\x89\x05Hello");
        let pong = encoded(|out| encode_masked(out, Opcode::Pong, b"Hello", key));
        assert_eq!(&pong[..], b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
        let medium = encoded(|out| encode_binary(out, &[9; 256]));
        assert_eq!((&medium[..4], medium.len()), (&b"\x82\x7e\x01\x00"[..], 4 + 256));
        let long = encoded(|out| encode_binary(out, &[9; 65_536]));
        assert_eq!(&long[..10], b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
        assert_eq!(long.len(), 10 + 65_536);
    }

    #[test]
    fn control_payloads_are_cut_at_their_bound() {
        let ping = encoded(|out| encode_ping(out, &[1; 126]));
        assert_eq!((ping[1], ping.len()), (125, 127));
        let pong = encoded(|out| encode_masked(out, Opcode::Pong, &[1; 500], [0; 4]));
        assert_eq!((pong[1], pong.len()), (0x80 | 125, 131));
    }

    #[test]
    fn close_frames() {
        assert_eq!(&encoded(|out| encode_close(out, 1001, "bye"))[..], b"\x88\x05\x03\xe9bye");
        assert_eq!(&encoded(|out| encode_close(out, 1005, "bye"))[..], b"\x88\x00");
        let masked = encoded(|out| encode_masked_close(out, 1000, "", [0xff; 4]));
        assert_eq!(&masked[..], b"\x88\x82\xff\xff\xff\xff\xfc\x17");
    }

    #[test]
    fn frames_are_appended() {
        let both = encoded(|out| {
            encode_masked(out, Opcode::Text, b"a", [0; 4]);
            encode_masked(out, Opcode::Text, b"b", [1; 4]);
        });
        assert_eq!(&both[..], b"\x81\x81\0\0\0\0a\x81\x81\x01\x01\x01\x01c");
    }
}

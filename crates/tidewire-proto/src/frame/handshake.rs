//! The one computation of the opening handshake (RFC 6455 section 4.2.2, step 5.4).
//!
//! The server proves with it that it understood the request; the client computes the same and
//! compares. It must not know of HTTP: the header's value in, the header's value out.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::general_purpose::{GeneralPurpose, PAD, STANDARD as BASE64},
};
use sha1::{Digest as _, Sha1};

/// The constant of section 1.3 that no other protocol would append to a key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key is a nonce of 16 bytes, so 24 characters of base64 with its padding.
const KEY_CHARACTERS: usize = 24;
const NONCE_BYTES: usize = 16;

/// Reads keys. The last character carries four bits that mean nothing; naive clients leave them
/// set, and since only the text of a key is ever used, that harms nobody.
const KEY_READER: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`; `None` when the key is not
/// 16 bytes in padded base64 (RFC 6455 section 4.1, item 7), surrounding spaces included.
#[must_use]
pub fn accept_key(sec_websocket_key: &str) -> Option<String> {
    if sec_websocket_key.len() != KEY_CHARACTERS {
        return None;
    }
    // 24 characters announce up to 18 bytes before their padding is seen.
    let mut nonce = [0; KEY_CHARACTERS / 4 * 3];
    let nonce_bytes = KEY_READER.decode_slice(sec_websocket_key, &mut nonce).ok()?;
    if nonce_bytes != NONCE_BYTES {
        return None;
    }
    let digest = Sha1::new().chain_update(sec_websocket_key).chain_update(GUID).finalize();
    Some(BASE64.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_section_1_3() {
        let accept = accept_key("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn a_key_is_sixteen_bytes_of_base64() {
        for bad in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ= ",
            " dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZTE=",
            "dGhlIHNhbXBsZSBub25jZTEy",
            "dGhlIHNhbXBsZSBub25j====",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25j_w==",
            "dGhlIHNhbXBsZSBub25jZ\u{e9}==",
        ] {
            assert_eq!(accept_key(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn unused_bits_of_the_last_character_do_not_matter() {
        assert!(accept_key("dGhlIHNhbXBsZSBub25jZR==").is_some());
    }
}

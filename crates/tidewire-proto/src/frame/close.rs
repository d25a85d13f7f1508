//! The payload of a close frame: nothing, or a code and a reason (RFC 6455 section 5.5.1).
//!
//! It must not know what Tidewire means by a code, only which codes may travel at all.

use bytes::{BufMut as _, BytesMut};

use super::{CONTROL_BYTES_MAX, FrameError};

/// Longest close reason, in bytes: what a control frame leaves beside the code.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// Why a peer ends the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// The code; when it came from the wire, one for which [`is_close_code`] holds.
    pub code: u16,
    /// For people who read logs, at most [`CLOSE_REASON_BYTES_MAX`] bytes. May be empty.
    pub reason: String,
}

/// May this code stand in a close frame? 1000 to 1003 and 1007 to 1014 (section 7.4.1 and what was
/// registered since), 3000 to 3999 for libraries, 4000 to 4999 for applications. 1004 has no
/// meaning yet; 1005, 1006 and 1015 are names for what is not on the wire.
#[must_use]
pub fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

impl CloseFrame {
    /// Reads the unmasked payload of a close frame; `None` when it is empty.
    ///
    /// # Errors
    /// [`FrameError::HalfCloseCode`], [`FrameError::CloseCode`] or [`FrameError::ReasonNotUtf8`].
    pub(super) fn read(payload: &[u8]) -> Result<Option<Self>, FrameError> {
        if payload.is_empty() {
            return Ok(None);
        }
        let Some((code, reason)) = payload.split_first_chunk::<2>() else {
            return Err(FrameError::HalfCloseCode);
        };
        let code = u16::from_be_bytes(*code);
        if !is_close_code(code) {
            return Err(FrameError::CloseCode(code));
        }
        match str::from_utf8(reason) {
            Ok(reason) => Ok(Some(Self { code, reason: reason.to_owned() })),
            Err(_) => Err(FrameError::ReasonNotUtf8),
        }
    }
}

/// The payload that carries `code` and as much of `reason` as fits, cut where a character ends.
/// Empty when the code may not travel.
pub(super) fn close_payload(code: u16, reason: &str) -> BytesMut {
    let mut payload = BytesMut::new();
    if is_close_code(code) {
        let (reason, _) = reason.split_at(reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX));
        payload.put_u16(code);
        payload.put_slice(reason.as_bytes());
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_these_codes_may_travel() {
        let mut ranges = Vec::new();
        let mut before = false;
        for code in 0..=u16::MAX {
            if is_close_code(code) != before {
                ranges.push(code);
                before = !before;
            }
        }
        // Where the answer changes: from, and one past the end of, each range.
        assert_eq!(ranges, [1000, 1004, 1007, 1015, 3000, 5000]);
    }

    #[test]
    fn a_payload_is_nothing_or_a_code_and_a_text() {
        assert_eq!(CloseFrame::read(b""), Ok(None));
        assert_eq!(CloseFrame::read(b"\x03"), Err(FrameError::HalfCloseCode));
        assert_eq!(CloseFrame::read(b"\x03\xed"), Err(FrameError::CloseCode(1005)));
        assert_eq!(CloseFrame::read(b"\x03\xe8\xc3"), Err(FrameError::ReasonNotUtf8));
        // The code comes first on the wire, so it is refused first.
        assert_eq!(CloseFrame::read(b"\x00\x00\xff"), Err(FrameError::CloseCode(0)));
        let plain = CloseFrame { code: 1000, reason: String::new() };
        assert_eq!(CloseFrame::read(b"\x03\xe8"), Ok(Some(plain)));
    }

    #[test]
    fn a_long_reason_is_cut_where_a_character_ends() {
        for (reason, kept) in [
            ("a".repeat(123), 123),
            ("a".repeat(124), 123),
            ("é".repeat(62), 122),
            ("☃".repeat(41), 123),
            (format!("a{}", "𝄞".repeat(31)), 121),
            (String::new(), 0),
        ] {
            let payload = close_payload(1001, &reason);
            assert!(payload.len() <= CONTROL_BYTES_MAX);
            let read = CloseFrame::read(&payload).unwrap().unwrap();
            assert_eq!((read.code, read.reason.as_str()), (1001, &reason[..kept]));
        }
    }

    #[test]
    fn a_code_that_may_not_travel_is_left_out() {
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            assert!(close_payload(code, "why").is_empty());
        }
    }
}

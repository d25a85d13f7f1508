//! Payloads that say which message they are and when they were due, and how to find that again in
//! any stream of bytes.
//!
//! A marker is `#`, 16 hex digits of sequence, `:`, 16 hex digits of nanoseconds, `#`. It survives
//! JSON, event streams, WebSocket text frames and Socket.IO packets alike, so the reader need not
//! know what stands around it. It must not know sockets. Invariant: how the stream was cut on its
//! way never shows, as long as the caller keeps the returned tail.

use memchr::memchr;

/// Length of a marker.
pub(crate) const MARKER_BYTES: usize = 35;
/// Longest beginning of a marker that can stand at the end of a read.
pub(crate) const TAIL_BYTES_MAX: usize = MARKER_BYTES - 1;
/// Shortest payload: the JSON around a marker.
pub(crate) const PAYLOAD_BYTES_MIN: usize = PREFIX.len() + MARKER_BYTES + MIDDLE.len() + END.len();

const PREFIX: &[u8] = b"{\"m\":\"";
const MIDDLE: &[u8] = b"\",\"pad\":\"";
const END: &[u8] = b"\"}";
const HEX: usize = 16;

/// What a marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    /// Which message.
    pub(crate) sequence: u64,
    /// When it was due to be sent, on the machine's monotonic clock.
    pub(crate) sent_ns: u64,
}

/// Writes a marker over the first [`MARKER_BYTES`] bytes of `out`.
pub(crate) fn write(out: &mut [u8], marker: Marker) {
    let text = format!("#{:016x}:{:016x}#", marker.sequence, marker.sent_ns);
    out[..MARKER_BYTES].copy_from_slice(text.as_bytes());
}

/// A JSON payload of `bytes` bytes (at least [`PAYLOAD_BYTES_MIN`]) with this marker.
pub(crate) fn payload(bytes: usize, marker: Marker) -> Vec<u8> {
    let pad = bytes.saturating_sub(PAYLOAD_BYTES_MIN);
    let mut out = Vec::with_capacity(PAYLOAD_BYTES_MIN + pad);
    out.extend_from_slice(PREFIX);
    out.resize(PREFIX.len() + MARKER_BYTES, 0);
    write(&mut out[PREFIX.len()..], marker);
    out.extend_from_slice(MIDDLE);
    out.resize(out.len() + pad, b'.');
    out.extend_from_slice(END);
    out
}

/// Calls `found` for every marker in `bytes`; returns the end that may be the beginning of one
/// more, at most [`TAIL_BYTES_MAX`] bytes. The caller puts it before the next bytes.
pub(crate) fn scan(bytes: &[u8], mut found: impl FnMut(Marker)) -> &[u8] {
    let mut rest = bytes;
    while let Some(at) = memchr(b'#', rest) {
        rest = &rest[at..];
        match rest.get(..MARKER_BYTES) {
            Some(whole) => match parse(whole) {
                Some(marker) => {
                    found(marker);
                    rest = &rest[MARKER_BYTES..];
                }
                None => rest = &rest[1..],
            },
            None if may_begin(rest) => return rest,
            None => rest = &rest[1..],
        }
    }
    &[]
}

fn parse(whole: &[u8]) -> Option<Marker> {
    if whole[1 + HEX] != b':' || whole[MARKER_BYTES - 1] != b'#' {
        return None;
    }
    Some(Marker {
        sequence: hex(&whole[1..=HEX])?,
        sent_ns: hex(&whole[2 + HEX..MARKER_BYTES - 1])?,
    })
}

fn hex(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for digit in digits {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(nibble);
    }
    Some(value)
}

/// May these bytes, too short for a marker, be the beginning of one?
fn may_begin(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(at, byte)| match at {
        0 => *byte == b'#',
        at if at == 1 + HEX => *byte == b':',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(sequence: u64) -> Marker {
        Marker { sequence, sent_ns: sequence * 1_000 + 7 }
    }

    /// Scans chunks as a reader does: what was cut off goes before the next chunk.
    fn found(chunks: &[&[u8]]) -> Vec<Marker> {
        let (mut seen, mut tail) = (Vec::new(), Vec::new());
        for chunk in chunks {
            let whole = [&tail[..], chunk].concat();
            let rest = scan(&whole, |marker| seen.push(marker));
            assert!(rest.len() <= TAIL_BYTES_MAX);
            tail = rest.to_vec();
        }
        seen
    }

    fn stream() -> (Vec<u8>, Vec<Marker>) {
        let mut bytes = b"data: ## #12 \n\n".to_vec();
        let markers: Vec<_> = [0, 1, u64::MAX / 2_000].map(marker).into();
        for each in &markers {
            bytes.extend_from_slice(b"data: ");
            bytes.extend_from_slice(&payload(60, *each));
            bytes.extend_from_slice(b"#0123456789abcdef:oh no\n\n#");
        }
        (bytes, markers)
    }

    #[test]
    fn a_marker_is_found_wherever_the_stream_is_cut() {
        let (bytes, markers) = stream();
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(found(&[left, right]), markers, "cut at {at}");
        }
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(found(&single), markers);
        let sevens: Vec<_> = bytes.chunks(7).collect();
        assert_eq!(found(&sevens), markers);
    }

    #[test]
    fn nothing_is_kept_between_whole_frames() {
        let bytes = payload(200, marker(4));
        assert_eq!(scan(&bytes, |_| {}), b"");
        assert_eq!(scan(b"data: x#zz\n\n", |_| {}), b"");
        assert_eq!(scan(b"data: x#ab", |_| {}), b"#ab");
    }

    #[test]
    fn a_payload_has_its_size_and_is_json() {
        for bytes in [PAYLOAD_BYTES_MIN, 200, 4_096] {
            let payload = payload(bytes, marker(9));
            assert_eq!(payload.len(), bytes);
            assert!(serde_json::from_slice::<serde_json::Value>(&payload).is_ok());
        }
        assert_eq!(payload(1, marker(9)).len(), PAYLOAD_BYTES_MIN);
    }

    #[test]
    fn what_only_looks_like_a_marker_is_passed_over() {
        let mut bytes = payload(60, marker(3));
        bytes[10] = b'G';
        assert_eq!(found(&[&bytes]), []);
    }
}

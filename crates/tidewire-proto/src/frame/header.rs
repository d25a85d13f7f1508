//! The frame header: the 2 to 14 bytes before a payload (RFC 6455 section 5.2).
//!
//! It must not know what came before it: whether a continuation has something to continue, and how
//! long a message may be, is the decoder's. Invariant: checks run in the order of the bytes, so a
//! header that comes byte by byte fails with the same error as one that comes whole.

use bytes::{BufMut as _, BytesMut};

use super::{FrameError, Role};

/// Longest header, in bytes: two, a 64-bit length, a mask key.
pub const HEADER_BYTES_MAX: usize = 14;
/// Longest payload of a control frame, in bytes (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// In the seven length bits: the length is in the next two bytes.
const LENGTH_16: u8 = 126;
/// In the seven length bits: the length is in the next eight bytes.
const LENGTH_64: u8 = 127;

/// What a frame is for (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// One more fragment of the message under way.
    Continuation,
    /// A text message, or its first fragment.
    Text,
    /// A binary message, or its first fragment.
    Binary,
    /// The end of the conversation.
    Close,
    /// A question that a [`Opcode::Pong`] with the same payload answers.
    Ping,
    /// The answer to a ping, or an unasked sign of life.
    Pong,
}

impl Opcode {
    /// The four bits of the wire.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// The opcode that the four bits of the wire stand for; `None` for the reserved ones.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    /// Close, ping and pong: short, never fragmented, allowed between fragments (section 5.5).
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// This frame is the last of its message. Always set on control frames.
    pub fin: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// The key the payload is masked with: `Some` from a client, `None` from a server.
    pub mask_key: Option<[u8; 4]>,
    /// Length of the payload, in bytes. At most 2⁶³ − 1, and 125 on control frames.
    pub payload_bytes: u64,
}

impl Header {
    /// Appends the header, its length in the fewest bytes that hold it: 2 to
    /// [`HEADER_BYTES_MAX`] bytes. The payload (masked, if there is a key) is the caller's to
    /// append.
    pub fn write(&self, out: &mut BytesMut) {
        debug_assert!(
            !self.opcode.is_control() || (self.fin && self.payload_bytes <= 125),
            "a control frame is short and whole: {self:?}"
        );
        out.put_u8(self.opcode.bits() | if self.fin { FIN } else { 0 });
        let masked = if self.mask_key.is_some() { MASKED } else { 0 };
        match (u8::try_from(self.payload_bytes), u16::try_from(self.payload_bytes)) {
            (Ok(short), _) if short < LENGTH_16 => out.put_u8(masked | short),
            (_, Ok(medium)) => {
                out.put_u8(masked | LENGTH_16);
                out.put_u16(medium);
            }
            _ => {
                out.put_u8(masked | LENGTH_64);
                out.put_u64(self.payload_bytes);
            }
        }
        if let Some(key) = self.mask_key {
            out.put_slice(&key);
        }
    }

    /// Reads the header at the start of `input`, and how many bytes it has; `None` while it is
    /// unfinished. `role` is the reader's.
    ///
    /// # Errors
    /// [`FrameError`] as soon as the bytes so far break a rule that needs no other frame to see.
    pub(super) fn read(input: &[u8], role: Role) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((first, rest)) = input.split_first() else { return Ok(None) };
        let (fin, opcode) = read_first(*first)?;
        let Some((second, rest)) = rest.split_first() else { return Ok(None) };
        match (role, second & MASKED != 0) {
            (Role::Server, false) => return Err(FrameError::NotMasked),
            (Role::Client, true) => return Err(FrameError::Masked),
            _ => {}
        }
        let short = second & LENGTH;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(FrameError::ControlTooLong);
        }
        let Some((payload_bytes, rest)) = read_length(short, rest)? else { return Ok(None) };
        let (mask_key, rest) = match role {
            Role::Client => (None, rest),
            Role::Server => match rest.split_first_chunk::<4>() {
                Some((key, rest)) => (Some(*key), rest),
                None => return Ok(None),
            },
        };
        let header = Self { fin, opcode, mask_key, payload_bytes };
        Ok(Some((header, input.len() - rest.len())))
    }
}

fn read_first(byte: u8) -> Result<(bool, Opcode), FrameError> {
    if byte & RESERVED != 0 {
        return Err(FrameError::ReservedBits);
    }
    let bits = byte & OPCODE;
    let opcode = Opcode::from_bits(bits).ok_or(FrameError::UnknownOpcode(bits))?;
    let fin = byte & FIN != 0;
    if opcode.is_control() && !fin {
        return Err(FrameError::FragmentedControl);
    }
    Ok((fin, opcode))
}

/// The payload length and what follows it, given the seven bits that were read already.
fn read_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, FrameError> {
    let (length, least, rest) = match short {
        LENGTH_16 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*bytes)), u64::from(LENGTH_16), rest)
        }
        LENGTH_64 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*bytes), u64::from(u16::MAX) + 1, rest)
        }
        _ => (u64::from(short), 0, rest),
    };
    if length < least {
        return Err(FrameError::LengthNotMinimal);
    }
    if length > i64::MAX.unsigned_abs() {
        return Err(FrameError::LengthHighBit);
    }
    Ok(Some((length, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(header: Header) -> BytesMut {
        let mut out = BytesMut::new();
        header.write(&mut out);
        out
    }

    #[test]
    fn every_length_is_written_in_its_fewest_bytes_and_read_back() {
        let edges = [
            (0, 2),
            (1, 2),
            (125, 2),
            (126, 4),
            (255, 4),
            (256, 4),
            (65_535, 4),
            (65_536, 10),
            (u64::from(u32::MAX), 10),
            (i64::MAX.unsigned_abs(), 10),
        ];
        for (payload_bytes, header_bytes) in edges {
            for role in [Role::Server, Role::Client] {
                let mask_key = (role == Role::Server).then_some([1, 2, 3, 4]);
                let header = Header { fin: false, opcode: Opcode::Text, mask_key, payload_bytes };
                let out = written(header);
                let expected = header_bytes + if role == Role::Server { 4 } else { 0 };
                assert_eq!(out.len(), expected);
                assert!(out.len() <= HEADER_BYTES_MAX);
                assert_eq!(Header::read(&out, role), Ok(Some((header, out.len()))));
                for cut in 0..out.len() {
                    assert_eq!(Header::read(&out[..cut], role), Ok(None), "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn every_first_byte() {
        for byte in 0..=u8::MAX {
            let opcode = Opcode::from_bits(byte & OPCODE);
            let expected = match opcode {
                _ if byte & RESERVED != 0 => Err(FrameError::ReservedBits),
                None => Err(FrameError::UnknownOpcode(byte & OPCODE)),
                Some(opcode) if opcode.is_control() && byte & FIN == 0 => {
                    Err(FrameError::FragmentedControl)
                }
                Some(opcode) => {
                    assert_eq!(opcode.bits(), byte & OPCODE);
                    Ok(None)
                }
            };
            assert_eq!(Header::read(&[byte], Role::Server), expected, "{byte:#04x}");
        }
    }

    #[test]
    fn lengths_that_could_be_shorter_are_refused() {
        let read = |bytes: &[u8]| Header::read(bytes, Role::Client);
        assert_eq!(read(&[0x82, 126, 0, 125]), Err(FrameError::LengthNotMinimal));
        assert!(matches!(read(&[0x82, 126, 0, 126]), Ok(Some(_))));
        let long = |low: u32| [&[0x82, 127, 0, 0, 0, 0][..], &low.to_be_bytes()].concat();
        assert_eq!(read(&long(0)), Err(FrameError::LengthNotMinimal));
        assert_eq!(read(&long(65_535)), Err(FrameError::LengthNotMinimal));
        assert!(matches!(read(&long(65_536)), Ok(Some(_))));
        let high = [0x82, 127, 0x80, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(read(&high), Err(FrameError::LengthHighBit));
    }

    #[test]
    fn control_frames_are_short_and_masks_go_one_way() {
        assert_eq!(Header::read(&[0x89, 0xfe], Role::Server), Err(FrameError::ControlTooLong));
        assert_eq!(Header::read(&[0x8a, 0xff], Role::Server), Err(FrameError::ControlTooLong));
        assert_eq!(Header::read(&[0x88, 0xfd], Role::Server), Ok(None));
        assert_eq!(Header::read(&[0x81, 0x05], Role::Server), Err(FrameError::NotMasked));
        assert_eq!(Header::read(&[0x81, 0x85], Role::Client), Err(FrameError::Masked));
    }
}

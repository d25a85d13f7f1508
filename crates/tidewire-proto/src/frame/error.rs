//! What a peer can do wrong in its frames, and the close code that tells it so.

use crate::code::Code;

/// Why a stream of bytes is not a WebSocket conversation. Every variant fails the connection
/// (RFC 6455 section 7.1.7): the decoder that returned it yields nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// RSV1, RSV2 or RSV3 is set (section 5.2).
    #[error("a reserved bit is set, and no extension was agreed that gives it a meaning")]
    ReservedBits,
    /// An opcode of 3 to 7 or 11 to 15 (section 5.2).
    #[error("opcode {0} has no meaning in RFC 6455")]
    UnknownOpcode(u8),
    /// A control frame without the FIN bit (section 5.5).
    #[error("a control frame is never fragmented")]
    FragmentedControl,
    /// A control frame with a payload of more than 125 bytes (section 5.5).
    #[error("a control frame carries at most 125 bytes")]
    ControlTooLong,
    /// A frame from a client without a mask (section 5.1).
    #[error("a client masks every frame, this one is not masked")]
    NotMasked,
    /// A frame from a server with a mask (section 5.1).
    #[error("a server masks no frame, this one is masked")]
    Masked,
    /// A length written in more bytes than it needs (section 5.2).
    #[error("a payload length is written in the fewest bytes that hold it")]
    LengthNotMinimal,
    /// A 64-bit length whose most significant bit is set (section 5.2).
    #[error("the highest bit of a 64-bit payload length is zero")]
    LengthHighBit,
    /// A continuation frame outside a fragmented message (section 5.4).
    #[error("a continuation frame continues nothing: no message is under way")]
    NothingToContinue,
    /// A text or binary frame inside a fragmented message (section 5.4).
    #[error("a new message begins before the fragmented one has ended")]
    MessageUnderWay,
    /// The message is longer than `message_bytes_max`, as announced by its headers so far.
    #[error("a message has at most {0} bytes here")]
    MessageTooBig(usize),
    /// The message has more frames than `fragments_max`.
    #[error("a message has at most {0} fragments here")]
    TooManyFragments(usize),
    /// A text message that is not UTF-8 (section 8.1).
    #[error("a text message is UTF-8, this one is not")]
    TextNotUtf8,
    /// A close frame with a payload of one byte: half a code (section 5.5.1).
    #[error("a close frame carries nothing, or a code of two bytes and a reason")]
    HalfCloseCode,
    /// A close code that may not travel (section 7.4).
    #[error("close code {0} is not one that a peer may send")]
    CloseCode(u16),
    /// A close reason that is not UTF-8 (section 5.5.1).
    #[error("a close reason is UTF-8, this one is not")]
    ReasonNotUtf8,
}

impl FrameError {
    /// The row of the code table: what is not UTF-8, what is too much, or what breaks the protocol.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::TextNotUtf8 | Self::ReasonNotUtf8 => Code::BadUtf8,
            Self::TooManyFragments(_) => Code::Policy,
            Self::MessageTooBig(_) => Code::TooLarge,
            Self::ReservedBits
            | Self::UnknownOpcode(_)
            | Self::FragmentedControl
            | Self::ControlTooLong
            | Self::NotMasked
            | Self::Masked
            | Self::LengthNotMinimal
            | Self::LengthHighBit
            | Self::NothingToContinue
            | Self::MessageUnderWay
            | Self::HalfCloseCode
            | Self::CloseCode(_) => Code::Protocol,
        }
    }

    /// The close code to fail the connection with (RFC 6455 section 7.4.1): 1007 for what is not
    /// UTF-8, 1008 for too many fragments, 1009 for too big, 1002 for everything else.
    #[must_use]
    pub fn close_code(&self) -> u16 {
        self.code().close_code()
    }
}

#[cfg(test)]
mod tests {
    use super::super::is_close_code;
    use super::*;

    #[test]
    fn every_error_has_a_code_that_may_travel() {
        for error in [
            FrameError::ReservedBits,
            FrameError::TextNotUtf8,
            FrameError::TooManyFragments(1),
            FrameError::MessageTooBig(1),
        ] {
            assert!(is_close_code(error.close_code()), "{error}");
        }
    }
}

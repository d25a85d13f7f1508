//! What travels: a [`Message`] is what someone publishes, an [`Entry`] is a message with a place.
//!
//! Not `Serialize`: bytes for the wire are made in `sse` and `ws`, bytes for the disk in the disk
//! log, each by explicit functions. This module knows neither.

use std::fmt;

use bytes::Bytes;

use crate::{cursor::Sequence, topic::Topic};

/// Longest event type, in bytes.
pub const EVENT_BYTES_MAX: usize = 64;
/// Longest idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 64;
/// Longest name of an item, in bytes.
pub const ITEM_BYTES_MAX: usize = 64;
/// Deepest nesting of arrays and objects in JSON data: what common parsers accept. One deeper entry
/// would make a page unreadable for all who share it.
pub const JSON_DEPTH_MAX: usize = 128;
/// Event types that begin with this are the server's own; publishers may not use them.
pub const RESERVED_EVENT_PREFIX: &str = "tidewire.";

/// What somebody publishes. It has no place in the log yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub topic: Topic,
    /// What happened: `message` unless said otherwise.
    pub event: EventType,
    /// The payload.
    pub data: Data,
    /// Makes a retry safe: the same key on the same topic is stored once.
    pub key: Option<Key>,
    /// Which thing this is the newest value of.
    pub item: Option<Item>,
}

/// A message that has a place in the log. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place; strictly increasing within a log.
    pub sequence: Sequence,
    /// Where it went.
    pub topic: Topic,
    /// What happened.
    pub event: EventType,
    /// The payload, exactly as published.
    pub data: Data,
    /// When it was stored, in milliseconds since 1970. Information only (and the base of retention
    /// by age): no order, continuity or idempotency depends on it.
    pub at_ms: u64,
    /// Which thing this is the newest value of.
    pub item: Option<Item>,
}

/// The payload and how it may be shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Data {
    /// Valid JSON text (RFC 8259), kept byte for byte.
    Json(Bytes),
    /// UTF-8 text that is not JSON.
    Text(Bytes),
    /// Anything else.
    Binary(Bytes),
}

/// Why a payload cannot be what it says it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// The bytes are not UTF-8.
    #[error("the text is not valid UTF-8 (at byte {0})")]
    Utf8(usize),
    /// The text is not JSON.
    #[error("the text is not valid JSON: {0}")]
    Json(String),
}

impl Data {
    /// JSON text, checked.
    ///
    /// # Errors
    /// [`DataError`] when the bytes are not UTF-8 or not one JSON value.
    pub fn json(bytes: impl Into<Bytes>) -> Result<Self, DataError> {
        let bytes = bytes.into();
        let text = checked_utf8(&bytes)?;
        serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map_err(|error| DataError::Json(error.to_string()))?;
        if json_depth(text) > JSON_DEPTH_MAX {
            let message = format!("arrays and objects are nested deeper than {JSON_DEPTH_MAX}");
            return Err(DataError::Json(message));
        }
        Ok(Self::Json(bytes))
    }

    /// Plain text, checked.
    ///
    /// # Errors
    /// [`DataError::Utf8`] when the bytes are not UTF-8.
    pub fn text(bytes: impl Into<Bytes>) -> Result<Self, DataError> {
        let bytes = bytes.into();
        checked_utf8(&bytes)?;
        Ok(Self::Text(bytes))
    }

    /// Any bytes.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::Binary(bytes.into())
    }

    /// The bytes as published.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }

    /// The text, if this is JSON or plain text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Json(bytes) | Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Binary(_) => None,
        }
    }
}

fn checked_utf8(bytes: &[u8]) -> Result<&str, DataError> {
    std::str::from_utf8(bytes).map_err(|error| DataError::Utf8(error.valid_up_to()))
}

/// How deep arrays and objects are nested in a text that is known to be JSON.
fn json_depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Json(_) => "Json",
            Self::Text(_) => "Text",
            Self::Binary(_) => "Binary",
        };
        match self.as_text() {
            Some(text) if text.len() <= 200 => write!(f, "{kind}({text})"),
            _ => write!(f, "{kind}({} bytes)", self.bytes().len()),
        }
    }
}

/// Declares a newtype over checked, short, single-line text.
macro_rules! short_text {
    ($(#[$doc:meta])* $name:ident, $bytes_max:expr, $what:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Parses it.
            ///
            /// # Errors
            /// [`ShortTextError`] when it is empty, too long or has a character outside its alphabet.
            pub fn parse(text: &str) -> Result<Self, ShortTextError> {
                let allowed: fn(char) -> bool = $allowed;
                if text.is_empty() || text.len() > $bytes_max {
                    return Err(ShortTextError::Length { what: $what, bytes: text.len(), max: $bytes_max });
                }
                if let Some((at, found)) = text.char_indices().find(|&(_, c)| !allowed(c)) {
                    return Err(ShortTextError::Character { what: $what, found, at });
                }
                Ok(Self(text.into()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// Why a text is not an event type, not a key or not an item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShortTextError {
    /// Empty or too long.
    #[error("{what} has 1 to {max} bytes, this one has {bytes}")]
    Length {
        /// Which kind of text.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// A character outside the alphabet: a control character, say.
    #[error("{what} has no {found:?} (at byte {at})")]
    Character {
        /// Which kind of text.
        what: &'static str,
        /// The first character that is not allowed.
        found: char,
        /// Its byte offset.
        at: usize,
    },
}

short_text!(
    /// The type of an event: 1 to 64 of `A-Z a-z 0-9 . _ : -`, so no line end can reach an SSE field.
    EventType,
    EVENT_BYTES_MAX,
    "an event type",
    |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-')
);

short_text!(
    /// An idempotency key: 1 to 64 printable ASCII characters, no space.
    Key,
    KEY_BYTES_MAX,
    "an idempotency key",
    |c| c.is_ascii_graphic()
);

short_text!(
    /// The name of a thing that has a value: 1 to 64 printable ASCII characters, no space. Of two
    /// entries of one topic and item, the newer one stands for both, where only the newest counts.
    Item,
    ITEM_BYTES_MAX,
    "an item",
    |c| c.is_ascii_graphic()
);

impl EventType {
    /// The type of an event that names none: `message`, as in the HTML standard.
    #[must_use]
    pub fn message() -> Self {
        Self("message".into())
    }

    /// Is this the default type, which SSE does not spell out?
    #[must_use]
    pub fn is_message(&self) -> bool {
        &*self.0 == "message"
    }

    /// Does the type belong to the server ([`RESERVED_EVENT_PREFIX`]) or to `EventSource` itself
    /// (`open`, `error`: a listener for those hears the connection, not an event)?
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED_EVENT_PREFIX) || matches!(&*self.0, "open" | "error")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_checked_where_it_claims_something() {
        assert!(Data::json(&b"{\"a\": [1, 2]}"[..]).is_ok());
        assert!(matches!(Data::json(&b"{\"a\": }"[..]), Err(DataError::Json(_))));
        assert!(matches!(Data::json(&b"1 2"[..]), Err(DataError::Json(_))));
        assert!(matches!(Data::json(&b""[..]), Err(DataError::Json(_))));
        assert_eq!(Data::json(&b"\"\xff\""[..]), Err(DataError::Utf8(1)));
        assert_eq!(Data::text(&b"ab\xc3"[..]), Err(DataError::Utf8(2)));
        assert!(Data::text(&b""[..]).is_ok());
    }

    #[test]
    fn json_is_nested_so_deep_and_no_deeper() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Data::json(nested(128)).is_ok());
        assert!(matches!(Data::json(nested(129)), Err(DataError::Json(_))));
        assert!(matches!(Data::json(nested(100_000)), Err(DataError::Json(_))));
        let in_a_string = format!("{{\"a\": \"\\\"{}\"}}", "[".repeat(500));
        assert!(Data::json(in_a_string).is_ok());
        assert!(Data::json(format!("[{}1]", "[],".repeat(500))).is_ok(), "beside is not below");
    }

    #[test]
    fn event_types_and_keys_stay_on_their_line() {
        assert!(EventType::parse("task.assigned").is_ok());
        assert!(EventType::parse("a\nid: 5").is_err());
        assert!(EventType::parse("").is_err());
        assert!(EventType::parse(&"e".repeat(64)).is_ok());
        assert!(EventType::parse(&"e".repeat(65)).is_err());
        assert!(EventType::parse("tidewire.beat").unwrap().is_reserved());
        assert!(EventType::parse("error").unwrap().is_reserved());
        assert!(Key::parse("order-17#2").is_ok());
        assert!(Key::parse("with space").is_err());
        assert!(Key::parse(&"k".repeat(65)).is_err());
    }
}

//! The server's half of the path check: what it has written to one event stream, as JSON.

use crate::json;

/// What was written to an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Frames of which at least the first byte has gone.
    pub events: u64,
    /// Time since the first write.
    pub open_ms: u64,
    /// Time since the last write.
    pub quiet_ms: u64,
    /// Bytes wait in the server, because the peer's side takes no more.
    pub is_blocked: bool,
}

impl Written {
    /// The answer to who asks for the stream of this name.
    #[must_use]
    pub fn to_json(&self, connection: &str) -> String {
        let Self { events, open_ms, quiet_ms, is_blocked } = self;
        let mut out = String::from("{\"connection\":");
        json::push_string(&mut out, connection);
        out.push_str(&format!(
            ",\"events\":{events},\"open_ms\":{open_ms},\"quiet_ms\":{quiet_ms},\
             \"blocked\":{is_blocked}}}"
        ));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_looks_as_the_specification_says() {
        let written = Written { events: 17, open_ms: 5_023, quiet_ms: 312, is_blocked: false };
        assert_eq!(
            written.to_json("kitchen-7"),
            r#"{"connection":"kitchen-7","events":17,"open_ms":5023,"quiet_ms":312,"blocked":false}"#
        );
        let forged = written.to_json("\",\"events\":0,\"x\":\"");
        let read: serde_json::Value = serde_json::from_str(&forged).unwrap();
        assert_eq!(read["events"], 17);
    }
}

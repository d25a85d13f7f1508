//! The one table of everything that goes wrong, each row with what the client does next.
//!
//! HTTP statuses, WebSocket close codes, error bodies and the docs page come from here. A row says
//! nothing of the particular case: the sentence that goes with it does.

use std::fmt;

/// What a client does after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// The same again after a while, with the same idempotency key.
    Retry,
    /// Connect again with the last cursor.
    Resume,
    /// Get a new token, then the same again.
    RefreshToken,
    /// Nothing: the request must change first.
    GiveUp,
}

impl Next {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Resume => "resume",
            Self::RefreshToken => "refresh_token",
            Self::GiveUp => "give_up",
        }
    }
}

/// Builds [`Code`] and its table from one list, so that no row can be forgotten.
macro_rules! codes {
    ($($variant:ident $name:literal $status:literal $close:literal $next:ident $what:literal;)*) => {
        /// What went wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $what] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the table in `docs/protocol.md`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The HTTP status.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The WebSocket close code, where this closes the connection.
            #[must_use]
            pub fn close_code(self) -> u16 {
                match self { $(Self::$variant => $close,)* }
            }

            /// What the client does next.
            #[must_use]
            pub fn next(self) -> Next {
                match self { $(Self::$variant => Next::$next,)* }
            }

            /// What it means, in general.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }
        }
    };
}

// variant, word, HTTP status, close code, next, meaning. Close codes: RFC 6455 §7.4.1, and 4000 +
// the HTTP status for our own.
codes! {
    BadRequest "bad_request" 400 4400 GiveUp "The request or command is not of its form.";
    BadTopic "bad_topic" 400 4400 GiveUp "The topic breaks a rule of topic names.";
    BadCursor "bad_cursor" 400 4400 GiveUp "The cursor is not one that this server wrote.";
    BadEvent "bad_event" 400 4400 GiveUp "The event type breaks a rule, or is reserved.";
    BadKey "bad_key" 400 4400 GiveUp "The idempotency key breaks a rule.";
    BadItem "bad_item" 400 4400 GiveUp "The name of an item breaks a rule.";
    BadJson "bad_json" 400 4400 GiveUp "The text is not JSON, or not of the form asked for.";
    BadUtf8 "bad_utf8" 400 1007 GiveUp "The text is not UTF-8.";
    UnknownCommand "unknown_command" 400 4400 GiveUp "The socket knows no such command.";
    UnknownFeature "unknown_feature" 404 4404 GiveUp "The config declares no such feature.";
    NoDocument "no_document" 404 4404 GiveUp "The feature keeps no documents.";
    NotFound "not_found" 404 4404 GiveUp "There is nothing at this path.";
    MethodNotAllowed "method_not_allowed" 405 4405 GiveUp "The path exists, but not for this method.";
    UpgradeRequired "upgrade_required" 426 4426 GiveUp "This path speaks WebSocket only.";
    NoHistory "no_history" 400 4400 GiveUp "The feature keeps nothing, so it has no pages and no cursor.";
    NoPresence "no_presence" 404 4404 GiveUp "The feature has no presence.";
    NotSubscribed "not_subscribed" 400 4400 GiveUp "The socket has no subscription to this topic.";
    AlreadySubscribed "already_subscribed" 409 4409 GiveUp "The socket is subscribed to this topic already.";
    Ended "ended" 409 4409 GiveUp "The stream has ended already.";
    TooManyTopics "too_many_topics" 400 4400 GiveUp "More topics or subscriptions than one connection, or one member, may have.";
    TooLarge "too_large" 413 1009 GiveUp "The message, body or batch is larger than its limit.";
    BatchMixed "batch_mixed" 400 4400 GiveUp "A batch is stored in one piece, so it cannot mix kept and ephemeral features.";
    KeyConflict "key_conflict" 409 4409 GiveUp "The idempotency key was used with another body.";
    TokenMissing "token_missing" 401 4401 RefreshToken "This needs a token.";
    TokenInvalid "token_invalid" 401 4401 RefreshToken "The token is not good here.";
    TokenExpired "token_expired" 401 4401 RefreshToken "The token has expired.";
    Revoked "revoked" 401 4401 RefreshToken "The access was taken back.";
    Forbidden "forbidden" 403 4403 GiveUp "The token does not allow this.";
    OriginRefused "origin_refused" 403 4403 GiveUp "The page's origin is not listed.";
    Timeout "timeout" 408 4408 Retry "The request did not arrive in time.";
    Dismissed "dismissed" 503 4503 Resume "Whoever runs the server has ended this connection.";
    ConnectionLost "connection_lost" 408 4408 Resume "The peer did not answer the server's pings.";
    Protocol "protocol_error" 400 1002 GiveUp "The bytes break the WebSocket protocol.";
    Policy "policy" 400 1008 GiveUp "The peer broke a limit of this server.";
    TooManyConnections "too_many_connections" 503 1013 Resume "The server, or this address, has as many connections as it may.";
    PresenceFull "presence_full" 503 1013 Retry "The topic, or the server, has as many members as it may.";
    Busy "busy" 503 1013 Retry "Too much at once: the same again in a moment.";
    Restarting "restarting" 503 1012 Resume "The server is going down or restarting.";
    DiskFull "disk_full" 507 1013 Retry "The server's disk is full; readers go on.";
    LogFailed "log_failed" 503 1011 Retry "The log stores nothing more until a restart; readers go on.";
    GateUnavailable "gate_unavailable" 503 1013 Retry "Whoever decides about access cannot be reached.";
    Internal "internal" 500 1011 Retry "A defect of the server.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as it goes over the wire: which row, and what it was this time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WireError {
    /// The row.
    pub code: Code,
    /// What happened, where, and what to do about it.
    pub message: String,
}

impl WireError {
    /// An error with its sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_distinct() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
    }

    #[test]
    fn statuses_and_close_codes_are_real_ones() {
        for code in Code::ALL {
            assert!((400..600).contains(&code.status()), "{code}");
            let close = code.close_code();
            assert!(matches!(close, 1002 | 1007..=1013 | 4000..=4999), "{code}: {close}");
        }
    }
}

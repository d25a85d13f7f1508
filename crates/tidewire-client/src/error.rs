//! What goes wrong for good, one enum per operation.
//!
//! What passes by itself (a lost connection, a busy server) is not here: the subscription deals with
//! it and says so as a [`Status`](crate::Status).

use std::time::Duration;

use tidewire_proto::{Cursor, Next, Topic};

/// The client cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The base URL is not one.
    #[error("`{url}` is no base URL for Tidewire: {why}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The HTTP client could not be built: no certificates, say.
    #[error("the HTTP client could not be set up: {0}")]
    Http(String),
}

/// The server said no, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The code, as on the wire: see the table in `docs/protocol.md`.
    pub code: String,
    /// What happened and what to do, as a sentence.
    pub message: String,
    /// What a client does next.
    pub next: Next,
    /// The HTTP status, where it came over HTTP.
    pub status: Option<u16>,
    /// How long the server asked us to stay away.
    pub retry_after: Option<Duration>,
}

/// A subscription, or a question to the server, ended for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server refuses, and asking again would change nothing.
    #[error("the server refused: {0}")]
    Refused(Refusal),
    /// The token is not good, and a fresh one was not either.
    #[error("not authorized: {0}")]
    Unauthorized(Refusal),
    /// Whoever answers there does not speak Tidewire.
    #[error("{0}: is this the address of a Tidewire server?")]
    Foreign(String),
    /// The server asked us to stop for good (status 204).
    #[error("the server asked this subscription to stop")]
    Stopped,
    /// Something is larger than this client accepts; coming back would meet it again.
    #[error("{0}; raise `ClientOptions::event_bytes_max`")]
    TooLarge(String),
    /// The server broke its promise of order.
    #[error("the server broke its promise of order: {0}")]
    Disorder(Disorder),
    /// The token source failed. (A subscription tries again; a single question does not.)
    #[error("no token: {0}")]
    Token(String),
    /// There was no answer. (A subscription tries again; a single question does not.)
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    /// A subscription needs at least one topic.
    #[error("a subscription has at least one topic")]
    NoTopic,
    /// The task behind the subscription is gone: the runtime shut down.
    #[error("the subscription's task is gone")]
    Gone,
}

/// A twin, or an entry out of its order. Never passed on, never swallowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{topic}` brought {got} after {seen}")]
pub struct Disorder {
    /// The topic of the offending entry.
    pub topic: Topic,
    /// The place that was already reached.
    pub seen: Cursor,
    /// The place of the offending entry.
    pub got: Cursor,
}

/// A message was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The server refuses this message; the same again would be refused again. Nothing is stored.
    #[error("the server refused: {0}")]
    Refused(Refusal),
    /// The token is not good, and a fresh one was not either. Nothing is stored.
    #[error("not authorized: {0}")]
    Unauthorized(Refusal),
    /// The server kept saying "later" until our time was up. Nothing is stored.
    #[error("the server did not take it in time: {0}")]
    Busy(Refusal),
    /// No request reached the server. Nothing is stored.
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    /// A request may have reached the server, but no answer came back: it may be stored or not.
    /// Publishing again with the same key is safe, and is the way to know.
    #[error("no answer ({why}): it may be stored or not; publish again with key `{key}` to know")]
    Unknown {
        /// What happened to the last attempt.
        why: String,
        /// The idempotency key that was sent (of the first message, for a batch).
        key: String,
    },
    /// Whoever answers there does not speak Tidewire.
    #[error("{0}: is this the address of a Tidewire server?")]
    Foreign(String),
    /// The token source failed.
    #[error("no token: {0}")]
    Token(String),
}

//! [`Failure`]: what can be wrong with a request to Workboard. Each says what, and what to do.
//!
//! Knows no HTTP: which status that is, the API says.

use crate::model::Task;

/// Why something could not be done. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The request is not of its form.
    #[error("{0}")]
    Bad(String),
    /// No session, or one that nobody knows.
    #[error("sign in first: `POST /app/api/session`, then send `Authorization: Bearer SESSION`")]
    NotSignedIn,
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// Somebody else was faster.
    #[error(
        "the task has version {} by now, changed by {}: look at it, then send your change with \
         that version",
        .0.version,
        .0.updated_by
    )]
    Conflict(Box<Task>),
    /// Something has a limit.
    #[error("{0}")]
    TooLarge(String),
    /// Too much at once.
    #[error("{0}")]
    Busy(String),
    /// The database, or the machine under it.
    #[error("Workboard's database failed: {0}")]
    Store(String),
}

/// Whatever the database says is one thing to us.
macro_rules! from_redb {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Store(error.to_string())
            }
        })+
    };
}

from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError,
    serde_json::Error
);

//! What can go wrong between bytes on disk and a log that is whole: [`OpenError`] for whoever starts
//! the server, and the crate's own [`StoreError`] that it and a failed read come from.
//!
//! Invariant: damage is always named by file and byte offset, never skipped and never a panic.

use std::io;

use tidewire_core::ReadError;

/// Why a log could not be opened. Nothing was changed on disk that a later attempt would miss.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another log in this one, has the directory.
    #[error(
        "{dir} is in use by another Tidewire: stop that one, or give this one its own directory"
    )]
    Locked {
        /// The directory.
        dir: String,
    },
    /// Bytes that were once stored safely are no longer what they were.
    #[error(
        "{file} is damaged at byte {offset}: {problem}. Restore the data directory from a backup; \
         or move {file} away to go on without it: readers are then told of the loss"
    )]
    Corrupt {
        /// The file, inside the directory.
        file: String,
        /// Where in it, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// A file of a format that this version does not read.
    #[error("{file} has format {found}, this version reads {known}: use the version that wrote it")]
    Version {
        /// The file, inside the directory.
        file: String,
        /// The version it names.
        found: u32,
        /// The version this program reads.
        known: u32,
    },
    /// The operating system refused.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: String,
        /// What it said.
        source: io::Error,
    },
}

/// What goes wrong inside the store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot {action} {file}: {source}")]
    Io { action: &'static str, file: String, source: io::Error },
    #[error("{file} is damaged at byte {offset}: {problem}; restore it from a backup")]
    Corrupt { file: String, offset: u64, problem: String },
    #[error("{file} has format {found}, this version reads {known}")]
    Version { file: String, found: u32, known: u32 },
}

impl StoreError {
    pub(crate) fn corrupt(file: &str, offset: u64, problem: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset, problem: problem.into() }
    }

    /// Was the file simply not there any more: dropped by retention, or replaced?
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Does this error say that there is no room, as opposed to a broken disk?
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Io { action, file, source } => Self::Io { action, file, source },
            StoreError::Corrupt { file, offset, problem } => {
                Self::Corrupt { file, offset, problem }
            }
            StoreError::Version { file, found, known } => Self::Version { file, found, known },
        }
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Names the action and the file of an [`io::Error`].
pub(crate) trait Context<T> {
    fn on(self, action: &'static str, file: &str) -> Result<T, StoreError>;
}

impl<T> Context<T> for io::Result<T> {
    fn on(self, action: &'static str, file: &str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { action, file: file.to_owned(), source })
    }
}

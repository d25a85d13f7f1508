//! How safely an entry is kept: the word that every publish answer names.
//!
//! Invariant: a log answers a [`Stored`] only after it has reached it. See promise 4 in
//! `docs/protocol.md`.

use std::fmt;

/// The level of safety that an acknowledged entry has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stored {
    /// In this process only: gone with it.
    Memory,
    /// Written to the operating system: survives `kill -9`, not a power loss.
    Os,
    /// On stable storage: survives `kill -9` and a power loss of this machine.
    Fsync,
    /// Held by this many machines of a shared log.
    Replicas(u8),
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Os => f.write_str("os"),
            Self::Fsync => f.write_str("fsync"),
            Self::Replicas(machines) => write!(f, "replicas:{machines}"),
        }
    }
}

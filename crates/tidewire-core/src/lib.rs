//! Tidewire's middle: the log and those who walk it.
//!
//! > A message gets a place in the log. A subscriber is a cursor that walks the log.
//! > A door only carries bytes.
//!
//! | Room | What lives there |
//! |---|---|
//! | [`log`] | the [`Log`] seam: append, read, follow, bounds; the memory log; the contract suite |
//! | [`feature`] | what a feature keeps and for how long |
//! | [`limits`] | every bound in the system, one struct, one reason each |
//! | [`clock`] | time and randomness, injected |
//!
//! Knows no HTTP, no sockets, no files. Doors call in; nothing here calls a door.

pub mod clock;
pub mod feature;
pub mod limits;
pub mod log;

pub use feature::{Feature, Features, History};
pub use limits::Limits;
pub use log::{
    AppendError, Batch, Bounds, Filter, Log, MemoryLog, Page, PageLimit, ReadError, Receipt,
};

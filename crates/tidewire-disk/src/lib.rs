//! Tidewire's embedded log: files of one directory, one machine, `fsync` before the answer.
//!
//! A batch is appended to the active file and acknowledged when it is as safe as its feature asks;
//! one sync serves all that wait. A full file is sealed and rewritten once, sorted by topic, one
//! file for each feature, so that a read costs what it returns and retention is the removal of
//! whole files. The bytes are described in `docs/store-format.md`.
//!
//! | Room | What lives there |
//! |---|---|
//! | [`DiskLog`] | the log's face: open, append, read, follow, close |
//! | [`disk`] | the seam to the file system |
//! | `record` `group` `footer` `bytes` | the formats, pure |
//! | `wal` `scan` | append-only files: the index in memory, the walk at opening |
//! | `segment` `sorter` `made` | sorted files: reading, and making them of append-only ones |
//! | `state` `recent` `losses` | what is where, what is in memory, what was lost |
//! | `queue` `gather` `writer` | what waits, how long for more, and the one thread that appends |
//! | `keeper` `retention` | the background thread, and what it may remove |
//! | `reader` `back` `follow` | pages, from the front and from the back, and live delivery |
//! | `recovery` `epoch` `keys` | opening: what a crash left, the lives, the keys of the last window |
//!
//! Knows no HTTP and no subscriber. Arrows go down this list and to `tidewire-core`.

pub mod disk;

mod back;
mod bytes;
mod epoch;
mod error;
mod follow;
mod footer;
mod gather;
mod group;
mod keeper;
mod keys;
mod log;
mod losses;
mod made;
mod queue;
mod reader;
mod recent;
mod record;
mod recovery;
mod retention;
mod scan;
mod segment;
mod settings;
mod shared;
mod sorter;
mod state;
mod wal;
mod writer;

pub use error::OpenError;
pub use keeper::Retained;
pub use log::{DiskLog, DiskStats};
pub use settings::DiskSettings;

//! Tidewire's middle: the log and those who walk it.
//!
//! > A message gets a place in the log. A subscriber is a cursor that walks the log.
//! > A door only carries bytes.
//!
//! | Room | What lives there |
//! |---|---|
//! | [`log`] | the [`Log`] seam: append, read, follow, bounds; the memory log; the contract suite |
//! | [`hub`] | where the end of the log meets this machine's readers |
//! | `lane`, `tail` | one log, its follower, and the newest entries of the topics that are read |
//! | `values`, `join` | what the past of a topic comes to: the newest of each item, texts in one piece |
//! | [`framed`] | an entry with its frames, encoded once and shared |
//! | [`watch`] | how readers hear that there are news, without a wake-up for each |
//! | [`subscription`] | a filter and a cursor that walks: past, present and fell-behind in one loop |
//! | [`presence`] | who is in a topic: members, their leases, and the changes that readers hear |
//! | [`session`] | one peer, its subscriptions, and what it may do |
//! | [`feature`] | what a feature keeps and for how long |
//! | [`gate`] | who is at the door, and may they read or publish here |
//! | [`limits`] | every bound in the system, one struct, one reason each |
//! | [`clock`] | time and randomness, injected |
//!
//! Knows no HTTP, no sockets, no files. Doors call in; nothing here calls a door.

pub mod clock;
pub mod feature;
pub mod framed;
pub mod gate;
pub mod hub;
mod join;
mod lane;
pub mod limits;
pub mod log;
pub mod presence;
pub mod session;
pub mod subscription;
pub mod tail;
mod values;
pub mod watch;

pub use feature::{CurrentFeatures, Feature, Features, History, Keep};
pub use framed::Framed;
pub use gate::{Action, Connection, Credential, Gate, Grant, OpenGate, Peer, Proof, Refusal};
pub use hub::{HistoryPage, Hub, PublishError, Published, SubscribeError};
pub use lane::Turnover;
pub use limits::Limits;
pub use log::{
    AppendError, Batch, Bounds, Filter, Log, MemoryLog, Page, PageBack, PageLimit, ReadError,
    Receipt,
};
pub use presence::{Announced, Members, Presence, PresenceStats, Who};
pub use session::{Begun, News, Publisher, Session, Step};
pub use subscription::Subscription;
pub use tail::Tail;
pub use watch::{Board, Mark};

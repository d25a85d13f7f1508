//! Tidewire's words and bytes.
//!
//! | Room | What lives there |
//! |---|---|
//! | [`topic`] | names, and patterns of names |
//! | [`message`] | what somebody publishes, and the entry it becomes |
//! | [`cursor`] | places in a log, and the one rule of continuity |
//! | [`stored`] | how safely an entry is kept |
//! | [`plan`] | three answers → a transport and the reason |
//! | [`parts`] | what a producer streams in, as parts |
//! | [`presence`] | what a member says of itself, and who is there |
//! | [`path`] | what a server has written to a stream, for who wonders what has come through |
//! | [`sse`] | entries and signals as event-stream bytes, and back |
//! | [`ws`] | commands and deliveries as WebSocket messages, and back |
//! | [`json`] | the JSON shape that WebSocket frames, pages and batches share |
//! | [`frame`] | RFC 6455 frames as bytes, and back |
//! | [`code`] | everything that goes wrong, and what the client does next |
//!
//! No async, no I/O, no clock, no randomness: what is here decides and encodes, others move bytes.

pub mod code;
pub mod cursor;
pub mod frame;
pub mod json;
pub mod message;
pub mod parts;
pub mod path;
pub mod plan;
pub mod presence;
pub mod sse;
pub mod stored;
pub mod topic;
pub mod ws;

pub use code::{Code, Next, WireError};
pub use cursor::{After, Cursor, Epoch, Gap, GapReason, Life, Lineage, Sequence};
pub use json::Continuity;
pub use message::{Data, Entry, EventType, Item, Key, Message};
pub use stored::Stored;
pub use topic::{Pattern, Topic};

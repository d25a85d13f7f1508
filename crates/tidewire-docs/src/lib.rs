//! Documents that many people edit at once (Yjs), as a library over topics.
//!
//! A document is a topic of a feature with `keep = "document"`: each update is an entry, in one order
//! for everybody, and delivery happens only through the log. What stands for the past of a document
//! is left in its base topic, so that nobody has to read all of it.
//!
//! | Room | What lives there |
//! |---|---|
//! | `wire` | the messages of the y-websocket protocol, as bytes |
//! | `outline` | what an update inserts and deletes, and whether it is one at all |
//! | `document` | the state of a document, in the hands of `yrs` |
//! | `awareness` | who looks at a document, and with which cursor: of each client the newest state |
//! | `base` | a document's state up to a place, as the data of an entry |
//! | `room` | a document that somebody has open: it follows the log |
//! | `loading` | how a room finds out what is there already |
//! | [`visit`] | one peer in a room: what it says and what it hears |
//! | [`documents`] | all open documents |
//!
//! Knows no HTTP and no sockets: a door carries the bytes. Nothing of `yrs` shows.

mod awareness;
mod base;
mod document;
pub mod documents;
mod loading;
mod outline;
mod room;
pub mod visit;
mod wire;

pub use documents::Documents;
pub use visit::{Edit, Heard, Visit};
pub use wire::{beat, denied};

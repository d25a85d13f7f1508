//! The contract, each promise of `docs/protocol.md` in a file of its own, over real sockets on
//! loopback against the library's own server with its embedded log.

mod any_door;
mod continuity;
mod idempotent;
mod no_loss;
mod order;
mod slow_reader;
mod support;

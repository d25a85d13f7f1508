//! The contract, each promise of `docs/protocol.md` in a file of its own, over real sockets on
//! loopback against the library's own server with its embedded log.

mod access;
mod acknowledged;
mod any_door;
mod authorize;
mod bad_input;
mod canary;
mod clocks;
mod connections;
mod continuity;
mod documents;
mod drain;
mod embedding;
mod idempotent;
mod journeys;
mod limits;
mod metrics;
mod no_loss;
mod order;
mod origins;
mod past;
mod path;
mod presence;
mod reload;
mod revoke;
mod slow_reader;
mod streams;
mod support;
mod sweep;
mod transport;
mod webhooks;
mod websocket;

//! The rungs against a server that says exactly what a test tells it to.
//!
//! Time is paused: waits are exact and cost nothing. Bytes travel over real loopback sockets.

mod fake;
mod path;
mod plan;
mod poll;
mod publish;
mod sse;
mod tls;
mod trouble;
mod ws;

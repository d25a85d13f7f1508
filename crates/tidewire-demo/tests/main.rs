//! Workboard over real sockets, on a real Tidewire, in this process.

#![allow(clippy::disallowed_methods)] // Real sockets take real time.

mod hurt;
mod support;
mod work;

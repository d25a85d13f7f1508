//! The one clock of the bench: nanoseconds since the machine started, the same in every process.
//!
//! Invariant: nothing else in the bench asks for the time. A load tool measures real time, so it
//! has no use for an injected clock; what is computed from times is pure and tested without it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// The time now, in nanoseconds of the machine's monotonic clock.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * SECOND + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Lets time pass while nothing is to be done: the rest before memory is read.
#[expect(
    clippy::disallowed_methods,
    reason = "a load tool measures real time and has to wait for it"
)]
pub(crate) fn rest(time: Duration) {
    std::thread::sleep(time);
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a run lasts less than 2^53 ns")]
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

//! [`Breaker`]: an app that does not answer is left alone for a while, and asked by one until it does.
//!
//! Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row until the app is left alone.
pub(super) const FAILURES_MAX: u32 = 5;
/// How long it is left alone, and how long after a question that failed the next one waits.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// Whether to ask.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    // Nobody asks before that.
    closed_until: Option<Instant>,
}

/// What one who wants to ask may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Ask.
    Ask,
    /// Ask: everybody else waits for what comes of it.
    Probe,
    /// Leave it alone.
    Wait,
}

impl Breaker {
    /// May somebody ask now? A probe that is never answered blocks nobody for longer than `timeout`.
    pub(super) fn leave(&mut self, now: Instant, timeout: Duration) -> Leave {
        match self.closed_until {
            None => Leave::Ask,
            Some(until) if now < until => Leave::Wait,
            Some(_) => {
                self.closed_until = Some(now + PAUSE.max(timeout + timeout));
                Leave::Probe
            }
        }
    }

    /// Is the app left alone?
    pub(super) fn is_open(&self) -> bool {
        self.closed_until.is_some()
    }

    /// It has answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It has not. Says whether it is left alone because of this.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_MAX {
            return false;
        }
        let was_open = self.is_open();
        self.closed_until = Some(now + PAUSE);
        !was_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_one_at_a_time_tries_again() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 1..FAILURES_MAX {
            assert!(!breaker.failed(now));
        }
        breaker.succeeded();
        for _ in 1..FAILURES_MAX {
            assert!(!breaker.failed(now));
            assert_eq!(breaker.leave(now, TIMEOUT), Leave::Ask);
        }
        assert!(breaker.failed(now));
        assert_eq!(breaker.leave(now + PAUSE - Duration::from_millis(1), TIMEOUT), Leave::Wait);
        let later = now + PAUSE;
        assert_eq!(breaker.leave(later, TIMEOUT), Leave::Probe);
        assert_eq!(breaker.leave(later, TIMEOUT), Leave::Wait, "one at a time");
        assert!(!breaker.failed(later), "it was open before");
        assert_eq!(breaker.leave(later + PAUSE, TIMEOUT), Leave::Probe);
        breaker.succeeded();
        assert_eq!(breaker.leave(later + PAUSE, TIMEOUT), Leave::Ask);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_vanishes_is_followed_by_another() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_MAX {
            breaker.failed(now);
        }
        let later = now + PAUSE;
        assert_eq!(breaker.leave(later, PAUSE), Leave::Probe);
        assert_eq!(breaker.leave(later + PAUSE, PAUSE), Leave::Wait);
        assert_eq!(breaker.leave(later + PAUSE + PAUSE, PAUSE), Leave::Probe);
    }
}

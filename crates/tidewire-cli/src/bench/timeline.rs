//! Deliveries over time, in steps of a twentieth of a second.
//!
//! It must not know the clock: whoever records says when it was.

use super::clock::SECOND;

/// Length of a step.
pub(crate) const STEP: u64 = SECOND / 20;
/// Steps that are kept: an hour.
const STEPS_MAX: usize = 72_000;

/// Deliveries in each step since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    start_ns: u64,
    counts: Vec<u64>,
}

impl Timeline {
    /// Empty, from this moment on.
    pub(crate) fn starting(start_ns: u64) -> Self {
        Self { start_ns, counts: Vec::new() }
    }

    /// One delivery at this moment.
    pub(crate) fn record(&mut self, now_ns: u64) {
        let step = usize::try_from(now_ns.saturating_sub(self.start_ns) / STEP).unwrap_or(0);
        if step >= self.counts.len() {
            if step >= STEPS_MAX || self.start_ns == 0 {
                return;
            }
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
    }

    /// Deliveries in each step.
    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_fall_into_their_step() {
        let mut timeline = Timeline::starting(1_000);
        for at in [1_000, 1_000 + STEP - 1, 1_000 + 2 * STEP] {
            timeline.record(at);
        }
        assert_eq!(timeline.counts(), [2, 0, 1]);
        let mut unstarted = Timeline::default();
        unstarted.record(5);
        assert!(unstarted.counts().is_empty());
    }
}

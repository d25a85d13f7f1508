//! Whether the writer waits a moment for more before it syncs, and how long: [`Gather`]. Pure.
//!
//! Publishers that were just answered often come back at once. If their next batches miss the sync
//! that begins now, they wait for all of it and then for their own: so the disk works twice as often
//! and each answer comes later. A lone publisher is never kept waiting, and nobody for longer than
//! half of what the last sync took anyway.

use std::time::Duration;

/// Nobody is kept longer than this. On a disk so slow that it matters, groups are large by themselves.
const AT_MOST: Duration = Duration::from_millis(1);

/// How many batches the writer hopes to take together, and how long it waits for them at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gather {
    pub(crate) hoped: usize,
    pub(crate) at_most: Duration,
}

impl Gather {
    /// After a commit that took so long, answered some batches, and left others waiting.
    pub(crate) fn after(took: Duration, answered: usize, waiting: usize) -> Self {
        let known = answered + waiting;
        if known < 2 {
            return Self::default();
        }
        Self { hoped: known, at_most: (took / 2).min(AT_MOST) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_publisher_waits_for_nobody_and_no_one_waits_long() {
        let (millisecond, second) = (Duration::from_millis(1), Duration::from_secs(1));
        assert_eq!(Gather::after(millisecond, 1, 0), Gather::default());
        let many = Gather::after(millisecond, 3, 5);
        assert_eq!(many, Gather { hoped: 8, at_most: millisecond / 2 });
        assert_eq!(Gather::after(second, 3, 5).at_most, AT_MOST);
    }
}

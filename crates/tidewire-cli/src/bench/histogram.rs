//! A histogram of times with 1 % resolution: 128 steps in every power of two.
//!
//! It must not know what it counts or where the numbers come from. Invariant: a percentile is never
//! below the value that was recorded there, and at most 1/128 above it; `max` is exact.

use serde_json::{Value, json};

const STEP_BITS: u32 = 7;
const STEPS: u64 = 1 << STEP_BITS;
/// Rows of 128 steps, one for each power of two that an `u64` has above the first row.
const CELLS: usize = ((64 - STEP_BITS as usize) + 1) << STEP_BITS;

/// Counts of values.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    cells: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { cells: vec![0; CELLS], count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub(crate) fn record(&mut self, value: u64) {
        self.cells[cell(value)] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// How many values were counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The largest value.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value below or at which this share (0 to 1) of all values lies; 0 when there are none.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count"
    )]
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, count) in self.cells.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return highest(index).min(self.max);
            }
        }
        0
    }

    /// Adds another's counts.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.cells.iter_mut().zip(&other.cells) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// For another process: cells that are not empty, and the largest value.
    pub(crate) fn to_json(&self) -> Value {
        let full = self.cells.iter().enumerate().filter(|(_, count)| **count > 0);
        json!({"cells": full.collect::<Vec<_>>(), "max": self.max})
    }

    /// From another process; what is not of that form counts nothing.
    pub(crate) fn from_json(value: &Value) -> Self {
        let mut histogram = Self { max: value["max"].as_u64().unwrap_or(0), ..Self::default() };
        for pair in value["cells"].as_array().into_iter().flatten() {
            let (index, count) = (pair[0].as_u64(), pair[1].as_u64().unwrap_or(0));
            let index = index.and_then(|index| usize::try_from(index).ok());
            if let Some(cell) = index.and_then(|index| histogram.cells.get_mut(index)) {
                *cell += count;
                histogram.count += count;
            }
        }
        histogram
    }
}

/// The cell of a value. Below 256 each value has its own.
fn cell(value: u64) -> usize {
    let row = (64 - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let step = value >> row;
    usize::try_from(u64::from(row) * STEPS + step).unwrap_or(CELLS - 1)
}

/// The highest value of a cell.
fn highest(index: usize) -> u64 {
    let index = index as u64;
    let row = (index / STEPS).saturating_sub(1);
    let step = index - row * STEPS;
    ((step + 1) << row).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_cell() {
        for value in (0..100_000).chain([u64::MAX, u64::MAX / 2, 1 << 40, (1 << 40) - 1]) {
            let top = highest(cell(value));
            assert!(top >= value, "{value} {top}");
            assert!(top - value <= value / 128, "{value} {top}");
        }
        assert_eq!(cell(u64::MAX), CELLS - 1);
    }

    #[test]
    fn percentiles() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        (1..=1_000).for_each(|value| histogram.record(value * 1_000));
        let close = |share, value: u64| {
            let found = histogram.quantile(share);
            assert!(found >= value && found <= value + value / 128, "{found} for {value}");
        };
        close(0.5, 500_000);
        close(0.99, 990_000);
        close(0.999, 999_000);
        assert_eq!(histogram.quantile(1.0), 1_000_000);
        assert_eq!((histogram.max(), histogram.count()), (1_000_000, 1_000));
    }

    #[test]
    fn another_process_counts_the_same() {
        let (mut one, mut two) = (Histogram::default(), Histogram::default());
        [3, 70_000, 70_000].into_iter().for_each(|value| one.record(value));
        two.record(9_000_000_000);
        one.merge(&Histogram::from_json(&two.to_json()));
        assert_eq!((one.count(), one.max()), (4, 9_000_000_000));
        assert_eq!(one.quantile(0.25), 3);
        assert_eq!(Histogram::from_json(&json!(7)).count(), 0);
    }
}

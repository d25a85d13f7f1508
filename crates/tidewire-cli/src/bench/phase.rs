//! What one phase of a run came to: one side, loaded once.
//!
//! It must not know how it was measured. A figure that could not be measured is not there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{histogram::Histogram, tally::Faults};

/// Others kept more than this part of a processor busy: the figures are not to be believed.
pub(crate) const DISTURBED: f64 = 0.5;

/// One phase.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phase {
    /// `floor` or `target`.
    pub(crate) side: String,
    /// Which round, from 0.
    pub(crate) round: u32,
    pub(crate) figures: BTreeMap<&'static str, f64>,
    pub(crate) latency: Histogram,
    pub(crate) timeline: Vec<u64>,
    pub(crate) faults: Faults,
    /// Connections that ended by themselves.
    pub(crate) gone: u32,
    /// What else went wrong, as words.
    pub(crate) trouble: String,
    /// Processors that others kept busy.
    pub(crate) others: f64,
}

impl Phase {
    /// A phase without figures yet.
    pub(crate) fn new(side: &str, round: u32) -> Self {
        Self { side: side.to_owned(), round, ..Self::default() }
    }

    /// Notes a figure.
    pub(crate) fn set(&mut self, key: &'static str, value: f64) {
        if value.is_finite() {
            self.figures.insert(key, value);
        }
    }

    /// Notes the latencies, in milliseconds.
    pub(crate) fn set_latencies(&mut self) {
        if self.latency.count() == 0 {
            return;
        }
        let at = |share| milliseconds(self.latency.quantile(share));
        let (half, most, nearly_all) = (at(0.5), at(0.99), at(0.999));
        self.set("p50_ms", half);
        self.set("p99_ms", most);
        self.set("p999_ms", nearly_all);
        self.set("max_ms", milliseconds(self.latency.max()));
    }

    /// Adds another process's deliveries over time.
    pub(crate) fn add_timeline(&mut self, counts: &[u64]) {
        if counts.len() > self.timeline.len() {
            self.timeline.resize(counts.len(), 0);
        }
        self.timeline.iter_mut().zip(counts).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Did others take part?
    pub(crate) fn disturbed(&self) -> bool {
        self.others > DISTURBED
    }

    /// What must not be, in words; empty in a good phase.
    /// `side` is what its column is called.
    pub(crate) fn failures(&self, side: &str) -> Vec<String> {
        let who = format!("{side} (round {})", self.round + 1);
        let mut failures = Vec::new();
        let Faults { lost, repeated, out_of_order, strangers } = self.faults;
        for (count, what) in [
            (lost, "LOST"),
            (repeated, "REPEATED"),
            (out_of_order, "OUT OF ORDER"),
            (strangers, "NOT OF THIS RUN"),
        ] {
            if count > 0 {
                failures.push(format!("{who}: {count} deliveries {what}"));
            }
        }
        if self.gone > 0 {
            failures.push(format!(
                "{who}: {} CONNECTIONS ENDED by themselves{}",
                self.gone, self.trouble
            ));
        } else if !self.trouble.is_empty() {
            failures.push(format!("{who}{}", self.trouble));
        }
        failures
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "side": self.side,
            "round": self.round,
            "figures": self.figures,
            "deliveries_lost": self.faults.lost,
            "faults": self.faults.to_json(),
            "connections_ended": self.gone,
            "others_processors": (self.others * 1_000.0).round() / 1_000.0,
            "disturbed": self.disturbed(),
        })
    }
}

/// Nanoseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "times below 2^53 ns")]
pub(crate) fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_is_said_in_words() {
        let mut phase = Phase::new("target", 0);
        assert!(phase.failures("target").is_empty());
        phase.faults = Faults { lost: 3, repeated: 0, out_of_order: 1, strangers: 0 };
        phase.gone = 2;
        phase.trouble = ": 2 × closed".to_owned();
        let failures = phase.failures("target").join("\n");
        assert!(
            failures.contains("3 deliveries LOST")
                && failures.contains("1 deliveries OUT OF ORDER")
        );
        assert!(failures.contains("2 CONNECTIONS ENDED by themselves: 2 × closed"), "{failures}");
    }

    #[test]
    fn what_was_not_measured_is_not_there() {
        let mut phase = Phase::new("floor", 0);
        phase.set("cpu", f64::NAN);
        phase.set_latencies();
        assert!(phase.figures.is_empty());
        phase.latency.record(2_000_000);
        phase.set_latencies();
        assert_eq!(phase.figures.get("p99_ms"), Some(&2.0));
    }
}

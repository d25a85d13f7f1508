//! When to come back: full jitter, the server's word first, forgiven only after a stable while.
//!
//! Pure: asks no clock and no dice; durations and draws come in as arguments. Knows nothing of
//! what was lost.
//!
//! Invariant: no wait is longer than [`BackoffPolicy::told_max`] plus [`BackoffPolicy::delay_max`].

use std::time::Duration;

use crate::jitter::{Jitter, up_to};

/// The numbers of a back-off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The spread of the first retry; it doubles with each failure.
    pub first: Duration,
    /// The widest spread.
    pub delay_max: Duration,
    /// The longest wait that a server's word is obeyed for; beyond it we ask again.
    pub told_max: Duration,
    /// How long a connection must have lasted, with something heard on it, before earlier failures
    /// are forgiven. A server that accepts and drops at once must not be hammered.
    pub stable: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            delay_max: Duration::from_secs(20),
            told_max: Duration::from_secs(300),
            stable: Duration::from_secs(10),
        }
    }
}

/// What a server said about coming back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A slot of our own (`bye`, `retry:`): the server has spread its clients already.
    Slot(Duration),
    /// The same for everybody (`Retry-After`): we spread ourselves on top of it.
    Everybody(Duration),
}

/// Counts failures in a row and turns them into waits.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
}

impl Backoff {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new(policy: BackoffPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Losses in a row, without a stable connection between them.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A connection was open for `lasted`; `heard` if something came after its greeting.
    pub fn was_open(&mut self, lasted: Duration, heard: bool) {
        if heard && lasted >= self.policy.stable {
            self.failures = 0;
        }
    }

    /// The wait before the next attempt, and one more failure counted.
    pub fn delay(&mut self, told: Option<Told>, jitter: &dyn Jitter) -> Duration {
        let spread = self.spread();
        let is_first = self.failures == 0;
        self.failures = self.failures.saturating_add(1);
        match told {
            Some(Told::Slot(slot)) if is_first => slot.min(self.policy.told_max),
            Some(Told::Slot(wait) | Told::Everybody(wait)) => {
                wait.min(self.policy.told_max) + up_to(jitter, spread)
            }
            None => up_to(jitter, spread),
        }
    }

    fn spread(&self) -> Duration {
        let doubled = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.policy.first.saturating_mul(doubled).min(self.policy.delay_max)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::jitter::SeededJitter;

    /// Always draws zero.
    struct Narrowest;

    impl Jitter for Narrowest {
        fn next_u64(&self) -> u64 {
            0
        }
    }

    /// Draws this fraction.
    struct Drawn(f64);

    impl Jitter for Drawn {
        fn next_u64(&self) -> u64 {
            (self.0 * 2_f64.powi(64)) as u64
        }
    }

    fn ms(value: &Value) -> Duration {
        Duration::from_millis(value.as_u64().unwrap_or_else(|| panic!("milliseconds: {value}")))
    }

    fn step(backoff: &mut Backoff, step: &Value, name: &Value) {
        if let Some(open) = step.get("open") {
            backoff.was_open(ms(&open["lasted_ms"]), open["heard"].as_bool().unwrap());
            return;
        }
        let lost = &step["lost"];
        let told = match (lost["told"].get("slot_ms"), lost["told"].get("retry_after_ms")) {
            (Some(slot), _) => Some(Told::Slot(ms(slot))),
            (_, Some(wait)) => Some(Told::Everybody(ms(wait))),
            (None, None) => None,
        };
        let wait = backoff.delay(told, &Drawn(lost["draw"].as_f64().unwrap()));
        assert_eq!(wait, ms(&step["wait_ms"]), "{name}: {step}");
    }

    #[test]
    fn the_vectors() {
        let text =
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/backoff.json"));
        let vectors: Value = serde_json::from_str(text).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert!(cases.len() > 10);
        for case in cases {
            let policy = &case["policy"];
            let mut backoff = Backoff::new(BackoffPolicy {
                first: ms(&policy["first_ms"]),
                delay_max: ms(&policy["delay_max_ms"]),
                told_max: ms(&policy["told_max_ms"]),
                stable: ms(&policy["stable_ms"]),
            });
            let steps = case["steps"].as_array().unwrap();
            steps.iter().for_each(|taken| step(&mut backoff, taken, &case["name"]));
        }
    }

    #[test]
    fn the_vectors_are_about_what_is_set_unless_said_otherwise() {
        let policy = BackoffPolicy::default();
        let all = [policy.first, policy.delay_max, policy.told_max, policy.stable];
        assert_eq!(all.map(|time| time.as_millis()), [500, 20_000, 300_000, 10_000]);
    }

    fn backoff() -> Backoff {
        Backoff::new(BackoffPolicy::default())
    }

    #[test]
    fn the_spread_doubles_up_to_its_bound() {
        let mut backoff = backoff();
        let mut spreads = Vec::new();
        for _ in 0..8 {
            spreads.push(backoff.spread().as_millis());
            backoff.delay(None, &Narrowest);
        }
        assert_eq!(spreads, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
        for _ in 0..100 {
            backoff.delay(None, &Narrowest);
        }
        assert_eq!(backoff.spread(), Duration::from_secs(20), "no overflow after many failures");
    }

    #[test]
    fn waits_are_drawn_from_the_whole_spread() {
        let jitter = SeededJitter::new(42);
        let mut low = Duration::MAX;
        let mut high = Duration::ZERO;
        for _ in 0..2_000 {
            let mut backoff = backoff();
            backoff.failures = 2;
            let wait = backoff.delay(None, &jitter);
            low = low.min(wait);
            high = high.max(wait);
        }
        assert!(low < Duration::from_millis(50), "{low:?}");
        assert!(high > Duration::from_millis(1_950) && high <= Duration::from_secs(2), "{high:?}");
    }

    #[test]
    fn a_seed_gives_the_same_waits() {
        let waits = |seed| {
            let (mut backoff, jitter) = (backoff(), SeededJitter::new(seed));
            (0..20).map(|_| backoff.delay(None, &jitter)).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }

    #[test]
    fn a_slot_is_kept_to_the_millisecond_and_spread_only_after_failures() {
        let jitter = SeededJitter::new(1);
        let mut backoff = backoff();
        let slot = Some(Told::Slot(Duration::from_millis(1_234)));
        assert_eq!(backoff.delay(slot, &jitter), Duration::from_millis(1_234));
        let again = backoff.delay(slot, &jitter);
        assert!(again >= Duration::from_millis(1_234) && again <= Duration::from_millis(2_234));
    }

    #[test]
    fn everybody_is_told_the_same_so_everybody_spreads() {
        let jitter = SeededJitter::new(3);
        let told = Some(Told::Everybody(Duration::from_secs(2)));
        let waits: Vec<_> = (0..20).map(|_| backoff().delay(told, &jitter)).collect();
        assert!(waits.iter().all(|wait| *wait >= Duration::from_secs(2)));
        assert!(waits.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn no_server_sends_us_away_for_ever() {
        let told = Some(Told::Slot(Duration::from_secs(1 << 40)));
        assert_eq!(backoff().delay(told, &Narrowest), Duration::from_secs(300));
    }

    #[test]
    fn only_a_stable_and_talking_connection_forgives() {
        let mut backoff = backoff();
        backoff.failures = 5;
        backoff.was_open(Duration::from_secs(3_600), false);
        backoff.was_open(Duration::from_millis(9_999), true);
        assert_eq!(backoff.failures(), 5);
        backoff.was_open(Duration::from_secs(10), true);
        assert_eq!(backoff.failures(), 0);
    }
}

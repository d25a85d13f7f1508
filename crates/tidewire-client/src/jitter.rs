//! Chance, injected: reconnection spreads by it, and idempotency keys are made of it.
//!
//! Knows nothing of what it is used for. The machine's own is the default; tests seed theirs.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Where random numbers come from.
pub trait Jitter: Send + Sync + 'static {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemJitter;

impl Jitter for SystemJitter {
    fn next_u64(&self) -> u64 {
        // Two clients with the same key would swallow each other's messages: no randomness, no key.
        getrandom::u64().expect("the operating system gives random numbers")
    }
}

/// A repeatable sequence (SplitMix64, Steele et al. 2014), for tests and simulations.
#[derive(Debug)]
pub struct SeededJitter(AtomicU64);

impl SeededJitter {
    /// The sequence that this seed names.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Jitter for SeededJitter {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A duration in `0..max`, to the millisecond: the draw as a fraction of 2⁶⁴, rounded down.
pub(crate) fn up_to(jitter: &dyn Jitter, max: Duration) -> Duration {
    let max_ms = u128::from(u64::try_from(max.as_millis()).unwrap_or(u64::MAX));
    let part_ms = (max_ms * u128::from(jitter.next_u64())) >> 64;
    Duration::from_millis(u64::try_from(part_ms).unwrap_or(u64::MAX))
}

/// 128 random bits as 32 hexadecimal digits: an idempotency key that nobody else has.
pub(crate) fn random_key(jitter: &dyn Jitter) -> String {
    format!("{:016x}{:016x}", jitter.next_u64(), jitter.next_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_one_sequence_within_its_bound() {
        let draw = |seed| {
            let jitter = SeededJitter::new(seed);
            (0..50).map(|_| up_to(&jitter, Duration::from_millis(7))).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).iter().all(|wait| *wait < Duration::from_millis(7)));
        assert_eq!(up_to(&SeededJitter::new(1), Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn keys_fit_and_differ() {
        let jitter = SystemJitter;
        let key = random_key(&jitter);
        assert_eq!(key.len(), 32);
        assert_ne!(key, random_key(&jitter));
    }
}

//! How one embedded log is set up: [`DiskSettings`].

use std::time::Duration;

use tidewire_core::{CurrentFeatures, Limits};

/// What [`DiskLog::open`](crate::DiskLog::open) needs to know.
#[derive(Debug, Clone)]
pub struct DiskSettings {
    /// What each feature keeps, and how safely. A table that is put into force later is obeyed from
    /// the next publish and the next look of retention.
    pub features: CurrentFeatures,
    /// All bounds.
    pub limits: Limits,
    /// The active file is sealed when it has grown to this many bytes. Costs: what is read again
    /// when the log opens, and the coarseness of retention. At most 1 GiB.
    pub segment_bytes: u64,
    /// How often retention looks, unless [`DiskLog::retain_now`](crate::DiskLog::retain_now) asks.
    pub retain_interval: Duration,
    /// Most topics without entries whose losses are remembered one by one (16 bytes each). Beyond
    /// it the oldest losses become one: a very old cursor may be told of a loss that was another
    /// topic's. Told too much, never too little.
    pub losses_max: usize,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            features: CurrentFeatures::default(),
            limits: Limits::default(),
            segment_bytes: 128 * 1024 * 1024,
            retain_interval: Duration::from_secs(10),
            losses_max: 4_000_000,
        }
    }
}

/// Offsets in a file have 32 bits; this leaves room for the batch that crosses the line.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;

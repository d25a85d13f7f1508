//! [`ApiKeys`]: is this an API key of the config? For what concerns programs as such, whatever the
//! gate makes of them and whoever calls itself like one.
//!
//! Only the hashes of keys are kept. Invariant: to look takes the same time whatever is shown.

use subtle::{Choice, ConstantTimeEq};

use crate::config::ApiKey;

/// The API keys of the config.
#[derive(Default)]
pub(crate) struct ApiKeys(Vec<blake3::Hash>);

impl ApiKeys {
    pub(crate) fn new(keys: &[ApiKey]) -> Self {
        Self(keys.iter().map(|key| blake3::hash(key.key.reveal().as_bytes())).collect())
    }

    /// Is this one of them?
    pub(crate) fn has(&self, shown: &str) -> bool {
        let hash = blake3::hash(shown.as_bytes());
        let same = self.0.iter().map(|key| key.as_bytes().ct_eq(hash.as_bytes()));
        same.fold(Choice::from(0), |found, same| found | same).into()
    }
}

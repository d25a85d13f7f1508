//! [`ApiKeys`]: the programs that have a key, and which of them shows it.
//!
//! Only the hashes of keys are kept. Invariant: to look one up takes the same time whatever it is.

use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};
use tidewire_core::Peer;

use crate::config::ApiKey;

/// The API keys of the config.
#[derive(Default)]
pub(crate) struct ApiKeys(Vec<Program>);

/// A program that has an API key.
struct Program {
    hash: blake3::Hash,
    peer: Arc<Peer>,
}

impl ApiKeys {
    pub(crate) fn new(keys: &[ApiKey]) -> Self {
        let programs = keys.iter().map(|key| Program {
            hash: blake3::hash(key.key.reveal().as_bytes()),
            peer: Arc::new(Peer {
                subject: Some(format!("key:{}", key.name)),
                expires_at_ms: None,
                grant: key.grant.clone(),
            }),
        });
        Self(programs.collect())
    }

    /// The program whose key this is.
    pub(crate) fn program(&self, bearer: &str) -> Option<Arc<Peer>> {
        let hash = blake3::hash(bearer.as_bytes());
        let mut found = None;
        for program in &self.0 {
            let same: Choice = program.hash.as_bytes().ct_eq(hash.as_bytes());
            if bool::from(same) {
                found = Some(Arc::clone(&program.peer));
            }
        }
        found
    }
}

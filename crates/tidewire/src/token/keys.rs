//! [`ApiKeys`]: the programs that have a key, and which of them shows it.
//!
//! Only the hashes of keys are kept. Invariant: to look one up takes the same time whatever it is.

use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};
use tidewire_core::{Peer, Proof};

use crate::config::ApiKey;

/// The API keys of the config.
#[derive(Default)]
pub(crate) struct ApiKeys(Vec<Program>);

/// A program that has an API key.
struct Program {
    hash: blake3::Hash,
    peer: Arc<Peer>,
    manages: bool,
}

impl ApiKeys {
    /// The keys of a config. A peer whose key and rights were there before is the same one.
    pub(crate) fn new(keys: &[ApiKey], before: Option<&Self>) -> Self {
        let programs = keys.iter().map(|key| {
            let hash = blake3::hash(key.key.reveal().as_bytes());
            let peer = Peer {
                subject: Some(format!("key:{}", key.name)),
                expires_at_ms: None,
                grant: key.grant.clone(),
                proof: Proof::Key,
                connection: None,
            };
            let mut known = before.iter().flat_map(|before| &before.0);
            let known = known.find(|known| known.hash == hash && *known.peer == peer);
            Program {
                manages: key.manage,
                hash,
                peer: known.map_or_else(|| Arc::new(peer), |known| Arc::clone(&known.peer)),
            }
        });
        Self(programs.collect())
    }

    /// The peers that are not among `now`: their key is good no longer, or has other rights.
    pub(crate) fn gone(&self, now: &Self) -> Vec<Arc<Peer>> {
        let is_gone = |peer: &&Arc<Peer>| !now.0.iter().any(|have| Arc::ptr_eq(&have.peer, peer));
        self.0.iter().map(|program| &program.peer).filter(is_gone).cloned().collect()
    }

    /// The program whose key this is.
    pub(crate) fn program(&self, bearer: &str) -> Option<Arc<Peer>> {
        self.find(bearer).map(|program| Arc::clone(&program.peer))
    }

    /// May whoever shows this take access back? Nothing if it is no key.
    pub(crate) fn manages(&self, bearer: &str) -> Option<bool> {
        self.find(bearer).map(|program| program.manages)
    }

    fn find(&self, bearer: &str) -> Option<&Program> {
        let hash = blake3::hash(bearer.as_bytes());
        let mut found = None;
        for program in &self.0 {
            let same: Choice = program.hash.as_bytes().ct_eq(hash.as_bytes());
            if bool::from(same) {
                found = Some(program);
            }
        }
        found
    }
}

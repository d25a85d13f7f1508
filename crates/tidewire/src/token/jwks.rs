//! A set of public keys that lives elsewhere and changes (RFC 7517): fetched when it is needed, kept
//! for a while, fetched again when a token names a key that is not in it.
//!
//! Knows the one address of the config; nothing in a token ever becomes an address. Invariants: keys
//! that were good stay when a fetch fails; one fetch at a time, however many ask; every fetch has a
//! bound in time and in bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use reqwest::{Client, StatusCode};
use tidewire_core::Refusal;
use tokio::{sync::watch, time::Instant};
use url::Url;

use crate::{config::Algorithm, outbound};

/// Most bytes of a key set that are read.
const SET_BYTES_MAX: usize = 64 * 1024;

/// How often keys are fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Keys older than this are fetched again before they are used.
    pub(super) age_max: Duration,
    /// Least time between the beginnings of two fetches, whatever tokens name.
    pub(super) interval_min: Duration,
    /// Longest time that a fetch may take.
    pub(super) timeout: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            age_max: Duration::from_secs(600),
            interval_min: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
        }
    }
}

/// The key set.
pub(super) struct Jwks {
    url: Url,
    algorithm: Algorithm,
    pace: Pace,
    client: Client,
    current: ArcSwapOption<KeySet>,
    fetching: Mutex<Fetching>,
}

/// The keys that fit the pinned algorithm.
struct KeySet {
    fetched: Instant,
    by_id: HashMap<String, DecodingKey>,
    without_id: Vec<DecodingKey>,
}

#[derive(Default)]
struct Fetching {
    begun: Option<Instant>,
    /// Closed when the fetch under way has ended.
    end: Option<watch::Receiver<()>>,
}

/// Why a fetch brought no keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer has more than {SET_BYTES_MAX} bytes")]
    TooLarge,
    #[error("its answer is not a key set: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its answer has no key that fits {0}")]
    NoKeys(&'static str),
}

impl Jwks {
    /// A set at this address. Fetches nothing yet.
    pub(super) fn new(url: Url, algorithm: Algorithm, pace: Pace) -> Result<Self, reqwest::Error> {
        let client = outbound::client(&url, pace.timeout)?;
        Ok(Self {
            url,
            algorithm,
            pace,
            client,
            current: ArcSwapOption::empty(),
            fetching: Mutex::default(),
        })
    }

    /// Is it the set at this address, for this algorithm?
    pub(super) fn is_of(&self, url: &Url, algorithm: Algorithm) -> bool {
        self.url == *url && self.algorithm == algorithm
    }

    /// The key that a token names, or the only key there is if it names none.
    pub(super) async fn key(self: &Arc<Self>, id: Option<&str>) -> Result<DecodingKey, Refusal> {
        let is_fresh = |set: &KeySet| set.fetched.elapsed() < self.pace.age_max;
        if !self.current.load().as_deref().is_some_and(is_fresh) {
            self.refresh().await;
        }
        if let Some(key) = self.find(id)? {
            return Ok(key);
        }
        self.refresh().await;
        self.find(id)?.ok_or_else(|| {
            Refusal::unauthenticated(match id {
                Some(_) => "the token's `kid` names no key of the configured key set",
                None => "the token names no key (`kid`), and the key set does not have exactly one",
            })
        })
    }

    fn find(&self, id: Option<&str>) -> Result<Option<DecodingKey>, Refusal> {
        let current = self.current.load();
        let Some(set) = current.as_deref() else {
            let why = "the keys that tokens are checked with could not be fetched yet".to_owned();
            return Err(Refusal::Unavailable { why });
        };
        let key = match id {
            Some(id) => set.by_id.get(id),
            None => {
                let mut all = set.by_id.values().chain(&set.without_id);
                all.next().filter(|_| all.next().is_none())
            }
        };
        Ok(key.cloned())
    }

    /// Fetches the set, unless that was begun a moment ago; waits for a fetch that is under way.
    ///
    /// The fetch is a task of its own, so it goes on when the request that began it is given up.
    async fn refresh(self: &Arc<Self>) {
        let Some(mut end) = self.begin() else { return };
        // Nothing is ever sent: the wait ends when the task drops the sender.
        while end.changed().await.is_ok() {}
    }

    fn begin(self: &Arc<Self>) -> Option<watch::Receiver<()>> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = fetching.end.as_ref().filter(|end| end.has_changed().is_ok()) {
            return Some(end.clone());
        }
        if fetching.begun.is_some_and(|begun| begun.elapsed() < self.pace.interval_min) {
            return None;
        }
        let (sender, end) = watch::channel(());
        fetching.begun = Some(Instant::now());
        fetching.end = Some(end.clone());
        let this = self.clone();
        tokio::spawn(async move {
            this.fetch_and_keep().await;
            drop(sender);
        });
        Some(end)
    }

    async fn fetch_and_keep(&self) {
        match self.fetch().await {
            Ok(set) => self.current.store(Some(Arc::new(set))),
            Err(error) => {
                tracing::warn!(url = %self.url, %error, "the key set could not be fetched; the keys known so far stay");
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let mut response = self.client.get(self.url.clone()).send().await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > SET_BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        KeySet::parse(&body, self.algorithm)
    }
}

impl KeySet {
    /// Takes the keys that fit; others in the set are somebody else's business.
    fn parse(body: &[u8], algorithm: Algorithm) -> Result<Self, FetchError> {
        #[derive(serde::Deserialize)]
        struct Body {
            keys: Vec<serde_json::Value>,
        }
        let mut set =
            Self { fetched: Instant::now(), by_id: HashMap::new(), without_id: Vec::new() };
        for key in serde_json::from_slice::<Body>(body)?.keys {
            let Ok(jwk) = serde_json::from_value::<Jwk>(key) else { continue };
            let Some(key) = usable(&jwk, algorithm) else { continue };
            match jwk.common.key_id {
                Some(id) => drop(set.by_id.insert(id, key)),
                None => set.without_id.push(key),
            }
        }
        if set.by_id.is_empty() && set.without_id.is_empty() {
            return Err(FetchError::NoKeys(algorithm.as_str()));
        }
        Ok(set)
    }
}

fn usable(jwk: &Jwk, algorithm: Algorithm) -> Option<DecodingKey> {
    let is_for_signatures =
        matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let pinned = match algorithm {
        // A shared secret has no place in a public set.
        Algorithm::HS256 => return None,
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        Algorithm::EdDSA => KeyAlgorithm::EdDSA,
    };
    let is_pinned = jwk.common.key_algorithm.is_none_or(|named| named == pinned);
    let is_kind = match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
            key.curve == EllipticCurve::P256
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            key.curve == EllipticCurve::Ed25519
        }
        _ => false,
    };
    let is_usable = is_for_signatures && is_pinned && is_kind;
    is_usable.then(|| DecodingKey::from_jwk(jwk).ok()).flatten()
}

#[cfg(test)]
mod tests;

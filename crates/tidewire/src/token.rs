//! Tokens and API keys: [`TokenGate`], the gate of `tidewire serve`, and [`mint`], its counterpart.
//!
//! A token is a JWT (RFC 7519) with the claims `sub`, `exp` (required), `nbf`, `iat`, `jti`, `aud`
//! (required) and `tidewire`, which grants topics by pattern:
//!
//! ```json
//! {"sub": "alice", "aud": "tidewire", "exp": 1767225600,
//!  "tidewire": {"subscribe": ["chat/**", "notifications/{sub}"], "publish": ["chat/*"]}}
//! ```
//!
//! Knows no HTTP request; where keys come from is `jwks`'. Invariant: the algorithm is the
//! configured one and the key is of its kind, whatever a token's header says; `jku`, `x5u`, `x5c`
//! and `jwk` in it are never read.

mod claims;
mod jwks;
mod keys;
mod mint;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use jsonwebtoken::{DecodingKey, Header, Validation};
use tidewire_core::{Action, Credential, Gate, Limits, Peer, Refusal, clock::Clock};
use tidewire_proto::Topic;

use crate::config::{Algorithm, Asked, AuthSettings, Verification};
use claims::Received;
use jwks::Jwks;
pub(crate) use keys::ApiKeys;
pub use mint::{Claims, MintError, SigningKey, mint, mint_with};

const NO_TOKENS: &str = "this server takes no tokens, only API keys: its config has no secret";

/// The gate that knows peers by token or by API key.
pub struct TokenGate {
    current: ArcSwap<Checks>,
    token_bytes_max: usize,
    clock: Arc<dyn Clock>,
}

/// What tokens and API keys are checked with. Replaced whole when the settings change.
pub(crate) struct Checks {
    algorithm: Algorithm,
    keys: Keys,
    audience: String,
    leeway: Duration,
    /// What an app is asked anyway.
    asked: Asked,
    programs: ApiKeys,
}

/// What a signature is checked with.
enum Keys {
    None,
    One(DecodingKey),
    Set(Arc<Jwks>),
}

/// A key that cannot be used with its algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is the private half.
    #[error("it is a private key: the server needs only the public one, keep this away from it")]
    Private,
    /// It is no such key.
    #[error("{0}")]
    Form(String),
    /// The fetching of keys could not be set up.
    #[error("the key set cannot be fetched: {0}")]
    Client(String),
}

impl TokenGate {
    /// A gate with these keys. Fetches nothing yet.
    ///
    /// # Errors
    /// [`KeyError`] when a public key does not fit the algorithm; settings that were loaded from a
    /// config have been checked for it.
    pub fn new(
        auth: &AuthSettings,
        limits: &Limits,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyError> {
        let checks = Checks::new(auth, None)?;
        let token_bytes_max = limits.token_bytes_max;
        Ok(Self { current: ArcSwap::from_pointee(checks), token_bytes_max, clock })
    }

    /// What these settings would check with. What has not changed is taken over: a key set that was
    /// fetched, and the peers of API keys.
    pub(crate) fn prepare(&self, auth: &AuthSettings) -> Result<Checks, KeyError> {
        Checks::new(auth, Some(&self.current.load()))
    }

    /// Checks with these from now on. Gives the peers of the API keys that are good no longer, or have
    /// other rights now; those of tokens keep their rights until their token ends.
    pub(crate) fn put_in_force(&self, checks: Checks) -> Vec<Arc<Peer>> {
        let before = self.current.swap(Arc::new(checks));
        before.programs.gone(&self.current.load().programs)
    }

    /// Can a token be checked here at all?
    pub(crate) fn takes_tokens(&self) -> bool {
        !matches!(self.current.load().keys, Keys::None)
    }

    /// The program whose API key this is.
    pub(crate) fn program(&self, bearer: &str) -> Option<Arc<Peer>> {
        self.current.load().programs.program(bearer)
    }

    /// Is it short enough to be looked at?
    pub(crate) fn check_length(&self, bearer: &str) -> Result<(), Refusal> {
        if bearer.len() <= self.token_bytes_max {
            return Ok(());
        }
        let why = format!(
            "the token has {} bytes, at most {} are read: grant fewer or wider patterns",
            bearer.len(),
            self.token_bytes_max
        );
        Err(Refusal::unauthenticated(why))
    }

    async fn token(&self, token: &str) -> Result<Arc<Peer>, Refusal> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| {
            Refusal::unauthenticated(
                "this is neither a token (a JWT with a known `alg`) nor an API key of this server",
            )
        })?;
        let checks = self.current.load_full();
        checks
            .claims(token, &header)
            .await?
            .peer(&checks.audience, checks.leeway, checks.asked, self.clock.now_ms())
            .map(Arc::new)
    }
}

impl Checks {
    fn new(auth: &AuthSettings, before: Option<&Self>) -> Result<Self, KeyError> {
        let keys = match &auth.verification {
            None => Keys::None,
            Some(Verification::Secret(secret)) => {
                Keys::One(DecodingKey::from_secret(secret.reveal().as_bytes()))
            }
            Some(Verification::PublicKey(pem)) => Keys::One(public_key(auth.algorithm, pem)?),
            Some(Verification::Jwks(url)) => match before.map(|before| &before.keys) {
                Some(Keys::Set(set)) if set.is_of(url, auth.algorithm) => {
                    Keys::Set(Arc::clone(set))
                }
                _ => {
                    let set = Jwks::new(url.clone(), auth.algorithm, jwks::Pace::default());
                    Keys::Set(Arc::new(set.map_err(|error| KeyError::Client(error.to_string()))?))
                }
            },
        };
        Ok(Self {
            algorithm: auth.algorithm,
            keys,
            audience: auth.audience.clone(),
            leeway: auth.leeway,
            asked: auth.authorize.as_ref().map(|app| app.asks).unwrap_or_default(),
            programs: ApiKeys::new(&auth.keys, before.map(|before| &before.programs)),
        })
    }

    /// The claims of a token whose signature is good.
    async fn claims(&self, token: &str, header: &Header) -> Result<Received, Refusal> {
        self.check_header(header)?;
        match &self.keys {
            Keys::None => Err(Refusal::unauthenticated(NO_TOKENS)),
            Keys::One(key) => self.verify(token, key),
            Keys::Set(set) => self.verify(token, &set.key(header.kid.as_deref()).await?),
        }
    }

    fn check_header(&self, header: &Header) -> Result<(), Refusal> {
        if header.alg != jwt_algorithm(self.algorithm) {
            let why = format!(
                "the token is signed with {:?}, this server takes {} only",
                header.alg,
                self.algorithm.as_str()
            );
            return Err(Refusal::unauthenticated(why));
        }
        // RFC 7515, section 4.1.11: who does not understand a critical field refuses the token.
        if header.crit.is_some() {
            let why = "the token's header has `crit`, which this server does not understand";
            return Err(Refusal::unauthenticated(why));
        }
        Ok(())
    }

    /// Checks the signature only: time and audience are checked by our own clock and words.
    fn verify(&self, token: &str, key: &DecodingKey) -> Result<Received, Refusal> {
        use jsonwebtoken::errors::ErrorKind;
        let mut validation = Validation::new(jwt_algorithm(self.algorithm));
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<Received>(token, key, &validation);
        decoded.map(|token| token.claims).map_err(|error| match error.kind() {
            ErrorKind::Json(error) => {
                Refusal::unauthenticated(format!("the token's claims cannot be read: {error}"))
            }
            _ => Refusal::unauthenticated(
                "the token's signature is not good: it was signed with another key, or changed",
            ),
        })
    }
}

#[async_trait]
impl Gate for TokenGate {
    async fn admit(&self, credential: Credential<'_>) -> Result<Arc<Peer>, Refusal> {
        let Credential::Bearer(bearer) = credential else {
            return Err(nothing_shown());
        };
        self.check_length(bearer)?;
        match self.program(bearer) {
            Some(peer) => Ok(peer),
            None => self.token(bearer).await,
        }
    }

    async fn may(&self, peer: &Peer, action: Action, topic: &Topic) -> Result<(), Refusal> {
        if peer.is_expired(self.clock.now_ms()) {
            return Err(Refusal::Expired);
        }
        if !peer.is_granted(action, topic) {
            return Err(Refusal::Forbidden { action, topic: topic.clone() });
        }
        Ok(())
    }
}

/// There is no credential.
pub(crate) fn nothing_shown() -> Refusal {
    Refusal::unauthenticated(
        "there is no credential: send a token or an API key as `Authorization: Bearer …`",
    )
}

/// Checks that a PEM text is a public key that this algorithm can use.
///
/// # Errors
/// [`KeyError`] when it is another thing, a private key above all.
pub fn check_public_key(algorithm: Algorithm, pem: &str) -> Result<(), KeyError> {
    public_key(algorithm, pem).map(|_| ())
}

fn public_key(algorithm: Algorithm, pem: &str) -> Result<DecodingKey, KeyError> {
    if pem.contains("PRIVATE KEY-----") {
        return Err(KeyError::Private);
    }
    let key = match algorithm {
        Algorithm::HS256 => {
            return Err(KeyError::Form("HS256 has no public key, only a secret".to_owned()));
        }
        Algorithm::RS256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
        Algorithm::ES256 => DecodingKey::from_ec_pem(pem.as_bytes()),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(pem.as_bytes()),
    };
    key.map_err(|error| KeyError::Form(error.to_string()))
}

fn jwt_algorithm(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::HS256 => jsonwebtoken::Algorithm::HS256,
        Algorithm::RS256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::ES256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDSA => jsonwebtoken::Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests;

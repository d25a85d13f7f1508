//! Minting tokens: for `tidewire token`, for `tidewire dev`, for tests, and for an app whose backend
//! is in Rust.
//!
//! Invariant: every token that is minted has `exp` and `aud`.

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tidewire_core::Grant;
use tidewire_proto::Pattern;

use super::{KeyError, jwt_algorithm};
use crate::config::{Algorithm, Secret, auth::AUDIENCE_DEFAULT};

/// What a token is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who bears it.
    pub subject: Option<String>,
    /// For which server it is.
    pub audience: String,
    /// When it expires, in milliseconds since 1970; whole seconds are kept.
    pub expires_at_ms: u64,
    /// What its bearer may do.
    pub grant: Grant,
    /// When it was issued (`iat`), in milliseconds since 1970: without it, it counts as older than
    /// any revocation of its subject.
    pub issued_at_ms: Option<u64>,
    /// What the token is called (`jti`): by this it can be taken back alone.
    pub id: Option<String>,
}

impl Claims {
    /// A token of `subject` that grants nothing yet, for the default audience.
    pub fn new(subject: impl Into<String>, expires_at_ms: u64) -> Self {
        Self {
            subject: Some(subject.into()),
            audience: AUDIENCE_DEFAULT.to_owned(),
            expires_at_ms,
            grant: Grant::default(),
            issued_at_ms: None,
            id: None,
        }
    }

    /// The same claims, issued at this moment.
    #[must_use]
    pub fn issued_at_ms(mut self, now_ms: u64) -> Self {
        self.issued_at_ms = Some(now_ms);
        self
    }

    /// The same claims, called so.
    #[must_use]
    pub fn named(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The same claims with this grant.
    #[must_use]
    pub fn granting(mut self, grant: Grant) -> Self {
        self.grant = grant;
        self
    }

    fn json(&self) -> serde_json::Value {
        let texts = |patterns: &[Pattern]| -> Vec<String> {
            patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect()
        };
        let mut claims = json!({
            "aud": self.audience,
            "exp": self.expires_at_ms / 1_000,
            "tidewire": {
                "subscribe": texts(&self.grant.subscribe),
                "publish": texts(&self.grant.publish),
            },
        });
        let optional = [
            ("sub", self.subject.as_ref().map(|subject| json!(subject))),
            ("iat", self.issued_at_ms.map(|at_ms| json!(at_ms / 1_000))),
            ("jti", self.id.as_ref().map(|id| json!(id))),
        ];
        for (name, value) in optional {
            if let (Some(value), Some(claims)) = (value, claims.as_object_mut()) {
                claims.insert(name.to_owned(), value);
            }
        }
        claims
    }
}

/// What signs a token.
#[derive(Debug, Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
}

/// Why a token was not minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token could not be signed with this key: {0}")]
pub struct MintError(String);

impl SigningKey {
    /// The shared secret of HS256.
    #[must_use]
    pub fn secret(secret: &Secret) -> Self {
        let key = EncodingKey::from_secret(secret.reveal().as_bytes());
        Self { algorithm: Algorithm::HS256, key }
    }

    /// A private key for RS256, ES256 or EdDSA, as PEM (PKCS#8; RSA also PKCS#1).
    ///
    /// # Errors
    /// [`KeyError::Form`] when the text is not such a key.
    pub fn private_key(algorithm: Algorithm, pem: &str) -> Result<Self, KeyError> {
        let key = match algorithm {
            Algorithm::HS256 => {
                return Err(KeyError::Form("HS256 has no private key, only a secret".to_owned()));
            }
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
        };
        let key = key.map_err(|error| KeyError::Form(error.to_string()))?;
        Ok(Self { algorithm, key })
    }
}

/// Mints a token with a shared secret (HS256).
#[must_use]
pub fn mint(secret: &Secret, claims: &Claims) -> String {
    mint_with(&SigningKey::secret(secret), None, claims).expect("an HMAC takes any secret")
}

/// Mints a token with any key; `kid` names the key within its set.
///
/// # Errors
/// [`MintError`] when the key cannot sign: an EC key of another curve, say.
pub fn mint_with(
    key: &SigningKey,
    kid: Option<&str>,
    claims: &Claims,
) -> Result<String, MintError> {
    let mut header = Header::new(jwt_algorithm(key.algorithm));
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, &claims.json(), &key.key)
        .map_err(|error| MintError(error.to_string()))
}

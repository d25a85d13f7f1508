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
}

impl Claims {
    /// A token of `subject` that grants nothing yet, for the default audience.
    pub fn new(subject: impl Into<String>, expires_at_ms: u64) -> Self {
        Self {
            subject: Some(subject.into()),
            audience: AUDIENCE_DEFAULT.to_owned(),
            expires_at_ms,
            grant: Grant::default(),
        }
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
        if let (Some(subject), Some(claims)) = (&self.subject, claims.as_object_mut()) {
            claims.insert("sub".to_owned(), json!(subject));
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

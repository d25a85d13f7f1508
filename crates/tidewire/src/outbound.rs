//! Requests that this server makes to an app: signed, bounded in time and in bytes, never redirected.
//!
//! The signature is that of Standard Webhooks: `webhook-signature` is `v1,` and the base64 of
//! HMAC-SHA-256 over `webhook-id.webhook-timestamp.body`, so an app can check it with a library that
//! it has. A secret that begins with `whsec_` is base64 after that; any other is taken as it is.
//!
//! Knows nothing of what is asked or told.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{StatusCode, header};
use reqwest::{Client, redirect};
use url::Url;

use crate::config::{Secret, origin::is_loopback_url};

/// Most bytes of an answer that are read.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Somebody who is asked or told.
pub(crate) struct Outbound {
    client: Client,
    url: Url,
    key: hmac::Key,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboundError {
    #[error("it took longer than it may")]
    Timeout,
    #[error("{0}")]
    Http(String),
    #[error("its answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
}

impl From<reqwest::Error> for OutboundError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        // What reqwest says itself is mostly "error sending request"; the reason stands below it.
        let mut source: &dyn std::error::Error = &error;
        while let Some(below) = source.source() {
            source = below;
        }
        Self::Http(source.to_string())
    }
}

/// A client for requests that this server makes.
pub(crate) fn client(url: &Url, timeout: Duration) -> Result<Client, reqwest::Error> {
    let mut client = Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(timeout)
        .user_agent(concat!("tidewire/", env!("CARGO_PKG_VERSION")));
    if is_loopback_url(url) {
        client = client.no_proxy();
    }
    client.build()
}

impl Outbound {
    pub(crate) fn new(
        url: &Url,
        secret: &Secret,
        timeout: Duration,
    ) -> Result<Self, reqwest::Error> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key_bytes(secret));
        Ok(Self { client: client(url, timeout)?, url: url.clone(), key })
    }

    /// Posts JSON; gives the status and the body of the answer. `id` is the same for a retry.
    pub(crate) async fn post(
        &self,
        id: &str,
        now_ms: u64,
        json: String,
    ) -> Result<(StatusCode, Vec<u8>), OutboundError> {
        let at = (now_ms / 1_000).to_string();
        let request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", &at)
            .header("webhook-signature", signature(&self.key, id, &at, &json))
            .body(json);
        let mut response = request.send().await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(OutboundError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }
}

fn key_bytes(secret: &Secret) -> Vec<u8> {
    let encoded = secret.reveal().strip_prefix("whsec_");
    let decoded = encoded.and_then(|encoded| BASE64.decode(encoded).ok());
    decoded.unwrap_or_else(|| secret.reveal().as_bytes().to_vec())
}

fn signature(key: &hmac::Key, id: &str, at: &str, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", BASE64.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn the_signature_is_the_one_that_libraries_check() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key_bytes(&secret));
        let signed =
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(key_bytes(&Secret::new("plain words")), b"plain words");
    }
}

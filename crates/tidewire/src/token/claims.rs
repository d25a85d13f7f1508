//! The claims of a token whose signature is good → a [`Peer`], or the reason why not.
//!
//! Pure: the time is an argument. Invariant: a token without `exp`, or not meant for this server's
//! audience, never becomes a peer.

use std::time::Duration;

use serde::Deserialize;
use tidewire_core::{Grant, Peer, Proof, Refusal};
use tidewire_proto::Pattern;

use crate::config::Asked;

/// Claims as they came. Claims that are not ours are not read.
#[derive(Debug, Deserialize)]
pub(super) struct Received {
    sub: Option<String>,
    exp: Option<serde_json::Number>,
    nbf: Option<serde_json::Number>,
    iat: Option<serde_json::Number>,
    jti: Option<String>,
    aud: Option<Audience>,
    tidewire: Option<Granted>,
}

/// RFC 7519, section 4.1.3: one audience, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// The claim `tidewire`. A misspelt word in it would silently grant nothing, so it is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Granted {
    subscribe: Option<Vec<String>>,
    publish: Option<Vec<String>>,
}

impl Received {
    /// Judges the claims at a moment. What an app is asked anyway, and the token says nothing about,
    /// is left to the app.
    pub(super) fn peer(
        self,
        audience: &str,
        leeway: Duration,
        asked: Asked,
        now_ms: u64,
    ) -> Result<Peer, Refusal> {
        let leeway_ms = u64::try_from(leeway.as_millis()).unwrap_or(u64::MAX);
        let exp = self.exp.ok_or_else(|| {
            Refusal::unauthenticated("the token has no `exp`: mint it with a time to live")
        })?;
        let expires_at_ms = date_ms(&exp, "exp")?.saturating_add(leeway_ms);
        if now_ms >= expires_at_ms {
            return Err(Refusal::Expired);
        }
        if let Some(nbf) = &self.nbf
            && now_ms.saturating_add(leeway_ms) < date_ms(nbf, "nbf")?
        {
            let why = "the token is not valid yet (`nbf`): wait, or set the issuer's clock right";
            return Err(Refusal::unauthenticated(why));
        }
        let is_meant = match &self.aud {
            None => false,
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Several(several)) => several.iter().any(|one| one == audience),
        };
        if !is_meant {
            let why = format!("the token is not for this server: its `aud` must be `{audience}`");
            return Err(Refusal::unauthenticated(why));
        }
        let grant = self.tidewire.unwrap_or_default().grant(asked)?;
        let issued_at_ms = self.iat.map(|iat| date_ms(&iat, "iat")).transpose()?;
        Ok(Peer {
            subject: self.sub,
            expires_at_ms: Some(expires_at_ms),
            grant,
            proof: Proof::Token { id: self.jti, issued_at_ms },
            connection: None,
        })
    }
}

impl Granted {
    fn grant(self, asked: Asked) -> Result<Grant, Refusal> {
        let patterns = |texts: Option<Vec<String>>, claim: &str, is_asked: bool| {
            let unsaid = || if is_asked { vec!["**".to_owned()] } else { Vec::new() };
            let texts = texts.unwrap_or_else(unsaid);
            let parsed = texts.into_iter().map(|text| {
                Pattern::parse(&text).map_err(|error| {
                    let why = format!(
                        "the token's `tidewire.{claim}` has no pattern in {text:?}: {error}"
                    );
                    Refusal::unauthenticated(why)
                })
            });
            parsed.collect::<Result<Vec<_>, _>>()
        };
        Ok(Grant {
            subscribe: patterns(self.subscribe, "subscribe", asked.subscribe)?,
            publish: patterns(self.publish, "publish", asked.publish)?,
        })
    }
}

/// A NumericDate (RFC 7519, section 2): seconds since 1970, a fraction allowed, in milliseconds.
fn date_ms(date: &serde_json::Number, claim: &str) -> Result<u64, Refusal> {
    let whole = date.as_u64().map(|seconds| seconds.saturating_mul(1_000));
    // Casting saturates: a date beyond u64 is the end of time.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let fraction = || {
        let seconds = date.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
        seconds.map(|seconds| (seconds * 1_000.0) as u64)
    };
    whole.or_else(fraction).ok_or_else(|| {
        Refusal::unauthenticated(format!("the token's `{claim}` is not a date in seconds"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn judge(claims: &str) -> Result<Peer, Refusal> {
        let received: Received = serde_json::from_str(claims).unwrap();
        received.peer("tidewire", Duration::from_secs(30), Asked::default(), NOW)
    }

    fn why(claims: &str) -> String {
        judge(claims).unwrap_err().to_string()
    }

    #[test]
    fn good_claims_become_a_peer() {
        let peer = judge(
            r#"{"sub":"alice","exp":1001,"nbf":999,"aud":["x","tidewire"],"iss":"else",
                "tidewire":{"subscribe":["chat/**"]}}"#,
        );
        let peer = peer.unwrap();
        assert_eq!(peer.subject.as_deref(), Some("alice"));
        assert_eq!(peer.expires_at_ms, Some(1_031_000));
        assert_eq!(peer.grant.subscribe.len(), 1);
        assert!(peer.grant.publish.is_empty());
    }

    #[test]
    fn time_is_judged_with_leeway() {
        assert!(judge(r#"{"exp":971,"aud":"tidewire"}"#).is_ok());
        assert!(judge(r#"{"exp":970.001,"aud":"tidewire"}"#).is_ok());
        assert_eq!(judge(r#"{"exp":970,"aud":"tidewire"}"#), Err(Refusal::Expired));
        assert!(judge(r#"{"exp":2000,"nbf":1030,"aud":"tidewire"}"#).is_ok());
        assert!(why(r#"{"exp":2000,"nbf":1031,"aud":"tidewire"}"#).contains("not valid yet"));
        assert!(judge(r#"{"exp":1e300,"aud":"tidewire"}"#).is_ok());
    }

    #[test]
    fn bad_claims_are_refused_with_the_reason() {
        for (claims, part) in [
            (r#"{"aud":"tidewire"}"#, "no `exp`"),
            (r#"{"exp":-5,"aud":"tidewire"}"#, "`exp` is not a date"),
            (r#"{"exp":2000}"#, "`aud` must be `tidewire`"),
            (r#"{"exp":2000,"aud":"other"}"#, "`aud` must be `tidewire`"),
            (r#"{"exp":2000,"aud":[]}"#, "`aud` must be `tidewire`"),
            (
                r#"{"exp":2000,"aud":"tidewire","tidewire":{"publish":["a*"]}}"#,
                "`tidewire.publish` has no pattern in \"a*\"",
            ),
        ] {
            assert!(why(claims).contains(part), "{claims}: {}", why(claims));
        }
        let misspelt = r#"{"exp":2000,"aud":"tidewire","tidewire":{"subcribe":[]}}"#;
        assert!(serde_json::from_str::<Received>(misspelt).is_err());
    }
}

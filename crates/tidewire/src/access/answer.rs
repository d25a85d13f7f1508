//! What an app's answer about access means: [`Verdict`].
//!
//! Pure. Invariant: what is not understood is no answer, and so is a refusal to the peer.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use serde::Deserialize;
use tidewire_core::{Grant, Peer, Proof};
use tidewire_proto::Pattern;

/// How long a refusal is remembered unless the app says otherwise.
const REFUSAL_AGE: Duration = Duration::from_secs(2);
/// Longest time that a refusal is remembered.
const REFUSAL_AGE_MAX: Duration = Duration::from_secs(60);
/// Longest time that a yes is remembered.
const YES_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Most characters of a reason that are passed on.
const WHY_CHARACTERS_MAX: usize = 200;

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes(Arc<Allowed>),
    /// With a reason that the app may give.
    No(Arc<str>),
    /// Nobody knows, because of this.
    Unknown(Arc<str>),
}

impl Verdict {
    pub(super) fn unknown(why: impl Into<Arc<str>>) -> Self {
        Self::Unknown(why.into())
    }
}

/// A yes, with what the app says of a peer that connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowed {
    user: Option<String>,
    expires_at_ms: Option<u64>,
    subscribe: Option<Vec<Pattern>>,
    publish: Option<Vec<Pattern>>,
    answered_at_ms: u64,
}

/// An answer as it came. A misspelt word in it would silently mean something else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    allow: bool,
    why: Option<String>,
    for_s: Option<u64>,
    user: Option<String>,
    expires_in_s: Option<u64>,
    subscribe: Option<Vec<String>>,
    publish: Option<Vec<String>>,
}

/// Reads an answer. Gives how long it may be remembered, too. `needs_expiry`: nothing else says when
/// the peer's access ends.
pub(super) fn read(
    (status, body): (StatusCode, &[u8]),
    needs_expiry: bool,
    now_ms: u64,
) -> Result<(Verdict, Duration), String> {
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Ok((Verdict::No("".into()), REFUSAL_AGE));
        }
        other => return Err(format!("it answered {other}")),
    }
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| format!("its answer cannot be read: {error}"))?;
    if !body.allow {
        let why: String = body.why.unwrap_or_default().chars().take(WHY_CHARACTERS_MAX).collect();
        let age = body.for_s.map_or(REFUSAL_AGE, Duration::from_secs);
        return Ok((Verdict::No(why.into()), age.min(REFUSAL_AGE_MAX)));
    }
    if needs_expiry && body.expires_in_s.is_none() {
        return Err("its answer has no `expires_in_s`: when does this access end?".to_owned());
    }
    let expires_at_ms =
        body.expires_in_s.map(|left| now_ms.saturating_add(left.saturating_mul(1_000)));
    let allowed = Allowed {
        user: body.user,
        expires_at_ms,
        subscribe: patterns(body.subscribe, "subscribe")?,
        publish: patterns(body.publish, "publish")?,
        answered_at_ms: now_ms,
    };
    let age = Duration::from_secs(body.for_s.unwrap_or(0)).min(YES_AGE_MAX);
    Ok((Verdict::Yes(Arc::new(allowed)), age))
}

fn patterns(texts: Option<Vec<String>>, name: &str) -> Result<Option<Vec<Pattern>>, String> {
    let parse = |text: String| {
        Pattern::parse(&text)
            .map_err(|error| format!("its `{name}` has no pattern in {text:?}: {error}"))
    };
    texts.map(|texts| texts.into_iter().map(parse).collect()).transpose()
}

impl Allowed {
    /// The peer, as the app says, on top of what a token says if there is one. What the app says
    /// nothing about is as the token says; and without a token, what is asked anyway is left open
    /// (`unsaid`).
    pub(super) fn peer(&self, token: Option<&Peer>, unsaid: Grant) -> Peer {
        let base = token.cloned().unwrap_or(Peer {
            subject: None,
            expires_at_ms: None,
            grant: unsaid,
            proof: Proof::Token { id: None, issued_at_ms: Some(self.answered_at_ms) },
            connection: None,
        });
        let ends = [base.expires_at_ms, self.expires_at_ms];
        Peer {
            subject: self.user.clone().or(base.subject),
            expires_at_ms: ends.into_iter().flatten().min(),
            grant: Grant {
                subscribe: self.subscribe.clone().unwrap_or(base.grant.subscribe),
                publish: self.publish.clone().unwrap_or(base.grant.publish),
            },
            proof: base.proof,
            connection: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn of(body: &str) -> Result<(Verdict, Duration), String> {
        read((StatusCode::OK, body.as_bytes()), false, NOW)
    }

    #[test]
    fn only_a_plain_yes_is_a_yes() {
        assert!(matches!(of(r#"{"allow":true}"#), Ok((Verdict::Yes(_), Duration::ZERO))));
        assert!(matches!(of(r#"{"allow":false}"#), Ok((Verdict::No(_), REFUSAL_AGE))));
        for body in ["", "yes", "{}", r#"{"allow":1}"#, r#"{"allow":true,"forever":1}"#, "[true]"] {
            assert!(of(body).is_err(), "{body}");
        }
        assert!(of(r#"{"allow":true,"publish":["a*"]}"#).is_err());
        let yes = br#"{"allow":true}"#;
        for (status, is_no) in [(401, true), (403, true), (204, false), (302, false), (500, false)]
        {
            let status = StatusCode::from_u16(status).unwrap();
            let told = read((status, yes), false, NOW);
            assert_eq!(matches!(told, Ok((Verdict::No(_), _))), is_no, "{status}");
            assert!(!matches!(told, Ok((Verdict::Yes(_), _))), "{status}");
        }
        assert!(read((StatusCode::OK, yes), true, NOW).unwrap_err().contains("expires_in_s"));
    }

    #[test]
    fn an_answer_says_how_long_it_is_good_within_bounds() {
        for (body, age_s) in [
            (r#"{"allow":true,"for_s":60}"#, 60),
            (r#"{"allow":true,"for_s":999999}"#, 3_600),
            (r#"{"allow":false,"for_s":0}"#, 0),
            (r#"{"allow":false,"for_s":999}"#, 60),
        ] {
            assert_eq!(of(body).unwrap().1, Duration::from_secs(age_s), "{body}");
        }
    }

    #[test]
    fn the_app_says_more_than_the_token_and_the_earlier_end_counts() {
        let allowed = |body: &str| match of(body).unwrap().0 {
            Verdict::Yes(allowed) => allowed,
            other => panic!("{other:?}"),
        };
        let token = Peer {
            subject: Some("alice".into()),
            expires_at_ms: Some(NOW + 5_000),
            proof: Proof::Token { id: Some("t1".into()), issued_at_ms: None },
            ..Peer::anybody()
        };
        let peer = allowed(r#"{"allow":true,"expires_in_s":9,"publish":["a"]}"#)
            .peer(Some(&token), Grant::default());
        assert_eq!(peer.subject.as_deref(), Some("alice"));
        assert_eq!(peer.expires_at_ms, Some(NOW + 5_000));
        assert_eq!(peer.grant.subscribe, token.grant.subscribe);
        assert_eq!(peer.grant.publish, [Pattern::parse("a").unwrap()]);
        assert_eq!(peer.proof, token.proof);
        let peer =
            allowed(r#"{"allow":true,"user":"bob","expires_in_s":9}"#).peer(None, Grant::default());
        assert_eq!((peer.subject.as_deref(), peer.expires_at_ms), (Some("bob"), Some(NOW + 9_000)));
        assert!(peer.grant.is_empty());
    }
}

//! `GET {prefix}/plan`: each feature's transport and why, for clients, pages and people. And
//! [`Plan`], what is said of that to everybody, with the tag by which clients know it.
//!
//! Invariant: the tag is made of what is said and of nothing else, so nodes with one config agree.

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use tidewire_core::{Action, Feature, Features, History, Limits, Peer};
use tidewire_proto::{Pattern, sse::PROTOCOL};

use crate::{
    answer::{Refused, json_response},
    app::App,
    config::feature::show_history,
};

/// What the plan says to everybody, as long as it is in force.
#[derive(Debug)]
pub(crate) struct Plan {
    /// 16 hexadecimal digits, a hash of what is said.
    pub(crate) tag: String,
    /// Which plan of this process it is. Whoever was told another number is to be told this tag.
    pub(crate) number: u32,
    /// A JSON object.
    said: String,
}

impl Plan {
    /// The first plan of a process.
    pub(crate) fn first(features: &Features, limits: &Limits) -> Self {
        let said = said(features, limits);
        Self { tag: hash_of(&said), number: 0, said }
    }

    /// The plan after this one; nothing if it says the same.
    pub(crate) fn next(&self, features: &Features, limits: &Limits) -> Option<Self> {
        let next = Self::first(features, limits);
        (next.tag != self.tag).then(|| Self { number: self.number.wrapping_add(1), ..next })
    }

    fn to(&self, peer: &Peer) -> String {
        let rest = self.said.get(1..).unwrap_or_default();
        format!("{{\"tag\":\"{}\",\"peer\":\"{}\",{rest}", self.tag, who(peer))
    }
}

#[derive(Serialize)]
struct Manifest<'a> {
    protocol: u32,
    beat_ms: u64,
    retry_ms: u64,
    topics_per_stream_max: usize,
    subscriptions_per_socket_max: usize,
    message_bytes_max: usize,
    page_entries_max: usize,
    /// Are features let in that the config does not declare?
    undeclared: bool,
    features: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    feature: &'a str,
    transport: &'static str,
    reason: &'static str,
    why: &'static str,
    history: String,
    keep: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_bytes: Option<u64>,
    stored: String,
    presence: bool,
    answers: Answers,
}

#[derive(Serialize)]
struct Answers {
    client_sends: bool,
    binary: bool,
    proxies: &'static str,
}

/// The handler.
pub(crate) async fn plan(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refused> {
    let peer = app.admit(&headers, None).await?;
    let body = app.plan().to(&peer);
    let etag = format!("\"{}\"", hash_of(&body));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == etag.as_str());
    let mut response = if known {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        json_response(StatusCode::OK, body)
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    // Kept by the client, asked again each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

fn said(features: &Features, limits: &Limits) -> String {
    let manifest = Manifest {
        protocol: PROTOCOL,
        beat_ms: limits.beat_interval.as_millis() as u64,
        retry_ms: limits.retry_base.as_millis() as u64,
        topics_per_stream_max: limits.topics_per_stream_max,
        subscriptions_per_socket_max: limits.subscriptions_per_socket_max,
        message_bytes_max: limits.message_bytes_max,
        page_entries_max: limits.page_entries_max,
        undeclared: features.is_open(),
        features: features.iter().map(|(name, feature)| row(name, feature)).collect(),
    };
    serde_json::to_string(&manifest).unwrap_or_default()
}

/// The first 64 bits of BLAKE3, as 16 hexadecimal digits.
fn hash_of(text: &str) -> String {
    let hash = blake3::hash(text.as_bytes()).to_hex();
    hash.get(..16).unwrap_or_default().to_owned()
}

/// Who is asking, as far as rights go: equal for two tokens exactly if subject and grants are equal.
/// A hash of `[subject or null, [patterns to subscribe], [patterns to publish]]` as JSON without
/// spaces, each pattern once, in the order of their bytes. No secret of a server is in it: all nodes
/// must give the same.
fn who(peer: &Peer) -> String {
    let patterns = |action| {
        let mut texts: Vec<_> = peer.grant.patterns(action).iter().map(Pattern::as_str).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    };
    let canonical = (&peer.subject, patterns(Action::Subscribe), patterns(Action::Publish));
    hash_of(&serde_json::to_string(&canonical).unwrap_or_default())
}

fn row<'a>(name: &'a str, feature: &Feature) -> Row<'a> {
    let decision = feature.decision();
    let history_bytes = match feature.history {
        History::Kept { bytes, .. } => bytes,
        History::None => None,
    };
    let stored = if feature.is_kept() { feature.stored.to_string() } else { "memory".to_owned() };
    Row {
        feature: name,
        transport: decision.transport.as_str(),
        reason: decision.reason.as_str(),
        why: decision.reason.sentence(),
        history: show_history(feature.history),
        keep: feature.keep.as_str(),
        history_bytes,
        stored,
        presence: feature.presence,
        answers: Answers {
            client_sends: feature.answers.client_sends,
            binary: feature.answers.binary,
            proxies: feature.answers.proxies.as_str(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::Grant;
    use tidewire_proto::plan::Transport;

    fn features(feature: &Feature) -> Features {
        Features::declared([("chat".to_owned(), feature.clone())].into())
    }

    #[test]
    fn the_tag_changes_with_what_is_said_and_with_nothing_else() {
        let (limits, feature) = (Limits::default(), Feature::default());
        let plan = Plan::first(&features(&feature), &limits);
        assert_eq!(plan.tag.len(), 16);
        assert!(plan.next(&features(&feature), &limits).is_none(), "it says the same");
        let moved = Feature { transport: Some(Transport::Ws), ..feature.clone() };
        let next = plan.next(&features(&moved), &limits).expect("another");
        assert_eq!(next.number, 1);
        assert_ne!(next.tag, plan.tag);
        let back = next.next(&features(&feature), &limits).expect("another again");
        assert_eq!((back.number, &back.tag), (2, &plan.tag));
        let open = features(&feature).with_undeclared(feature);
        assert!(plan.next(&open, &limits).is_some());
    }

    #[test]
    fn two_are_the_same_exactly_if_subject_and_grants_are() {
        let patterns = |texts: &[&str]| {
            texts.iter().map(|text| Pattern::parse(text).unwrap()).collect::<Vec<_>>()
        };
        let peer = |subject: Option<&str>, subscribe: &[&str], publish: &[&str]| {
            let grant = Grant { subscribe: patterns(subscribe), publish: patterns(publish) };
            who(&Peer {
                subject: subject.map(str::to_owned),
                expires_at_ms: Some(7),
                grant,
                ..Peer::anybody()
            })
        };
        let alice = peer(Some("alice"), &["a/*", "b"], &["c"]);
        assert_eq!(alice, peer(Some("alice"), &["b", "a/*", "b"], &["c"]), "the same rights");
        for other in [
            peer(Some("bob"), &["a/*", "b"], &["c"]),
            peer(None, &["a/*", "b"], &["c"]),
            peer(Some(""), &["a/*", "b"], &["c"]),
            peer(Some("alice"), &["a/*"], &["b", "c"]),
            peer(Some("alice"), &["a/*", "b", "c"], &[]),
        ] {
            assert_ne!(alice, other);
        }
        // Nodes and versions agree.
        assert_eq!(who(&Peer::anybody()), "a4a55dc6045682fb");
    }
}

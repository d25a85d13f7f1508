//! A closed server on a clock that stands still, and tokens for it.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tidewire::{
    Grant, Settings,
    clock::ManualClock,
    config::{ApiKey, Origin, Secret, Verification},
    tidewire_proto::Pattern,
    token::{Claims, mint},
};

use super::{Server, http};

/// The time that the clock shows at first.
pub(crate) const NOW_MS: u64 = 1_800_000_000_000;
/// A token that ends then is looked at every second, so that its end is seen within a second.
pub(crate) const SOON_MS: u64 = NOW_MS + 1_000;
pub(crate) const LATER_MS: u64 = NOW_MS + 3_600_000;
pub(crate) const SECRET: &str = "a secret of the tests, long enough for HS256";
/// The key of a program that may publish everywhere, and read nothing.
pub(crate) const API_KEY: &str = "the key of a program that publishes";
/// The key of a program that may also read.
pub(crate) const READER_KEY: &str = "the key of a program that also reads";
/// The one origin that is listed.
pub(crate) const ORIGIN: &str = "https://app.example.com";

pub(crate) fn grant(subscribe: &[&str], publish: &[&str]) -> Grant {
    let patterns =
        |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Grant { subscribe: patterns(subscribe), publish: patterns(publish) }
}

/// A token, signed with a secret.
pub(crate) fn signed(secret: &str, subject: &str, expires_at_ms: u64, grant: Grant) -> String {
    let claims = Claims::new(subject, expires_at_ms).granting(grant);
    mint(&Secret::new(secret), &claims)
}

/// A token of Alice that reads and writes the chat.
pub(crate) fn alice(expires_at_ms: u64) -> String {
    signed(SECRET, "alice", expires_at_ms, grant(&["chat/**"], &["chat/**"]))
}

/// `Authorization` with this token.
pub(crate) fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

pub(crate) fn lock(settings: &mut Settings) {
    settings.auth.verification = Some(Verification::Secret(Secret::new(SECRET)));
    settings.auth.leeway = Duration::ZERO;
    settings.origins.listed = vec![Origin::parse(ORIGIN).unwrap()];
    let key = |name: &str, key: &str, grant| ApiKey {
        name: name.to_owned(),
        key: Secret::new(key),
        grant,
        manage: false,
    };
    settings.auth.keys = vec![
        key("worker", API_KEY, grant(&[], &["**"])),
        key("reader", READER_KEY, grant(&["chat/**"], &["**"])),
    ];
}

/// A closed server, and its clock.
pub(crate) async fn locked(change: impl FnOnce(&mut Settings)) -> (Server, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let of_server = Arc::clone(&clock);
    let change = |settings: &mut Settings| {
        lock(settings);
        change(settings);
    };
    let server = Server::built(change, false, |builder| builder.clock(of_server)).await;
    (server, clock)
}

/// Publishes with the API key.
pub(crate) async fn publish(server: &Server, topic: &str, data: &Value) -> Value {
    let (name, value) = bearer(API_KEY);
    let response = server.post(topic, &data.to_string(), &[(name, &value)]).await;
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

/// A ticket for a token.
pub(crate) async fn ticket(server: &Server, token: &str) -> String {
    let request = http().post(server.at("/tickets")).bearer_auth(token);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    let body: Value = response.json().await.unwrap();
    body["ticket"].as_str().unwrap().to_owned()
}

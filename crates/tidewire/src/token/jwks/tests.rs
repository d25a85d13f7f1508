//! A key set that rotates, fails, lies and hangs, behind a real socket.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::token::{Claims, SigningKey, mint_with};

/// An endpoint that answers every request with the bytes it was last given.
struct Endpoint {
    url: Url,
    answer: Arc<Mutex<Vec<u8>>>,
    requests: Arc<AtomicUsize>,
}

impl Endpoint {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/keys", listener.local_addr().unwrap())).unwrap();
        let answer = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::new(AtomicUsize::new(0));
        let (give, count) = (answer.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let answer = give.lock().unwrap().clone();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = socket.read(&mut [0; 4096]).await;
                    let _ = socket.write_all(&answer).await;
                    if answer.is_empty() {
                        // Hangs: the socket stays open until the client gives up.
                        let _ = socket.read(&mut [0; 1]).await;
                    }
                });
            }
        });
        Self { url, answer, requests }
    }

    fn answers(&self, status: &str, head: &str, body: &str) {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n{body}"
        );
        *self.answer.lock().unwrap() = answer.into_bytes();
    }

    fn has(&self, keys: &[Value]) {
        self.answers("200 OK", "", &json!({"keys": keys}).to_string());
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn set(&self, pace: Pace) -> Arc<Jwks> {
        Arc::new(Jwks::new(self.url.clone(), Algorithm::EdDSA, pace).unwrap())
    }
}

const EAGER: Pace = Pace {
    age_max: Duration::from_secs(600),
    interval_min: Duration::ZERO,
    timeout: Duration::from_millis(300),
};

/// A public key as it stands in a set, with this id.
fn key(id: Option<&str>) -> Value {
    signing(id).1
}

fn signing(id: Option<&str>) -> (SigningKey, Value) {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let x = URL_SAFE_NO_PAD.encode(key.public_key_raw());
    let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
    if let Some(id) = id {
        jwk["kid"] = json!(id);
    }
    (SigningKey::private_key(Algorithm::EdDSA, &key.serialize_pem()).unwrap(), jwk)
}

fn is_unknown(result: &Result<DecodingKey, Refusal>) -> bool {
    matches!(result, Err(Refusal::Unauthenticated { .. }))
}

fn is_unavailable(result: &Result<DecodingKey, Refusal>) -> bool {
    matches!(result, Err(Refusal::Unavailable { .. }))
}

#[tokio::test]
async fn a_key_that_is_new_is_fetched_and_one_that_left_is_forgotten() {
    let endpoint = Endpoint::start().await;
    endpoint.has(&[key(Some("one"))]);
    let set = endpoint.set(EAGER);
    assert!(set.key(Some("one")).await.is_ok());
    assert!(set.key(Some("one")).await.is_ok());
    assert_eq!(endpoint.requests(), 1, "kept while it is fresh");
    endpoint.has(&[key(Some("two"))]);
    assert!(set.key(Some("two")).await.is_ok());
    assert_eq!(endpoint.requests(), 2);
    assert!(is_unknown(&set.key(Some("one")).await));
}

#[tokio::test]
async fn tokens_that_name_nonsense_do_not_become_requests() {
    let endpoint = Endpoint::start().await;
    endpoint.has(&[key(Some("one"))]);
    let set = endpoint.set(Pace::default());
    for number in 0..50 {
        assert!(is_unknown(&set.key(Some(&format!("no-{number}"))).await));
    }
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test]
async fn many_that_ask_at_once_are_one_request() {
    let endpoint = Endpoint::start().await;
    endpoint.has(&[key(Some("one"))]);
    let set = endpoint.set(Pace::default());
    let asking = (0..50).map(|_| {
        let set = set.clone();
        tokio::spawn(async move { set.key(Some("one")).await.is_ok() })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert!(asked.await.unwrap());
    }
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test]
async fn known_keys_stay_when_the_endpoint_fails() {
    let endpoint = Endpoint::start().await;
    endpoint.has(&[key(Some("one"))]);
    let set = endpoint.set(Pace { age_max: Duration::ZERO, ..EAGER });
    assert!(set.key(Some("one")).await.is_ok());
    let large = json!({"keys": [key(Some("two"))], "pad": "x".repeat(SET_BYTES_MAX)}).to_string();
    let two = json!({"keys": [key(Some("two"))]}).to_string();
    for (status, head, body) in [
        ("500 Internal Server Error", "", two.as_str()),
        ("404 Not Found", "", ""),
        ("200 OK", "", "this is no key set"),
        ("200 OK", "", "{\"keys\": []}"),
        ("200 OK", "", large.as_str()),
    ] {
        endpoint.answers(status, head, body);
        let before = endpoint.requests();
        assert!(set.key(Some("one")).await.is_ok(), "{status}");
        assert!(is_unknown(&set.key(Some("two")).await), "{status}");
        assert!(endpoint.requests() > before, "{status}");
    }
    endpoint.answer.lock().unwrap().clear();
    let asked = tokio::time::timeout(Duration::from_secs(10), set.key(Some("one"))).await;
    assert!(asked.unwrap().is_ok(), "an endpoint that hangs is given up");
    endpoint.has(&[key(Some("two"))]);
    assert!(set.key(Some("two")).await.is_ok(), "and asked again");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (endpoint, other) = (Endpoint::start().await, Endpoint::start().await);
    other.has(&[key(Some("one"))]);
    endpoint.answers("302 Found", &format!("location: {}\r\n", other.url), "");
    let set = endpoint.set(EAGER);
    assert!(is_unavailable(&set.key(Some("one")).await));
    assert_eq!((endpoint.requests() > 0, other.requests()), (true, 0));
}

#[tokio::test]
async fn with_no_key_yet_the_gate_cannot_tell() {
    let endpoint = Endpoint::start().await;
    endpoint.answers("503 Service Unavailable", "", "");
    let set = endpoint.set(EAGER);
    assert!(is_unavailable(&set.key(Some("one")).await));
    endpoint.has(&[key(Some("one"))]);
    assert!(set.key(Some("one")).await.is_ok());
}

#[tokio::test]
async fn a_token_without_a_kid_needs_a_set_of_one() {
    let endpoint = Endpoint::start().await;
    endpoint.has(&[key(None)]);
    let set = endpoint.set(EAGER);
    assert!(set.key(None).await.is_ok());
    assert!(is_unknown(&set.key(Some("one")).await));
    endpoint.has(&[key(Some("one")), key(None)]);
    let set = endpoint.set(EAGER);
    assert!(is_unknown(&set.key(None).await));
}

#[test]
fn only_keys_that_fit_the_pinned_algorithm_are_taken() {
    let good = key(Some("good"));
    let with = |id: &str, name: &str, value: Value| {
        let mut key = key(Some(id));
        key[name] = value;
        key
    };
    let keys = json!({"keys": [
        good,
        with("encryption", "use", json!("enc")),
        with("other algorithm", "alg", json!("RS256")),
        {"kty": "oct", "k": "AAAA", "kid": "secret", "alg": "HS256"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "curve"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "rsa"},
        {"kty": "future", "kid": "future"},
        7,
    ]});
    let set = KeySet::parse(keys.to_string().as_bytes(), Algorithm::EdDSA).unwrap();
    assert_eq!(set.by_id.keys().collect::<Vec<_>>(), ["good"]);
    assert!(set.without_id.is_empty());
    assert!(KeySet::parse(keys.to_string().as_bytes(), Algorithm::HS256).is_err());
}

#[tokio::test]
async fn a_gate_follows_the_rotation() {
    use crate::{
        config::{AuthSettings, Verification},
        token::TokenGate,
    };
    use tidewire_core::{Credential, Gate, Limits, clock::ManualClock};

    let endpoint = Endpoint::start().await;
    let (signing, jwk) = signing(Some("new"));
    endpoint.has(&[jwk]);
    let auth = AuthSettings {
        algorithm: Algorithm::EdDSA,
        verification: Some(Verification::Jwks(endpoint.url.clone())),
        ..AuthSettings::default()
    };
    let gate = TokenGate::new(&auth, &Limits::default(), Arc::new(ManualClock::at(1_000))).unwrap();
    let claims = Claims::new("alice", 60_000);
    let token = mint_with(&signing, Some("new"), &claims).unwrap();
    let peer = gate.admit(Credential::Bearer(&token)).await.unwrap();
    assert_eq!(peer.subject.as_deref(), Some("alice"));
    let other = self::signing(Some("new")).0;
    let forged = mint_with(&other, Some("new"), &claims).unwrap();
    assert!(gate.admit(Credential::Bearer(&forged)).await.is_err());
}

//! Attacks on tokens, as a table; and what good tokens and keys may do.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
};
use serde_json::{Value, json};
use tidewire_core::{Grant, clock::ManualClock};
use tidewire_proto::Pattern;

use super::*;
use crate::config::{ApiKey, Secret};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz012345";
/// The moment at which the tests stand, in seconds.
const NOW: u64 = 1_700_000_000;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(NOW * 1_000))
}

fn grant(subscribe: &[&str], publish: &[&str]) -> Grant {
    let parse = |texts: &[&str]| texts.iter().map(|text| Pattern::parse(text).unwrap()).collect();
    Grant { subscribe: parse(subscribe), publish: parse(publish) }
}

fn settings(algorithm: Algorithm, verification: Option<Verification>) -> AuthSettings {
    let key = ApiKey {
        name: "backend".into(),
        key: Secret::new(KEY),
        grant: grant(&[], &["**"]),
        manage: false,
    };
    AuthSettings { algorithm, verification, keys: vec![key], ..AuthSettings::default() }
}

fn hs256() -> AuthSettings {
    settings(Algorithm::HS256, Some(Verification::Secret(Secret::new(SECRET))))
}

fn gate(auth: &AuthSettings) -> TokenGate {
    TokenGate::new(auth, &Limits::default(), clock()).unwrap()
}

fn claims() -> Claims {
    let grant = grant(&["chat/**", "notifications/{sub}"], &["chat/*"]);
    Claims::new("alice", (NOW + 60) * 1_000).granting(grant)
}

async fn admit(gate: &TokenGate, token: &str) -> Result<Arc<Peer>, Refusal> {
    gate.admit(Credential::Bearer(token)).await
}

/// A token whose header and claims are whatever an attacker likes, signed with HS256 and `secret`.
fn forged(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

fn body() -> Value {
    json!({"sub": "alice", "aud": "tidewire", "exp": NOW + 60, "tidewire": {"subscribe": ["**"]}})
}

fn body_with(name: &str, value: Value) -> Value {
    let mut body = body();
    body[name] = value;
    body
}

#[tokio::test]
async fn a_good_token_opens_what_it_grants() {
    let gate = gate(&hs256());
    let peer = admit(&gate, &mint(&Secret::new(SECRET), &claims())).await.unwrap();
    assert_eq!(peer.subject.as_deref(), Some("alice"));
    assert_eq!(peer.expires_at_ms, Some((NOW + 60 + 30) * 1_000));
    for (action, topic, is_allowed) in [
        (Action::Subscribe, "chat/a/b", true),
        (Action::Subscribe, "notifications/alice", true),
        (Action::Subscribe, "notifications/bob", false),
        (Action::Publish, "chat/a", true),
        (Action::Publish, "chat/a/b", false),
        (Action::Publish, "notifications/alice", false),
    ] {
        let topic = Topic::parse(topic).unwrap();
        let expected = if is_allowed {
            Ok(())
        } else {
            Err(Refusal::Forbidden { action, topic: topic.clone() })
        };
        assert_eq!(gate.may(&peer, action, &topic).await, expected, "{topic}");
    }
}

#[tokio::test]
async fn access_ends_with_the_token() {
    let clock = clock();
    let gate = TokenGate::new(&hs256(), &Limits::default(), clock.clone()).unwrap();
    let token = mint(&Secret::new(SECRET), &claims());
    let peer = admit(&gate, &token).await.unwrap();
    let topic = Topic::parse("chat/a").unwrap();
    clock.advance(Duration::from_secs(89));
    assert!(admit(&gate, &token).await.is_ok());
    assert_eq!(gate.may(&peer, Action::Subscribe, &topic).await, Ok(()));
    clock.advance(Duration::from_secs(1));
    assert_eq!(admit(&gate, &token).await, Err(Refusal::Expired));
    assert_eq!(gate.may(&peer, Action::Subscribe, &topic).await, Err(Refusal::Expired));
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let gate = gate(&hs256());
    let (hs, secret) = (json!({"alg": "HS256", "typ": "JWT"}), SECRET.as_bytes());
    let good = forged(&hs, &body(), secret);
    assert!(admit(&gate, &good).await.is_ok(), "the forger works");
    let none = json!({"alg": "none"});
    let unsigned = {
        let signed = forged(&none, &body(), secret);
        format!("{}.", signed.rsplit_once('.').unwrap().0)
    };
    let (message, signature) = good.rsplit_once('.').unwrap();
    let other_body = forged(&hs, &body_with("sub", json!("root")), secret);
    let spliced = format!("{}.{signature}", other_body.rsplit_once('.').unwrap().0);
    let attacks = [
        ("garbage", "garbage".to_owned(), "neither a token"),
        ("empty", String::new(), "neither a token"),
        ("dots", "..".to_owned(), "neither a token"),
        ("five parts", "a.b.c.d.e".to_owned(), "neither a token"),
        ("not base64", "!!!.???.***".to_owned(), "neither a token"),
        ("alg none", forged(&none, &body(), secret), "neither a token"),
        ("alg none, no signature", unsigned, "neither a token"),
        ("alg None", forged(&json!({"alg": "None"}), &body(), secret), "neither a token"),
        ("no alg", forged(&json!({"typ": "JWT"}), &body(), secret), "neither a token"),
        ("alg HS512", forged(&json!({"alg": "HS512"}), &body(), secret), "signed with HS512"),
        ("alg RS256", forged(&json!({"alg": "RS256"}), &body(), secret), "signed with RS256"),
        (
            "crit",
            forged(&json!({"alg": "HS256", "crit": ["exp"]}), &body(), secret),
            "does not understand",
        ),
        ("another secret", forged(&hs, &body(), b"another"), "signature is not good"),
        ("empty secret", forged(&hs, &body(), b""), "signature is not good"),
        ("no signature", format!("{message}."), "signature is not good"),
        ("cut signature", format!("{message}.{}", &signature[..20]), "signature is not good"),
        ("another body under it", spliced, "signature is not good"),
        ("claims are a list", forged(&hs, &json!([1]), secret), "claims cannot be read"),
        ("aud of others", forged(&hs, &body_with("aud", json!("x")), secret), "`aud` must be"),
        ("no aud", forged(&hs, &body_with("aud", Value::Null), secret), "`aud` must be"),
        ("no exp", forged(&hs, &body_with("exp", Value::Null), secret), "has no `exp`"),
        ("exp text", forged(&hs, &body_with("exp", json!("later")), secret), "cannot be read"),
        ("exp negative", forged(&hs, &body_with("exp", json!(-1)), secret), "not a date"),
        ("expired", forged(&hs, &body_with("exp", json!(NOW - 31)), secret), "has expired"),
        ("not yet", forged(&hs, &body_with("nbf", json!(NOW + 31)), secret), "not valid yet"),
        (
            "pattern",
            forged(&hs, &body_with("tidewire", json!({"subscribe": ["**/x"]})), secret),
            "`tidewire.subscribe` has no pattern",
        ),
        (
            "patterns as text",
            forged(&hs, &body_with("tidewire", json!({"subscribe": "**"})), secret),
            "claims cannot be read",
        ),
        (
            "too large",
            forged(&hs, &body_with("pad", json!("x".repeat(8 * 1024))), secret),
            "at most 8192 are read",
        ),
    ];
    for (name, token, part) in attacks {
        let refusal = admit(&gate, &token).await.expect_err(name);
        assert!(refusal.to_string().contains(part), "{name}: {refusal}");
        assert!(name == "expired" || matches!(refusal, Refusal::Unauthenticated { .. }), "{name}");
    }
    for leeway in [json!(NOW - 29), json!(NOW)] {
        assert!(admit(&gate, &forged(&hs, &body_with("exp", leeway), secret)).await.is_ok());
    }
    assert!(matches!(gate.admit(Credential::None).await, Err(Refusal::Unauthenticated { .. })));
}

/// A key pair and its algorithm, as a gate and as what signs for it.
fn pair(algorithm: Algorithm) -> (TokenGate, SigningKey, String) {
    let kind = match algorithm {
        Algorithm::RS256 => &PKCS_RSA_SHA256,
        Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
        Algorithm::EdDSA => &PKCS_ED25519,
        Algorithm::HS256 => unreachable!("a secret is no pair"),
    };
    let key = match algorithm {
        Algorithm::RS256 => KeyPair::generate_rsa_for(kind, rcgen::RsaKeySize::_2048).unwrap(),
        _ => KeyPair::generate_for(kind).unwrap(),
    };
    let pem = key.public_key_pem();
    let gate = gate(&settings(algorithm, Some(Verification::PublicKey(pem.clone()))));
    (gate, SigningKey::private_key(algorithm, &key.serialize_pem()).unwrap(), pem)
}

#[tokio::test]
async fn public_keys_work_and_cannot_be_mixed_up() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let (gate, signing, pem) = pair(algorithm);
        let good = mint_with(&signing, Some("any"), &claims()).unwrap();
        assert!(admit(&gate, &good).await.is_ok(), "{algorithm:?}");
        // The classic: the public key, which everybody has, as the secret of an HMAC.
        let hs = json!({"alg": "HS256"});
        let der = pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        for secret in [pem.as_bytes(), pem.trim().as_bytes(), der.as_bytes()] {
            let refusal = admit(&gate, &forged(&hs, &body(), secret)).await.unwrap_err();
            assert!(refusal.to_string().contains("signed with HS256"), "{refusal}");
        }
        // The header claims the right algorithm over an HMAC.
        let disguised = forged(&json!({"alg": algorithm.as_str()}), &body(), pem.as_bytes());
        assert!(admit(&gate, &disguised).await.is_err(), "{algorithm:?}");
        // A key in the header that the attacker made himself.
        let header = json!({"alg": algorithm.as_str(), "jku": "http://127.0.0.1:1/", "kid": "x"});
        assert!(admit(&gate, &forged(&header, &body(), b"x")).await.is_err());
        let (_, other, _) = pair(algorithm);
        let strange = mint_with(&other, None, &claims()).unwrap();
        assert!(admit(&gate, &strange).await.is_err(), "another key of the same kind");
    }
}

#[tokio::test]
async fn a_key_of_another_curve_signs_nothing_that_is_good() {
    let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let signing = SigningKey::private_key(Algorithm::ES256, &other.serialize_pem()).unwrap();
    assert!(mint_with(&signing, None, &claims()).is_err());
    let public = Some(Verification::PublicKey(other.public_key_pem()));
    let gate = gate(&settings(Algorithm::ES256, public));
    let (_, good, _) = pair(Algorithm::ES256);
    assert!(admit(&gate, &mint_with(&good, None, &claims()).unwrap()).await.is_err());
}

#[tokio::test]
async fn api_keys_open_what_they_grant_and_do_not_end() {
    let gate = gate(&hs256());
    let peer = admit(&gate, KEY).await.unwrap();
    assert_eq!((peer.subject.as_deref(), peer.expires_at_ms), (Some("key:backend"), None));
    let topic = Topic::parse("chat/a").unwrap();
    assert_eq!(gate.may(&peer, Action::Publish, &topic).await, Ok(()));
    assert!(gate.may(&peer, Action::Subscribe, &topic).await.is_err());
    for near in [&KEY[..31], "abcdefghijklmnopqrstuvwxyz012346", &format!("{KEY} ")] {
        assert!(admit(&gate, near).await.is_err(), "{near}");
    }
}

#[tokio::test]
async fn without_a_secret_only_api_keys_are_good() {
    let gate = gate(&settings(Algorithm::HS256, None));
    assert!(admit(&gate, KEY).await.is_ok());
    let refusal = admit(&gate, &mint(&Secret::new(""), &claims())).await.unwrap_err();
    assert!(refusal.to_string().contains("takes no tokens"), "{refusal}");
}

#[test]
fn a_private_key_is_refused_where_the_public_one_belongs() {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let pem = key.serialize_pem();
    assert_eq!(check_public_key(Algorithm::EdDSA, &pem), Err(KeyError::Private));
    assert_eq!(check_public_key(Algorithm::EdDSA, &key.public_key_pem()), Ok(()));
    assert!(check_public_key(Algorithm::RS256, &key.public_key_pem()).is_err());
    assert!(check_public_key(Algorithm::EdDSA, "nonsense").is_err());
}

/// Other checks are put in force: what has not changed is the same, and only the peers of keys that are
/// gone, or mean something else, are told of.
#[tokio::test]
async fn other_checks_keep_what_has_not_changed() {
    let jwks = |path: &str| {
        let url = url::Url::parse("https://id.example").unwrap().join(path).unwrap();
        settings(Algorithm::ES256, Some(Verification::Jwks(url)))
    };
    let set = |gate: &TokenGate| match &gate.current.load().keys {
        Keys::Set(set) => Arc::clone(set),
        _ => panic!("a key set"),
    };
    let gate = gate(&jwks("/keys"));
    let (first, peer) = (set(&gate), admit(&gate, KEY).await.unwrap());
    let put = |auth: &AuthSettings| gate.put_in_force(gate.prepare(auth).unwrap());

    let mut auth = AuthSettings { leeway: Duration::ZERO, ..jwks("/keys") };
    assert!(put(&auth).is_empty());
    assert!(Arc::ptr_eq(&set(&gate), &first), "its keys need not be fetched again");
    assert!(Arc::ptr_eq(&admit(&gate, KEY).await.unwrap(), &peer));
    assert!(put(&jwks("/others")).is_empty());
    assert!(!Arc::ptr_eq(&set(&gate), &first));

    auth.keys[0].grant = grant(&["**"], &[]);
    let gone = put(&auth);
    assert!(gone.len() == 1 && Arc::ptr_eq(&gone[0], &peer), "it has other rights now");
    let peer = admit(&gate, KEY).await.unwrap();
    auth.keys[0].key = Secret::new(SECRET);
    let gone = put(&auth);
    assert!(gone.len() == 1 && Arc::ptr_eq(&gone[0], &peer), "its name has another key now");
    assert!(admit(&gate, KEY).await.is_err());

    // What cannot be used is refused before anything is put in force.
    let pem = Verification::PublicKey("no key".to_owned());
    assert!(gate.prepare(&settings(Algorithm::ES256, Some(pem))).is_err());
    assert!(admit(&gate, SECRET).await.is_ok());
}

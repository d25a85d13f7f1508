//! [`Config`]: a config as written. Kinds are checked and names are known; what the values mean
//! together is settled elsewhere.
//!
//! Invariant: each key of the format is named once in the code, here (limits: in `limits.rs`).

use std::time::Duration;

use super::{
    document::Table,
    limits::WrittenLimits,
    problem::{Place, Report},
    read::{Placed, Section},
    secret::Secret,
};

/// The whole config.
#[derive(Default)]
pub(super) struct Config {
    pub(super) server: Server,
    pub(super) auth: Auth,
    pub(super) limits: WrittenLimits,
    pub(super) features: Vec<Feature>,
    pub(super) webhooks: Vec<Webhook>,
}

/// `[server]`.
#[derive(Default)]
pub(super) struct Server {
    pub(super) listen: Option<Placed<String>>,
    pub(super) prefix: Option<Placed<String>>,
    pub(super) data: Option<Placed<String>>,
    pub(super) origins: Option<Vec<Placed<String>>>,
    pub(super) tls: Option<Tls>,
}

/// `tls = { certificate, key }`.
pub(super) struct Tls {
    pub(super) place: Place,
    pub(super) certificate: Option<Placed<String>>,
    pub(super) key: Option<Placed<String>>,
}

/// `[auth]`.
#[derive(Default)]
pub(super) struct Auth {
    pub(super) secret: Option<Placed<Secret>>,
    pub(super) secret_file: Option<Placed<String>>,
    pub(super) algorithm: Option<Placed<String>>,
    pub(super) public_key_file: Option<Placed<String>>,
    pub(super) jwks_url: Option<Placed<String>>,
    pub(super) audience: Option<Placed<String>>,
    pub(super) leeway: Option<Placed<Duration>>,
    pub(super) authorize_url: Option<Placed<String>>,
    pub(super) authorize: Option<Vec<Placed<String>>>,
    pub(super) authorize_secret: Option<Placed<Secret>>,
    pub(super) authorize_secret_file: Option<Placed<String>>,
    pub(super) authorize_timeout: Option<Placed<Duration>>,
    pub(super) keys: Vec<Key>,
}

/// `[[auth.key]]`.
pub(super) struct Key {
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) name: Option<Placed<String>>,
    pub(super) key: Option<Placed<Secret>>,
    pub(super) key_file: Option<Placed<String>>,
    pub(super) publish: Vec<Placed<String>>,
    pub(super) subscribe: Vec<Placed<String>>,
    pub(super) manage: Option<Placed<bool>>,
}

/// `[[webhook]]`.
pub(super) struct Webhook {
    pub(super) path: String,
    pub(super) place: Place,
    pub(super) name: Option<Placed<String>>,
    pub(super) url: Option<Placed<String>>,
    pub(super) secret: Option<Placed<Secret>>,
    pub(super) secret_file: Option<Placed<String>>,
    pub(super) events: Option<Vec<Placed<String>>>,
    pub(super) topics: Option<Vec<Placed<String>>>,
    pub(super) timeout: Option<Placed<Duration>>,
}

/// `[feature.NAME]`.
pub(super) struct Feature {
    pub(super) name: Placed<String>,
    pub(super) client_sends: Option<Placed<bool>>,
    pub(super) binary: Option<Placed<bool>>,
    pub(super) proxies: Option<Placed<String>>,
    pub(super) transport: Option<Placed<String>>,
    pub(super) history: Option<Placed<String>>,
    pub(super) history_bytes: Option<Placed<u64>>,
    pub(super) keep: Option<Placed<String>>,
    pub(super) stored: Option<Placed<String>>,
    pub(super) presence: Option<Placed<bool>>,
}

impl Config {
    /// Reads the tree; what is wrong goes to the report, what is right is kept.
    pub(super) fn read(tree: Table, report: &mut Report) -> Self {
        let mut config = Self::default();
        let mut root = Section::root(tree, report);
        if let Some(section) = root.section("server") {
            config.server = server(section);
        }
        if let Some(section) = root.section("auth") {
            config.auth = auth(section);
        }
        if let Some(section) = root.section("limits") {
            config.limits = WrittenLimits::read(section);
        }
        if let Some(mut section) = root.section("feature") {
            section.each_section(|name, section| config.features.push(feature(name, section)));
        }
        root.each_of("webhook", |section| config.webhooks.push(webhook(section)));
        root.finish();
        config
    }
}

fn server(mut section: Section<'_>) -> Server {
    let server = Server {
        listen: section.text("listen"),
        prefix: section.text("prefix"),
        data: section.text("data"),
        origins: section.texts("origins"),
        tls: section.section("tls").map(tls),
    };
    section.finish();
    server
}

fn tls(mut section: Section<'_>) -> Tls {
    let place = section.place().clone();
    let tls = Tls { place, certificate: section.text("certificate"), key: section.text("key") };
    section.finish();
    tls
}

fn auth(mut section: Section<'_>) -> Auth {
    let mut auth = Auth {
        secret: section.text("secret").map(hidden),
        secret_file: section.text("secret_file"),
        algorithm: section.text("algorithm"),
        public_key_file: section.text("public_key_file"),
        jwks_url: section.text("jwks_url"),
        audience: section.text("audience"),
        leeway: section.duration("leeway"),
        authorize_url: section.text("authorize_url"),
        authorize: section.texts("authorize"),
        authorize_secret: section.text("authorize_secret").map(hidden),
        authorize_secret_file: section.text("authorize_secret_file"),
        authorize_timeout: section.duration("authorize_timeout"),
        keys: Vec::new(),
    };
    section.each_of("key", |section| auth.keys.push(key(section)));
    section.finish();
    auth
}

fn key(mut section: Section<'_>) -> Key {
    let key = Key {
        path: section.path().to_owned(),
        place: section.place().clone(),
        name: section.text("name"),
        key: section.text("key").map(hidden),
        key_file: section.text("key_file"),
        publish: section.texts("publish").unwrap_or_default(),
        subscribe: section.texts("subscribe").unwrap_or_default(),
        manage: section.flag("manage"),
    };
    section.finish();
    key
}

fn webhook(mut section: Section<'_>) -> Webhook {
    let webhook = Webhook {
        path: section.path().to_owned(),
        place: section.place().clone(),
        name: section.text("name"),
        url: section.text("url"),
        secret: section.text("secret").map(hidden),
        secret_file: section.text("secret_file"),
        events: section.texts("events"),
        topics: section.texts("topics"),
        timeout: section.duration("timeout"),
    };
    section.finish();
    webhook
}

fn hidden(text: Placed<String>) -> Placed<Secret> {
    Placed { value: Secret::new(text.value), key: text.key, place: text.place }
}

fn feature(name: &str, mut section: Section<'_>) -> Feature {
    let feature = Feature {
        name: Placed {
            value: name.to_owned(),
            key: section.path().to_owned(),
            place: section.place().clone(),
        },
        client_sends: section.flag("client_sends"),
        binary: section.flag("binary"),
        proxies: section.flag_or_text("proxies"),
        transport: section.text("transport"),
        history: section.text("history"),
        history_bytes: section.bytes("history_bytes"),
        keep: section.text("keep"),
        stored: section.text("stored"),
        presence: section.flag("presence"),
    };
    section.finish();
    feature
}

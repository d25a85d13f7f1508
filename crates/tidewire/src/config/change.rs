//! What is different between two settings, key by key, and what of it a running server cannot take
//! up. Pure. Invariant: no secret is shown.

use std::{collections::BTreeSet, fmt};

use tidewire_core::{Feature, Grant, History};
use tidewire_proto::{Pattern, plan::Transport};

use super::{
    AuthSettings, AuthorizeSettings, Settings, Verification, WebhookSettings,
    feature::show_history,
    limits::show_limits,
    problem::{Place, Problem},
    units::{show_bytes, show_duration},
};

/// A key that means something else than before. Shown as `key: before → after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path of the key: `feature.chat.history`.
    pub key: String,
    /// What it was.
    pub before: String,
    /// What it is now.
    pub after: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} → {}", self.key, self.before, self.after)
    }
}

impl Change {
    pub(crate) fn new(
        key: impl Into<String>,
        before: impl Into<String>,
        after: impl Into<String>,
    ) -> Self {
        Self { key: key.into(), before: before.into(), after: after.into() }
    }

    /// What a server that runs cannot take up.
    pub(crate) fn needs_restart(self, place: Place, why: &str) -> Problem {
        let what = format!("a change from {} to {} needs a restart", self.before, self.after);
        let fix = format!("restart the server, or leave it at {}", self.before);
        Problem::new(place, self.key, what).because(why).fix(fix)
    }
}

/// What a running server takes up: features, origins and, if tokens are asked for, `[auth]`.
pub(crate) fn changes(before: &Settings, after: &Settings, has_auth: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    let origins = |settings: &Settings| {
        let listed = settings.origins.listed.iter().map(ToString::to_string);
        let loopback = settings.origins.loopback.then(|| "this machine".to_owned());
        list(listed.chain(loopback))
    };
    add(&mut changes, "server.origins", origins(before), origins(after));
    if has_auth {
        auth(&mut changes, &before.auth, &after.auth);
    }
    webhooks(&mut changes, &before.webhooks, &after.webhooks);
    let names = before.features.iter().chain(after.features.iter()).map(|(name, _)| name);
    for name in names.collect::<BTreeSet<_>>() {
        let of = |settings: &Settings| {
            let mut all = settings.features.iter();
            all.find(|(have, _)| *have == name).map(|(_, feature)| feature.clone())
        };
        feature(&mut changes, &format!("feature.{name}"), of(before).as_ref(), of(after).as_ref());
    }
    let undeclared = |settings: &Settings| settings.features.undeclared().cloned();
    let (was, is) = (undeclared(before), undeclared(after));
    feature(&mut changes, "every other feature", was.as_ref(), is.as_ref());
    changes
}

/// What stands for as long as the server runs. Each is a problem.
pub(crate) fn fixed(before: &Settings, after: &Settings) -> Vec<Problem> {
    let place = Place::of_file(after.file.as_ref());
    let tls = |settings: &Settings| {
        settings.tls.as_ref().map_or_else(
            || "none".to_owned(),
            |tls| format!("{} with {}", tls.certificate.display(), tls.key.display()),
        )
    };
    let server = [
        ("listen", before.listen.to_string(), after.listen.to_string(), "the port is open"),
        ("prefix", before.prefix.clone(), after.prefix.clone(), "clients were told these paths"),
        (
            "data",
            before.data.display().to_string(),
            after.data.display().to_string(),
            "the log is open in its folder",
        ),
        ("tls", tls(before), tls(after), "certificates are read at the start"),
    ];
    let server =
        server.map(|(name, before, after, why)| (format!("server.{name}"), before, after, why));
    let limits = show_limits(&before.limits).into_iter().zip(show_limits(&after.limits));
    let limits = limits.map(|((name, before), (_, after))| {
        (format!("limits.{name}"), before, after, "what the server is made of was made by it")
    });
    let different =
        server.into_iter().chain(limits).filter(|(_, before, after, _)| before != after);
    different
        .map(|(key, before, after, why)| {
            Change::new(key, before, after).needs_restart(place.clone(), why)
        })
        .collect()
}

fn add(changes: &mut Vec<Change>, key: impl Into<String>, before: String, after: String) {
    if before != after {
        changes.push(Change::new(key, before, after));
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<_> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn auth(changes: &mut Vec<Change>, before: &AuthSettings, after: &AuthSettings) {
    let (key, is) = verification(after);
    if before.verification != after.verification {
        let was = verification(before).1;
        let is = if was == is { format!("another: {is}") } else { is };
        changes.push(Change::new(format!("auth.{key}"), was, is));
    }
    let algorithm = |auth: &AuthSettings| auth.algorithm.as_str().to_owned();
    add(changes, "auth.algorithm", algorithm(before), algorithm(after));
    add(changes, "auth.audience", before.audience.clone(), after.audience.clone());
    add(changes, "auth.leeway", show_duration(before.leeway), show_duration(after.leeway));
    authorize(changes, before.authorize.as_ref(), after.authorize.as_ref());
    let names = before.keys.iter().chain(&after.keys).map(|key| key.name.as_str());
    for name in names.collect::<BTreeSet<_>>() {
        let of = |auth: &AuthSettings| auth.keys.iter().find(|key| key.name == name).cloned();
        let (was, is) = (of(before), of(after));
        let show = |key: Option<&super::ApiKey>| {
            key.map_or_else(|| "none".to_owned(), |key| format!("a key to {}", key_rights(key)))
        };
        let (shown, mut now) = (show(was.as_ref()), show(is.as_ref()));
        if was != is && shown == now {
            now = format!("another: {now}");
        }
        add(changes, format!("auth.key.{name}"), shown, now);
    }
}

/// The key that says how tokens are checked, and in words how.
fn verification(auth: &AuthSettings) -> (&'static str, String) {
    match &auth.verification {
        None => ("secret", "none".to_owned()),
        Some(Verification::Secret(_)) => ("secret", "a shared secret".to_owned()),
        Some(Verification::PublicKey(_)) => ("public_key_file", "a public key".to_owned()),
        Some(Verification::Jwks(url)) => ("jwks_url", format!("the keys at {url}")),
    }
}

fn key_rights(key: &super::ApiKey) -> String {
    let manages = if key.manage { ", manage" } else { "" };
    format!("{}{manages}", rights(&key.grant))
}

/// The app that decides: its secret is told apart, and never shown.
fn authorize(
    changes: &mut Vec<Change>,
    before: Option<&AuthorizeSettings>,
    after: Option<&AuthorizeSettings>,
) {
    let show = |app: Option<&AuthorizeSettings>| {
        app.map_or_else(
            || "none".to_owned(),
            |app| {
                format!("{} decides about {}", app.url, list(app.asks.words().map(str::to_owned)))
            },
        )
    };
    let timeout = |app: Option<&AuthorizeSettings>| {
        app.map_or_else(|| "none".to_owned(), |app| show_duration(app.timeout))
    };
    add(changes, "auth.authorize_url", show(before), show(after));
    if before.is_some() && after.is_some() {
        add(changes, "auth.authorize_timeout", timeout(before), timeout(after));
    }
    if let (Some(was), Some(is)) = (before, after)
        && was.secret != is.secret
    {
        add(changes, "auth.authorize_secret", "a secret".to_owned(), "another secret".to_owned());
    }
}

fn webhooks(changes: &mut Vec<Change>, before: &[WebhookSettings], after: &[WebhookSettings]) {
    let names = before.iter().chain(after).map(|one| one.name.as_str());
    for name in names.collect::<BTreeSet<_>>() {
        let of = |all: &[WebhookSettings]| all.iter().find(|one| one.name == name).cloned();
        let (was, is) = (of(before), of(after));
        let show = |one: Option<&WebhookSettings>| {
            one.map_or_else(
                || "none".to_owned(),
                |one| {
                    let events = list(one.events.iter().map(|event| event.as_str().to_owned()));
                    let topics = list(one.topics.iter().map(|topic| topic.as_str().to_owned()));
                    format!("{events} of {topics} to {}", one.url)
                },
            )
        };
        let (shown, mut now) = (show(was.as_ref()), show(is.as_ref()));
        if was != is && shown == now {
            now = format!("another: {now}");
        }
        add(changes, format!("webhook.{name}"), shown, now);
    }
}

fn rights(grant: &Grant) -> String {
    let patterns = |patterns: &[Pattern]| list(patterns.iter().map(|one| one.as_str().to_owned()));
    format!("subscribe {}, publish {}", patterns(&grant.subscribe), patterns(&grant.publish))
}

fn feature(
    changes: &mut Vec<Change>,
    key: &str,
    before: Option<&Feature>,
    after: Option<&Feature>,
) {
    let (Some(before), Some(after)) = (before, after) else {
        let show = |feature: Option<&Feature>| {
            feature.map_or_else(
                || "not declared".to_owned(),
                |feature| {
                    let history = show_history(feature.history);
                    format!("{}, history {history}", feature.decision().transport.as_str())
                },
            )
        };
        return add(changes, key, show(before), show(after));
    };
    for ((name, was), (_, is)) in values(before).into_iter().zip(values(after)) {
        add(changes, format!("{key}.{name}"), was, is);
    }
}

fn values(feature: &Feature) -> [(&'static str, String); 9] {
    let bytes = match feature.history {
        History::Kept { bytes, .. } => bytes,
        History::None => None,
    };
    [
        ("client_sends", feature.answers.client_sends.to_string()),
        ("binary", feature.answers.binary.to_string()),
        ("proxies", feature.answers.proxies.as_str().to_owned()),
        ("transport", feature.transport.map_or("by the plan", Transport::as_str).to_owned()),
        ("history", show_history(feature.history)),
        ("history_bytes", bytes.map_or_else(|| "no bound".to_owned(), show_bytes)),
        ("keep", feature.keep.as_str().to_owned()),
        ("stored", feature.stored.to_string()),
        ("presence", feature.presence.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};
    use std::path::Path;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "abcdefghijklmnopqrstuvwxyz012345";

    fn settings(text: &str) -> Settings {
        parse(text, Path::new("t.toml"), &Environment::none()).unwrap().settings
    }

    fn said(before: &str, after: &str) -> Vec<String> {
        let changes = changes(&settings(before), &settings(after), true);
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_key_that_changes_is_named_once() {
        assert_eq!(
            said(
                "[server]\norigins = [\"https://a.example\"]\n[feature.chat]\nclient_sends = true\n\
                 [feature.old]\n[feature.same]\nbinary = true\n",
                "[feature.chat]\nhistory = \"1h\"\nhistory_bytes = \"1MiB\"\ntransport = \"poll\"\n\
                 stored = \"os\"\nproxies = true\n[feature.new]\nhistory = \"forever\"\n\
                 [feature.same]\nbinary = true\n",
            ),
            [
                "server.origins: https://a.example → none",
                "feature.chat.client_sends: true → false",
                "feature.chat.proxies: detect → true",
                "feature.chat.transport: by the plan → poll",
                "feature.chat.history: 7d → 1h",
                "feature.chat.history_bytes: no bound → 1MiB",
                "feature.chat.stored: fsync → os",
                "feature.new: not declared → sse, history forever",
                "feature.old: sse, history 7d → not declared",
            ]
        );
    }

    #[test]
    fn keys_and_secrets_are_told_apart_and_never_shown() {
        let key = |key: &str, publish: &str| {
            format!("[[auth.key]]\nname = \"worker\"\nkey = \"{key}\"\npublish = [\"{publish}\"]\n")
        };
        let auth = |secret: &str| format!("[auth]\nsecret = \"{secret}\"\n");
        let mine = key(SECRET, "a");
        for (before, after, expected) in [
            (auth(SECRET), auth(OTHER), "auth.secret: a shared secret → another: a shared secret"),
            (auth(SECRET), String::new(), "auth.secret: a shared secret → none"),
            (
                String::new(),
                "[auth]\njwks_url = \"https://id.example/keys\"\nalgorithm = \"HS256\"\n"
                    .replace("HS256", "RS256"),
                "auth.jwks_url: none → the keys at https://id.example/keys",
            ),
            (
                String::new(),
                mine.clone(),
                "auth.key.worker: none → a key to subscribe none, publish a",
            ),
            (
                mine.clone(),
                key(OTHER, "a"),
                "auth.key.worker: a key to subscribe none, publish a → \
                 another: a key to subscribe none, publish a",
            ),
            (
                mine,
                key(SECRET, "b"),
                "auth.key.worker: a key to subscribe none, publish a → \
                 a key to subscribe none, publish b",
            ),
        ] {
            let said = said(&before, &after);
            assert_eq!(said.first().map(String::as_str), Some(expected));
            assert!(!said.concat().contains(SECRET) && !said.concat().contains(OTHER));
            let unasked = changes(&settings(&before), &settings(&after), false);
            assert!(unasked.is_empty(), "where nobody asks for tokens it changes nothing");
        }
    }

    #[test]
    fn what_needs_a_restart_says_so_key_by_key() {
        let after = "[server]\nlisten = \"127.0.0.1:5\"\nprefix = \"/live\"\ndata = \"d\"\n\
                     [limits]\nwait_max = \"3s\"\ntail_entries_max = 7\n[feature.chat]\n";
        let (before, after) = (settings("[feature.chat]\n"), settings(after));
        let problems = fixed(&before, &after);
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "server.listen",
                "server.prefix",
                "server.data",
                "limits.tail_entries_max",
                "limits.wait_max"
            ]
        );
        assert!(problems.iter().all(|problem| problem.what.ends_with("needs a restart")));
        assert_eq!(
            problems[0].to_string(),
            "t.toml: server.listen: a change from 127.0.0.1:4000 to 127.0.0.1:5 needs a restart: \
             the port is open; restart the server, or leave it at 127.0.0.1:4000"
        );
        assert!(fixed(&before, &before).is_empty());
    }
}

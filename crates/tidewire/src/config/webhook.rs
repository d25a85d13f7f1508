//! `[[webhook]]` as meant: who is told what happens.
//!
//! Telling them is `webhook`'s. Invariant: names are words that may stand in a topic and in a metric.

use std::{collections::HashSet, time::Duration};

use tidewire_core::Features;
use tidewire_proto::Pattern;
use url::Url;

use super::{
    auth::{patterns, private_url},
    authorize::signing_secret,
    problem::{Problem, Report},
    read::Placed,
    secret::Secret,
    settle::Home,
    written,
};

/// How long an answer may take, unless told otherwise.
pub const WEBHOOK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// A request that hangs longer is better tried again.
const WEBHOOK_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// Longest name.
const NAME_CHARACTERS_MAX: usize = 64;

/// Who is told what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// What people call it. Its place in the log is kept under this name.
    pub name: String,
    /// Where it is told.
    pub url: Url,
    /// What requests are signed with.
    pub secret: Secret,
    /// What it is told.
    pub events: Vec<Happening>,
    /// Of which topics.
    pub topics: Vec<Pattern>,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl WebhookSettings {
    /// Is it told this?
    #[must_use]
    pub fn hears(&self, happening: Happening) -> bool {
        self.events.contains(&happening)
    }
}

/// What a webhook can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Happening {
    /// Something was published.
    Published,
    /// A topic has its first reader.
    Occupied,
    /// A topic has lost its last reader.
    Vacated,
}

impl Happening {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Published, Self::Occupied, Self::Vacated];

    /// The word in the config and in a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Occupied => "occupied",
            Self::Vacated => "vacated",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|happening| happening.as_str() == word)
    }
}

/// Settles every `[[webhook]]`.
pub(super) fn settle(
    written: Vec<written::Webhook>,
    features: &Features,
    home: &Home<'_>,
    report: &mut Report,
) -> Vec<WebhookSettings> {
    let mut names = HashSet::new();
    let mut webhooks = Vec::new();
    for one in written {
        let Some(webhook) = webhook(&one, features, home, report) else { continue };
        if !names.insert(webhook.name.clone()) {
            let problem = Problem::new(one.place, one.path, "two webhooks have this name")
                .because("their places in the log are kept by their names");
            report.problem(problem.fix("give each webhook its own name"));
        }
        webhooks.push(webhook);
    }
    webhooks
}

fn webhook(
    written: &written::Webhook,
    features: &Features,
    home: &Home<'_>,
    report: &mut Report,
) -> Option<WebhookSettings> {
    let name = name(written, report);
    let url = match &written.url {
        Some(url) => {
            let why = "who listens on the way would hear everything that it tells";
            let fix = "write the https address of your app, or one of this machine";
            private_url(url, ("nothing is told to", why, fix), report)
        }
        None => {
            missing(written, "url", "write url = \"https://app.example.com/hooks\"", report);
            None
        }
    };
    let whole = Placed {
        value: written.path.as_str(),
        key: written.path.clone(),
        place: written.place.clone(),
    };
    let given = (written.secret.as_ref(), written.secret_file.as_ref());
    let secret = signing_secret(given, ["secret", "secret_file"], &whole, home, report);
    let events = events(written, report);
    let topics = match written.topics.as_deref().filter(|topics| !topics.is_empty()) {
        Some(topics) => patterns(topics, report),
        None => {
            missing(written, "topics", "write topics = [\"chat/**\"], or [\"**\"] for all", report);
            Vec::new()
        }
    };
    if events.contains(&Happening::Published) {
        of_kept_features(written, features, report);
    }
    let timeout = written.timeout.as_ref().map_or(WEBHOOK_TIMEOUT_DEFAULT, |timeout| {
        if timeout.value.is_zero() || timeout.value > WEBHOOK_TIMEOUT_MAX {
            let problem = timeout.problem("an answer has from 1ms to 2m");
            report.problem(problem.fix("write 10s, and let the app work after it has answered"));
        }
        timeout.value
    });
    Some(WebhookSettings { name: name?, url: url?, secret: secret?, events, topics, timeout })
}

fn missing(written: &written::Webhook, name: &str, fix: &str, report: &mut Report) {
    let key = format!("{}.{name}", written.path);
    report.problem(Problem::new(written.place.clone(), key, "it is missing").fix(fix));
}

fn name(written: &written::Webhook, report: &mut Report) -> Option<String> {
    let Some(name) = &written.name else {
        missing(written, "name", "write name = \"search\", say", report);
        return None;
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_good =
        (1..=NAME_CHARACTERS_MAX).contains(&name.value.len()) && name.value.chars().all(is_plain);
    if !is_good {
        let problem = name.problem(format!("`{}` is not a name for a webhook", name.value));
        report.problem(problem.fix("write 1 to 64 characters of A-Z a-z 0-9 - _"));
    }
    is_good.then(|| name.value.clone())
}

fn events(written: &written::Webhook, report: &mut Report) -> Vec<Happening> {
    let Some(words) = written.events.as_deref().filter(|words| !words.is_empty()) else {
        missing(written, "events", "write events = [\"published\"]", report);
        return Vec::new();
    };
    let mut events = Vec::new();
    for word in words {
        match Happening::parse(&word.value) {
            Some(happening) if events.contains(&happening) => {}
            Some(happening) => events.push(happening),
            None => {
                let what = format!("`{}` is nothing that happens here", word.value);
                let fix = "write \"published\", \"occupied\" or \"vacated\"";
                report.problem(word.problem(what).fix(fix));
            }
        }
    }
    events
}

/// A webhook walks the log, and what is not kept is not in it.
fn of_kept_features(written: &written::Webhook, features: &Features, report: &mut Report) {
    for topic in written.topics.iter().flatten() {
        let first = topic.value.split('/').next().unwrap_or_default();
        let passes = features.iter().any(|(name, feature)| name == first && !feature.is_kept());
        if passes {
            let warning = topic
                .problem(format!("nothing of `{first}` is told as `published`"))
                .because("a webhook walks the log, and this feature keeps nothing")
                .fix("give the feature a history, or leave `published` out");
            report.warning(warning);
        }
    }
}

//! `[auth] authorize…` as meant: the app that decides about access, and what it is asked.
//!
//! Asking is `access`'. Invariant: an app that is asked has an address to which nobody listens on
//! the way, and a secret that its questions are signed with.

use std::time::Duration;

use url::Url;

use super::{
    auth::{private_url, secret_of_file},
    problem::{Problem, Report},
    read::Placed,
    secret::Secret,
    settle::Home,
    written,
};

/// How long an answer may take, unless told otherwise.
pub const AUTHORIZE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// Whoever connects waits for it: longer than this looks like a server that hangs.
const AUTHORIZE_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// A secret that signs requests has at least as many bytes.
pub(super) const SIGNING_BYTES_MIN: usize = 32;

/// The app that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizeSettings {
    /// Where it is asked.
    pub url: Url,
    /// What it is asked.
    pub asks: Asked,
    /// What questions are signed with.
    pub secret: Secret,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// What the app is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Who is this?
    pub connect: bool,
    /// May they read this topic?
    pub subscribe: bool,
    /// May they publish there?
    pub publish: bool,
}

impl Asked {
    /// The words in the config.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let all =
            [(self.connect, "connect"), (self.subscribe, "subscribe"), (self.publish, "publish")];
        all.into_iter().filter_map(|(is_asked, word)| is_asked.then_some(word))
    }
}

/// Settles the app of `[auth]`, if there is one.
pub(super) fn settle(
    auth: &written::Auth,
    home: &Home<'_>,
    report: &mut Report,
) -> Option<AuthorizeSettings> {
    let Some(written) = &auth.authorize_url else {
        without_url(auth, report);
        return None;
    };
    let (what, why) = ("the app is not asked at", "who listens on the way would have every token");
    let fix = "write the https address of your app, or one of this machine";
    let url = private_url(written, (what, why, fix), report);
    let asks = asks(written, auth.authorize.as_deref(), report);
    let names = ["authorize_secret", "authorize_secret_file"];
    let given = (auth.authorize_secret.as_ref(), auth.authorize_secret_file.as_ref());
    let secret = signing_secret(given, names, &written.with("auth"), home, report);
    let timeout = auth.authorize_timeout.as_ref().map_or(AUTHORIZE_TIMEOUT_DEFAULT, |timeout| {
        if timeout.value.is_zero() || timeout.value > AUTHORIZE_TIMEOUT_MAX {
            let problem = timeout.problem("an answer has from 1ms to 30s");
            report.problem(problem.because("whoever connects waits for it").fix("write 2s"));
        }
        timeout.value
    });
    Some(AuthorizeSettings { url: url?, asks, secret: secret?, timeout })
}

fn without_url(auth: &written::Auth, report: &mut Report) {
    let orphans = [
        auth.authorize.as_ref().and_then(|asks| asks.first()).map(|one| one.with(())),
        auth.authorize_secret.as_ref().map(|one| one.with(())),
        auth.authorize_secret_file.as_ref().map(|one| one.with(())),
        auth.authorize_timeout.as_ref().map(|one| one.with(())),
    ];
    if let Some(orphan) = orphans.into_iter().flatten().next() {
        let problem = orphan.problem("there is nobody to ask: `authorize_url` is missing");
        report.problem(problem.fix("write authorize_url = \"https://…\" in [auth] too"));
    }
}

fn asks(url: &Placed<String>, written: Option<&[Placed<String>]>, report: &mut Report) -> Asked {
    let fix = "write authorize = [\"connect\", \"subscribe\", \"publish\"], or some of them";
    let Some(written) = written.filter(|written| !written.is_empty()) else {
        let problem = Problem::new(url.place.clone(), "auth.authorize", "it is missing");
        report.problem(problem.because("the app must be asked something").fix(fix));
        return Asked::default();
    };
    let mut asks = Asked::default();
    for word in written {
        match word.value.as_str() {
            "connect" => asks.connect = true,
            "subscribe" => asks.subscribe = true,
            "publish" => asks.publish = true,
            other => {
                let what = format!("`{other}` is nothing that an app is asked");
                report.problem(word.problem(what).fix(fix));
            }
        }
    }
    asks
}

/// A secret that signs the server's own requests, given itself or by its file. `section` says where
/// it would stand.
pub(super) fn signing_secret(
    (secret, file): (Option<&Placed<Secret>>, Option<&Placed<String>>),
    [name, file_name]: [&str; 2],
    section: &Placed<&str>,
    home: &Home<'_>,
    report: &mut Report,
) -> Option<Secret> {
    let found = match (secret, file) {
        (Some(secret), None) => secret.clone(),
        (None, Some(file)) => file.with(secret_of_file(file, home, report)?),
        (Some(secret), Some(_)) => {
            let problem = secret.problem(format!("both `{name}` and `{file_name}` are given"));
            report.problem(problem.fix("keep one of them"));
            return None;
        }
        (None, None) => {
            let key = format!("{}.{name}", section.value);
            let problem = Problem::new(section.place.clone(), key, "it is missing")
                .because("without it whoever is asked could not tell that it is this server")
                .fix(format!("write {name} = \"…\" or {file_name} = \"path\""));
            report.problem(problem);
            return None;
        }
    };
    if found.value.len() < SIGNING_BYTES_MIN {
        let problem = found
            .problem(format!("the secret has {} bytes", found.value.len()))
            .because("a secret shorter than 32 bytes can be guessed from any request")
            .fix("write 32 random bytes or more, such as `openssl rand -hex 32` prints");
        report.problem(problem);
    }
    Some(found.value)
}

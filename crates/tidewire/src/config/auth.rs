//! `[auth]` as meant: how a token is checked, and which API keys there are.
//!
//! Knows which combinations make sense; checking a token is `token`'s. Invariant: exactly one
//! algorithm is pinned, and its kind of key is the one that was given.

use std::{collections::HashSet, time::Duration};

use tidewire_core::Grant;
use tidewire_proto::Pattern;
use url::Url;

use super::{
    authorize::{self, AuthorizeSettings},
    origin::is_loopback_url,
    problem::{Problem, Report},
    read::Placed,
    secret::Secret,
    settle::Home,
    written,
};
use crate::token;

/// The claim `aud` that tokens must carry, unless told otherwise.
pub const AUDIENCE_DEFAULT: &str = "tidewire";
/// How far the clocks of issuer and server may differ, unless told otherwise.
pub const LEEWAY_DEFAULT: Duration = Duration::from_secs(30);
/// More leeway than this keeps expired tokens alive.
const LEEWAY_MAX: Duration = Duration::from_secs(600);
/// An HS256 secret has at least as many bytes as the hash (RFC 7518, section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// An API key has at least this many characters.
const KEY_CHARACTERS_MIN: usize = 32;

/// How peers prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSettings {
    /// The one algorithm that tokens are signed with.
    pub algorithm: Algorithm,
    /// What a signature is checked with; nothing: no token is good.
    pub verification: Option<Verification>,
    /// The value that the claim `aud` must have among its own.
    pub audience: String,
    /// How far the clocks of issuer and server may differ.
    pub leeway: Duration,
    /// Keys of programs that publish.
    pub keys: Vec<ApiKey>,
    /// The app that decides about access, if it is asked.
    pub authorize: Option<AuthorizeSettings>,
}

impl Default for AuthSettings {
    /// No token and no key is good.
    fn default() -> Self {
        Self {
            algorithm: Algorithm::HS256,
            verification: None,
            audience: AUDIENCE_DEFAULT.to_owned(),
            leeway: LEEWAY_DEFAULT,
            keys: Vec::new(),
            authorize: None,
        }
    }
}

/// A signature algorithm of tokens (RFC 7518, section 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256: one shared secret.
    HS256,
    /// RSA with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::HS256, Self::RS256, Self::ES256, Self::EdDSA];

    /// The word in the config and in a token's header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Reads the word; nothing if it is another (`none` above all).
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == word)
    }
}

/// What a token's signature is checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// The shared secret of HS256.
    Secret(Secret),
    /// A public key, as PEM.
    PublicKey(String),
    /// A set of public keys at this address, which may change (RFC 7517).
    Jwks(Url),
}

/// The key of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// What people call it. The peer's subject is `key:` and this.
    pub name: String,
    /// The key itself.
    pub key: Secret,
    /// What it may do.
    pub grant: Grant,
    /// May it take access back?
    pub manage: bool,
}

/// Settles `[auth]`.
pub(super) fn settle(auth: written::Auth, home: &Home<'_>, report: &mut Report) -> AuthSettings {
    only_one(&auth, report);
    let algorithm = algorithm(&auth, report);
    let verification = verification(&auth, algorithm, home, report);
    let authorize = authorize::settle(&auth, home, report);
    let leeway = auth.leeway.map_or(LEEWAY_DEFAULT, |leeway| {
        if leeway.value > LEEWAY_MAX {
            let problem = leeway
                .problem("so much leeway keeps expired tokens alive")
                .fix("write 30s, and at most 10m; let the clocks be set by NTP");
            report.problem(problem);
        }
        leeway.value
    });
    let audience = auth.audience.map_or_else(
        || AUDIENCE_DEFAULT.to_owned(),
        |audience| {
            if audience.value.is_empty() {
                let problem = audience.problem("an empty audience checks nothing");
                report.problem(problem.fix("leave it out for \"tidewire\""));
            }
            audience.value
        },
    );
    let keys = keys(auth.keys, home, report);
    AuthSettings { algorithm, verification, audience, leeway, keys, authorize }
}

fn only_one(auth: &written::Auth, report: &mut Report) {
    let secret = auth.secret.as_ref().map(|secret| secret.with("secret"));
    let rest = [
        (&auth.secret_file, "secret_file"),
        (&auth.public_key_file, "public_key_file"),
        (&auth.jwks_url, "jwks_url"),
    ];
    let rest = rest.into_iter().filter_map(|(value, name)| value.as_ref().map(|v| v.with(name)));
    let given: Vec<Placed<&str>> = secret.into_iter().chain(rest).collect();
    if let [first, others @ ..] = given.as_slice() {
        for other in others {
            let what = format!("`{}` is given too, beside `{}`", other.value, first.value);
            let problem = other
                .problem(what)
                .because("a token is checked in exactly one way")
                .fix("keep one of secret, secret_file, public_key_file and jwks_url");
            report.problem(problem);
        }
    }
}

/// The pinned algorithm. Without the key, a secret means HS256; a public key must say.
fn algorithm(auth: &written::Auth, report: &mut Report) -> Algorithm {
    let public = auth.public_key_file.as_ref().or(auth.jwks_url.as_ref());
    let Some(written) = &auth.algorithm else {
        if let Some(public) = public {
            let problem = Problem::new(public.place.clone(), "auth.algorithm", "it is missing")
                .because("a public key must be bound to one algorithm")
                .fix("write algorithm = \"RS256\", \"ES256\" or \"EdDSA\" in [auth]");
            report.problem(problem);
        }
        return Algorithm::HS256;
    };
    let Some(algorithm) = Algorithm::parse(&written.value) else {
        let problem = written
            .problem(format!("`{}` is not an algorithm that is accepted", written.value))
            .fix("write \"HS256\", \"RS256\", \"ES256\" or \"EdDSA\"");
        report.problem(problem);
        return Algorithm::HS256;
    };
    let has_secret = auth.secret.is_some() || auth.secret_file.is_some();
    let clash = match algorithm {
        Algorithm::HS256 => public.is_some().then_some("a public key cannot check HS256"),
        _ => has_secret.then_some("a shared secret can only check HS256"),
    };
    if let Some(clash) = clash {
        let problem = written.problem(format!("{} does not fit the key", written.value));
        report.problem(
            problem.because(clash).fix("name the algorithm that the tokens are signed with"),
        );
    }
    algorithm
}

fn verification(
    auth: &written::Auth,
    algorithm: Algorithm,
    home: &Home<'_>,
    report: &mut Report,
) -> Option<Verification> {
    if let Some(secret) = &auth.secret {
        check_secret(&secret.value, secret, report);
        return Some(Verification::Secret(secret.value.clone()));
    }
    if let Some(file) = &auth.secret_file {
        let secret = secret_of_file(file, home, report)?;
        check_secret(&secret, file, report);
        return Some(Verification::Secret(secret));
    }
    if let Some(file) = &auth.public_key_file {
        let pem = home.content(file, report)?;
        if let Err(error) = token::check_public_key(algorithm, &pem) {
            let what = format!("`{}` is not a public key for {}", file.value, algorithm.as_str());
            let problem = file.problem(what).because(error.to_string());
            report.problem(
                problem.fix("name the PEM file that begins with -----BEGIN PUBLIC KEY-----"),
            );
        }
        return Some(Verification::PublicKey(pem));
    }
    let url = jwks_url(auth.jwks_url.as_ref()?, report)?;
    Some(Verification::Jwks(url))
}

pub(super) fn secret_of_file(
    file: &Placed<String>,
    home: &Home<'_>,
    report: &mut Report,
) -> Option<Secret> {
    let content = home.content(file, report)?;
    Some(Secret::in_file(&content))
}

fn check_secret<T>(secret: &Secret, written: &Placed<T>, report: &mut Report) {
    if secret.len() < SECRET_BYTES_MIN {
        let what = format!("the secret has {} bytes", secret.len());
        let problem = written
            .problem(what)
            .because("a secret shorter than 32 bytes can be guessed from any token")
            .fix("write 32 random bytes or more, such as `openssl rand -hex 32` prints");
        report.problem(problem);
    }
    if secret.reveal().contains("-----BEGIN ") {
        let problem = written
            .problem("this is a PEM key, not a shared secret")
            .because("who has the public key could sign tokens")
            .fix("name it with public_key_file, and its algorithm");
        report.problem(problem);
    }
}

fn jwks_url(written: &Placed<String>, report: &mut Report) -> Option<Url> {
    let (what, why) =
        ("keys are not fetched from", "who can change the answer on its way could sign tokens");
    let fix = "write the https address of your identity provider's key set";
    private_url(written, (what, why, fix), report)
}

/// An address to which nobody listens on the way: `https`, or this machine.
pub(super) fn private_url(
    written: &Placed<String>,
    (what, why, fix): (&str, &str, &str),
    report: &mut Report,
) -> Option<Url> {
    let Ok(url) = Url::parse(&written.value) else {
        report.problem(written.problem(format!("`{}` is not a URL", written.value)).fix(fix));
        return None;
    };
    let is_private = url.scheme() == "https" || (url.scheme() == "http" && is_loopback_url(&url));
    if !is_private || url.host().is_none() {
        let problem = written.problem(format!("{what} `{}:`", url.scheme())).because(why);
        report.problem(problem.fix(fix));
        return None;
    }
    Some(url)
}

fn keys(written: Vec<written::Key>, home: &Home<'_>, report: &mut Report) -> Vec<ApiKey> {
    let mut names = HashSet::new();
    let mut values = HashSet::new();
    let mut keys = Vec::new();
    for one in written {
        let Some(key) = api_key(&one, home, report) else { continue };
        if !names.insert(key.name.clone()) {
            let problem =
                Problem::new(one.place.clone(), one.path.clone(), "two keys have this name");
            report.problem(problem.fix("give each key its own name"));
        }
        if !values.insert(key.key.reveal().to_owned()) {
            let problem = Problem::new(one.place, one.path, "two entries have the same key")
                .because("which rights it has could not be told");
            report.problem(problem.fix("give each program its own key"));
        }
        keys.push(key);
    }
    keys
}

fn api_key(written: &written::Key, home: &Home<'_>, report: &mut Report) -> Option<ApiKey> {
    let missing = |name: &str, fix: &str| {
        let path = format!("{}.{name}", written.path);
        Problem::new(written.place.clone(), path, "it is missing").fix(fix)
    };
    if written.name.as_ref().is_none_or(|name| name.value.is_empty()) {
        report.problem(missing("name", "write name = \"backend\", say"));
    }
    let key = match (&written.key, &written.key_file) {
        (Some(key), None) => Some(key.clone()),
        (None, Some(file)) => secret_of_file(file, home, report).map(|key| file.with(key)),
        (Some(key), Some(_)) => {
            let problem = key.problem("both `key` and `key_file` are given");
            report.problem(problem.fix("keep one of them"));
            None
        }
        (None, None) => {
            report.problem(missing("key", "write key = \"…\" or key_file = \"path\""));
            None
        }
    };
    if let Some(key) = key.as_ref().filter(|key| key.value.len() < KEY_CHARACTERS_MIN) {
        let problem = key
            .problem(format!("the key has {} characters", key.value.len()))
            .because("a key shorter than 32 characters can be guessed")
            .fix("write 32 random characters or more, such as `openssl rand -hex 32` prints");
        report.problem(problem);
    }
    let grant = Grant {
        subscribe: patterns(&written.subscribe, report),
        publish: patterns(&written.publish, report),
    };
    let manage = written.manage.as_ref().is_some_and(|manage| manage.value);
    if written.subscribe.is_empty() && written.publish.is_empty() && !manage {
        report.problem(missing("publish", "write publish = [\"**\"], or the topics it is for"));
    }
    let name = written.name.as_ref()?.value.clone();
    Some(ApiKey { name, key: key?.value, grant, manage })
}

pub(super) fn patterns(written: &[Placed<String>], report: &mut Report) -> Vec<Pattern> {
    let parsed = written.iter().filter_map(|one| {
        let pattern = Pattern::parse(&one.value);
        if let Err(error) = &pattern {
            let problem = one
                .problem(format!("`{}` is not a pattern of topics", one.value))
                .because(error.to_string())
                .fix("write one like \"chat/*\", \"chat/**\" or \"**\"");
            report.problem(problem);
        }
        pattern.ok()
    });
    parsed.collect()
}

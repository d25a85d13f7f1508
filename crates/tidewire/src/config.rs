//! The config: as written (TOML and environment) → as meant ([`Settings`]).
//!
//! | Room | What lives there |
//! |---|---|
//! | `document` | TOML text → a tree that knows its places |
//! | `environment` | variables laid over the tree |
//! | `read` | the tree → values of the right kind; unknown keys |
//! | `written` | the format: every key, once |
//! | `settle`, `auth`, `authorize`, `feature`, `limits`, `webhook` | what the values mean, alone and together |
//! | `change` | what is different between two settings |
//! | [`problem`] | what is wrong, where, why, and what to write instead |
//! | [`serve`] | what `serve` and `dev` refuse to start with |
//! | [`origin`], [`secret`], [`units`] | words of their own |
//!
//! Knows no HTTP and opens no socket; the only files read are the config and those it names.
//! Invariant: [`Settings`] from [`load`] are sound; whatever is wrong with a config is reported all at
//! once, and never by guessing.

pub mod auth;
pub mod authorize;
pub(crate) mod change;
mod document;
pub mod environment;
pub mod feature;
pub mod limits;
pub mod origin;
pub mod problem;
mod read;
pub mod secret;
pub mod serve;
mod settle;
pub mod units;
pub mod webhook;
mod written;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tidewire_core::{Feature, Features, Limits};
use tidewire_proto::plan::Answers;

pub use auth::{Algorithm, ApiKey, AuthSettings, Verification};
pub use authorize::{Asked, AuthorizeSettings};
pub use change::Change;
pub use environment::Environment;
pub use origin::{Origin, Origins};
pub use problem::{Place, Problem};
pub use secret::Secret;
pub use serve::{refusals_to_dev, refusals_to_serve};
pub use webhook::{Happening, WebhookSettings};

/// Where the server listens unless told otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:4000";
/// What every path begins with unless told otherwise.
pub const PREFIX_DEFAULT: &str = "/v1";
/// The folder of the embedded log unless told otherwise.
pub const DATA_DEFAULT: &str = "tidewire-data";

/// What a config means.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The config file, if there is one.
    pub file: Option<PathBuf>,
    /// The address and port to listen on.
    pub listen: SocketAddr,
    /// What every path begins with: `/` and at least one segment, no `/` at the end.
    pub prefix: String,
    /// The folder of the embedded log.
    pub data: PathBuf,
    /// Which web pages may connect.
    pub origins: Origins,
    /// Encrypts the listener, if set.
    pub tls: Option<Tls>,
    /// How peers prove who they are.
    pub auth: AuthSettings,
    /// Every bound.
    pub limits: Limits,
    /// What the app has.
    pub features: Features,
    /// Who is told what happens.
    pub webhooks: Vec<WebhookSettings>,
}

/// The files of a TLS listener; both were readable PEM when the config was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
}

/// Settings, and what is questionable about them.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the config means.
    pub settings: Settings,
    /// What works, but hardly as meant; in the order of the file.
    pub warnings: Vec<Problem>,
}

/// A config that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Everything that must be put right, in the order of the file.
    pub problems: Vec<Problem>,
    /// What else is questionable.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Reads a config file and the variables over it. Relative paths in the file are meant from the
/// file's folder, those in variables from the working directory.
///
/// # Errors
/// [`ConfigError`] with every problem at once; also when the file cannot be read.
pub fn load(file: &Path, environment: &Environment) -> Result<Loaded, ConfigError> {
    match std::fs::read_to_string(file) {
        Ok(text) => settle(&text, Some(file), environment),
        Err(error) => {
            let place = Place::of_file(Some(&file.to_owned()));
            let problem = Problem::new(place, "", format!("the config cannot be read: {error}"))
                .fix(
                    "name an existing file with --config, or try `tidewire dev`, which needs none",
                );
            Err(ConfigError { problems: vec![problem], warnings: Vec::new() })
        }
    }
}

/// Settings without a config file: the defaults and the variables over them.
///
/// # Errors
/// [`ConfigError`] with every problem at once.
pub fn from_environment(environment: &Environment) -> Result<Loaded, ConfigError> {
    settle("", None, environment)
}

/// Reads a config from its text; `file` is its name, for problems and for relative paths.
///
/// # Errors
/// [`ConfigError`] with every problem at once.
pub fn parse(text: &str, file: &Path, environment: &Environment) -> Result<Loaded, ConfigError> {
    settle(text, Some(file), environment)
}

fn settle(
    text: &str,
    file: Option<&Path>,
    environment: &Environment,
) -> Result<Loaded, ConfigError> {
    let mut report = problem::Report::default();
    let name: Arc<str> = file.map_or_else(|| "".into(), |file| file.display().to_string().into());
    let settings = match document::parse(text, &name) {
        Ok(mut tree) => {
            environment::overlay(&mut tree, environment, &mut report);
            let config = written::Config::read(tree, &mut report);
            settle::settle(config, file, &mut report)
        }
        Err(problem) => {
            report.problem(*problem);
            None
        }
    };
    let (problems, warnings) = report.into_lists();
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, warnings }),
        _ => Err(ConfigError { problems, warnings }),
    }
}

impl Settings {
    /// Settings for `tidewire dev` without a config: three features that people recognise and any
    /// other that a client names; pages of this machine may connect; nobody needs a token.
    #[must_use]
    pub fn for_dev(listen: SocketAddr, data: PathBuf) -> Self {
        let sends = Answers { client_sends: true, ..Answers::default() };
        let features = BTreeMap::from([
            ("notifications".to_owned(), Feature::default()),
            ("chat".to_owned(), Feature { answers: sends, presence: true, ..Feature::default() }),
            ("board".to_owned(), Feature::default()),
        ]);
        let settings = Self {
            file: None,
            listen,
            prefix: PREFIX_DEFAULT.to_owned(),
            data,
            origins: Origins::default(),
            tls: None,
            auth: AuthSettings::default(),
            limits: Limits::default(),
            features: Features::declared(features),
            webhooks: Vec::new(),
        };
        settings.opened_for_dev()
    }

    /// The same settings, open as `tidewire dev` is: undeclared features are let in with the
    /// defaults, and pages of this machine may connect.
    #[must_use]
    pub fn opened_for_dev(mut self) -> Self {
        self.features = self.features.with_undeclared(Feature::default());
        self.origins.loopback = true;
        self
    }
}

#[cfg(test)]
mod tests;

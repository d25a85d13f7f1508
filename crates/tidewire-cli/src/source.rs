//! Where a server's settings come from: [`Source`], at the start and at each reload; and how what is
//! wrong with them is shown.
//!
//! Starts nothing. Invariant: a reload reads exactly what a start would.

use std::{
    fmt::Write as _, net::SocketAddr, os::unix::process::CommandExt as _, path::PathBuf,
    process::Command,
};

use anyhow::Context;
use tidewire::{
    Settings,
    config::{self, ConfigError, Environment, Loaded},
};

/// The config file, and what the command line says over it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) file: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) data: Option<PathBuf>,
    /// Is it `tidewire dev`?
    pub(crate) dev: bool,
    /// With Workboard?
    pub(crate) demo: bool,
}

impl Source {
    /// Reads it. What `serve` or `dev` would refuse to start with is a problem too.
    ///
    /// # Errors
    /// The outer one only when the default address is none.
    pub(crate) fn read(&self) -> anyhow::Result<Result<Loaded, ConfigError>> {
        let read = match &self.file {
            Some(file) => config::load(file, &Environment::of_process()),
            None => {
                let listen = config::LISTEN_DEFAULT.parse().context("the default address")?;
                let settings = Settings::for_dev(listen, config::DATA_DEFAULT.into());
                Ok(Loaded { settings, warnings: Vec::new() })
            }
        };
        Ok(read.and_then(|loaded| self.judged(loaded)))
    }

    /// Becomes a new process of the same program, with the same id, that listens at this address.
    /// Returns only if that fails.
    pub(crate) fn run_again(&self, address: SocketAddr) -> anyhow::Error {
        // The program that runs, even if another has been built in its place meanwhile.
        let mut command = Command::new("/proc/self/exe");
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        command.arg("dev").arg("--listen").arg(address.to_string());
        for (option, value) in [("--data", &self.data), ("--config", &self.file)] {
            if let Some(value) = value {
                command.arg(option).arg(value);
            }
        }
        anyhow::Error::new(command.exec()).context("the server does not start again")
    }

    fn judged(&self, loaded: Loaded) -> Result<Loaded, ConfigError> {
        let Loaded { mut settings, warnings } = loaded;
        if self.dev {
            settings = settings.opened_for_dev();
        }
        if self.demo {
            settings = crate::demo::features(settings);
        }
        settings.listen = self.listen.unwrap_or(settings.listen);
        settings.data = self.data.clone().unwrap_or(settings.data);
        let problems = if self.dev {
            config::refusals_to_dev(&settings)
        } else {
            config::refusals_to_serve(&settings)
        };
        if problems.is_empty() {
            return Ok(Loaded { settings, warnings });
        }
        Err(ConfigError { problems, warnings })
    }
}

/// Problems and warnings, a line each.
pub(crate) fn shown(error: &ConfigError) -> String {
    let mut out = String::new();
    for (kind, problems) in [("warning", &error.warnings), ("error", &error.problems)] {
        for problem in problems {
            let _ = writeln!(out, "{kind}: {problem}");
        }
    }
    out
}

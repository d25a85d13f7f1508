//! Processes that the bench starts: a server of its own, the floor server, more load.
//!
//! It must not know what is measured. Invariant: they end with the bench, however it ends: when a
//! [`Child`] is dropped, by [`held`](super::held) when the bench is interrupted, and by a signal
//! from the kernel when it is killed.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
};

use anyhow::{Context, bail};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use tempfile::TempDir;

use super::{held::Held, probe::Probe};

/// Descriptors of a server that are not connections: files of the log, listeners, publishers.
const DESCRIPTORS_ASIDE: u64 = 500;
/// Most connections that a server of ours is asked to take.
const CONNECTIONS_MAX: u64 = 19_500;

/// A process that listens.
#[derive(Debug)]
pub(crate) struct Child {
    held: Held,
    /// Where it listens.
    pub(crate) url: String,
}

impl Child {
    /// What it costs can be read here.
    pub(crate) fn probe(&self) -> Probe {
        Probe::new(self.held.id(), false)
    }
}

/// May this process, and those that it starts, have as many descriptors as the system lets them?
/// Returns how many that are.
pub(crate) fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(1 << 20);
    let _as_it_was =
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(most)
}

/// `tidewire bench own-server …`: becomes `tidewire dev`, and ends with its parent.
///
/// # Errors
/// When it cannot.
pub(crate) fn become_server(arguments: &[String]) -> anyhow::Result<ExitCode> {
    end_with_parent()?;
    let error =
        Command::new(std::env::current_exe()?).args(["dev", "--no-demo"]).args(arguments).exec();
    Err(error).context("the server does not start")
}

/// The kernel ends this process when its parent ends.
///
/// # Errors
/// When the kernel cannot.
pub(crate) fn end_with_parent() -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("no signal from the kernel")
}

/// Starts the floor server.
///
/// # Errors
/// When it does not start.
pub(crate) fn floor() -> anyhow::Result<Child> {
    start(|| {
        let mut command = bench_command()?;
        command.arg("floor-server");
        Ok((command, None))
    })
}

/// How a server of ours is set up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// Where its log lies, in a folder of its own that is removed afterwards.
    pub(crate) data: Option<PathBuf>,
    /// Certificate and key, as PEM.
    pub(crate) tls: Option<(String, String)>,
}

/// Starts a server of ours with an empty log.
///
/// # Errors
/// When it does not start.
pub(crate) fn server(setup: &Setup) -> anyhow::Result<Child> {
    start(|| {
        let (command, folder) = prepare(setup)?;
        Ok((command, Some(folder)))
    })
}

fn prepare(setup: &Setup) -> anyhow::Result<(Command, TempDir)> {
    let parent = setup.data.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new()
        .prefix("tidewire-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("no folder in {}", parent.display()))?;
    let config = folder.path().join("tidewire.toml");
    let mut text = config_text(getrlimit(Resource::Nofile).current.unwrap_or(CONNECTIONS_MAX));
    if let Some((certificate, key)) = &setup.tls {
        write(&folder.path().join("cert.pem"), certificate)?;
        write(&folder.path().join("key.pem"), key)?;
        text.push_str("\n[server]\ntls = { certificate = \"cert.pem\", key = \"key.pem\" }\n");
    }
    write(&config, &text)?;
    let mut command = bench_command()?;
    command.args(["own-server", "--listen", "127.0.0.1:0", "--config"]).arg(&config);
    command.arg("--data").arg(folder.path().join("data"));
    // What the user has set for servers of their own must not change what is measured.
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("TIDEWIRE_")) {
        command.env_remove(name);
    }
    Ok((command, folder))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

fn config_text(descriptors: u64) -> String {
    let connections = descriptors.saturating_sub(DESCRIPTORS_ASIDE).clamp(100, CONNECTIONS_MAX);
    format!(
        "[limits]\nconnections_max = {connections}\nconnections_per_address_max = {connections}\n\n\
         [feature.bench]\n\n[feature.benchmem]\nhistory = \"none\"\n"
    )
}

fn bench_command() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("where is this program?")?);
    command.arg("bench");
    Ok(command)
}

fn start(
    prepare: impl FnOnce() -> anyhow::Result<(Command, Option<TempDir>)>,
) -> anyhow::Result<Child> {
    let (held, output) = Held::start(|| {
        let (mut command, folder) = prepare()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Ok((command, folder))
    })?;
    let mut child = Child { held, url: String::new() };
    let mut lines = BufReader::new(output.context("its output")?).lines();
    let found = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("listens on ")?.1.trim().to_owned()));
    let Some(url) = found else { bail!("a server of the bench's own did not start") };
    // The rest of its output goes nowhere, but the pipe stays open.
    std::thread::spawn(move || lines.for_each(drop));
    child.url = url;
    Ok(child)
}

/// A process that takes and gives lines of JSON.
#[derive(Debug)]
pub(crate) struct Worker {
    process: process::Child,
    input: ChildStdin,
    output: Option<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts `tidewire bench NAME`.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(name: &str) -> anyhow::Result<Self> {
        let mut command = bench_command()?;
        command.arg(name).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("a load process")?;
        let input = process.stdin.take().context("its input")?;
        let output = process.stdout.take().map(BufReader::new);
        Ok(Self { process, input, output })
    }

    /// Sends a line.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn tell(&mut self, line: &serde_json::Value) -> anyhow::Result<()> {
        writeln!(self.input, "{line}").context("a load process is gone")
    }

    /// Its output, for whoever reads it from now on instead of [`hear`](Self::hear).
    pub(crate) fn output(&mut self) -> Option<BufReader<ChildStdout>> {
        self.output.take()
    }

    /// Waits for a line; an error that the process tells is one here.
    ///
    /// # Errors
    /// When the process is gone or has failed.
    pub(crate) fn hear(&mut self) -> anyhow::Result<serde_json::Value> {
        let mut line = String::new();
        let output = self.output.as_mut().context("somebody else reads")?;
        output.read_line(&mut line).context("a load process is gone")?;
        let value: serde_json::Value =
            serde_json::from_str(&line).context("a load process is gone")?;
        match value["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => Ok(value),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_stays_below_the_descriptors() {
        assert!(config_text(20_000).contains("connections_max = 19500\n"));
        assert!(config_text(1_024).contains("connections_max = 524\n"));
        assert!(config_text(10).contains("connections_max = 100\n"));
    }
}

//! `tidewire dev` and `tidewire serve`: settings in, a running server out.

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use tidewire::{
    Tidewire,
    config::{ConfigError, Loaded},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    reload::{Reloads, Watched},
    source::{Source, shown},
};

/// `tidewire dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Address to listen on; loopback only, port 0 takes a free one [default: 127.0.0.1:4000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Folder of the log [default: ./tidewire-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Config file, watched: a change is taken up at once; without one: features `notifications`,
    /// `chat`, `board`, and any other topic
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// `tidewire serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Config file; SIGHUP reloads it
    #[arg(long, value_name = "FILE", default_value = "tidewire.toml")]
    config: PathBuf,
    /// Address to listen on, instead of the config's
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Folder of the log, instead of the config's
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs a permissive server for this machine only.
pub(crate) async fn dev(args: DevArgs) -> anyhow::Result<ExitCode> {
    let DevArgs { config: file, listen, data } = args;
    run(Source { file, listen, data, dev: true }).await
}

/// Runs a server that is closed until the config opens it.
pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let ServeArgs { config, listen, data } = args;
    run(Source { file: Some(config), listen, data, dev: false }).await
}

async fn run(source: Source) -> anyhow::Result<ExitCode> {
    let (terminal, watched) = (Terminal::now(), Watched::of(&source));
    let settings = match source.read()? {
        Ok(Loaded { settings, warnings }) => {
            eprint!("{}", shown(&ConfigError { problems: Vec::new(), warnings }));
            settings
        }
        Err(error) => {
            eprint!("{}", shown(&error));
            return Ok(ExitCode::FAILURE);
        }
    };
    let (data, prefix, dev) = (settings.data.clone(), settings.prefix.clone(), source.dev);
    let builder = Tidewire::builder(settings);
    let builder = if dev { builder.dev() } else { builder };
    let server = Arc::new(builder.open().await?);
    let listener = server.bind()?;
    let url = server.url(listener.local_addr()?);
    // Before anybody is told that it runs: from then on it may be asked to reload, or to end.
    let (signals, has_file) = (Signals::new()?, source.file.is_some());
    let reloads = Reloads::begin(source, watched, terminal)?;
    println!("tidewire {} listens on {url}", env!("CARGO_PKG_VERSION"));
    println!(
        "  data      {} (each publish is answered with how safely it is stored)",
        data.display()
    );
    if dev {
        println!("  live page {url}");
        println!("  plan      {url}{}/plan", prefix.trim_start_matches('/'));
        println!("  try       tidewire tail notifications/everyone --url {url}");
        println!(
            "            tidewire publish notifications/everyone '{{\"text\":\"hi\"}}' --url {url}"
        );
        println!("  this is dev mode: no token needed, this machine only");
    }
    let reloads = tokio::spawn(reloads.run(Arc::clone(&server)));
    server.serve(listener, signals.shutdown(has_file, terminal)).await?;
    reloads.abort();
    Ok(ExitCode::SUCCESS)
}

/// Did the server begin at a terminal? Who closes that wants it to end, and is heard by the same
/// signal as who wants a reload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    was_there: bool,
}

impl Terminal {
    fn now() -> Self {
        Self { was_there: std::io::stdin().is_terminal() }
    }

    /// It was there and is there no more.
    pub(crate) fn has_gone(self) -> bool {
        self.was_there && !std::io::stdin().is_terminal()
    }
}

/// What ends the process, caught.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// SIGINT or SIGTERM; SIGHUP, where it asks for no reload. A second one ends the process at once;
    /// the log is sound at any moment.
    async fn shutdown(self, reloads: bool, terminal: Terminal) {
        let Self { mut interrupt, mut terminate, mut hangup } = self;
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = hangup.recv() => if !reloads || terminal.has_gone() { break },
            }
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(130);
        });
    }
}

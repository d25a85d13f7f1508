//! `tidewire dev` and `tidewire serve`: settings in, a running server out.

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use tidewire::{
    Tidewire,
    config::{ConfigError, Loaded},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    demo::Demo,
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
    /// Without Workboard: the plain live page at `/`, and nothing beside the log in the folder
    #[cfg(feature = "demo")]
    #[arg(long)]
    no_demo: bool,
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
    #[cfg(feature = "demo")]
    let demo = !args.no_demo;
    #[cfg(not(feature = "demo"))]
    let demo = false;
    let DevArgs { config: file, listen, data, .. } = args;
    run(Source { file, listen, data, dev: true, demo }).await
}

/// Runs a server that is closed until the config opens it.
pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let ServeArgs { config, listen, data } = args;
    run(Source { file: Some(config), listen, data, dev: false, demo: false }).await
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
    let demo = Demo::open(&source, &data).await?;
    let builder = Tidewire::builder(settings);
    let builder = if dev { builder.dev() } else { builder };
    let server = Arc::new(demo.before(builder).open().await?);
    let listener = server.bind()?;
    let address = listener.local_addr()?;
    let url = server.url(address);
    let demo = demo.start(&server, address).await;
    // Before anybody is told that it runs: from then on it may be asked to reload, or to end.
    let (signals, has_file) = (Signals::new()?, source.file.is_some());
    let again = source.clone();
    let reloads = Reloads::begin(source, watched, terminal)?;
    println!("tidewire {} listens on {url}", env!("CARGO_PKG_VERSION"));
    println!(
        "  data      {} (each publish is answered with how safely it is stored)",
        data.display()
    );
    if dev {
        if demo.is_there() {
            println!("  Workboard {url}");
        }
        println!("  live page {url}live");
        println!("  plan      {url}{}/plan", prefix.trim_start_matches('/'));
        println!("  try       tidewire tail notifications/everyone --url {url}");
        println!(
            "            tidewire publish notifications/everyone '{{\"text\":\"hi\"}}' --url {url}"
        );
        println!("  this is dev mode: no token needed, this machine only");
    }
    let mut restart = false;
    let reloads = tokio::spawn(reloads.run(Arc::clone(&server)));
    let shutdown = async {
        tokio::select! {
            () = signals.shutdown(has_file, terminal) => {}
            () = demo.restart_wanted() => restart = true,
        }
    };
    server.serve_with(listener, |own| demo.around(own), shutdown).await?;
    reloads.abort();
    demo.stop().await;
    if restart { Err(again.run_again(address)) } else { Ok(ExitCode::SUCCESS) }
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

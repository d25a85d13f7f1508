//! `tidewire dev` and `tidewire serve`: settings in, a running server out.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Args;
use tidewire::{
    Settings, Tidewire,
    config::{self, ConfigError, Environment, Loaded, Problem},
};
use tokio::signal::unix::{SignalKind, signal};

/// `tidewire dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Address to listen on; loopback only, port 0 takes a free one [default: 127.0.0.1:4000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Folder of the log [default: ./tidewire-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Config file; without one: features `notifications`, `chat`, `board`, and any other topic
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// `tidewire serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Config file
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
    let mut settings = match &args.config {
        Some(file) => match config::load(file, &Environment::of_process()) {
            Ok(loaded) => warned(loaded).opened_for_dev(),
            Err(error) => return Ok(refused(&error)),
        },
        None => {
            let listen = config::LISTEN_DEFAULT.parse().context("the default address")?;
            Settings::for_dev(listen, config::DATA_DEFAULT.into())
        }
    };
    settings.listen = args.listen.unwrap_or(settings.listen);
    settings.data = args.data.unwrap_or(settings.data);
    let refusals = config::refusals_to_dev(&settings);
    if !refusals.is_empty() {
        return Ok(show(&refusals));
    }
    run(settings, true).await
}

/// Runs a server that is closed until the config opens it.
pub(crate) async fn serve(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let mut settings = match config::load(&args.config, &Environment::of_process()) {
        Ok(loaded) => warned(loaded),
        Err(error) => return Ok(refused(&error)),
    };
    settings.listen = args.listen.unwrap_or(settings.listen);
    settings.data = args.data.unwrap_or(settings.data);
    let refusals = config::refusals_to_serve(&settings);
    if !refusals.is_empty() {
        return Ok(show(&refusals));
    }
    run(settings, false).await
}

async fn run(settings: Settings, dev: bool) -> anyhow::Result<ExitCode> {
    let data = settings.data.clone();
    let prefix = settings.prefix.clone();
    let builder = Tidewire::builder(settings);
    let builder = if dev { builder.dev() } else { builder };
    let server = builder.open().await?;
    let listener = server.bind()?;
    let url = server.url(listener.local_addr()?);
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
    server.serve(listener, shutdown()).await?;
    Ok(ExitCode::SUCCESS)
}

/// SIGINT or SIGTERM. A second one ends the process at once; the log is sound at any moment.
async fn shutdown() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
}

fn warned(loaded: Loaded) -> Settings {
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    loaded.settings
}

fn refused(error: &ConfigError) -> ExitCode {
    for warning in &error.warnings {
        eprintln!("warning: {warning}");
    }
    show(&error.problems)
}

fn show(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("error: {problem}");
    }
    ExitCode::FAILURE
}

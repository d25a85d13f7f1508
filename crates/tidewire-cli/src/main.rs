//! The binary `tidewire`: a table of commands. Each lives in a file of its own.

mod bench;
mod check;
mod demo;
mod io;
mod plan;
mod publish;
mod reload;
mod run;
mod source;
mod tail;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A real-time server that matches the transport to the feature.
///
/// `tidewire dev` starts one on this machine, with nothing to configure.
#[derive(Debug, Parser)]
#[command(name = "tidewire", version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, \
                          3 the server cannot be reached.\n\
                          Log level: set TIDEWIRE_LOG (error, warn, info, debug).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a permissive server on this machine: no config, no token, a live page
    Dev(run::DevArgs),
    /// Start a server for others: closed until the config opens it
    Serve(run::ServeArgs),
    /// Answer three questions, get a transport and the reason
    Plan(plan::PlanArgs),
    /// Check a config file: every problem at once
    Check(check::CheckArgs),
    /// Publish a message
    Publish(publish::PublishArgs),
    /// Follow topics, on any transport, through every restart
    Tail(tail::TailArgs),
    /// Mint a token
    Token(token::TokenArgs),
    Bench(bench::BenchArgs),
    /// Say which version this is
    Version,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("TIDEWIRE_LOG")
                .unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let done = match &cli.command {
        Command::Plan(args) => io::with_process(|io| plan::run(args, io)),
        Command::Check(args) => io::with_process(|io| check::run(args, io)),
        Command::Token(args) => io::with_process(|io| token::run(args, io)),
        Command::Bench(args) => bench::run(args),
        Command::Version => {
            println!("tidewire {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
        Command::Dev(_) | Command::Serve(_) | Command::Publish(_) | Command::Tail(_) => {
            talk(cli.command)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs a command that talks over the network.
fn talk(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Dev(args) => run::dev(args).await,
            Command::Serve(args) => run::serve(args).await,
            Command::Publish(args) => publish::run(args).await,
            Command::Tail(args) => tail::run(args).await,
            _ => Ok(ExitCode::SUCCESS),
        }
    })
}

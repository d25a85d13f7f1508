//! `tidewire bench`: a load tool for this server and for others.
//!
//! It measures a target against the *floor* in the same run: the least that any server could do on
//! this machine, at this moment. It must not know how the server works inside: everything goes
//! through its doors and `/proc`.
//!
//! | Part | What |
//! |---|---|
//! | `fanout` `idle` `storm` `publish` `mixed` `pointers` | the scenarios |
//! | `aged` `fill` | some of them on an empty and on an aged log, and how a log ages |
//! | `budgets` | all of them, against the project's limits |
//! | `run` `drive` `side` | what they share: floor → target → floor, publishing, who is loaded |
//! | `load` `door` `frames` `marker` | connections on one thread, and what is found in their bytes |
//! | `fleet` | more load processes, past 19,000 sockets |
//! | `writers` `tls` | connections that publish in a closed loop; subscribers over TLS |
//! | `floor` `disk` | the yardsticks |
//! | `child` `held` `probe` | processes, what is put away after them, and what they cost |
//! | `tally` `histogram` `timeline` | the books: pure, and tested with what must fail |
//! | `phase` `report` `picture` | what it came to |
//! | `clock` | the only place that asks for the time |

// A load tool turns counts into ratios all the time; none comes near 2^53.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and nanoseconds of one run"
)]

mod aged;
mod budgets;
mod child;
mod clock;
mod disk;
mod door;
mod drive;
mod fanout;
mod fill;
mod fleet;
mod floor;
mod frames;
mod held;
mod histogram;
mod idle;
mod load;
mod marker;
mod mixed;
mod phase;
mod picture;
mod pointers;
mod probe;
mod publish;
mod report;
mod run;
mod side;
mod storm;
mod tally;
mod timeline;
mod tls;
mod writers;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Load a server and say what it costs, as a ratio to the least that a server can do.
///
/// Without a target, the bench starts a server of its own on this machine. Every scenario measures
/// the floor before and after it: one thread that does nothing but accept and send. See
/// docs/guide/bench.md for what each figure means.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 measured, 1 something was lost, repeated or out of order, or \
                        could not be measured, 2 wrong usage."
)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    Fanout(fanout::FanoutArgs),
    Idle(idle::IdleArgs),
    Storm(storm::StormArgs),
    Publish(publish::PublishArgs),
    Mixed(mixed::MixedArgs),
    Pointers(pointers::PointersArgs),
    Aged(aged::AgedArgs),
    Budgets(budgets::BudgetsArgs),
    /// A share of the load, by lines on stdin and stdout
    #[command(hide = true)]
    Load,
    /// Subscribers over TLS, by lines on stdin and stdout
    #[command(hide = true)]
    TlsLoad,
    /// The yardstick: a server that does nothing but accept and send
    #[command(hide = true)]
    FloorServer,
    /// A `tidewire dev` that ends with its parent
    #[command(hide = true)]
    OwnServer {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Runs the command.
///
/// # Errors
/// When something could not be measured.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let hidden = matches!(
        args.scenario,
        Scenario::Load | Scenario::TlsLoad | Scenario::FloorServer | Scenario::OwnServer { .. }
    );
    if !hidden {
        held::put_away_on_signals()?;
    }
    match &args.scenario {
        Scenario::Fanout(args) => fanout::run(args),
        Scenario::Idle(args) => idle::run(args),
        Scenario::Storm(args) => storm::run(args),
        Scenario::Publish(args) => publish::run(args),
        Scenario::Mixed(args) => mixed::run(args),
        Scenario::Pointers(args) => pointers::run(args),
        Scenario::Aged(args) => aged::run(args),
        Scenario::Budgets(args) => budgets::run(args),
        Scenario::Load => fleet::work(),
        Scenario::TlsLoad => tls::work(),
        Scenario::FloorServer => {
            child::end_with_parent()?;
            floor::serve().map(|()| ExitCode::SUCCESS)
        }
        Scenario::OwnServer { arguments } => child::become_server(arguments),
    }
}

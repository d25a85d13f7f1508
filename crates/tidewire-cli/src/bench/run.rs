//! What all scenarios share: their arguments, and floor → target → floor.
//!
//! It must not know what a scenario measures.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use super::{
    child,
    door::Transport,
    load::{Load, Shape},
    phase::Phase,
    report::Report,
    side::{Side, TargetArgs},
};

/// Most sockets of one load process.
pub(crate) const PROCESS_MAX: u32 = 19_000;

/// Descriptors of a load process that are not subscribers.
const DESCRIPTORS_ASIDE: u64 = 200;

/// How often, and where to.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The run")]
pub(crate) struct OutputArgs {
    /// Repeat, floor and target in turn, and take the middle of each figure
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Leave the floor out: figures without ratios, in half the time
    #[arg(long)]
    pub(crate) no_floor: bool,
    /// Print one line of JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw the run into this file (.svg or .html)
    #[arg(long, value_name = "FILE")]
    pub(crate) picture: Option<PathBuf>,
    /// Most subscribers of one load process; more get processes of their own
    #[arg(long, value_name = "N", default_value_t = PROCESS_MAX, hide = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) per_process: u32,
}

impl OutputArgs {
    /// For runs inside other runs.
    pub(crate) fn quiet(rounds: u32) -> Self {
        Self { rounds, no_floor: false, json: false, picture: None, per_process: PROCESS_MAX }
    }
}

/// Measures floor, target, floor, and so on; a floor stands before and after every target.
///
/// # Errors
/// When a phase cannot be measured.
pub(crate) fn interleave(
    output: &OutputArgs,
    report: &mut Report,
    mut phase: impl FnMut(bool, u32) -> anyhow::Result<Phase>,
) -> anyhow::Result<()> {
    child::raise_descriptors();
    let mut measure = |floor: bool, round: u32| {
        let side = if floor { "floor" } else { "target" };
        let measured =
            phase(floor, round).with_context(|| format!("the {side}, round {}", round + 1))?;
        report.phases.push(measured);
        anyhow::Ok(())
    };
    if !output.no_floor {
        measure(true, 0)?;
    }
    for round in 0..output.rounds {
        measure(false, round)?;
        if !output.no_floor {
            measure(true, round + 1)?;
        }
    }
    Ok(())
}

/// Starts one side.
///
/// # Errors
/// When it does not start.
pub(crate) fn side(
    floor: bool,
    args: &TargetArgs,
    transport: Transport,
    bytes: usize,
) -> anyhow::Result<Side> {
    if floor { Side::floor(args, transport, bytes) } else { Side::target(args, transport) }
}

/// A load for one side. Each phase has sequences of its own, so that old messages show.
///
/// # Errors
/// When the kernel has nothing left.
pub(crate) fn load(
    side: &Side,
    topics: u32,
    bytes: usize,
    number: u32,
    per_process: u32,
) -> anyhow::Result<Load> {
    Load::new(Shape {
        door: side.door.clone(),
        feature: side.feature.clone(),
        topics,
        bytes,
        base: u64::from(number + 1) << 40,
        first: 0,
        per_process,
    })
}

/// Are so many subscribers on so many topics possible, with so many in one process?
///
/// # Errors
/// When not.
pub(crate) fn check(subscribers: u32, topics: u32, per_process: u32) -> anyhow::Result<()> {
    let share = match subscribers % per_process {
        0 => per_process.min(subscribers),
        rest => rest,
    };
    if topics == 0 || topics > share {
        bail!("every topic has a subscriber in every load process: --topics is 1 to {share} here");
    }
    let (descriptors, here) = (child::raise_descriptors(), subscribers.min(per_process));
    if u64::from(here) + DESCRIPTORS_ASIDE > descriptors {
        bail!(
            "{here} subscribers need as many descriptors, and this process may have {descriptors}: raise \
             the hard limit (ulimit -Hn), or share the load out with --per-process"
        );
    }
    Ok(())
}

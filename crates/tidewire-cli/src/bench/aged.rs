//! `tidewire bench aged`: does a server with a long history notice it?
//!
//! Two servers of the bench's own, one with an empty log and one with an aged one, both alive for
//! the whole run. The empty one is the floor here: each measurement goes empty, aged, empty, and so
//! on, so what the machine does in between touches both. It must not know how to measure: that is
//! `fanout`, `publish` and `storm`, each on topics of its own.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;

use super::{
    clock::SECOND,
    door::Transport,
    fanout::{self, FanoutArgs, seconds},
    fill::{self, ENTRIES, LogArgs, TOPICS},
    phase::Phase,
    publish::{self, PublishArgs, Via},
    report::{Report, Row, number, plain, row},
    run::{self, OutputArgs},
    side::{Side, TargetArgs},
    storm::{self, StormArgs},
};

const EXAMPLES: &str = "Examples:
  tidewire bench aged
  tidewire bench aged --entries 1000000 --topics 1000 --rounds 5";

/// Size of a payload.
const BYTES: u32 = 200;
/// Publishers, one message a request.
const PUBLISHERS: u32 = 64;
/// Messages that those who come back have missed.
const BEHIND: u64 = 100;
/// Both servers do nothing for so long before a phase begins.
const QUIET: Duration = Duration::from_millis(300);
/// Longest wait for that.
const QUIET_MAX: u64 = 10 * SECOND;

/// An empty log against an aged one, in turn: fan-out, publishing, and coming back.
///
/// Fills the log of one of two servers, lets it rest, and measures both. The ratio is that of the
/// aged one to the empty one. Needs some 4 GB in the folder for temporary files, and minutes.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AgedArgs {
    /// Entries of 200 bytes in the aged log
    #[arg(long, value_name = "N", default_value_t = ENTRIES, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub(crate) entries: u64,
    /// Topics of those entries
    #[arg(long, value_name = "T", default_value_t = TOPICS, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub(crate) topics: u64,
    /// Subscribers of the fan-out; three tenths as many come back
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    pub(crate) subscribers: u32,
    /// How long each fan-out and each publishing lasts
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Repeat, empty and aged in turn, and take the middle of each figure
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Where the servers keep their logs [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Print one line of JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

const ROWS: [Row; 9] = [
    row("fan_cpu_us", "fan-out: CPU per delivery (µs)", 2),
    row("fan_per_s", "fan-out: deliveries per second", 0),
    row("publish_per_s", "publish: acknowledged per second", 0),
    row("publish_p50_ms", "publish: answered after, p50 (ms)", 2),
    row("publish_cpu_us", "publish: CPU per entry (µs)", 1),
    row("resume_s", "resume: all caught up after (s)", 2),
    row("resume_cpu_us", "resume: CPU per subscriber (µs)", 1),
    plain("before_mib", "resident memory before the load (MiB)", 1),
    plain("after_mib", "resident memory after it (MiB)", 1),
];

/// What is measured, in this order; and under which names its figures are kept.
const KINDS: [(Kind, &[(&str, &str)]); 3] = [
    (
        Kind::Fanout,
        &[
            ("cpu_us", "fan_cpu_us"),
            ("deliveries_per_s", "fan_per_s"),
            ("deliveries", "deliveries"),
        ],
    ),
    (
        Kind::Publish,
        &[
            ("entries_per_s", "publish_per_s"),
            ("p50_ms", "publish_p50_ms"),
            ("cpu_us", "publish_cpu_us"),
            ("checked", "checked"),
        ],
    ),
    (Kind::Resume, &[("caught_up_s", "resume_s"), ("cpu_us", "resume_cpu_us")]),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Fanout,
    Publish,
    Resume,
}

/// Runs the command.
///
/// # Errors
/// When a server cannot be filled or loaded.
pub(crate) fn run(args: &AgedArgs) -> anyhow::Result<ExitCode> {
    let report = measure(args)?;
    report.print(args.json);
    Ok(report.exit())
}

/// Measures, and prints nothing.
///
/// # Errors
/// When a server cannot be filled or loaded.
pub(crate) fn measure(args: &AgedArgs) -> anyhow::Result<Report> {
    let target = TargetArgs { data: args.data.clone(), ..TargetArgs::own() };
    let log = LogArgs { log_entries: Some(args.entries), log_topics: Some(args.topics) };
    log.check(&target)?;
    run::check(args.subscribers, 1, run::PROCESS_MAX)?;
    let mut report =
        Report::new("aged", setup(args, &log), &[&ROWS[..], &fill::ROWS[..3]].concat());
    report.columns = ["empty", "aged"];
    let (mut empty, mut before) = (Side::target(&target, Transport::Sse)?, Phase::new("floor", 0));
    let (mut aged, mut filled) = (Side::target(&target, Transport::Sse)?, Phase::new("target", 0));
    log.age(&aged, &mut filled)?;
    memory(&empty, "before_mib", &mut before);
    memory(&aged, "before_mib", &mut filled);
    report.phases.extend([before, filled]);
    let mut count = 0;
    for (kind, names) in KINDS {
        run::interleave(&OutputArgs::quiet(args.rounds), &mut report, |floor, round| {
            for side in [&empty, &aged] {
                fill::rest(&side.probe, QUIET, QUIET_MAX);
            }
            count += 1;
            let side = if floor { &mut empty } else { &mut aged };
            side.feature = format!("{}/{count}", target.feature());
            let mut phase = Phase::new(if floor { "floor" } else { "target" }, round);
            one(args, kind, side, count, &mut phase)?;
            keep(names, &mut phase);
            Ok(phase)
        })?;
    }
    for (side, name) in [(&empty, "floor"), (&aged, "target")] {
        let mut after = Phase::new(name, 0);
        fill::rest(&side.probe, QUIET, QUIET_MAX);
        memory(side, "after_mib", &mut after);
        report.phases.push(after);
    }
    report.notes.push(
        "Ratio: aged by empty. Spread: how far the empty server's figures lie apart.".to_owned(),
    );
    Ok(report)
}

fn setup(args: &AgedArgs, log: &LogArgs) -> String {
    format!(
        "{} subscribers, {PUBLISHERS} publishers, {} come back {BEHIND} behind{}; {} s, {} round(s)",
        number(f64::from(args.subscribers), 0),
        number(f64::from(returning(args)), 0),
        log.words(),
        args.seconds,
        args.rounds
    )
}

fn memory(side: &Side, key: &'static str, phase: &mut Phase) {
    phase.set(key, side.probe.memory().resident as f64 / f64::from(1 << 20));
}

/// Only the figures with a name here, and under it.
fn keep(names: &[(&str, &'static str)], phase: &mut Phase) {
    let all = std::mem::take(&mut phase.figures);
    for (from, to) in names {
        if let Some(value) = all.get(from) {
            phase.set(to, *value);
        }
    }
}

fn returning(args: &AgedArgs) -> u32 {
    (args.subscribers * 3 / 10).max(1)
}

fn one(
    args: &AgedArgs,
    kind: Kind,
    side: &Side,
    number: u32,
    phase: &mut Phase,
) -> anyhow::Result<()> {
    let (target, output) = (TargetArgs::own(), OutputArgs::quiet(1));
    let log = LogArgs::default();
    match kind {
        Kind::Fanout => {
            let fan = FanoutArgs {
                subscribers: args.subscribers,
                bytes: BYTES,
                topics: 1,
                in_flight: 1,
                rate: None,
                seconds: args.seconds,
                transport: Transport::Sse,
                target,
                log,
                output,
            };
            fanout::on(&fan, side, number, phase)
        }
        Kind::Publish => {
            let write = PublishArgs {
                publishers: PUBLISHERS,
                batch: None,
                bytes: BYTES,
                seconds: args.seconds,
                via: Via::Http,
                target,
                log,
                output,
            };
            publish::on(&write, side, number, phase)
        }
        Kind::Resume => {
            let storm = StormArgs {
                subscribers: returning(args),
                behind: BEHIND,
                bytes: BYTES,
                transport: Transport::Sse,
                target,
                log,
                output,
            };
            storm::on(&storm, side, false, number, phase)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_kept_under_names_of_their_own() {
        let mut phase = Phase::new("floor", 0);
        phase.set("cpu_us", 3.0);
        phase.set("p999_ms", 4.0);
        keep(KINDS[2].1, &mut phase);
        assert_eq!(phase.figures, [("resume_cpu_us", 3.0)].into());
    }
}

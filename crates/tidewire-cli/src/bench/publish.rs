//! `tidewire bench publish`: how many publishes are acknowledged in a second, and how soon.

use std::{process::ExitCode, sync::atomic::AtomicBool};

use anyhow::bail;
use clap::{Args, ValueEnum};

use super::{
    clock::{self, SECOND},
    disk,
    door::{Template, Transport},
    fanout::seconds,
    fill::{self, LogArgs},
    load::{BATCH_MAX, Way},
    phase::Phase,
    picture,
    probe::Machine,
    report::{Report, Row, plain, row},
    run::{self, OutputArgs},
    side::{Side, TargetArgs},
    writers::{self, Plan, Written},
};

const EXAMPLES: &str = "Examples:
  tidewire bench publish
  tidewire bench publish --publishers 64 --via ws
  tidewire bench publish --publishers 4 --batch 1000";

/// How long the disk is measured, before and after.
const DISK_SECONDS: f64 = 1.0;
/// Longest wait for what is read back.
const PATIENCE: u64 = 10 * SECOND;

/// Publishers in a closed loop: acknowledged publishes a second, against what the disk can do.
///
/// Afterwards everything that was acknowledged is read back from the log and checked.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PublishArgs {
    /// Connections that publish
    #[arg(long, value_name = "P", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) publishers: u32,
    /// Messages in a request, by POST /v1/publish
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(1..=BATCH_MAX as i64))]
    pub(crate) batch: Option<u32>,
    /// Size of a payload, in bytes; 52 at least
    #[arg(long, value_name = "B", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) bytes: u32,
    /// How long to publish
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// How publishes travel
    #[arg(long, value_enum, default_value = "http", conflicts_with = "batch")]
    pub(crate) via: Via,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// The door of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// A POST for each
    Http,
    /// A command on a WebSocket
    Ws,
}

const ROWS: [Row; 9] = [
    row("entries_per_s", "acknowledged entries per second", 0),
    plain("requests_per_s", "acknowledged requests per second", 0),
    plain("commits_per_s", "4 KiB write + fdatasync per second", 0),
    plain("p50_ms", "answered after, p50 (ms)", 2),
    row("p99_ms", "answered after, p99 (ms; disk: one commit)", 2),
    plain("p999_ms", "answered after, p99.9 (ms)", 2),
    plain("max_ms", "answered after, max (ms)", 2),
    plain("cpu_us", "CPU per entry (µs)", 1),
    plain("checked", "entries read back and checked", 0),
];

/// Runs the command.
///
/// # Errors
/// When a side cannot be loaded.
pub(crate) fn run(args: &PublishArgs) -> anyhow::Result<ExitCode> {
    let report = measure(args)?;
    report.print(args.output.json);
    picture::draw(&report, args.output.picture.as_deref())?;
    Ok(report.exit())
}

/// Measures, and prints nothing.
///
/// # Errors
/// When a side cannot be loaded.
pub(crate) fn measure(args: &PublishArgs) -> anyhow::Result<Report> {
    if args.target.subscribe.is_some() && (args.batch.is_some() || args.via == Via::Ws) {
        bail!("another server takes one POST for each message: leave --batch and --via out");
    }
    args.log.check(&args.target)?;
    let what = args.batch.map_or_else(String::new, |batch| format!(", {batch} a request"));
    let setup = format!(
        "{} publishers{what}, {} bytes, {} s{}{}",
        args.publishers,
        args.bytes,
        args.seconds,
        if args.via == Via::Ws { ", by WebSocket" } else { "" },
        args.log.words()
    );
    let mut report = Report::new("publish", setup, &[&ROWS[..], &fill::ROWS].concat());
    report.columns = ["disk", "target"];
    run::interleave(&args.output, &mut report, |floor, round| {
        if floor {
            return disk_phase(args, round);
        }
        let side = Side::target(&args.target, args.target.transport(Transport::Sse))?;
        let mut phase = Phase::new(side.name, round);
        args.log.age(&side, &mut phase)?;
        on(args, &side, round, &mut phase)?;
        Ok(phase)
    })?;
    report.notes.push(match args.batch {
        None => {
            "disk: commits per second × publishers, as if every commit took one of each".to_owned()
        }
        Some(_) => "disk: the same bytes written in one go, fdatasync after every 4 MiB".to_owned(),
    });
    Ok(report)
}

fn disk_phase(args: &PublishArgs, round: u32) -> anyhow::Result<Phase> {
    let mut phase = Phase::new("floor", round);
    let folder = args.target.data.clone().unwrap_or_else(std::env::temp_dir);
    let commits = disk::commits_per_second(&folder, DISK_SECONDS)?;
    phase.set("commits_per_s", commits);
    phase.set("p99_ms", 1_000.0 / commits);
    if args.batch.is_some() {
        let bytes = disk::bytes_per_second(&folder, DISK_SECONDS)?;
        phase.set("entries_per_s", bytes / f64::from(args.bytes));
    } else {
        phase.set("entries_per_s", commits * f64::from(args.publishers));
    }
    Ok(phase)
}

/// Measures one server; each `number` has sequences of its own.
///
/// # Errors
/// When it cannot be loaded.
pub(crate) fn on(
    args: &PublishArgs,
    side: &Side,
    number: u32,
    phase: &mut Phase,
) -> anyhow::Result<()> {
    let plan = Plan {
        way: way(args, side)?,
        feature: side.feature.clone(),
        writers: args.publishers,
        batch: args.batch.unwrap_or(1),
        bytes: args.bytes as usize,
        base: u64::from(number + 1) << 40,
        interval_ns: 0,
    };
    let (machine, cpu, began) = (Machine::now(&side.probe), side.probe.cpu(), clock::now_ns());
    let end = began + (args.seconds * SECOND as f64) as u64;
    let written = writers::write(&plan, end, &AtomicBool::new(false))?;
    let used = side.probe.cpu().since(&cpu) as f64;
    phase.others = Machine::now(&side.probe).others_since(&machine, clock::now_ns() - began);
    let entries = written.acknowledged.iter().sum::<u64>() as f64;
    phase.set("entries_per_s", entries / clock::seconds(written.wall_ns));
    phase.set("requests_per_s", entries / f64::from(plan.batch) / clock::seconds(written.wall_ns));
    if !side.probe.is_empty() {
        phase.set("cpu_us", used / 1e3 / entries);
    }
    phase.latency.merge(&written.latency);
    phase.set_latencies();
    if side.url.is_some() && !args.target.ephemeral {
        read_back(side, &plan, &written, phase)?;
    }
    Ok(())
}

fn way(args: &PublishArgs, side: &Side) -> anyhow::Result<Way> {
    let Some(base) = &side.url else { return Ok(side.way.clone()) };
    if args.batch.is_some() {
        return Ok(side.way.clone());
    }
    let headers = Vec::new();
    Ok(match args.via {
        Via::Http => Way::Each {
            url: Template::parse(&format!("{base}/v1/topics/{{topic}}"), false)?,
            headers,
        },
        Via::Ws => {
            let base = base.replacen("http", "ws", 1);
            Way::Socket { url: Template::parse(&format!("{base}/v1/socket"), false)? }
        }
    })
}

/// Reads every topic from the start: what was acknowledged must be there, once, in order.
fn read_back(side: &Side, plan: &Plan, written: &Written, phase: &mut Phase) -> anyhow::Result<()> {
    let mut load = super::load::Load::new(super::load::Shape {
        door: side.door.clone(),
        feature: side.feature.clone(),
        topics: plan.writers,
        bytes: plan.bytes,
        base: plan.base,
        first: 0,
        per_process: u32::MAX,
    })?;
    let most = written.acknowledged.iter().max().copied().unwrap_or(0);
    load.tally.set_published(most * u64::from(plan.writers));
    load.connect(plan.writers, "start")?;
    let all = written.acknowledged.iter().sum::<u64>();
    let mut progress = (0, clock::now_ns());
    while load.tally.delivered() < all {
        load.turn(None)?;
        if load.tally.delivered() > progress.0 {
            progress = (load.tally.delivered(), clock::now_ns());
        } else if clock::now_ns() - progress.1 > PATIENCE {
            break;
        }
    }
    phase.faults = load.faults_of(&written.acknowledged);
    phase.gone = load.gone();
    phase.trouble = load.reasons();
    phase.set("checked", load.tally.delivered() as f64);
    Ok(())
}

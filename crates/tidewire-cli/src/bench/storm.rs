//! `tidewire bench storm`: everybody comes back at once, each with a cursor, and catches up.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::Args;

use super::{
    clock,
    door::Transport,
    drive,
    fill::{self, LogArgs},
    load::Load,
    phase::Phase,
    picture,
    probe::{Machine, Memory},
    report::{Report, Row, number, plain, row},
    run::{self, OutputArgs},
    side::{Side, TargetArgs},
};

const EXAMPLES: &str = "Examples:
  tidewire bench storm
  tidewire bench storm --subscribers 15000 --behind 100 --transport ws";

/// Rest after everybody has gone.
const REST: Duration = Duration::from_secs(1);

/// Everybody reconnects at once with a cursor and catches up: time, memory, and nothing lost.
///
/// Another server can take part if its publish answers with JSON that has an `id`, and its
/// --subscribe template has {after}.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StormArgs {
    /// Connections that come back
    #[arg(long, value_name = "N", default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) subscribers: u32,
    /// Messages that each has missed
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) behind: u64,
    /// Size of a payload, in bytes; 52 at least
    #[arg(long, value_name = "B", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) bytes: u32,
    /// How deliveries travel
    #[arg(long, value_enum, default_value = "sse")]
    pub(crate) transport: Transport,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

const ROWS: [Row; 7] = [
    row("caught_up_s", "all caught up after (s)", 2),
    row("connects_per_s", "connects per second", 0),
    row("cpu_us", "CPU per subscriber (µs)", 1),
    plain("deliveries", "deliveries", 0),
    plain("bytes_per_delivery", "bytes per delivery on the wire", 1),
    plain("peak_growth_mib", "peak memory above N idle (MiB)", 1),
    plain("idle_mib", "memory with N idle, before (MiB)", 1),
];

/// Runs the command.
///
/// # Errors
/// When a side cannot be loaded.
pub(crate) fn run(args: &StormArgs) -> anyhow::Result<ExitCode> {
    let report = measure(args)?;
    report.print(args.output.json);
    picture::draw(&report, args.output.picture.as_deref())?;
    Ok(report.exit())
}

/// Measures, and prints nothing.
///
/// # Errors
/// When a side cannot be loaded.
pub(crate) fn measure(args: &StormArgs) -> anyhow::Result<Report> {
    run::check(args.subscribers, 1, args.output.per_process)?;
    args.log.check(&args.target)?;
    if args.target.ephemeral {
        bail!("a storm needs messages that are kept: leave --ephemeral out");
    }
    let transport = args.target.transport(args.transport);
    let (subscribers, name) = (number(f64::from(args.subscribers), 0), transport.name());
    let setup = format!(
        "{subscribers} subscribers ({name}), {} messages of {} bytes behind{}",
        args.behind,
        args.bytes,
        args.log.words()
    );
    let mut report = Report::new("storm", setup, &[&ROWS[..], &fill::ROWS].concat());
    let mut count = 0;
    run::interleave(&args.output, &mut report, |floor, round| {
        count += 1;
        let side = run::side(floor, &args.target, transport, args.bytes as usize)?;
        let mut phase = Phase::new(side.name, round);
        args.log.age(&side, &mut phase)?;
        on(args, &side, floor, count, &mut phase)?;
        Ok(phase)
    })?;
    Ok(report)
}

/// Measures one side.
///
/// # Errors
/// When it cannot be loaded.
pub(crate) fn on(
    args: &StormArgs,
    side: &Side,
    floor: bool,
    number: u32,
    phase: &mut Phase,
) -> anyhow::Result<()> {
    let mut load = run::load(side, 1, args.bytes as usize, number, args.output.per_process)?;
    load.add_publisher(side.way.clone())?;
    if floor {
        load.publish_greeting(args.behind)?;
        clock::rest(Duration::from_millis(100));
        come_back(args, side, &mut load, "now", None, phase)?;
    } else {
        let cursor = first_visit(args, &mut load)?;
        let idle = side.probe.memory();
        load.drop_subscribers(u64::from(number) << 48);
        drive::publish_all(&mut load, args.behind)?;
        clock::rest(REST);
        come_back(args, side, &mut load, &cursor, Some(idle), phase)?;
    }
    drive::close(&mut load, phase)
}

/// Everybody connects, hears one message, and so knows where it is.
fn first_visit(args: &StormArgs, load: &mut Load) -> anyhow::Result<String> {
    load.connect(args.subscribers, "now")?;
    drive::publish_all(load, 1)?;
    let answer: serde_json::Value = serde_json::from_slice(load.last_answer()).unwrap_or_default();
    let id = answer["id"].as_str().or_else(|| answer["results"][0]["id"].as_str());
    let cursor = id.context(
        "a publish was answered without an `id`, so there is no cursor to come back with",
    )?;
    let cursor = cursor.to_owned();
    drive::drain(load)?;
    if load.done() < load.tally.published() {
        bail!("not everybody has heard the first message");
    }
    Ok(cursor)
}

/// Everybody connects at once with a cursor, until nobody misses anything.
fn come_back(
    args: &StormArgs,
    side: &Side,
    load: &mut Load,
    cursor: &str,
    idle: Option<Memory>,
    phase: &mut Phase,
) -> anyhow::Result<()> {
    side.probe.forget_peak();
    load.restart_clocks()?;
    let (machine, cpu, began) = (Machine::now(&side.probe), side.probe.cpu(), clock::now_ns());
    phase.set("connects_per_s", load.connect(args.subscribers, cursor)?);
    drive::drain(load)?;
    let wall = clock::now_ns() - began;
    phase.others = Machine::now(&side.probe).others_since(&machine, wall);
    phase.set("caught_up_s", clock::seconds(wall));
    phase.set("deliveries", load.delivered() as f64);
    phase.set("bytes_per_delivery", load.bytes as f64 / load.tally.delivered() as f64);
    if !side.probe.is_empty() {
        let used = side.probe.cpu().since(&cpu) as f64;
        phase.set("cpu_us", used / 1e3 / f64::from(args.subscribers));
        if let Some(idle) = idle {
            let mib = |bytes: f64| bytes / f64::from(1 << 20);
            phase.set("idle_mib", mib(idle.resident as f64));
            phase.set("peak_growth_mib", mib(side.probe.peak() as f64 - idle.resident as f64));
        }
    }
    phase.timeline = load.timeline.counts().to_vec();
    Ok(())
}

//! `tidewire bench fanout`: one message to many, and what a delivery costs.

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::{
    clock,
    door::Transport,
    drive::{self, Pacing},
    fill::{self, LogArgs},
    phase::Phase,
    picture,
    report::{Report, Row, number, plain, row},
    run::{self, OutputArgs},
    side::{Side, TargetArgs},
};

const EXAMPLES: &str = "Examples:
  tidewire bench fanout
  tidewire bench fanout --subscribers 10000 --transport ws --rounds 3
  tidewire bench fanout --in-flight 32 --seconds 5         the server has a backlog
  tidewire bench fanout --rate 20 --picture fanout.svg     latency at 20 events a second
  tidewire bench fanout --subscribe 'ws://127.0.0.1:3000/?t={topic}' \\
      --publish 'http://127.0.0.1:3000/publish/{topic}' --pid 4711   any other server";

/// One message to many: processor time per delivery, deliveries a second, latency.
///
/// In a closed loop (--in-flight) the next message goes out when all have got the last. At a --rate
/// the run measures latency from when a message was due.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FanoutArgs {
    /// Connections that listen
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) subscribers: u32,
    /// Size of a payload, in bytes; 52 at least
    #[arg(long, value_name = "B", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) bytes: u32,
    /// Topics over which messages and subscribers are spread
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) topics: u32,
    /// Messages that may be on their way at a time
    #[arg(long, value_name = "W", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000), conflicts_with = "rate")]
    pub(crate) in_flight: u64,
    /// Messages a second, whether or not the last has arrived
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// How long to publish, in each phase
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    pub(crate) seconds: f64,
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

/// A number of seconds above 0.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    positive(text, 3_600.0)
}

fn rate(text: &str) -> Result<f64, String> {
    positive(text, 100_000.0)
}

fn positive(text: &str, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= most => Ok(value),
        _ => Err(format!("a number above 0, at most {most}")),
    }
}

const ROWS: [Row; 13] = [
    row("cpu_us", "CPU per delivery (µs)", 2),
    row("deliveries_per_s", "deliveries per second", 0),
    plain("events_per_s", "messages per second", 1),
    row("p50_ms", "latency p50 (ms)", 2),
    row("p99_ms", "latency p99 (ms)", 2),
    row("p999_ms", "latency p99.9 (ms)", 2),
    row("max_ms", "latency max (ms)", 2),
    plain("kept_up", "kept up with the rate (1 = yes)", 0),
    plain("backlog_messages", "messages not with everybody at the end", 0),
    plain("cpu_share", "processors that the server used", 2),
    row("connects_per_s", "connects per second", 0),
    plain("bytes_per_delivery", "bytes per delivery on the wire", 1),
    plain("deliveries", "deliveries measured", 0),
];

/// Runs the command.
///
/// # Errors
/// When a side cannot be loaded.
pub(crate) fn run(args: &FanoutArgs) -> anyhow::Result<ExitCode> {
    let report = measure(args)?;
    report.print(args.output.json);
    picture::draw(&report, args.output.picture.as_deref())?;
    Ok(report.exit())
}

/// Measures, and prints nothing.
///
/// # Errors
/// When a side cannot be loaded.
pub(crate) fn measure(args: &FanoutArgs) -> anyhow::Result<Report> {
    run::check(args.subscribers, args.topics, args.output.per_process)?;
    args.log.check(&args.target)?;
    let transport = args.target.transport(args.transport);
    let rows = [&ROWS[..], &fill::ROWS].concat();
    let mut report = Report::new("fanout", setup(args, transport), &rows);
    let mut count = 0;
    run::interleave(&args.output, &mut report, |floor, round| {
        count += 1;
        let side = run::side(floor, &args.target, transport, args.bytes as usize)?;
        let mut phase = Phase::new(side.name, round);
        args.log.age(&side, &mut phase)?;
        on(args, &side, count, &mut phase)?;
        Ok(phase)
    })?;
    Ok(report)
}

fn setup(args: &FanoutArgs, transport: Transport) -> String {
    let pace = match args.rate {
        Some(rate) => format!("{rate} messages a second"),
        None => format!("{} in flight", args.in_flight),
    };
    let (subscribers, name) = (number(f64::from(args.subscribers), 0), transport.name());
    format!(
        "{subscribers} subscribers ({name}), {} topic(s), {} bytes, {pace}, {} s, {} round(s){}",
        args.topics,
        args.bytes,
        args.seconds,
        args.output.rounds,
        args.log.words()
    )
}

/// Measures one side.
///
/// # Errors
/// When it cannot be loaded.
pub(crate) fn on(
    args: &FanoutArgs,
    side: &Side,
    number: u32,
    phase: &mut Phase,
) -> anyhow::Result<()> {
    let pacing = args.rate.map_or(Pacing::InFlight(args.in_flight), Pacing::Rate);
    let bytes = args.bytes as usize;
    let mut load = run::load(side, args.topics, bytes, number, args.output.per_process)?;
    phase.set("connects_per_s", load.connect(args.subscribers, "now")?);
    load.add_publisher(side.way.clone())?;
    clock::rest(Duration::from_millis(100));
    drive::warm_up(&mut load)?;
    drive::measure(&mut load, &side.probe, pacing, args.seconds, phase)?;
    drive::close(&mut load, phase)
}

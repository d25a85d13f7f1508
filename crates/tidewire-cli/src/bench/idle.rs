//! `tidewire bench idle`: what a subscriber costs who hears nothing.

use std::{process::ExitCode, time::Duration};

use clap::Args;

use super::{
    clock,
    door::Transport,
    drive,
    fanout::seconds,
    phase::Phase,
    picture,
    probe::{Machine, Probe},
    report::{Report, Row, number, plain, row},
    run::{self, OutputArgs},
    side::TargetArgs,
    tls,
};

const EXAMPLES: &str = "Examples:
  tidewire bench idle
  tidewire bench idle --subscribers 15000 --transport ws
  tidewire bench idle --subscribers 2000 --tls";

/// Rest before memory is read.
const REST: Duration = Duration::from_secs(2);
/// Size of the payload that the floor would send; none is sent.
const BYTES: usize = 200;

/// Subscribers who hear nothing: connects a second, resident bytes of each, processor time at rest.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct IdleArgs {
    /// Connections that listen
    #[arg(long, value_name = "N", default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) subscribers: u32,
    /// How long to watch them, after two seconds of rest
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// How deliveries would travel
    #[arg(long, value_enum, default_value = "sse")]
    pub(crate) transport: Transport,
    /// Over TLS, with a certificate made for the run; no floor. Some thousands at most
    #[arg(long, conflicts_with = "subscribe")]
    pub(crate) tls: bool,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

const ROWS: [Row; 6] = [
    row("connects_per_s", "connects per second", 0),
    row("connect_cpu_us", "CPU per connect (µs)", 1),
    plain("resident_bytes", "resident bytes per subscriber", 0),
    plain("proportional_bytes", "proportional bytes per subscriber (PSS)", 0),
    plain("idle_resident_mib", "server without subscribers (MiB)", 2),
    plain("idle_cpu_percent", "processor at rest (% of one)", 2),
];

/// Runs the command.
///
/// # Errors
/// When a side cannot be loaded.
pub(crate) fn run(args: &IdleArgs) -> anyhow::Result<ExitCode> {
    let report = measure(args)?;
    report.print(args.output.json);
    picture::draw(&report, args.output.picture.as_deref())?;
    Ok(report.exit())
}

/// Measures, and prints nothing.
///
/// # Errors
/// When a side cannot be loaded.
pub(crate) fn measure(args: &IdleArgs) -> anyhow::Result<Report> {
    run::check(args.subscribers, 1, args.output.per_process)?;
    let transport = args.target.transport(args.transport);
    let subscribers = number(f64::from(args.subscribers), 0);
    let tls = if args.tls { ", over TLS" } else { "" };
    let setup =
        format!("{subscribers} subscribers ({}{tls}), {} s", transport.name(), args.seconds);
    let mut report = Report::new("idle", setup, &ROWS);
    let output = OutputArgs { no_floor: args.output.no_floor || args.tls, ..args.output.clone() };
    let mut count = 0;
    run::interleave(&output, &mut report, |floor, round| {
        count += 1;
        if args.tls {
            secure(args, transport, round)
        } else {
            phase(args, transport, floor, round, count)
        }
    })?;
    Ok(report)
}

fn secure(args: &IdleArgs, transport: Transport, round: u32) -> anyhow::Result<Phase> {
    let (server, mut worker, certificate) = tls::start(args.target.data.clone())?;
    let mut phase = Phase::new("target", round);
    watch(args, &server.probe(), &mut phase, || {
        tls::connect(&mut worker, &server.url, &certificate, transport, args.subscribers)
    })?;
    Ok(phase)
}

fn phase(
    args: &IdleArgs,
    transport: Transport,
    floor: bool,
    round: u32,
    number: u32,
) -> anyhow::Result<Phase> {
    let side = run::side(floor, &args.target, transport, BYTES)?;
    let mut load = run::load(&side, 1, BYTES, number, args.output.per_process)?;
    let mut phase = Phase::new(side.name, round);
    watch(args, &side.probe, &mut phase, || load.connect(args.subscribers, "now"))?;
    load.turn(None)?;
    drive::close(&mut load, &mut phase)?;
    Ok(phase)
}

/// What a server costs before, while and after these subscribers connect.
fn watch(
    args: &IdleArgs,
    probe: &Probe,
    phase: &mut Phase,
    connect: impl FnOnce() -> anyhow::Result<f64>,
) -> anyhow::Result<()> {
    clock::rest(Duration::from_millis(300));
    let (empty, before, machine, began) =
        (probe.memory(), probe.cpu(), Machine::now(probe), clock::now_ns());
    phase.set("connects_per_s", connect()?);
    let connected = probe.cpu();
    clock::rest(REST);
    let (full, resting, rest_began) = (probe.memory(), probe.cpu(), clock::now_ns());
    clock::rest(Duration::from_secs_f64(args.seconds));
    if !probe.is_empty() {
        let each = f64::from(args.subscribers);
        let grown = |full: u64, empty: u64| (full as f64 - empty as f64) / each;
        let idle = probe.cpu().since(&resting) as f64;
        phase.set("connect_cpu_us", connected.since(&before) as f64 / 1e3 / each);
        phase.set("resident_bytes", grown(full.resident, empty.resident));
        if full.proportional > 0 && empty.proportional > 0 {
            phase.set("proportional_bytes", grown(full.proportional, empty.proportional));
        }
        phase.set("idle_resident_mib", empty.resident as f64 / f64::from(1 << 20));
        phase.set("idle_cpu_percent", idle * 100.0 / (clock::now_ns() - rest_began) as f64);
    }
    phase.others = Machine::now(probe).others_since(&machine, clock::now_ns() - began);
    Ok(())
}

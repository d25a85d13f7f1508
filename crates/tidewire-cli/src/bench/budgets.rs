//! `tidewire bench budgets`: the project's own limits, one line each.
//!
//! It must not measure anything itself. It is a report and never a test: a shared machine may miss
//! a budget for reasons of its own. Only a loss is an error.

use std::{io::IsTerminal, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::{
    aged::{self, AgedArgs},
    door::Transport,
    fanout::{self, FanoutArgs, seconds},
    fill::{ENTRIES, LogArgs},
    idle::{self, IdleArgs},
    publish::{self, PublishArgs, Via},
    report::{Report, number},
    run::OutputArgs,
    side::TargetArgs,
    storm::{self, StormArgs},
};

/// What Tidewire promises itself, measured now on this machine.
#[derive(Debug, Clone, Args)]
pub(crate) struct BudgetsArgs {
    /// Subscribers of a fan-out; idle ones and a storm take half as many again
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=12_000))]
    subscribers: u32,
    /// How long each phase lasts
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// Repeat each measurement, and take the middle
    #[arg(long, value_name = "R", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Only budgets whose name has this in it
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Also those of an aged log, at the end: some minutes, and 4 GB in the folder for temporary
    /// files. `--only aged` asks for them too
    #[arg(long)]
    aged: bool,
    /// Entries of the aged log
    #[arg(long, value_name = "N", default_value_t = ENTRIES, hide = true, value_parser = clap::value_parser!(u64).range(10..=1_000_000_000))]
    aged_entries: u64,
    /// Print one line of JSON for each budget
    #[arg(long)]
    json: bool,
}

/// Which way is good.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Most(f64),
    Least(f64),
}

/// One budget: a figure of a measurement, and its limit.
struct Budget {
    name: &'static str,
    key: &'static str,
    /// The ratio to the floor, or the figure itself.
    ratio: bool,
    limit: Limit,
    unit: &'static str,
}

const fn by_floor(name: &'static str, key: &'static str, limit: Limit) -> Budget {
    Budget { name, key, ratio: true, limit, unit: "× floor" }
}

const fn by_empty(name: &'static str, key: &'static str, limit: Limit) -> Budget {
    Budget { name, key, ratio: true, limit, unit: "× empty" }
}

const fn itself(name: &'static str, key: &'static str, limit: Limit, unit: &'static str) -> Budget {
    Budget { name, key, ratio: false, limit, unit }
}

type Measure = fn(&BudgetsArgs) -> anyhow::Result<Report>;

/// Every measurement, and the budgets that are read off it.
const LIST: [(Measure, &[Budget]); 10] = [
    (
        |args| fanout::measure(&fan(args, Transport::Sse, 1, None)),
        &[by_floor("CPU per delivery, SSE", "cpu_us", Limit::Most(1.15))],
    ),
    (
        |args| fanout::measure(&fan(args, Transport::Ws, 1, None)),
        &[by_floor("CPU per delivery, WebSocket", "cpu_us", Limit::Most(1.25))],
    ),
    (
        |args| fanout::measure(&fan(args, Transport::Sse, 64, None)),
        &[by_floor("deliveries per second with a backlog", "deliveries_per_s", Limit::Least(10.0))],
    ),
    (
        |args| fanout::measure(&fan(args, Transport::Sse, 1, Some(20.0))),
        &[
            itself("keeps up with 20 messages a second", "kept_up", Limit::Least(1.0), ""),
            itself("latency p50 at 20 messages a second", "p50_ms", Limit::Most(100.0), "ms"),
        ],
    ),
    (
        |args| fanout::measure(&fan(args, Transport::Sse, 1, Some(5.0))),
        &[by_floor("latency p99 at 5 messages a second", "p99_ms", Limit::Most(1.5))],
    ),
    (
        |args| idle::measure(&rest(args, Transport::Sse, false)),
        &[
            itself("resident per idle subscriber, SSE", "resident_bytes", Limit::Most(512.0), "B"),
            by_floor("connects per second", "connects_per_s", Limit::Least(0.7)),
        ],
    ),
    (
        |args| idle::measure(&rest(args, Transport::Ws, false)),
        &[itself(
            "resident per idle subscriber, WebSocket",
            "resident_bytes",
            Limit::Most(512.0),
            "B",
        )],
    ),
    (
        |args| idle::measure(&rest(args, Transport::Sse, true)),
        &[itself(
            "resident per idle subscriber, TLS",
            "resident_bytes",
            Limit::Most(12_288.0),
            "B",
        )],
    ),
    (
        |args| storm::measure(&come_back(args)),
        &[
            by_floor("storm: time until all caught up", "caught_up_s", Limit::Most(2.0)),
            itself("storm: memory growth", "peak_growth_mib", Limit::Most(64.0), "MiB"),
        ],
    ),
    (
        |args| publish::measure(&write(args, 64, None)),
        &[
            by_floor(
                "publishes by 64, of commits × publishers",
                "entries_per_s",
                Limit::Least(0.5),
            ),
            by_floor("publish answered after, p99, in commits", "p99_ms", Limit::Most(3.0)),
        ],
    ),
];

/// The batches stand apart: their floor is another.
const BATCH: (Measure, &[Budget]) = (
    |args| publish::measure(&write(args, 4, Some(1_000))),
    &[itself("entries per second in batches", "entries_per_s", Limit::Least(200_000.0), "/s")],
);

/// Takes long, so only for who asks. Empty and aged are each other's yardstick.
const AGED: (Measure, &[Budget]) = (
    |args| aged::measure(&age(args)),
    &[
        by_empty("aged log: CPU per delivery", "fan_cpu_us", Limit::Most(1.1)),
        by_empty("aged log: deliveries per second", "fan_per_s", Limit::Least(0.9)),
        by_empty("aged log: publishes by 64", "publish_per_s", Limit::Least(0.9)),
        by_empty("aged log: time until all caught up", "resume_s", Limit::Most(1.1)),
    ],
);
/// What asks for them in `--only`.
const AGED_WORD: &str = "aged";

fn age(args: &BudgetsArgs) -> AgedArgs {
    AgedArgs {
        entries: args.aged_entries,
        topics: args.aged_entries / 10,
        subscribers: args.subscribers,
        seconds: args.seconds,
        rounds: args.rounds.max(3),
        data: None,
        json: false,
    }
}

fn fan(args: &BudgetsArgs, transport: Transport, in_flight: u64, rate: Option<f64>) -> FanoutArgs {
    FanoutArgs {
        subscribers: args.subscribers,
        bytes: 200,
        topics: 1,
        in_flight,
        rate,
        seconds: args.seconds,
        transport,
        target: TargetArgs::own(),
        log: LogArgs::default(),
        output: OutputArgs::quiet(args.rounds),
    }
}

fn rest(args: &BudgetsArgs, transport: Transport, tls: bool) -> IdleArgs {
    let many = args.subscribers + args.subscribers / 2;
    IdleArgs {
        subscribers: if tls { args.subscribers.div_ceil(5) } else { many },
        seconds: 1.0,
        transport,
        tls,
        target: TargetArgs::own(),
        output: OutputArgs::quiet(args.rounds),
    }
}

fn come_back(args: &BudgetsArgs) -> StormArgs {
    StormArgs {
        subscribers: args.subscribers + args.subscribers / 2,
        behind: 100,
        bytes: 200,
        transport: Transport::Sse,
        target: TargetArgs::own(),
        log: LogArgs::default(),
        output: OutputArgs::quiet(args.rounds),
    }
}

fn write(args: &BudgetsArgs, publishers: u32, batch: Option<u32>) -> PublishArgs {
    PublishArgs {
        publishers,
        batch,
        bytes: 200,
        seconds: args.seconds,
        via: Via::Http,
        target: TargetArgs::own(),
        log: LogArgs::default(),
        output: OutputArgs::quiet(args.rounds),
    }
}

/// Runs the command.
///
/// # Errors
/// When a measurement cannot be made.
pub(crate) fn run(args: &BudgetsArgs) -> anyhow::Result<ExitCode> {
    let mut bad = false;
    let with_aged = args.aged || args.only.as_ref().is_some_and(|text| text.contains(AGED_WORD));
    let last = with_aged.then_some(&AGED);
    for (measure, budgets) in LIST.iter().chain([&BATCH]).chain(last) {
        let wanted =
            |budget: &&Budget| args.only.as_ref().is_none_or(|text| budget.name.contains(text));
        if budgets.iter().filter(wanted).count() == 0 {
            continue;
        }
        let report = match measure(args) {
            Ok(report) => report,
            Err(error) => {
                bad = true;
                eprintln!("{}", red(&format!("FAILED  {}: {error:#}", budgets[0].name)));
                continue;
            }
        };
        for failure in report.all_failures() {
            bad = true;
            eprintln!("{}", red(&format!("FAILED  {}: {failure}", budgets[0].name)));
        }
        for budget in budgets.iter().filter(wanted) {
            show(budget, &report, args.json);
        }
    }
    if !with_aged && args.only.is_none() && !args.json {
        println!("{:<42}{:>14}   takes minutes and 4 GB: --aged", "aged log", "left out");
    }
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn red(text: &str) -> String {
    if std::io::stderr().is_terminal() {
        format!("\x1b[1;31m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn show(budget: &Budget, report: &Report, json: bool) {
    let figure = report.figure(budget.key);
    let measured = if budget.ratio { figure.ratio } else { figure.target };
    let met = measured.map(|value| budget.met(value));
    let disturbed = report.phases.iter().any(super::phase::Phase::disturbed);
    let (sign, limit) = match budget.limit {
        Limit::Most(limit) => ("≤", limit),
        Limit::Least(limit) => ("≥", limit),
    };
    if json {
        let line = json!({"budget": budget.name, "measured": measured, "limit": limit, "sign": sign,
                          "unit": budget.unit, "met": met, "floor_spread": figure.spread,
                          "disturbed": disturbed});
        println!("{line}");
        return;
    }
    let digits = |value: f64| if value < 100.0 { 2 } else { 0 };
    let show = measured.map_or("not measured".to_owned(), |value| number(value, digits(value)));
    let verdict = match met {
        Some(true) => "met",
        Some(false) => "NOT MET",
        None => "unknown",
    };
    let note = if disturbed { "  (disturbed by others)" } else { "" };
    let limit = format!("{sign} {} {}", number(limit, digits(limit)), budget.unit);
    println!("{:<42}{show:>14}   {limit:<18}{verdict}{note}", budget.name);
}

impl Budget {
    fn met(&self, value: f64) -> bool {
        match self.limit {
            Limit::Most(limit) => value <= limit,
            Limit::Least(limit) => value >= limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_met_at_its_edge() {
        let most = by_floor("", "", Limit::Most(1.15));
        assert!(most.met(1.15) && !most.met(1.16));
        let least = itself("", "", Limit::Least(10.0), "");
        assert!(least.met(10.0) && !least.met(9.9));
    }
}

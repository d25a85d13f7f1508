//! Publishing to a load: as fast as it is delivered, or at a fixed rate.
//!
//! It must not know which side it drives. Invariant: a measured stretch begins and ends with nothing
//! on its way, so processor time and deliveries belong to the same messages. Latency counts from
//! when a message was due, not from when it could be sent: a server that stalls its publisher does
//! not look better for it.

use super::{
    clock::{self, SECOND},
    load::Load,
    phase::Phase,
    probe::{Machine, Probe},
};

/// Longest wait for a delivery that does not come.
const PATIENCE: u64 = 5 * SECOND;
/// Messages before anything is measured.
const WARM_UP: u64 = 3;

/// When the next message goes out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pacing {
    /// As soon as fewer than this many have not reached everybody.
    InFlight(u64),
    /// So many a second.
    Rate(f64),
}

/// Publishes a few messages and lets them arrive.
///
/// # Errors
/// When a publish fails.
pub(crate) fn warm_up(load: &mut Load) -> anyhow::Result<()> {
    for _ in 0..WARM_UP {
        publish_all(load, 1)?;
        drain(load)?;
    }
    Ok(())
}

/// Publishes this many messages as fast as the publishers take them, and waits for the answers.
///
/// # Errors
/// When a publish fails.
pub(crate) fn publish_all(load: &mut Load, count: u64) -> anyhow::Result<()> {
    let mut left = count;
    while left > 0 || load.publishing() {
        let now = clock::now_ns();
        left -= load.publish(left, |_| now)?;
        if left > 0 || load.publishing() {
            load.turn(None)?;
        }
    }
    Ok(())
}

/// Waits until everybody has everything, or nothing has come for a while.
///
/// # Errors
/// When a publisher's connection is gone.
pub(crate) fn drain(load: &mut Load) -> anyhow::Result<()> {
    let mut progress = (load.delivered(), clock::now_ns());
    while load.done() < load.tally.published() || load.publishing() {
        load.turn(None)?;
        let now = clock::now_ns();
        if load.delivered() > progress.0 {
            progress = (load.delivered(), now);
        } else if now - progress.1 > PATIENCE {
            break;
        }
    }
    Ok(())
}

/// Publishes for this long, waits for the rest, and notes what it cost and how fast it was.
///
/// # Errors
/// When a publish fails.
pub(crate) fn measure(
    load: &mut Load,
    probe: &Probe,
    pacing: Pacing,
    seconds: f64,
    phase: &mut Phase,
) -> anyhow::Result<()> {
    load.restart_clocks()?;
    let (delivered, published) = (load.delivered(), load.tally.published());
    let delivered_here = load.tally.delivered();
    let (machine, cpu, began) = (Machine::now(probe), probe.cpu(), clock::now_ns());
    let length = SECOND as f64 * seconds;
    let end = began + length as u64;
    match pacing {
        Pacing::InFlight(most) => in_flight(load, most.max(1), end)?,
        Pacing::Rate(rate) => paced(load, rate, began, end)?,
    }
    let backlog = load.tally.published() - load.done();
    let in_window = load.delivered() - delivered;
    let window = clock::now_ns() - began;
    drain(load)?;
    let wall = clock::now_ns() - began;
    let used = probe.cpu().since(&cpu);
    phase.others = phase.others.max(Machine::now(probe).others_since(&machine, wall));
    let deliveries = (load.delivered() - delivered) as f64;
    let messages = (load.tally.published() - published) as f64;
    if !probe.is_empty() {
        phase.set("cpu_us", used as f64 / 1e3 / deliveries);
        phase.set("cpu_share", used as f64 / wall as f64);
    }
    phase.set(
        "bytes_per_delivery",
        load.bytes as f64 / (load.tally.delivered() - delivered_here) as f64,
    );
    phase.set("deliveries", deliveries);
    phase.set("messages", messages);
    if let Pacing::Rate(rate) = pacing {
        phase.set("deliveries_per_s", in_window as f64 / clock::seconds(window));
        phase.set("events_per_s", messages / clock::seconds(window));
        phase.set("backlog_messages", backlog as f64);
        let kept =
            backlog as f64 <= (rate / 2.0).max(2.0) && messages >= rate * seconds * 0.95 - 1.0;
        phase.set("kept_up", f64::from(u8::from(kept)));
    } else {
        phase.set("deliveries_per_s", deliveries / clock::seconds(wall));
        phase.set("events_per_s", messages / clock::seconds(wall));
    }
    phase.latency.merge(&load.latency);
    phase.timeline = load.timeline.counts().to_vec();
    Ok(())
}

/// The books of a phase, closed.
///
/// # Errors
/// When a load process is gone.
pub(crate) fn close(load: &mut Load, phase: &mut Phase) -> anyhow::Result<()> {
    phase.faults = load.faults();
    phase.gone = load.gone();
    phase.trouble = load.reasons();
    load.close_others(phase)?;
    phase.set_latencies();
    Ok(())
}

fn in_flight(load: &mut Load, most: u64, end: u64) -> anyhow::Result<()> {
    let mut progress = (load.done(), clock::now_ns());
    loop {
        let now = clock::now_ns();
        if now >= end {
            return Ok(());
        }
        let room = most.saturating_sub(load.tally.published() - load.done());
        load.publish(room, |_| now)?;
        load.turn(Some(end))?;
        if load.done() > progress.0 {
            progress = (load.done(), now);
        } else if now.saturating_sub(progress.1) > PATIENCE {
            return Ok(());
        }
    }
}

fn paced(load: &mut Load, rate: f64, began: u64, end: u64) -> anyhow::Result<()> {
    let first = load.tally.published();
    let due = |index: u64| began + ((index - first) as f64 * 1e9 / rate) as u64;
    loop {
        let now = clock::now_ns();
        if now >= end {
            return Ok(());
        }
        let mut most = 0;
        while due(load.tally.published() + most) <= now {
            most += 1;
        }
        load.publish(most, due)?;
        load.turn(Some(due(load.tally.published()).min(end)))?;
    }
}

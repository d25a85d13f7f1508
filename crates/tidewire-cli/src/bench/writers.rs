//! Connections that publish in a closed loop: the next request when the last was answered.
//!
//! It must not know subscribers. Invariant: each writer has its own topic and its own sequences, so
//! what was acknowledged can be checked afterwards, entry by entry.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, Event},
    },
};

use super::{
    clock::{self, SECOND},
    histogram::Histogram,
    load::{Publisher, Way, watch},
    marker::{self, Marker},
};

/// Longest wait for an answer.
const PATIENCE: u64 = 10 * SECOND;
/// Longest wait for an event.
const TURN: i64 = 50_000_000;

/// What the writers do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    pub(crate) feature: String,
    pub(crate) writers: u32,
    /// Messages in a request.
    pub(crate) batch: u32,
    pub(crate) bytes: usize,
    /// Sequence of the first message.
    pub(crate) base: u64,
    /// Least time from one request of a writer to its next.
    pub(crate) interval_ns: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Messages of each writer that were acknowledged.
    pub(crate) acknowledged: Vec<u64>,
    /// From request to answer.
    pub(crate) latency: Histogram,
    pub(crate) wall_ns: u64,
}

#[derive(Debug)]
struct Writer {
    publisher: Publisher,
    sent: u64,
    acknowledged: u64,
    began_ns: u64,
    waiting: bool,
}

/// Writes until `end_ns`, or until told to stop, and waits for the last answers.
///
/// # Errors
/// When a connection is gone, a publish is refused, or an answer does not come.
pub(crate) fn write(plan: &Plan, end_ns: u64, stop: &AtomicBool) -> anyhow::Result<Written> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut writers = Vec::new();
    for number in 0..plan.writers {
        let mut publisher = Publisher::open(plan.way.clone(), &plan.feature)?;
        watch(&epoll, publisher.socket(), u64::from(number))?;
        publisher.flush()?;
        writers.push(Writer { publisher, sent: 0, acknowledged: 0, began_ns: 0, waiting: false });
    }
    let mut written = Written::default();
    let mut events: Vec<Event> = Vec::with_capacity(writers.len().max(1));
    let began = clock::now_ns();
    loop {
        let now = clock::now_ns();
        let over = now >= end_ns || stop.load(Ordering::Relaxed);
        if !over {
            begin(plan, &mut writers, now)?;
        } else if writers.iter().all(|writer| !writer.waiting)
            || now > end_ns.saturating_add(PATIENCE)
        {
            break;
        }
        events.clear();
        let timeout = Timespec { tv_sec: 0, tv_nsec: TURN.min(pause(plan, &writers, now)) };
        match epoll::wait(&epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        let now = clock::now_ns();
        for event in &events {
            let writer = &mut writers[event.data.u64() as usize];
            writer.publisher.flush()?;
            if writer.publisher.read()? && writer.waiting {
                writer.waiting = false;
                writer.acknowledged = writer.sent;
                written.latency.record(now - writer.began_ns);
            }
        }
    }
    written.wall_ns = clock::now_ns() - began;
    written.acknowledged = writers.iter().map(|writer| writer.acknowledged).collect();
    Ok(written)
}

/// How long nobody has anything to send.
fn pause(plan: &Plan, writers: &[Writer], now: u64) -> i64 {
    let idle = writers.iter().filter(|writer| !writer.waiting);
    let next = idle.map(|writer| (writer.began_ns + plan.interval_ns).saturating_sub(now)).min();
    next.filter(|_| plan.interval_ns > 0).map_or(TURN, |next| i64::try_from(next).unwrap_or(TURN))
}

fn begin(plan: &Plan, writers: &mut [Writer], now: u64) -> anyhow::Result<()> {
    for (topic, writer) in (0_u64..).zip(writers) {
        let due = now >= writer.began_ns + plan.interval_ns;
        if writer.waiting || !due || !writer.publisher.takes() {
            continue;
        }
        for _ in 0..plan.batch {
            let sequence = plan.base + writer.sent * u64::from(plan.writers) + topic;
            let marker = Marker { sequence, sent_ns: now };
            writer.publisher.add(topic, &marker::payload(plan.bytes, marker));
            writer.sent += 1;
        }
        writer.began_ns = now;
        writer.waiting = true;
        writer.publisher.send()?;
    }
    Ok(())
}

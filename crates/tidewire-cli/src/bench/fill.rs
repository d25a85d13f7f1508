//! An aged log: entries of other topics, which a server of the bench's own holds before it is
//! measured.
//!
//! It must not know what is measured afterwards. Invariant: the old entries lie under topics of
//! their own, in the kept feature, so that none of them is delivered to anybody.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, Event},
    },
};

use super::{
    clock::{self, SECOND},
    load::{Publisher, watch},
    marker::{self, Marker},
    phase::Phase,
    probe::Probe,
    report::{Row, number, plain},
    side::{Side, TargetArgs},
};

/// Entries and topics that `bench aged` has when nobody says anything else.
pub(crate) const ENTRIES: u64 = 10_000_000;
pub(crate) const TOPICS: u64 = 1_000_000;
/// Size of an old entry's data.
const BYTES: usize = 200;
/// Bytes on disk that an old entry may take for a while: in the file that is written and, sorted,
/// in the next, with head and topic.
const BYTES_ON_DISK: u64 = 400;
/// What else must be free.
const BYTES_ASIDE: u64 = 512 << 20;
/// Topics of the old entries: `bench/old/0` and so on.
const PREFIX: &str = "bench/old";
const CONNECTIONS: usize = 4;
/// Entries for one topic, if nothing is said.
const PER_TOPIC: u64 = 10;
/// Longest wait for an answer: a disk may have much to write.
const PATIENCE: u64 = 60 * SECOND;
/// Rest after the last entry, before anybody looks whether the server is at rest.
const REST: Duration = Duration::from_secs(2);
/// For so long it must do nothing.
const QUIET: Duration = Duration::from_secs(1);
/// Longest wait for that.
const REST_MAX: u64 = 60 * SECOND;
/// This part of a processor is nothing.
const NOTHING: f64 = 0.02;

/// What the log of the bench's own server holds before it is measured.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Its own server")]
pub(crate) struct LogArgs {
    /// Age the log: publish so many entries of 200 bytes to other topics before anything is measured
    #[arg(long, value_name = "N", conflicts_with = "subscribe", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub(crate) log_entries: Option<u64>,
    /// Topics of those entries [default: one for every ten]
    #[arg(long, value_name = "T", requires = "log_entries", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub(crate) log_topics: Option<u64>,
}

/// What is said about the old entries.
pub(crate) const ROWS: [Row; 4] = [
    plain("filled_per_s", "old entries: written per second", 0),
    plain("rested_s", "at rest after (s)", 1),
    plain("still_busy", "still busy then (1 = yes)", 0),
    plain("filled_mib", "memory with them, at rest (MiB)", 1),
];

impl LogArgs {
    /// What the report's first line says of it.
    pub(crate) fn words(&self) -> String {
        let Some(entries) = self.log_entries else { return String::new() };
        let count = |value: u64| number(value as f64, 0);
        format!(", a log of {} entries over {} topics", count(entries), count(self.of(entries)))
    }

    fn of(&self, entries: u64) -> u64 {
        self.log_topics.unwrap_or(entries / PER_TOPIC).clamp(1, entries)
    }

    /// Is there room for it?
    ///
    /// # Errors
    /// When the folder of the log has less free space than the entries need.
    pub(crate) fn check(&self, target: &TargetArgs) -> anyhow::Result<()> {
        let Some(entries) = self.log_entries else { return Ok(()) };
        let folder: PathBuf = target.data.clone().unwrap_or_else(std::env::temp_dir);
        let found = rustix::fs::statvfs(&folder)
            .with_context(|| format!("how much is free in {}?", folder.display()))?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        match shortage(entries, free) {
            Some(words) => bail!("{} {words}", folder.display()),
            None => Ok(()),
        }
    }

    /// Ages the log of a server of the bench's own, waits until it is at rest, and notes what that
    /// came to. Other sides stay as they are.
    ///
    /// # Errors
    /// When a publish fails.
    pub(crate) fn age(&self, side: &Side, phase: &mut Phase) -> anyhow::Result<()> {
        let (Some(entries), Some(_)) = (self.log_entries, &side.url) else { return Ok(()) };
        let began = clock::now_ns();
        fill(side, entries, self.of(entries)).context("while the log was filled")?;
        let written = clock::now_ns();
        phase.set("filled_per_s", entries as f64 / clock::seconds(written - began));
        clock::rest(REST);
        let quiet = rest(&side.probe, QUIET, REST_MAX);
        phase.set("rested_s", clock::seconds(clock::now_ns() - written));
        phase.set("still_busy", f64::from(u8::from(!quiet)));
        phase.set("filled_mib", side.probe.memory().resident as f64 / f64::from(1 << 20));
        Ok(())
    }
}

/// What is missing, in words.
fn shortage(entries: u64, free: u64) -> Option<String> {
    let need = entries.saturating_mul(BYTES_ON_DISK).saturating_add(BYTES_ASIDE);
    let gib = |bytes: u64| number(bytes as f64 / f64::from(1 << 30), 1);
    (free < need).then(|| {
        format!(
            "has {} GiB free, and {} entries need {} GiB for a while: take fewer, or another folder \
             with --data",
            gib(free),
            number(entries as f64, 0),
            gib(need)
        )
    })
}

/// Waits until the server does nothing for so long. False when it went on for `most` nanoseconds.
pub(crate) fn rest(probe: &Probe, quiet: Duration, most: u64) -> bool {
    let began = clock::now_ns();
    loop {
        let (cpu, from) = (probe.cpu(), clock::now_ns());
        clock::rest(quiet);
        let now = clock::now_ns();
        if probe.cpu().since(&cpu) as f64 <= NOTHING * (now - from) as f64 {
            return true;
        }
        if now - began > most {
            return false;
        }
    }
}

/// Publishes in batches over a few connections, as fast as they are answered. A topic's entries lie
/// far apart.
fn fill(side: &Side, entries: u64, topics: u64) -> anyhow::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut publishers = Vec::new();
    for number in 0..CONNECTIONS {
        let publisher = Publisher::open(side.way.clone(), PREFIX)?;
        watch(&epoll, publisher.socket(), number as u64)?;
        publishers.push(publisher);
    }
    let (mut next, mut answered) = (0, clock::now_ns());
    let mut events: Vec<Event> = Vec::with_capacity(CONNECTIONS);
    while next < entries || publishers.iter().any(Publisher::busy) {
        for publisher in &mut publishers {
            next = batch(publisher, next, entries, topics)?;
        }
        events.clear();
        let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
        match epoll::wait(&epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        for event in &events {
            let publisher = &mut publishers[event.data.u64() as usize];
            publisher.flush()?;
            if publisher.read()? {
                answered = clock::now_ns();
            }
        }
        if clock::now_ns() - answered > PATIENCE {
            bail!("the server has not answered a publish for a minute");
        }
    }
    Ok(())
}

/// As many of the entries from `next` on as one request takes, if none is under way. Returns what
/// comes after them.
fn batch(
    publisher: &mut Publisher,
    mut next: u64,
    entries: u64,
    topics: u64,
) -> anyhow::Result<u64> {
    if publisher.busy() {
        return Ok(next);
    }
    let sent_ns = clock::now_ns();
    while next < entries && publisher.takes() {
        publisher.add(next % topics, &marker::payload(BYTES, Marker { sequence: next, sent_ns }));
        next += 1;
    }
    publisher.send()?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_refused_in_words() {
        assert_eq!(shortage(10_000_000, 5 << 30), None);
        let words = shortage(10_000_000, 3 << 30).unwrap();
        assert!(words.starts_with("has 3.0 GiB free, and 10,000,000 entries need 4.2 GiB"));
        assert!(shortage(u64::MAX, u64::MAX - 1).is_some());
    }

    #[test]
    fn ten_entries_a_topic() {
        let args = |entries, topics| LogArgs { log_entries: Some(entries), log_topics: topics };
        assert_eq!(args(1_000, None).of(1_000), 100);
        assert_eq!(args(5, None).of(5), 1);
        assert_eq!(args(5, Some(50)).of(5), 5, "a topic without an entry is none");
        assert_eq!(args(2_000, Some(7)).words(), ", a log of 2,000 entries over 7 topics");
        assert_eq!(LogArgs::default().words(), "");
    }
}

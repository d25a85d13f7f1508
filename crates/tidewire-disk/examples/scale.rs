//! Does a log get slower as it grows? Writes one, kills the writer, opens it again and reads.
//!
//! ```text
//! cargo run --release -p tidewire-disk --example scale -- 10000000 100000 [DIR]
//! ```
//! The arguments are entries (of 200 bytes) and topics. It compares with a log of 100,000 entries
//! over as many topics as leave each topic equally many.

use std::{env, error::Error, fs, path::Path, process::Command, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tidewire_core::{
    Feature, Features, Filter, History, Log, PageLimit,
    clock::{Random, SeededRandom, SystemClock, SystemRandom},
};
use tidewire_disk::{DiskLog, DiskSettings};
use tidewire_proto::{Data, EventType, Message, Sequence, Topic};
use tokio::time::Instant;

const ENTRY_BYTES: usize = 200;
const POOL_BYTES: usize = 64 * 1024;
const BATCH: u64 = 1_000;
const AT_ONCE: usize = 8;
const READS: usize = 3_000;
const SMALL: u64 = 100_000;

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, other: u64| {
        arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(other)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.first().map(String::as_str) {
        Some("write") => runtime.block_on(write(arguments[3].as_ref(), number(1, 0), number(2, 1))),
        Some("read") => runtime.block_on(read(arguments[2].as_ref(), number(1, 1))),
        _ => compare(number(0, 10_000_000), number(1, 100_000), arguments.get(2)),
    }
}

fn compare(entries: u64, topics: u64, dir: Option<&String>) -> Outcome {
    let dir = dir.map_or_else(|| env::temp_dir().join("tidewire-scale"), Into::into);
    let _ = fs::remove_dir_all(&dir);
    for (name, entries, topics) in
        [("small", SMALL, (topics * SMALL / entries).max(1)), ("large", entries, topics)]
    {
        println!("{name}: {entries} entries over {topics} topics");
        let dir = dir.join(name);
        let run = |what: &str, numbers: &[u64]| -> Outcome {
            let mut command = Command::new(env::current_exe()?);
            command.arg(what).args(numbers.iter().map(u64::to_string)).arg(&dir);
            // Ends by itself, without closing the log: that is the kill.
            if command.status()?.success() { Ok(()) } else { Err("a step failed".into()) }
        };
        run("write", &[entries, topics])?;
        run("read", &[topics])?;
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}

fn settings() -> DiskSettings {
    let history = History::Kept { age: None, bytes: None };
    let features = Features::default().with_undeclared(Feature { history, ..Feature::default() });
    DiskSettings { features: Arc::new(features), ..DiskSettings::default() }
}

fn open(dir: &Path) -> Result<DiskLog, Box<dyn Error>> {
    Ok(DiskLog::open(dir, settings(), Arc::new(SystemClock), &SystemRandom)?)
}

fn topic(number: u64) -> Topic {
    Topic::parse(&format!("chat/room-{number}")).unwrap_or_else(|error| panic!("{error}"))
}

async fn write(dir: &Path, entries: u64, topics: u64) -> Outcome {
    let log = open(dir)?;
    let random = SeededRandom::new(7);
    let names: Vec<Topic> = (0..topics).map(topic).collect();
    // Making the entries should cost little beside storing them.
    let pool: String =
        (0..POOL_BYTES / 16).map(|_| format!("{:016x}", random.next_u64())).collect();
    let pool = pool.into_bytes();
    let begun = Instant::now();
    let batches = stream::iter(0..entries / BATCH).map(|_| {
        let batch: Vec<Message> = (0..BATCH).map(|_| message(&names, &pool, &random)).collect();
        let sent = Instant::now();
        let log = &log;
        async move { log.append(batch).await.map(|_| sent.elapsed()) }
    });
    let taken: Vec<_> = batches.buffered(AT_ONCE).collect().await;
    let taken = taken.into_iter().collect::<Result<Vec<_>, _>>()?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("  written: {:.0} entries/s, in batches of {BATCH}", entries as f64 / seconds);
    println!("  answered after: {}", percentiles(taken));
    println!("  resident: {}", resident());
    // No close, no drop: what is not synced yet stays so.
    std::process::exit(0)
}

fn message(names: &[Topic], pool: &[u8], random: &SeededRandom) -> Message {
    let at = (random.next_u64() % (POOL_BYTES - ENTRY_BYTES) as u64) as usize;
    let data = Bytes::copy_from_slice(&pool[at..at + ENTRY_BYTES]);
    let data = Data::text(data).unwrap_or_else(|error| panic!("{error}"));
    Message { topic: names[at].clone(), event: EventType::message(), data, key: None }
}

async fn read(dir: &Path, topics: u64) -> Outcome {
    let begun = Instant::now();
    let log = open(dir)?;
    println!("  opened after the kill: {:.2?}", begun.elapsed());
    let (stats, newest) = (log.stats(), log.bounds().newest.0);
    println!("  resident: {}; {stats:?}", resident());
    pages(&log, topics, "tail, the last hundredth", newest / 100 * 99).await?;
    pages(&log, topics, "tail, the last tenth    ", newest / 10 * 9).await?;
    pages(&log, topics, "deep, from the start    ", 0).await?;
    let begun = Instant::now();
    let mut followed = 0;
    let mut stream = log.follow(Sequence::ZERO);
    while followed < newest.min(1_000_000) {
        followed += stream.next().await.map_or(0, |batch| batch.entries.len() as u64);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("  followed from the start: {:.0} entries/s", followed as f64 / seconds);
    println!("  resident after reading: {}", resident());
    std::process::exit(0)
}

/// Pages of 100 after a place, in topics drawn at random.
async fn pages(log: &DiskLog, topics: u64, what: &str, after: u64) -> Outcome {
    let random = SeededRandom::new(9);
    let (mut taken, mut entries) = (Vec::with_capacity(READS), 0);
    for _ in 0..READS {
        let filter = Filter::from(topic(random.next_u64() % topics));
        let begun = Instant::now();
        let limit = PageLimit { entries: 100, bytes: usize::MAX };
        entries += log.read(&filter, Sequence(after), limit).await?.entries.len();
        taken.push(begun.elapsed());
    }
    println!("  {what}: {} for {} entries a page", percentiles(taken), entries / READS);
    Ok(())
}

fn percentiles(mut taken: Vec<Duration>) -> String {
    taken.sort_unstable();
    let at = |share: usize| taken.get(taken.len() * share / 100).copied().unwrap_or_default();
    format!("p50 {:.0?}, p99 {:.0?}", at(50), at(99))
}

/// Resident memory, where the system tells it.
fn resident() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    match (of("VmRSS"), of("VmHWM")) {
        (Some(now), Some(most)) => format!("{} MiB (at most {})", now / 1024, most / 1024),
        _ => "unknown".to_owned(),
    }
}

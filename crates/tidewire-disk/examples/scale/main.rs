//! Does a log get slower as it grows? Writes one, kills the writer, opens it again, and measures it
//! beside an empty one in the same run, in turns.
//!
//! ```text
//! cargo run --release -p tidewire-disk --example scale -- 10000000 1000000 [DIR]
//! ```
//! The arguments are entries (of 200 bytes) and topics. The last line of each figure is the ratio of
//! the medians; 1.1 means ten per cent slower or less.

mod measure;

use std::{env, error::Error, fs, path::Path, process::Command, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tidewire_core::{
    Feature, Features, History, Log,
    clock::{Random, SeededRandom, SystemClock, SystemRandom},
};
use tidewire_disk::{DiskLog, DiskSettings};
use tidewire_proto::{Data, EventType, Message, Topic};
use tokio::time::Instant;

const ENTRY_BYTES: usize = 200;
const POOL_BYTES: usize = 64 * 1024;
const BATCH: u64 = 1_000;
const AT_ONCE: usize = 8;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, other: u64| {
        arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(other)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let dir = |at: usize| Path::new(arguments.get(at).map_or("", |text| text));
    match arguments.first().map(String::as_str) {
        Some("write") => runtime.block_on(write(dir(3), number(1, 0), number(2, 1))),
        Some("measure") => runtime.block_on(measure::measure(dir(2), number(1, 1))),
        _ => grow(number(0, 10_000_000), number(1, 1_000_000), arguments.get(2)),
    }
}

/// Each step is a process of its own, which ends without closing the log: that is the kill.
fn grow(entries: u64, topics: u64, dir: Option<&String>) -> Outcome {
    let dir = dir.map_or_else(|| env::temp_dir().join("tidewire-scale"), Into::into);
    let _ = fs::remove_dir_all(&dir);
    println!("{entries} entries of {ENTRY_BYTES} bytes over {topics} topics");
    for (what, numbers) in [("write", &[entries, topics][..]), ("measure", &[topics])] {
        let mut command = Command::new(env::current_exe()?);
        command.arg(what).args(numbers.iter().map(u64::to_string)).arg(&dir);
        if !command.status()?.success() {
            return Err("a step failed".into());
        }
    }
    fs::remove_dir_all(&dir)?;
    Ok(())
}

fn open(dir: &Path) -> Outcome<DiskLog> {
    let history = History::Kept { age: None, bytes: None };
    let features = Features::default().with_undeclared(Feature { history, ..Feature::default() });
    let settings = DiskSettings { features: features.into(), ..DiskSettings::default() };
    Ok(DiskLog::open(dir, settings, Arc::new(SystemClock), &SystemRandom)?)
}

fn topic(number: u64) -> Topic {
    Topic::parse(&format!("chat/room-{number}")).unwrap_or_else(|error| panic!("{error}"))
}

/// Makes messages, at a cost that is small beside that of storing them.
struct Maker {
    random: SeededRandom,
    pool: Vec<u8>,
    names: Vec<Topic>,
}

impl Maker {
    fn new(topics: u64) -> Self {
        let random = SeededRandom::new(7);
        let pool = (0..POOL_BYTES / 16).map(|_| format!("{:016x}", random.next_u64()));
        let pool = pool.collect::<String>().into_bytes();
        Self { random, pool, names: (0..topics).map(topic).collect() }
    }

    fn any_topic(&self) -> &Topic {
        &self.names[(self.random.next_u64() % self.names.len() as u64) as usize]
    }

    fn message(&self, topic: &Topic) -> Message {
        let at = (self.random.next_u64() % (POOL_BYTES - ENTRY_BYTES) as u64) as usize;
        let data = Bytes::copy_from_slice(&self.pool[at..at + ENTRY_BYTES]);
        let data = Data::text(data).unwrap_or_else(|error| panic!("{error}"));
        Message { topic: topic.clone(), event: EventType::message(), data, key: None, item: None }
    }

    fn batch(&self, count: u64) -> Vec<Message> {
        (0..count).map(|_| self.message(self.any_topic())).collect()
    }
}

/// Appends batches, a few at a time; how long each took to be answered.
async fn append_batches(log: &DiskLog, maker: &Maker, batches: u64) -> Outcome<Vec<Duration>> {
    let appends = stream::iter(0..batches).map(|_| {
        let batch = maker.batch(BATCH);
        let sent = Instant::now();
        async move { log.append(batch).await.map(|_| sent.elapsed()) }
    });
    let taken: Vec<_> = appends.buffered(AT_ONCE).collect().await;
    Ok(taken.into_iter().collect::<Result<_, _>>()?)
}

async fn write(dir: &Path, entries: u64, topics: u64) -> Outcome {
    let log = open(&dir.join("grown"))?;
    let maker = Maker::new(topics);
    println!("resident before, names of topics included: {}", resident());
    let begun = Instant::now();
    let taken = append_batches(&log, &maker, entries / BATCH).await?;
    let seconds = begun.elapsed().as_secs_f64();
    println!("written in batches of {BATCH}: {:.0} entries/s", entries as f64 / seconds);
    println!("  answered after: {}", percentiles(taken));
    println!("  resident: {}", resident());
    // No close, no drop: what is not synced yet stays so.
    std::process::exit(0)
}

fn percentiles(mut taken: Vec<Duration>) -> String {
    taken.sort_unstable();
    let at = |share: usize| taken.get(taken.len() * share / 100).copied().unwrap_or_default();
    format!("p50 {:.1?}, p99 {:.1?}", at(50), at(99))
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

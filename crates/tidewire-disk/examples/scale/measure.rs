//! The figures: each is taken of the empty log and of the grown one in turns, several times.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, future::join_all};
use tidewire_core::{Filter, Log, PageLimit};
use tidewire_disk::DiskLog;
use tidewire_proto::{Sequence, Topic};
use tokio::time::Instant;

use crate::{BATCH, Maker, Outcome, append_batches, open, percentiles, resident, topic};

const ROUNDS: usize = 9;
const PUBLISHERS: usize = 64;
const READERS: usize = 15_000;
const READS: u64 = 2_000;
/// Topics that readers come back to, each with so many newer entries.
const READ_TOPICS: u64 = 100;
const BEHIND: usize = 100;

/// One log, with what was measured of it.
struct Measured {
    log: Arc<DiskLog>,
    figures: Vec<(&'static str, Vec<f64>)>,
}

impl Measured {
    fn new(log: DiskLog) -> Self {
        Self { log: Arc::new(log), figures: Vec::new() }
    }

    fn note(&mut self, name: &'static str, value: f64) {
        match self.figures.iter_mut().find(|(have, _)| *have == name) {
            Some((_, values)) => values.push(value),
            None => self.figures.push((name, vec![value])),
        }
    }
}

pub(crate) async fn measure(dir: &Path, topics: u64) -> Outcome {
    let begun = Instant::now();
    let grown = open(&dir.join("grown"))?;
    println!("opened after the kill: {:.2?}", begun.elapsed());
    println!("  resident: {}; {:?}", resident(), grown.stats());
    old_places(&grown, topics).await?;
    println!("  resident after reading: {}", resident());
    let maker = Arc::new(Maker::new(topics));
    let mut both = [Measured::new(open(&dir.join("empty"))?), Measured::new(grown)];
    let mut fsyncs = Vec::new();
    for at in 0..ROUNDS {
        fsyncs.push(fsync_rate(dir)?);
        // Neither is always the one that comes after the other.
        for which in [at % 2, 1 - at % 2] {
            round(&mut both[which], &maker).await?;
        }
    }
    println!("fsyncs/s of the disk, 16 KiB each: {:.0}", median(&mut fsyncs));
    let [empty, grown] = both;
    println!("{:<48}{:>12}{:>12}{:>8}", "", "empty", "grown", "ratio");
    for ((name, mut one), (_, mut other)) in empty.figures.into_iter().zip(grown.figures) {
        let (one, other) = (median(&mut one), median(&mut other));
        println!("{name:<48}{one:>12.1}{other:>12.1}{:>8.2}", other / one);
    }
    println!("  resident with both logs: {}", resident());
    std::process::exit(0)
}

async fn round(measured: &mut Measured, maker: &Arc<Maker>) -> Outcome {
    let log = Arc::clone(&measured.log);
    let begun = Instant::now();
    let from = log.bounds().newest;
    append_batches(&log, maker, 100).await?;
    let seconds = begun.elapsed().as_secs_f64();
    measured.note("batches: entries/s", 100.0 * BATCH as f64 / seconds);
    let begun = Instant::now();
    let (mut followed, mut stream) = (from, log.follow(from));
    while followed < log.bounds().newest {
        let batch = stream.next().await;
        followed = batch.and_then(|b| b.entries.last().map(|e| e.sequence)).unwrap_or(followed);
    }
    measured.note("following them: entries/s", 1e5 / begun.elapsed().as_secs_f64());
    let (rate, taken) = singles(&log, maker, PUBLISHERS, Duration::from_millis(500)).await;
    measured.note("64 publishers: publishes/s", rate);
    measured.note("64 publishers: p99, us", micros(&taken, 99));
    let (_, taken) = singles(&log, maker, 1, Duration::from_millis(200)).await;
    measured.note("1 publisher: p50, us", micros(&taken, 50));
    measured.note("1 publisher: p99, us", micros(&taken, 99));
    live(measured, maker).await?;
    resumes(measured, maker).await?;
    Ok(())
}

/// How long a live follower waits for an entry, from before it was sent.
async fn live(measured: &mut Measured, maker: &Maker) -> Outcome {
    let log = Arc::clone(&measured.log);
    let mut stream = log.follow(log.bounds().newest);
    let mut taken = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        let (batch, receipts) = tokio::join!(stream.next(), log.append(maker.batch(1)));
        receipts?;
        taken.push(begun.elapsed());
        assert!(batch.is_some(), "the log is open");
    }
    taken.sort_unstable();
    measured.note("followed live: p50, us", micros(&taken, 50));
    Ok(())
}

/// Publishers that send their next message when the one before is answered.
async fn singles(
    log: &Arc<DiskLog>,
    maker: &Arc<Maker>,
    publishers: usize,
    during: Duration,
) -> (f64, Vec<Duration>) {
    let begun = Instant::now();
    let publisher = |_| {
        let (log, maker) = (Arc::clone(log), Arc::clone(maker));
        tokio::spawn(async move {
            let mut taken = Vec::new();
            while begun.elapsed() < during {
                let sent = Instant::now();
                if log.append(maker.batch(1)).await.is_ok() {
                    taken.push(sent.elapsed());
                }
            }
            taken
        })
    };
    let taken = join_all((0..publishers).map(publisher)).await;
    let mut taken: Vec<_> = taken.into_iter().flatten().flatten().collect();
    taken.sort_unstable();
    (taken.len() as f64 / begun.elapsed().as_secs_f64(), taken)
}

/// Readers that come back a hundred entries behind, alone and as a storm.
async fn resumes(measured: &mut Measured, maker: &Arc<Maker>) -> Outcome {
    let log = Arc::clone(&measured.log);
    let read_topics: Vec<Topic> = (0..READ_TOPICS).map(topic).collect();
    let mut behind = Sequence::ZERO;
    for index in 0..=BEHIND {
        let batch = read_topics.iter().map(|topic| maker.message(topic)).collect();
        let receipts = log.append(batch).await?;
        if index == 0 {
            behind = receipts.last().map_or(behind, |receipt| receipt.sequence);
        }
    }
    let filters: Arc<[Filter]> = read_topics.into_iter().map(Filter::from).collect();
    for (name, entries) in
        [("a read of 100 in memory, us", 100), ("a check of continuity (limit 0), us", 0)]
    {
        let limit = PageLimit { entries, bytes: usize::MAX };
        let begun = Instant::now();
        for at in 0..READS as usize {
            let page = log.read(&filters[at % filters.len()], behind, limit).await?;
            assert!(page.entries.len() == entries && page.lost.is_none());
        }
        measured.note(name, begun.elapsed().as_secs_f64() * 1e6 / READS as f64);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let publisher = {
        let (log, maker, is_over) = (Arc::clone(&log), Arc::clone(maker), Arc::clone(&is_over));
        // On a thread of its own: how long it stands in the runtime's queue is not the log's doing.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let publishing = async move {
            let mut taken = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let sent = Instant::now();
                let _ = log.append(maker.batch(1)).await;
                taken.push(sent.elapsed());
            }
            taken.sort_unstable();
            taken
        };
        std::thread::spawn(move || runtime.block_on(publishing))
    };
    let begun = Instant::now();
    let readers = (0..READERS).map(|at| {
        let (log, filters) = (Arc::clone(&log), Arc::clone(&filters));
        let limit = PageLimit { entries: 100, bytes: usize::MAX };
        tokio::spawn(async move {
            let page = log.read(&filters[at % filters.len()], behind, limit).await;
            page.map(|page| page.entries.len())
        })
    });
    for read in join_all(readers).await {
        assert!(read?? >= 100);
    }
    measured.note("a storm of 15,000 such reads, ms", begun.elapsed().as_secs_f64() * 1e3);
    is_over.store(true, Ordering::Relaxed);
    let taken = publisher.join().map_err(|_| "the publisher panicked")?;
    measured.note("1 publisher during the storm: p50, us", micros(&taken, 50));
    measured.note("1 publisher during the storm: max, us", micros(&taken, 100));
    Ok(())
}

/// Pages of 100 after places that are long on disk, in topics drawn at random.
async fn old_places(log: &DiskLog, topics: u64) -> Outcome {
    let newest = log.bounds().newest.0;
    let shares = [("the last hundredth", 99), ("the last tenth", 90), ("everything", 0)];
    for (what, share) in shares {
        let (mut taken, mut entries) = (Vec::new(), 0);
        for at in 0..READS {
            let filter = Filter::from(topic(at * 7_919 % topics));
            let begun = Instant::now();
            let limit = PageLimit { entries: 100, bytes: usize::MAX };
            let page = log.read(&filter, Sequence(newest / 100 * share), limit).await?;
            entries += page.entries.len();
            taken.push(begun.elapsed());
        }
        let each = entries as f64 / READS as f64;
        println!("  a page of {what}: {}, {each:.1} entries", percentiles(taken));
    }
    let begun = Instant::now();
    let (mut followed, mut stream) = (0, log.follow(Sequence::ZERO));
    while followed < newest.min(1_000_000) {
        followed += stream.next().await.map_or(0, |batch| batch.entries.len() as u64);
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("  followed from the start: {:.0} entries/s", followed as f64 / seconds);
    Ok(())
}

/// What the disk itself does: write, sync, again.
fn fsync_rate(dir: &Path) -> Outcome<f64> {
    let path = dir.join("fsync");
    let mut file = File::create(&path)?;
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_millis(300) {
        file.write_all(&[7; 16 * 1024])?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

fn micros(sorted: &[Duration], share: usize) -> f64 {
    let at = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |taken| taken.as_secs_f64() * 1e6)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

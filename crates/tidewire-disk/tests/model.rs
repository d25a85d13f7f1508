//! Any sequence of appends, reads, seals, retention, restarts and crashes agrees with a simple model.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{Crash, SimDisk, keyed, page, say, sequences, settings, texts, topic as topic_of};
use futures_util::StreamExt;
use proptest::prelude::*;
use tidewire_core::{
    AppendError, Filter, Log, PageLimit,
    clock::{Clock, ManualClock, SeededRandom},
};
use tidewire_disk::{DiskLog, DiskSettings};
use tidewire_proto::{Message, Sequence, Stored};

const TOPICS: [&str; 6] = ["chat/a", "chat/b", "quick/a", "short/a", "short/b", "brief/a"];

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(usize, Option<u8>, u8)>),
    Read(u64),
    Follow(u64),
    Seal,
    Later(u16),
    Full(usize),
    Close,
    Crash(Option<u64>),
}

fn step() -> impl Strategy<Value = Step> {
    let message = (0..TOPICS.len(), prop::option::weighted(0.3, 0..4_u8), any::<u8>());
    prop_oneof![
        8 => prop::collection::vec(message, 1..6).prop_map(Step::Append),
        3 => any::<u64>().prop_map(Step::Read),
        1 => any::<u64>().prop_map(Step::Follow),
        2 => Just(Step::Seal),
        1 => any::<u16>().prop_map(Step::Later),
        1 => (0..400_usize).prop_map(Step::Full),
        1 => Just(Step::Close),
        2 => prop::option::of(any::<u64>()).prop_map(Step::Crash),
    ]
}

/// What the log should say.
#[derive(Default)]
struct Model {
    /// By place, from 1: topic and body.
    entries: Vec<(usize, String)>,
    keys: BTreeMap<(usize, u8), (String, u64)>,
    /// Up to here the answer was `fsync`, or a synced one came after.
    safe: usize,
}

struct World {
    disk: SimDisk,
    log: Option<DiskLog>,
    clock: Arc<ManualClock>,
    random: SeededRandom,
    model: Model,
    passed: u64,
}

impl World {
    fn new() -> Self {
        let disk = SimDisk::default();
        let clock = common::clock();
        let random = SeededRandom::new(1);
        let mut world = Self { disk, log: None, clock, random, model: Model::default(), passed: 0 };
        world.open();
        world
    }

    fn open(&mut self) {
        let mut settings = DiskSettings { segment_bytes: 700, ..settings() };
        settings.limits.recent_bytes_max = 800;
        let disk = Arc::new(self.disk.clone());
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        self.log = Some(DiskLog::open_on(disk, "sim", settings, clock, &self.random).unwrap());
    }

    fn log(&self) -> &DiskLog {
        self.log.as_ref().unwrap()
    }

    async fn run(&mut self, step: &Step) {
        match step {
            Step::Append(batch) => self.append(batch).await,
            Step::Read(after) => self.read(after % (self.model.entries.len() as u64 + 2)).await,
            Step::Follow(after) => self.follow(after % (self.model.entries.len() as u64 + 1)).await,
            Step::Seal => {
                self.log().seal_now().await;
            }
            Step::Later(seconds) => {
                // Past the window and its margin a restart forgets keys, by right.
                let seconds = u64::from(seconds % 2_000).min(4_200 - self.passed);
                self.passed += seconds;
                self.clock.advance(Duration::from_secs(seconds));
                self.log().retain_now().await;
            }
            Step::Full(room) => {
                self.disk.fault(|faults| faults.room = Some(*room));
                self.append(&[(0, None, 1), (3, None, 2)]).await;
                self.disk.fault(|faults| faults.room = None);
            }
            Step::Close => {
                self.log().close().await;
                self.open();
                self.forget_keys_of_the_lost().await;
                self.model.safe = self.model.entries.len();
            }
            Step::Crash(seed) => self.crash(*seed).await,
        }
        let newest = self.log().bounds().newest.0;
        assert_eq!(newest, self.model.entries.len() as u64);
    }

    async fn append(&mut self, batch: &[(usize, Option<u8>, u8)]) {
        let body = |topic: usize, body: u8| format!("{body}{}", "x".repeat(topic * 30));
        let messages = batch.iter().map(|&(topic, key, said)| match key {
            Some(key) => keyed(TOPICS[topic], &key.to_string(), body(topic, said % 3)),
            None => say(TOPICS[topic], body(topic, said)),
        });
        let messages: Vec<Message> = messages.collect();
        let (mut entries, mut keys) = (self.model.entries.clone(), self.model.keys.clone());
        let mut expected = Ok(vec![]);
        for (index, (&(topic, key, _), message)) in batch.iter().zip(&messages).enumerate() {
            let said = message.data.as_text().unwrap().to_owned();
            let seen = key.and_then(|key| keys.get(&(topic, key)));
            let place = match seen {
                Some((before, _)) if *before != said => {
                    expected = Err(AppendError::Conflict { index });
                    break;
                }
                Some((_, place)) => (*place, true),
                None => {
                    entries.push((topic, said.clone()));
                    let place = entries.len() as u64;
                    keys.extend(key.map(|key| ((topic, key), (said, place))));
                    (place, false)
                }
            };
            expected = expected.map(|mut places: Vec<_>| {
                places.push(place);
                places
            });
        }
        let answer = self.log().append(messages).await;
        let stored = answer.as_ref().is_ok_and(|r| r.iter().any(|r| !r.duplicate));
        let synced = answer.as_ref().is_ok_and(|receipts| {
            receipts.iter().any(|r| !r.duplicate && r.stored == Stored::Fsync)
        });
        if answer == Err(AppendError::Full) && self.disk.faults().room.is_some() {
            return;
        }
        let places = answer.map(|receipts| {
            receipts.iter().map(|r| (r.sequence.0, r.duplicate)).collect::<Vec<_>>()
        });
        assert_eq!(places, expected);
        if stored {
            (self.model.entries, self.model.keys) = (entries, keys);
        }
        if synced {
            self.model.safe = self.model.entries.len();
        }
    }

    async fn read(&self, after: u64) {
        let newest = self.model.entries.len() as u64;
        for (topic, name) in TOPICS.iter().enumerate() {
            let read = page(self.log(), &[name], after).await;
            let entries = self.model.entries.iter().enumerate();
            let of_topic: Vec<_> = entries
                .filter(|(_, (of, _))| *of == topic)
                .map(|(at, (_, said))| (at as u64 + 1, said.clone()))
                .filter(|(place, _)| *place > after)
                .collect();
            let lost = read.lost.map_or(0, |lost| lost.0);
            assert!(lost == 0 || of_topic.iter().any(|(place, _)| *place == lost), "{name} {lost}");
            let kept: Vec<_> = of_topic.into_iter().filter(|(place, _)| *place > lost).collect();
            let places = sequences(&read.entries).into_iter().zip(texts(&read.entries));
            assert_eq!(places.collect::<Vec<_>>(), kept, "{name} after {after}");
            assert_eq!(read.through.0, newest.max(after));
            let count = after as usize % 5 + 1;
            let limit = PageLimit { entries: count, bytes: usize::MAX };
            let filter = Filter::from(topic_of(name));
            let back = self.log().read_back(&filter, None, limit).await.unwrap();
            let all = page(self.log(), &[name], 0).await.entries;
            assert_eq!(back.entries, all[all.len().saturating_sub(count)..], "{name} back {count}");
            let before = Sequence(after.max(1));
            let back = self.log().read_back(&filter, Some(before), limit).await.unwrap();
            let all: Vec<_> = all.into_iter().filter(|entry| entry.sequence < before).collect();
            assert_eq!(back.entries, all[all.len().saturating_sub(count)..], "{name} {before:?}");
            assert_eq!(back.earlier, all.len() > count);
            assert!(lost == 0 || name.starts_with("short") || name.starts_with("brief"));
        }
    }

    async fn follow(&self, after: u64) {
        // What is about to be sealed and dropped is, so that both see the same.
        self.log().seal_now().await;
        let all = page(self.log(), &TOPICS, after).await;
        let wanted = sequences(&all.entries);
        let mut stream = self.log().follow(Sequence(after));
        let (mut seen, mut at) = (vec![], after);
        while seen.len() < wanted.len() {
            let next = tokio::time::timeout(Duration::from_secs(10), stream.next());
            let batch = next.await.expect("in time").unwrap();
            assert!(batch.after.0 >= at);
            at = batch.entries.last().unwrap().sequence.0;
            seen.extend(sequences(&batch.entries));
        }
        assert_eq!(seen, wanted);
    }

    async fn crash(&mut self, seed: Option<u64>) {
        let before = self.log().bounds().lineage.epoch();
        self.disk = self.disk.crash(seed.map_or(Crash::Kill, Crash::Torn));
        self.open();
        let newest = self.log().bounds().newest.0 as usize;
        assert!(newest >= self.model.safe && newest <= self.model.entries.len());
        assert!(seed.is_some() || newest == self.model.entries.len(), "a kill loses nothing");
        assert_ne!(self.log().bounds().lineage.epoch(), before);
        self.model.entries.truncate(newest);
        self.model.keys.retain(|_, (_, place)| *place <= newest as u64);
        self.forget_keys_of_the_lost().await;
        self.model.safe = newest;
    }

    /// A key is kept in its entry: a restart after retention took the entry forgets it.
    async fn forget_keys_of_the_lost(&mut self) {
        for (topic, name) in TOPICS.iter().enumerate() {
            let lost = page(self.log(), &[name], 0).await.lost.map_or(0, |lost| lost.0);
            self.model.keys.retain(|(of, _), (_, place)| *of != topic || *place > lost);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]
    #[test]
    fn the_log_agrees_with_a_simple_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in &steps {
                let run = tokio::time::timeout(Duration::from_secs(20), world.run(step));
                run.await.unwrap_or_else(|_| panic!("{step:?} takes too long"));
            }
            world.read(0).await;
            world.follow(0).await;
        });
    }
}

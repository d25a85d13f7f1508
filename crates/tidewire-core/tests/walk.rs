//! What a reader saw, against what the log holds: random operations on sessions over a small log
//! that forgets, with tails and pages so small that every path is walked.
//!
//! The oracle: between two gaps, a reader gets exactly the entries of its topics above its cursor,
//! in order, once. A gap is told if and only if an entry was really lost to that reader.

use std::{collections::HashMap, sync::Arc};

use proptest::prelude::*;
use tidewire_core::{
    Feature, Features, Filter, Framed, Hub, Limits, MemoryLog, News, OpenGate, Peer, Session,
    clock::{ManualClock, SeededRandom},
    log::memory::MemoryBounds,
};
use tidewire_proto::{After, Continuity, Cursor, Data, EventType, Message, Sequence, Topic};

const TOPICS: [&str; 4] = ["a/1", "a/2", "b/1", "b/2"];

#[derive(Debug, Clone)]
enum Operation {
    Publish(Vec<usize>),
    Open { topics: Vec<usize>, from: From },
    Drain { reader: usize },
    Step { reader: usize },
    Partly { reader: usize, delivered: usize },
    Reconnect { reader: usize },
    Settle,
}

#[derive(Debug, Clone, Copy)]
enum From {
    Now,
    Start,
    Place(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let topic = 0..TOPICS.len();
    let from = prop_oneof![Just(From::Now), Just(From::Start), (0_u64..60).prop_map(From::Place)];
    prop_oneof![
        4 => proptest::collection::vec(topic.clone(), 1..6).prop_map(Operation::Publish),
        2 => (proptest::collection::vec(topic, 1..4), from)
            .prop_map(|(topics, from)| Operation::Open { topics, from }),
        2 => (0_usize..8).prop_map(|reader| Operation::Drain { reader }),
        3 => (0_usize..8).prop_map(|reader| Operation::Step { reader }),
        2 => (0_usize..8, 0_usize..4)
            .prop_map(|(reader, delivered)| Operation::Partly { reader, delivered }),
        1 => (0_usize..8).prop_map(|reader| Operation::Reconnect { reader }),
        2 => Just(Operation::Settle),
    ]
}

struct World {
    hub: Hub,
    // Every entry ever published: sequence → topic, in order.
    model: Vec<(u64, usize)>,
    epoch: Cursor,
    readers: Vec<Reader>,
}

struct Reader {
    session: Session,
    topics: Vec<usize>,
    // Everything up to here was given or told lost.
    place: u64,
    // From the start, what is gone at the first look is no gap.
    quiet_until_first_entry: bool,
}

fn topic(index: usize) -> Topic {
    Topic::parse(TOPICS[index]).unwrap()
}

fn world(entries_max: usize) -> World {
    let limits = Limits { tail_entries_max: 3, page_entries_max: 2, ..Limits::default() };
    let features = Arc::new(Features::default().with_undeclared(Feature::default()));
    let clock = Arc::new(ManualClock::at(1_000_000));
    let random = SeededRandom::new(1);
    let log = |entries_max| {
        let bounds = MemoryBounds { entries_max, ..MemoryBounds::default() };
        Arc::new(MemoryLog::new(Arc::clone(&features), &limits, bounds, clock.clone(), &random))
    };
    let hub = Hub::new(log(entries_max), log(100), Arc::clone(&features), limits.clone());
    let epoch = hub.newest();
    World { hub, model: Vec::new(), epoch, readers: Vec::new() }
}

impl World {
    async fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Publish(topics) => self.publish(&topics).await,
            Operation::Open { topics, from } => self.open(topics, from).await,
            Operation::Settle => settle().await,
            Operation::Step { reader } => self.step(reader, 1).await,
            Operation::Partly { reader, delivered } => self.partly(reader, delivered).await,
            Operation::Drain { reader } => {
                settle().await;
                self.step(reader, usize::MAX).await;
            }
            Operation::Reconnect { reader } => {
                if self.readers.is_empty() {
                    return;
                }
                let index = reader % self.readers.len();
                let reader = self.readers.remove(index);
                if !reader.quiet_until_first_entry {
                    self.open(reader.topics, From::Place(reader.place)).await;
                }
            }
        }
    }

    async fn publish(&mut self, topics: &[usize]) {
        let message = |&index: &usize| Message {
            topic: topic(index),
            event: EventType::message(),
            data: Data::text("x").unwrap(),
            key: None,
            item: None,
        };
        let batch: Vec<_> = topics.iter().map(message).collect();
        let published = self.hub.publish_batch(batch).await.unwrap();
        for (published, &index) in published.iter().zip(topics) {
            self.model.push((published.id.unwrap().sequence.0, index));
        }
    }

    async fn open(&mut self, topics: Vec<usize>, from: From) {
        let newest = self.model.last().map_or(0, |(sequence, _)| *sequence);
        let after = match from {
            From::Now => After::Now,
            From::Start => After::Start,
            From::Place(place) => {
                let sequence = Sequence(place.min(newest));
                After::Cursor(Cursor { sequence, ..self.epoch })
            }
        };
        let mut session = self.hub.session(Arc::new(OpenGate), Arc::new(Peer::anybody()));
        let filter = Filter::new(topics.iter().map(|&index| topic(index))).unwrap();
        let begun = session.subscribe(&filter, after).await.unwrap();
        let begun = begun.first().unwrap();
        let mut place = begun.at.unwrap().sequence.0;
        match (after, begun.continuity) {
            (After::Now, told) => assert_eq!((told, place), (Continuity::New, newest)),
            (After::Start, told) => assert_eq!((told, place), (Continuity::New, 0)),
            (After::Cursor(cursor), Continuity::Resumed) => assert_eq!(place, cursor.sequence.0),
            (After::Cursor(cursor), Continuity::Gap(gap)) => {
                assert_eq!(place, cursor.sequence.0, "what is still there is read from here");
                // This log drops from the front, so nothing up to there is left of any topic.
                let lost = self.between(&topics, cursor.sequence.0, gap.oldest.sequence.0);
                assert!(!lost.is_empty(), "a gap although nothing was lost: {gap:?}");
                place = gap.oldest.sequence.0;
            }
            told => panic!("{told:?}"),
        }
        let quiet_until_first_entry = after == After::Start;
        self.readers.push(Reader { session, topics, place, quiet_until_first_entry });
    }

    async fn step(&mut self, reader: usize, times: usize) {
        if self.readers.is_empty() {
            return;
        }
        let index = reader % self.readers.len();
        for _ in 0..times {
            let Some(news) = self.readers[index].session.ready().await.unwrap() else { return };
            self.check(index, &news);
        }
    }

    /// A socket takes some of the news and gives the others back.
    async fn partly(&mut self, reader: usize, delivered: usize) {
        if self.readers.is_empty() {
            return;
        }
        let index = reader % self.readers.len();
        let session = &mut self.readers[index].session;
        let Some(mut news) = session.ready().await.unwrap() else { return };
        session.give_back(&news, delivered);
        news.entries.truncate(delivered);
        self.check(index, &news);
    }

    fn check(&mut self, index: usize, news: &News) {
        let Reader { topics, place, quiet_until_first_entry, .. } = &self.readers[index];
        let (topics, mut place) = (topics.clone(), *place);
        if let Some((_, gap)) = &news.gap {
            let lost = self.between(&topics, place, gap.oldest.sequence.0);
            assert!(!lost.is_empty(), "a gap although nothing was lost: {gap:?}");
            place = gap.oldest.sequence.0;
        }
        let given: Vec<u64> =
            news.entries.iter().map(|f: &Arc<Framed>| f.entry().sequence.0).collect();
        if let Some(&last) = given.last() {
            let mut expected = self.between(&topics, place, last);
            if *quiet_until_first_entry {
                expected.retain(|sequence| *sequence >= given[0]);
            }
            assert_eq!(given, expected, "from {place} on {topics:?}");
            place = last;
        }
        let reader = &mut self.readers[index];
        reader.quiet_until_first_entry &= given.is_empty();
        reader.place = place;
    }

    /// The places of these topics' entries in `(after, through]`.
    fn between(&self, topics: &[usize], after: u64, through: u64) -> Vec<u64> {
        let inside = |(sequence, index): &&(u64, usize)| {
            *sequence > after && *sequence <= through && topics.contains(index)
        };
        self.model.iter().filter(inside).map(|(sequence, _)| *sequence).collect()
    }

    /// At the end everybody has everything.
    async fn finish(&mut self) {
        settle().await;
        let mut newest_of: HashMap<usize, u64> = HashMap::new();
        for (sequence, index) in &self.model {
            newest_of.insert(*index, *sequence);
        }
        for index in 0..self.readers.len() {
            self.step(index, usize::MAX).await;
            let reader = &self.readers[index];
            if reader.quiet_until_first_entry {
                // It asked for the oldest there is, and was given nothing: is there really nothing?
                let filter = Filter::new(reader.topics.iter().map(|&index| topic(index))).unwrap();
                let page = self.hub.history(&filter, After::Start, 1).await.unwrap();
                assert!(page.entries.is_empty(), "reader {index} lacks everything");
                continue;
            }
            let newest = reader.topics.iter().filter_map(|topic| newest_of.get(topic)).max();
            assert!(reader.place >= newest.copied().unwrap_or(0), "reader {index} lacks something");
        }
    }
}

/// Lets the follower run until it has nothing to do: one thread, so a few turns are enough.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn run(entries_max: usize, operations: Vec<Operation>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut world = world(entries_max);
        for operation in operations {
            world.run(operation).await;
        }
        world.finish().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nobody_misses_anything_in_silence(
        entries_max in 3_usize..40,
        operations in proptest::collection::vec(operation(), 1..60),
    ) {
        run(entries_max, operations);
    }
}

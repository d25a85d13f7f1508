//! [`Memos`]: what was just put together for one subscriber, for the others who stand where it
//! stood. Most subscribers of a topic stand at the same place, so most of a sweep is one write each
//! and nothing else.
//!
//! It saves work and decides nothing: what is in a memo came from the session's own step.

use std::sync::Arc;

use tidewire_core::{News, Session, Tail};
use tidewire_proto::Sequence;

use super::chunk::Chunk;
use crate::wire::Wire;

/// Places at which subscribers stand at a time: before and after the last news, on two wires.
const MEMOS: usize = 4;

/// All that a topic has above one place, on one wire.
pub(super) struct Memo {
    tail: Arc<Tail>,
    wire: Wire,
    after: Sequence,
    /// The place up to which that is all.
    pub(super) through: Sequence,
    /// There was more than one write takes.
    pub(super) is_cut: bool,
    pub(super) chunk: Chunk,
}

#[derive(Default)]
pub(super) struct Memos {
    kept: Vec<Memo>,
    turn: usize,
    scratch: Chunk,
}

impl Memos {
    /// What there is above `after`, for a session whose sole subscription stands there. Nothing if
    /// the session has more to hear than entries: then its own step is the way.
    pub(super) fn of(
        &mut self,
        tail: &Arc<Tail>,
        wire: Wire,
        after: Sequence,
        session: &Session,
        news: &mut News,
    ) -> Option<&Memo> {
        let newest = tail.newest();
        let is_it = |memo: &Memo| {
            let covers = memo.is_cut || newest <= memo.through;
            memo.after == after && memo.wire == wire && covers && Arc::ptr_eq(&memo.tail, tail)
        };
        if let Some(found) = self.kept.iter().position(is_it) {
            return self.kept.get(found);
        }
        let (through, is_all) = session.look_sole(&mut news.entries)?;
        let mut chunk = std::mem::take(&mut self.scratch);
        chunk.fill(wire, &news.entries);
        let is_short = chunk.count() < news.entries.len();
        let is_cut = is_short || !is_all;
        let last = chunk.count().checked_sub(1).and_then(|last| chunk.entry(last));
        let through = last.filter(|_| is_short).map_or(through, |last| last.entry().sequence);
        let memo = Memo { tail: Arc::clone(tail), wire, after, through, is_cut, chunk };
        Some(self.keep(memo))
    }

    fn keep(&mut self, memo: Memo) -> &Memo {
        if self.kept.len() < MEMOS {
            self.kept.push(memo);
            return self.kept.last().expect("one was just put in");
        }
        self.turn = (self.turn + 1) % MEMOS;
        let place = &mut self.kept[self.turn];
        let old = std::mem::replace(place, memo);
        self.scratch = old.chunk;
        place
    }

    /// Room for somebody who needs no memo.
    pub(super) fn scratch(&mut self) -> &mut Chunk {
        &mut self.scratch
    }

    /// Forgets everything: nobody is swept now.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.scratch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::tests::{World, settle};
    use proptest::prelude::*;
    use tidewire_core::{Limits, Step};

    const TOPICS: usize = 2;
    const WIRES: [Wire; 3] = [Wire::Stream, Wire::Chunked, Wire::Socket];

    #[derive(Debug, Clone)]
    enum Operation {
        Publish {
            topic: usize,
            count: usize,
            bytes: usize,
            is_delivered: bool,
        },
        Join {
            topic: usize,
            wire: usize,
        },
        Leave(usize),
        /// Serves one reader from a memo; so many of its entries get through.
        Visit {
            reader: usize,
            begun: usize,
        },
        Clear,
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let bytes = prop_oneof![4 => 0..60_usize, 1 => 300..400_usize, 1 => Just(70_000)];
        prop_oneof![
            4 => (0..TOPICS, 1..5_usize, bytes, any::<bool>()).prop_map(
                |(topic, count, bytes, is_delivered)| Operation::Publish {
                    topic, count, bytes, is_delivered,
                },
            ),
            2 => (0..TOPICS, 0..WIRES.len())
                .prop_map(|(topic, wire)| Operation::Join { topic, wire }),
            1 => (0..8_usize).prop_map(Operation::Leave),
            8 => (0..8_usize, prop_oneof![3 => Just(usize::MAX), 1 => 0..3_usize])
                .prop_map(|(reader, begun)| Operation::Visit { reader, begun }),
            1 => Just(Operation::Clear),
        ]
    }

    /// One that is served from memos, and its twin, which only ever takes its own steps.
    struct Reader {
        session: Session,
        twin: Session,
        wire: Wire,
        heard: Vec<u8>,
        // What the twin has got: the place of each entry, and its bytes.
        own: Vec<(Sequence, Vec<u8>)>,
    }

    impl Reader {
        async fn join(world: &World, topic: usize, wire: Wire) -> Self {
            let [mut session, mut twin] =
                [world.session(topic..topic + 1).await, world.session(topic..topic + 1).await];
            let mut news = News::default();
            for session in [&mut session, &mut twin] {
                // It says that it is live.
                while session.step(&mut news) != Step::Quiet {
                    assert!(news.entries.is_empty());
                }
            }
            Self { session, twin, wire, heard: Vec::new(), own: Vec::new() }
        }

        /// As the shard does it. Tells whether there was anything.
        async fn visit(&mut self, memos: &mut Memos, begun: usize) -> bool {
            let mut news = News::default();
            let sole = self.session.sole().map(|(tail, after)| (Arc::clone(tail), after));
            let memo = sole.as_ref().and_then(|(tail, after)| {
                memos.of(tail, self.wire, *after, &self.session, &mut news)
            });
            let Some(memo) = memo else { return self.step(begun).await };
            let begun = begun.min(memo.chunk.count());
            for index in 0..begun {
                self.heard.extend_from_slice(&self.wire.entry(memo.chunk.entry(index).unwrap()));
            }
            if begun == memo.chunk.count() {
                assert!(self.heard.ends_with(memo.chunk.bytes()));
                self.session.advance_sole(memo.through);
            } else if let Some(last) = begun.checked_sub(1) {
                self.session.advance_sole(memo.chunk.entry(last).unwrap().entry().sequence);
            }
            sole.is_some_and(|before| self.session.sole().is_none_or(|now| now.1 > before.1))
        }

        async fn step(&mut self, begun: usize) -> bool {
            let mut news = News::default();
            match self.session.step(&mut news) {
                Step::Quiet => return false,
                Step::Past => self.session.past(&mut news).await.unwrap(),
                Step::News => {}
            }
            let begun = begun.min(news.entries.len());
            for framed in &news.entries[..begun] {
                self.heard.extend_from_slice(&self.wire.entry(framed));
            }
            self.session.give_back(&news, begun);
            true
        }

        /// Exactly what the twin's own steps gave it, up to the same place.
        async fn check(&mut self) {
            while let Some(news) = self.twin.ready().await.unwrap() {
                let framed = news.entries.iter();
                let wire = self.wire;
                self.own.extend(framed.map(|one| (one.entry().sequence, wire.entry(one).to_vec())));
            }
            let place = self.session.sole().map(|(_, place)| place);
            let mut expected = Vec::new();
            for (sequence, bytes) in &self.own {
                if place.map_or(expected.len() >= self.heard.len(), |place| *sequence > place) {
                    break;
                }
                expected.extend_from_slice(bytes);
            }
            // A page of the log may hold what the follower has not brought yet; then the twin, who waits
            // for the follower, has it later, and a later look compares the rest.
            let of_twin = self.twin.sole().map(|(_, place)| place);
            let is_ahead = place.zip(of_twin).is_some_and(|(place, of_twin)| place > of_twin);
            let is_same =
                if is_ahead { self.heard.starts_with(&expected) } else { self.heard == expected };
            assert!(is_same, "{:?} at {place:?}, its twin at {of_twin:?}", self.wire);
        }
    }

    async fn run(operations: Vec<Operation>) {
        let limits = Limits {
            tail_entries_max: 6,
            tail_bytes_max: 100_000,
            step_bytes_max: 150,
            ..Limits::default()
        };
        let world = World::new(&limits);
        let (mut readers, mut memos) = (Vec::<Reader>::new(), Memos::default());
        for operation in operations {
            match operation {
                Operation::Publish { topic, count, bytes, is_delivered } => {
                    world.publish(topic, count, bytes).await;
                    if is_delivered {
                        settle().await;
                    }
                }
                Operation::Join { topic, wire } if readers.len() < 8 => {
                    settle().await;
                    readers.push(Reader::join(&world, topic, WIRES[wire]).await);
                }
                Operation::Leave(reader) if reader < readers.len() => {
                    readers.remove(reader);
                }
                Operation::Visit { reader, begun } if reader < readers.len() => {
                    readers[reader].visit(&mut memos, begun).await;
                    readers[reader].check().await;
                }
                Operation::Clear => memos.clear(),
                _ => {}
            }
        }
        settle().await;
        for reader in &mut readers {
            while reader.visit(&mut memos, usize::MAX).await {}
            reader.check().await;
            let whole: usize = reader.own.iter().map(|(_, bytes)| bytes.len()).sum();
            assert_eq!(reader.heard.len(), whole, "and at the end all of it");
        }
    }

    /// Chance found it: a page of the log that goes further than the follower.
    #[tokio::test]
    async fn who_reads_the_log_may_be_ahead_of_who_waits_for_the_follower() {
        let publish = |count, bytes, is_delivered| Operation::Publish {
            topic: 0,
            count,
            bytes,
            is_delivered,
        };
        let visit = || Operation::Visit { reader: 0, begun: usize::MAX };
        let mut operations = vec![Operation::Join { topic: 0, wire: 0 }];
        operations.extend([publish(1, 0, false), publish(1, 300, false), publish(8, 0, true)]);
        operations.extend([visit(), visit(), publish(1, 0, false), visit()]);
        run(operations).await;
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn a_memo_gives_what_the_sessions_own_steps_would_have_given(
            operations in prop::collection::vec(operation(), 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(run(operations));
        }
    }
}

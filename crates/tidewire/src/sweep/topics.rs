//! [`Topics`]: who of a shard reads which topic, and which topics have news.
//!
//! A topic that somebody of the shard reads has one mark on the shard's board, however many read it.
//! Knows no sockets: a member is a number.
//!
//! Invariant: after a topic's mark was set, each of its members is visited at least once, whoever
//! comes and goes meanwhile.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::Waker,
};

use slab::Slab;
use tidewire_core::{Board, Mark, Tail};

/// One member's place in one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Membership {
    topic: u32,
    position: u32,
}

/// A member that was moved into the place of one that left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) member: u32,
    pub(super) from: Membership,
    pub(super) to: Membership,
    /// The walk had passed its new place, and not its old one: it is to be visited apart.
    pub(super) is_missed: bool,
}

/// Which member is visited next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Visit {
    Member(u32),
    /// This topic's walk is over.
    Done,
}

struct Topic {
    tail: Arc<Tail>,
    mark: Arc<Mark>,
    members: Vec<u32>,
    // The walk that goes on: whom it visits next, and whether there were news since it began.
    walk: Option<Walk>,
}

#[derive(Clone, Copy, Default)]
struct Walk {
    next: usize,
    again: bool,
}

/// The topics of one shard.
pub(super) struct Topics {
    board: Arc<Board>,
    // By the address of the tail, which lives as long as its topic here.
    by_tail: HashMap<usize, u32>,
    topics: Slab<Topic>,
    // Topics that are walked, in turn.
    walks: VecDeque<u32>,
    marked: Vec<u32>,
}

impl Topics {
    /// `waker` is called when a topic has news.
    pub(super) fn new(waker: Waker) -> Self {
        Self {
            board: Board::waking(waker),
            by_tail: HashMap::new(),
            topics: Slab::new(),
            walks: VecDeque::new(),
            marked: Vec::new(),
        }
    }

    /// Adds a member. It is to look at the tail once by itself after this.
    pub(super) fn enter(&mut self, tail: &Arc<Tail>, member: u32) -> Membership {
        let topic = *self.by_tail.entry(address(tail)).or_insert_with(|| {
            let vacant = self.topics.vacant_entry();
            let number = vacant.key() as u32;
            let mark = self.board.mark(number);
            tail.watch(&mark);
            vacant.insert(Topic { tail: Arc::clone(tail), mark, members: vec![], walk: None });
            number
        });
        let mut position = 0;
        if let Some(topic) = self.topics.get_mut(topic as usize) {
            position = topic.members.len() as u32;
            topic.members.push(member);
        }
        Membership { topic, position }
    }

    /// Takes a member out. The last takes the topic with it; else the last in the row moves into
    /// its place, and must be told.
    pub(super) fn leave(&mut self, left: Membership) -> Option<Moved> {
        let topic = self.topics.get_mut(left.topic as usize)?;
        let position = left.position as usize;
        if position >= topic.members.len() {
            return None;
        }
        topic.members.swap_remove(position);
        if topic.members.is_empty() {
            let gone = self.topics.remove(left.topic as usize);
            gone.tail.unwatch(&gone.mark);
            self.by_tail.remove(&address(&gone.tail));
            return None;
        }
        if topic.members.capacity() > 4 * topic.members.len().max(4) {
            topic.members.shrink_to(2 * topic.members.len());
        }
        let member = *topic.members.get(position)?;
        let from = Membership { topic: left.topic, position: topic.members.len() as u32 };
        let is_missed = topic.walk.is_some_and(|walk| position < walk.next);
        Some(Moved { member, from, to: left, is_missed })
    }

    /// Begins to walk the topics whose marks were set.
    pub(super) fn begin_walks(&mut self) {
        self.marked.clear();
        self.board.take(&mut self.marked);
        for &number in &self.marked {
            let Some(topic) = self.topics.get_mut(number as usize) else { continue };
            match &mut topic.walk {
                Some(walk) => walk.again = true,
                None => {
                    topic.walk = Some(Walk::default());
                    self.walks.push_back(number);
                }
            }
        }
    }

    /// The topic whose turn it is.
    pub(super) fn turn(&mut self) -> Option<u32> {
        self.walks.pop_front()
    }

    /// The next member in a topic's walk.
    pub(super) fn visit(&mut self, number: u32) -> Visit {
        let Some(topic) = self.topics.get_mut(number as usize) else { return Visit::Done };
        let Some(walk) = &mut topic.walk else { return Visit::Done };
        if let Some(&member) = topic.members.get(walk.next) {
            walk.next += 1;
            return Visit::Member(member);
        }
        if walk.again {
            *walk = Walk::default();
            self.walks.push_back(number);
        } else {
            topic.walk = None;
        }
        Visit::Done
    }

    /// Others come first; this walk goes on where it was.
    pub(super) fn pause(&mut self, number: u32) {
        self.walks.push_back(number);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.walks.is_empty()
    }
}

fn address(tail: &Arc<Tail>) -> usize {
    Arc::as_ptr(tail) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::tests::{World, settle};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const TOPICS: usize = 3;
    const MEMBERS: u32 = 6;

    #[derive(Debug, Clone)]
    enum Operation {
        Enter(usize, u32),
        Leave(usize, u32),
        Publish(usize),
        Begin,
        /// So many visits, and then others come first.
        Walk(usize),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let place = || (0..TOPICS, 0..MEMBERS);
        prop_oneof![
            4 => place().prop_map(|(topic, member)| Operation::Enter(topic, member)),
            3 => place().prop_map(|(topic, member)| Operation::Leave(topic, member)),
            2 => (0..TOPICS).prop_map(Operation::Publish),
            3 => Just(Operation::Begin),
            4 => (1..4_usize).prop_map(Operation::Walk),
        ]
    }

    /// The members, and who of them has not looked at a topic since its last news.
    struct Model {
        world: World,
        tails: Vec<Arc<Tail>>,
        topics: Topics,
        inside: BTreeMap<(usize, u32), Membership>,
        owed: BTreeSet<(usize, u32)>,
        // Of a topic's number, which of the tails it is; a number is used again.
        numbers: BTreeMap<u32, usize>,
    }

    impl Model {
        fn enter(&mut self, topic: usize, member: u32) {
            if self.inside.contains_key(&(topic, member)) {
                return;
            }
            let membership = self.topics.enter(&self.tails[topic], member);
            self.numbers.insert(membership.topic, topic);
            self.inside.insert((topic, member), membership);
        }

        fn leave(&mut self, topic: usize, member: u32) {
            let Some(left) = self.inside.remove(&(topic, member)) else { return };
            self.owed.remove(&(topic, member));
            if let Some(moved) = self.topics.leave(left) {
                let place = self.inside.get_mut(&(topic, moved.member)).unwrap();
                assert_eq!(*place, moved.from, "it was where it is said to have been");
                *place = moved.to;
                if moved.is_missed {
                    self.owed.remove(&(topic, moved.member));
                }
            }
        }

        fn walk(&mut self, mut left: usize) {
            while let Some(number) = self.topics.turn() {
                loop {
                    if left == 0 {
                        return self.topics.pause(number);
                    }
                    let Visit::Member(member) = self.topics.visit(number) else { break };
                    left -= 1;
                    let topic = self.numbers[&number];
                    assert!(self.inside.contains_key(&(topic, member)), "only members are visited");
                    self.owed.remove(&(topic, member));
                }
            }
        }

        async fn run(&mut self, operation: Operation) {
            match operation {
                Operation::Enter(topic, member) => self.enter(topic, member),
                Operation::Leave(topic, member) => self.leave(topic, member),
                Operation::Publish(topic) => {
                    self.world.publish(topic, 1, 1).await;
                    settle().await;
                    let members = self.inside.keys().filter(|(have, _)| *have == topic);
                    self.owed.extend(members.copied().collect::<Vec<_>>());
                }
                Operation::Begin => self.topics.begin_walks(),
                Operation::Walk(visits) => self.walk(visits),
            }
            for (&(topic, member), place) in &self.inside {
                let have = &self.topics.topics[place.topic as usize];
                assert!(Arc::ptr_eq(&have.tail, &self.tails[topic]));
                assert_eq!(have.members[place.position as usize], member);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn after_a_mark_each_member_is_visited(
            operations in prop::collection::vec(operation(), 1..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let world = World::new(&tidewire_core::Limits::default());
                let session = world.session(0..TOPICS).await;
                let tails: Vec<_> = session.tails().cloned().collect();
                let (inside, owed, numbers) = Default::default();
                let topics = Topics::new(Waker::noop().clone());
                let mut model = Model { world, tails, topics, inside, owed, numbers };
                for operation in operations {
                    model.run(operation).await;
                }
                model.topics.begin_walks();
                model.walk(usize::MAX);
                assert!(model.topics.is_quiet());
                assert!(model.owed.is_empty(), "never visited: {:?}", model.owed);
                let inside: Vec<_> = model.inside.keys().copied().collect();
                for (topic, member) in inside {
                    model.leave(topic, member);
                }
                assert!(model.topics.topics.is_empty() && model.topics.by_tail.is_empty());
            });
        }
    }
}

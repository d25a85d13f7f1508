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

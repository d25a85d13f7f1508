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

//! [`Subscription`]: a filter and a cursor that walks. One loop for past, present and fell-behind.
//!
//! At each step it takes what the tails hold, or, where they begin above its cursor, reads a page of
//! the log. It knows nothing of transports, and holds no entry between two calls.
//!
//! Invariant: it yields strictly increasing sequences and every entry of its topics above its
//! cursor, or says [`Gap`]. It never skips in silence.

use std::sync::Arc;

use smallvec::SmallVec;
use tidewire_proto::{After, Continuity, Cursor, Gap, GapReason, Sequence, Topic};

use crate::{
    framed::Framed,
    lane::Lane,
    log::{Bounds, Filter, Page, PageLimit, ReadError},
    tail::{Behind, Tail},
    watch::Mark,
};

/// A filter and a cursor.
pub struct Subscription {
    lane: Arc<Lane>,
    // In the order of the topics.
    tails: SmallVec<[Arc<Tail>; 1]>,
    cursor: Sequence,
    // The newest loss that the reader was told of.
    told_lost: Sequence,
    // It asked for the oldest there is and has not moved yet: what is gone is no gap to it.
    from_start: bool,
    behind: bool,
    said_live: bool,
}

/// Where a subscription starts to walk, and what is told about it first. Pure.
fn beginning(after: After, bounds: &Bounds, kept: bool) -> (Sequence, Continuity) {
    let Bounds { lineage, newest, .. } = bounds;
    match after {
        _ if !kept => (*newest, Continuity::New),
        After::Now => (*newest, Continuity::New),
        After::Start => (Sequence::ZERO, Continuity::New),
        After::Cursor(cursor) => match lineage.check(cursor, *newest) {
            Ok(()) => (cursor.sequence, Continuity::Resumed),
            Err(reason) => {
                // Up to where its life ended, a diverged reader has seen what we have.
                let ended = lineage.ended(cursor.epoch).filter(|_| reason == GapReason::Diverged);
                let from = ended.unwrap_or(Sequence::ZERO);
                let gap = Gap {
                    reason,
                    oldest: lineage.cursor_at(from),
                    newest: lineage.cursor_at(*newest),
                };
                (from, Continuity::Gap(gap))
            }
        },
    }
}

impl Subscription {
    /// Begins to read `filter` after a place. Tells what is known of the seam, which is said before
    /// anything else.
    pub(crate) async fn begin(
        lane: Arc<Lane>,
        filter: &Filter,
        after: After,
    ) -> Result<(Self, Continuity), ReadError> {
        let bounds = lane.log.bounds();
        let (cursor, continuity) = beginning(after, &bounds, lane.kept);
        let tails = lane.enter(filter.topics());
        let mut subscription = Self {
            lane,
            tails,
            cursor,
            told_lost: Sequence::ZERO,
            from_start: after == After::Start,
            behind: false,
            said_live: false,
        };
        let continuity = subscription.check_retention(&bounds, continuity).await?;
        Ok((subscription, continuity))
    }

    /// Asks the log what retention took above the cursor, so that it is told before anything else.
    /// The cursor stays: of other topics there may be entries below what was lost.
    async fn check_retention(
        &mut self,
        bounds: &Bounds,
        continuity: Continuity,
    ) -> Result<Continuity, ReadError> {
        if !self.lane.kept || self.cursor >= bounds.newest || self.from_start {
            return Ok(continuity);
        }
        if self.reaches() {
            // Whatever retention took, other readers keep it alive here.
            return Ok(continuity);
        }
        let nothing = PageLimit { entries: 0, bytes: 0 };
        let page = self.lane.log.read(&self.filter(), self.cursor, nothing).await?;
        let Some(lost) = page.lost else { return Ok(continuity) };
        self.told_lost = lost;
        Ok(Continuity::Gap(match continuity {
            // A foreign cursor has its reason already; only where the past begins is new.
            Continuity::Gap(gap) => Gap { oldest: bounds.lineage.cursor_at(lost), ..gap },
            _ => self.trimmed(lost),
        }))
    }

    /// The topics, sorted.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.tails.iter().map(|tail| tail.topic())
    }

    /// The topics as the log is asked for them.
    pub(crate) fn filter(&self) -> Filter {
        Filter::new(self.topics().cloned()).expect("a subscription has a topic")
    }

    /// The place up to which everything was yielded. Nothing for a feature that keeps nothing.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.lane.id(&self.lane.log.bounds().lineage, self.cursor)
    }

    /// Do its entries have ids?
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.lane.kept
    }

    /// May some of its entries come joined?
    pub(crate) fn joins(&self) -> bool {
        self.tails.iter().any(|tail| tail.joins())
    }

    pub(crate) fn place(&self) -> Sequence {
        self.cursor
    }

    pub(crate) fn tails(&self) -> &[Arc<Tail>] {
        &self.tails
    }

    pub(crate) fn watch(&self, mark: &Arc<Mark>) {
        for tail in &self.tails {
            tail.watch(mark);
        }
    }

    pub(crate) fn unwatch(&self, mark: &Arc<Mark>) {
        for tail in &self.tails {
            tail.unwatch(mark);
        }
    }

    /// Appends what the tails hold up to `position`, of each at most about `bytes` of data, and tells
    /// up to where that is all; the cursor stays. Or finds that the log must be asked, which
    /// [`is_behind`](Self::is_behind) then says.
    pub(crate) fn look(
        &mut self,
        position: Sequence,
        bytes: usize,
        out: &mut Vec<Arc<Framed>>,
    ) -> Result<Sequence, Behind> {
        self.behind = false;
        let (first, mut reached) = (out.len(), position);
        if self.cursor >= position {
            return Ok(position);
        }
        for tail in &self.tails {
            match tail.take(self.cursor, position, bytes, out) {
                Ok(up_to) => reached = reached.min(up_to),
                Err(Behind) => {
                    out.truncate(first);
                    self.behind = true;
                    return Err(Behind);
                }
            }
        }
        Ok(reached)
    }

    /// Did it catch up with the log at some time?
    pub(crate) fn was_live(&self) -> bool {
        self.said_live
    }

    /// Everything up to `through` was given to the reader.
    pub(crate) fn advance(&mut self, through: Sequence) {
        self.behind = false;
        self.from_start = false;
        self.cursor = self.cursor.max(through);
    }

    /// What was given above `place` did not get to the reader after all.
    pub(crate) fn go_back(&mut self, place: Sequence) {
        self.cursor = self.cursor.min(place);
    }

    /// Nor did the word that it is live.
    pub(crate) fn unsay_live(&mut self) {
        self.said_live = false;
    }

    /// Do the tails begin above the cursor?
    pub(crate) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Do the tails hold everything above the cursor?
    pub(crate) fn reaches(&self) -> bool {
        self.tails.iter().all(|tail| tail.reaches(self.cursor))
    }

    /// True once: when everything up to `position` was yielded for the first time.
    pub(crate) fn has_become_live(&mut self, position: Sequence) -> bool {
        self.cursor >= position && !std::mem::replace(&mut self.said_live, true)
    }

    /// Reads as much of the log as one connection may hold.
    pub(crate) async fn read(&mut self) -> Result<(Option<Gap>, Vec<Arc<Framed>>), ReadError> {
        let limits = self.lane.limits();
        let limit = PageLimit { entries: limits.page_entries_max, bytes: limits.step_bytes_max };
        self.read_page(limit).await
    }

    /// Reads a page of the log. Cancel-safe: nothing changes before the page is there.
    pub(crate) async fn read_page(
        &mut self,
        limit: PageLimit,
    ) -> Result<(Option<Gap>, Vec<Arc<Framed>>), ReadError> {
        let Page { entries, through, lost } =
            self.lane.read(&self.filter(), self.cursor, limit).await?;
        // What keeps nothing promises nothing, and its places mean nothing to a client.
        let is_news =
            |lost: &Sequence| self.lane.kept && !self.from_start && *lost > self.told_lost;
        let gap = lost.filter(is_news).map(|lost| self.trimmed(lost));
        self.told_lost = self.told_lost.max(lost.unwrap_or_default());
        let entries = self.lane.framed(entries);
        if let ([tail], None) = (self.tails.as_slice(), lost) {
            // When thousands come back at once, one of them reads for the others.
            tail.lower_floor(self.cursor, through, &entries);
        }
        self.advance(through);
        Ok((gap, entries))
    }

    fn trimmed(&self, lost: Sequence) -> Gap {
        let Bounds { lineage, newest, .. } = self.lane.log.bounds();
        Gap {
            reason: GapReason::Trimmed,
            oldest: lineage.cursor_at(lost),
            newest: lineage.cursor_at(newest),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.lane.exit(&self.tails);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_proto::{Epoch, Lineage};

    #[test]
    fn where_a_walk_begins() {
        let mut lineage = Lineage::new(Epoch(1));
        lineage.begin(Epoch(2), Sequence(10));
        let bounds =
            Bounds { lineage: Arc::new(lineage), oldest: Sequence(0), newest: Sequence(20) };
        let at = |epoch, sequence| {
            After::Cursor(Cursor { epoch: Epoch(epoch), sequence: Sequence(sequence) })
        };
        for (after, from, told) in [
            (After::Now, 20, "new"),
            (After::Start, 0, "new"),
            (at(2, 15), 15, "resumed"),
            (at(1, 10), 10, "resumed"),
            (at(1, 11), 10, "diverged"),
            (at(2, 21), 0, "ahead"),
            (at(3, 5), 0, "foreign"),
        ] {
            let (cursor, continuity) = beginning(after, &bounds, true);
            let said = match continuity {
                Continuity::New => "new",
                Continuity::Resumed => "resumed",
                Continuity::Gap(gap) => gap.reason.as_str(),
            };
            assert_eq!((cursor, said), (Sequence(from), told), "{after:?}");
        }
        assert_eq!(beginning(at(2, 15), &bounds, false), (Sequence(20), Continuity::New));
    }
}

//! Places: [`Sequence`] in a log, [`Epoch`] of a life, [`Cursor`] of a subscriber, [`Lineage`] of a log.
//!
//! The rule of continuity is here and nowhere else: [`Lineage::check`] says whether a cursor still
//! names a place in this log's own past. Pure; no clock, no randomness.
//!
//! Invariant: a lineage never forgets an epoch whose entries could still be in a client's hand, and
//! its starts never decrease.

use std::{fmt, str::FromStr};

/// A place in one log. The first entry has 1; 0 is the place before it. Never reused within an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The place before the first entry.
    pub const ZERO: Self = Self(0);

    /// The next place. A log that has given out 2⁶⁴−1 places stays there.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a log: a random number, new at each process start, failover or restore.
/// As text: lower-case base 36, at most 13 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [b'0'; 13];
        let mut rest = self.0;
        let mut start = digits.len();
        loop {
            start -= 1;
            // `rest % 36` is below 36, so it fits in a byte.
            let digit = (rest % 36) as u8;
            if let Some(slot) = digits.get_mut(start) {
                *slot = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
            }
            rest /= 36;
            if rest == 0 {
                break;
            }
        }
        f.write_str(
            std::str::from_utf8(digits.get(start..).unwrap_or_default()).unwrap_or_default(),
        )
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A subscriber's place: *epoch* (which life of the log) and *sequence* (where).
/// Opaque text to clients: `k3f9.1042`. It covers any set of topics, because a log has one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Which life of the log.
    pub epoch: Epoch,
    /// Everything up to and including this place has been seen.
    pub sequence: Sequence,
}

/// The text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cursor looks like `k3f9.1042`: pass back an id exactly as you received it")]
pub struct CursorError;

impl Cursor {
    /// Parses a cursor. Strict: one spelling for each cursor, so texts can be compared.
    ///
    /// # Errors
    /// [`CursorError`] for anything that [`Display`](fmt::Display) would not have written.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        let (epoch, sequence) = text.split_once('.').ok_or(CursorError)?;
        if epoch.len() > 13 || sequence.len() > 20 {
            return Err(CursorError);
        }
        let epoch = Epoch(u64::from_str_radix(epoch, 36).map_err(|_| CursorError)?);
        let sequence = Sequence(sequence.parse().map_err(|_| CursorError)?);
        let cursor = Self { epoch, sequence };
        // `+5`, `007` and capitals parse as numbers but are not how a cursor is written.
        if cursor.to_string() == text { Ok(cursor) } else { Err(CursorError) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.sequence)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        Self::parse(text)
    }
}

/// Where a subscriber wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// With the next entry: a fresh subscriber.
    Now,
    /// With the oldest entry that is kept: `start`.
    Start,
    /// After this place.
    Cursor(Cursor),
}

impl After {
    /// Parses `now`, `start` or a cursor.
    ///
    /// # Errors
    /// [`CursorError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, CursorError> {
        match text {
            "now" => Ok(Self::Now),
            "start" => Ok(Self::Start),
            cursor => Cursor::parse(cursor).map(Self::Cursor),
        }
    }
}

/// Why the log cannot prove that nothing was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// Retention dropped entries of these topics after the cursor.
    Trimmed,
    /// The cursor's epoch is not in the lineage: another log, a wiped one, or the future of a
    /// backup that was restored.
    Foreign,
    /// The epoch is ours, but it ended before the cursor: entries the client saw were lost.
    Diverged,
    /// The epoch is the current one, but the log has not come that far.
    Ahead,
}

impl GapReason {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Trimmed, Self::Foreign, Self::Diverged, Self::Ahead];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Foreign => "foreign",
            Self::Diverged => "diverged",
            Self::Ahead => "ahead",
        }
    }
}

/// What a subscriber is told, in-band, when continuity cannot be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// After this place nothing is missing. Up to it entries may be, though what is still kept is
    /// given.
    pub oldest: Cursor,
    /// The newest place.
    pub newest: Cursor,
}

/// The lives of one log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    // Never empty. `began` is the last place of the life before; starts never decrease.
    lives: Vec<Life>,
}

/// One life of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Its name.
    pub epoch: Epoch,
    /// The newest place when it began: its own entries have larger sequences.
    pub began: Sequence,
}

/// The lives do not form a lineage: none at all, a repeated epoch or starts that go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lives of the log are not in order")]
pub struct LineageError;

impl Lineage {
    /// A log that begins now.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { lives: vec![Life { epoch, began: Sequence::ZERO }] }
    }

    /// A lineage read back from where it was kept.
    ///
    /// # Errors
    /// [`LineageError`] when the lives are empty, repeat an epoch, or their starts go back.
    pub fn from_lives(lives: Vec<Life>) -> Result<Self, LineageError> {
        let ordered = lives.windows(2).all(|pair| matches!(pair, [a, b] if a.began <= b.began));
        let distinct = lives
            .iter()
            .enumerate()
            .all(|(i, a)| lives.iter().skip(i + 1).all(|b| a.epoch != b.epoch));
        if lives.is_empty() || !ordered || !distinct {
            return Err(LineageError);
        }
        Ok(Self { lives })
    }

    /// Begins a new life at `newest`, the last place that the log still has.
    ///
    /// A life that began beyond `newest` lost its first entries with all the rest; it is kept, with
    /// its start moved back to `newest`, so that its cursors are answered `diverged`, not `foreign`.
    pub fn begin(&mut self, epoch: Epoch, newest: Sequence) {
        for life in &mut self.lives {
            life.began = life.began.min(newest);
        }
        self.lives.push(Life { epoch, began: newest });
    }

    /// Drops lives until at most `lives_max` remain, oldest first. A cursor of a dropped life is
    /// answered `foreign`: told, never silent.
    pub fn forget_oldest(&mut self, lives_max: usize) {
        let excess = self.lives.len().saturating_sub(lives_max.max(1));
        self.lives.drain(..excess);
    }

    /// The lives, oldest first.
    #[must_use]
    pub fn lives(&self) -> &[Life] {
        &self.lives
    }

    /// The life that runs now.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.lives.last().map_or(Epoch(0), |life| life.epoch)
    }

    /// The cursor of the place `sequence`: named after the life in which it was written, so an
    /// entry has the same id for ever.
    #[must_use]
    pub fn cursor_at(&self, sequence: Sequence) -> Cursor {
        let life = self.lives.iter().rev().find(|life| life.began < sequence);
        let epoch = life.or(self.lives.first()).map_or(Epoch(0), |life| life.epoch);
        Cursor { epoch, sequence }
    }

    /// Where the life `epoch` ended: the last place that it shares with the lives after it.
    /// Nothing for the life that runs now and for one that is not ours.
    #[must_use]
    pub fn ended(&self, epoch: Epoch) -> Option<Sequence> {
        let index = self.lives.iter().position(|life| life.epoch == epoch)?;
        self.lives.get(index + 1).map(|next| next.began)
    }

    /// Does this cursor name a place in our own past, given the newest place we have?
    /// (Whether retention left everything after it is the log's to say, per topic.)
    ///
    /// # Errors
    /// The [`GapReason`]: `Foreign`, `Diverged` or `Ahead`.
    pub fn check(&self, cursor: Cursor, newest: Sequence) -> Result<(), GapReason> {
        if !self.lives.iter().any(|life| life.epoch == cursor.epoch) {
            return Err(GapReason::Foreign);
        }
        match self.ended(cursor.epoch) {
            Some(end) if cursor.sequence > end => Err(GapReason::Diverged),
            None if cursor.sequence > newest => Err(GapReason::Ahead),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cursor(epoch: u64, sequence: u64) -> Cursor {
        Cursor { epoch: Epoch(epoch), sequence: Sequence(sequence) }
    }

    #[test]
    fn a_cursor_has_one_spelling() {
        assert_eq!(Cursor::parse("k3f9.1042").unwrap().to_string(), "k3f9.1042");
        for text in [
            "", ".", "a.", ".1", "A.1", "a.+1", "a.01", "0a.1", "a.1.2", "a.-1", "a. 1", "a.1\n",
            "é.1",
        ] {
            assert_eq!(Cursor::parse(text), Err(CursorError), "{text:?}");
        }
        assert!(Cursor::parse("zzzzzzzzzzzzz.1").is_err(), "beyond 64 bits");
        assert!(Cursor::parse("a.18446744073709551616").is_err(), "beyond 64 bits");
    }

    proptest! {
        #[test]
        fn cursors_round_trip(epoch: u64, sequence: u64) {
            let cursor = cursor(epoch, sequence);
            prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
        }
    }

    #[test]
    fn a_lost_tail_is_told_as_diverged() {
        let mut lineage = Lineage::new(Epoch(1));
        lineage.begin(Epoch(2), Sequence(57));
        assert_eq!(lineage.check(cursor(1, 57), Sequence(80)), Ok(()));
        assert_eq!(lineage.check(cursor(1, 58), Sequence(80)), Err(GapReason::Diverged));
        assert_eq!(lineage.check(cursor(2, 80), Sequence(80)), Ok(()));
        assert_eq!(lineage.check(cursor(2, 81), Sequence(80)), Err(GapReason::Ahead));
        assert_eq!(lineage.check(cursor(3, 1), Sequence(80)), Err(GapReason::Foreign));
    }

    #[test]
    fn a_restored_backup_knows_its_own_past_only() {
        // Lives 1, 2, 3; the backup was taken in life 2 at 40 and starts again as life 4.
        let mut backup = Lineage::new(Epoch(1));
        backup.begin(Epoch(2), Sequence(30));
        backup.begin(Epoch(4), Sequence(40));
        assert_eq!(backup.check(cursor(2, 40), Sequence(50)), Ok(()));
        assert_eq!(backup.check(cursor(2, 45), Sequence(50)), Err(GapReason::Diverged));
        assert_eq!(backup.check(cursor(3, 44), Sequence(50)), Err(GapReason::Foreign));
    }

    #[test]
    fn a_tail_lost_beyond_a_whole_life_stays_diverged() {
        let mut lineage = Lineage::new(Epoch(1));
        lineage.begin(Epoch(2), Sequence(30));
        // The file was cut back to 20: all of life 2 and some of life 1 are gone.
        lineage.begin(Epoch(3), Sequence(20));
        assert_eq!(lineage.check(cursor(1, 20), Sequence(99)), Ok(()));
        assert_eq!(lineage.check(cursor(1, 25), Sequence(99)), Err(GapReason::Diverged));
        assert_eq!(lineage.check(cursor(2, 35), Sequence(99)), Err(GapReason::Diverged));
    }

    #[test]
    fn an_entry_keeps_its_id_across_lives() {
        let mut lineage = Lineage::new(Epoch(1));
        assert_eq!(lineage.cursor_at(Sequence(7)), cursor(1, 7));
        lineage.begin(Epoch(2), Sequence(7));
        assert_eq!(lineage.cursor_at(Sequence(7)), cursor(1, 7));
        assert_eq!(lineage.cursor_at(Sequence(8)), cursor(2, 8));
        assert_eq!(lineage.cursor_at(Sequence::ZERO), cursor(1, 0));
    }

    #[test]
    fn lives_that_make_no_sense_are_refused() {
        let life = |epoch, began| Life { epoch: Epoch(epoch), began: Sequence(began) };
        assert!(Lineage::from_lives(vec![]).is_err());
        assert!(Lineage::from_lives(vec![life(1, 5), life(2, 4)]).is_err());
        assert!(Lineage::from_lives(vec![life(1, 0), life(1, 4)]).is_err());
        assert!(Lineage::from_lives(vec![life(1, 0), life(2, 0)]).is_ok());
    }
}

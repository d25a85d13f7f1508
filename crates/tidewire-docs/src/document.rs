//! [`Document`]: the state of one document, in the hands of `yrs`. The only file that knows it.
//!
//! The library may panic on an update that nobody would write. It is not asked again then: what it
//! held is left where it is, and the document is [`Broken`].
//!
//! Invariant: a document is what its updates say, in whatever order they came.

use std::{
    mem::ManuallyDrop,
    panic::{AssertUnwindSafe, catch_unwind},
};

use yrs::{
    ClientID, Doc, IdSet, OffsetKind, Options, ReadTxn, StateVector, Transact, Update,
    updates::{decoder::Decode, encoder::Encode},
};

use crate::{
    outline::{Outline, Range},
    wire::Walk,
};

/// The library could not bear an update, or cannot tell what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// Why an update does not become part of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unapplied {
    /// It is none. The document is as it was.
    NoUpdate,
    /// The library panicked.
    Broken,
}

/// The state of a document.
pub(crate) struct Document {
    doc: Doc,
    is_broken: bool,
    // Never less than the state takes as an update, once it was measured.
    bytes_at_most: usize,
}

impl Document {
    pub(crate) fn new() -> Self {
        // Never writes, so that its name is nobody's matters not; JavaScript counts in UTF-16.
        let options =
            Options { offset_kind: OffsetKind::Utf16, ..Options::with_client_id(ClientID::new(0)) };
        Self { doc: Doc::with_options(options), is_broken: false, bytes_at_most: 2 }
    }

    /// Would the library take this for an update? Asked before anything is stored.
    pub(crate) fn is_update(bytes: &[u8]) -> bool {
        catch_unwind(|| Update::decode_v1(bytes).is_ok()).unwrap_or(false)
    }

    /// Takes an update in.
    pub(crate) fn apply(&mut self, bytes: &[u8]) -> Result<(), Unapplied> {
        if Outline::read(bytes).is_none() {
            return Err(Unapplied::NoUpdate);
        }
        self.guarded(|doc| {
            let Ok(update) = Update::decode_v1(bytes) else { return false };
            // Dropped in a panic, a transaction would commit, and panic again.
            let mut transaction = ManuallyDrop::new(doc.transact_mut());
            let is_applied = transaction.apply_update(update).is_ok();
            transaction.commit();
            drop(ManuallyDrop::into_inner(transaction));
            is_applied
        })
        .map_err(|Broken| Unapplied::Broken)
        .and_then(|is_applied| is_applied.then_some(()).ok_or(Unapplied::NoUpdate))?;
        self.bytes_at_most = self.bytes_at_most.saturating_add(bytes.len());
        Ok(())
    }

    /// What is here, as a state vector in bytes.
    pub(crate) fn state_vector(&mut self) -> Result<Vec<u8>, Broken> {
        self.guarded(|doc| doc.transact().state_vector().encode_v1())
    }

    /// What is here and not there, as an update. `None` if that is no state vector.
    pub(crate) fn diff(&mut self, state_vector: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        let Some(state_vector) = read_state_vector(state_vector) else { return Ok(None) };
        self.guarded(|doc| Some(doc.transact().encode_state_as_update_v1(&state_vector)))
    }

    /// All of it, as one update, without what was deleted.
    pub(crate) fn whole(&mut self) -> Result<Vec<u8>, Broken> {
        let whole =
            self.guarded(|doc| doc.transact().encode_state_as_update_v1(&StateVector::default()))?;
        self.bytes_at_most = whole.len();
        Ok(whole)
    }

    /// Is it certainly no larger than this? Looks closely only where it may be.
    pub(crate) fn fits(&mut self, bytes_max: usize) -> Result<bool, Broken> {
        if self.bytes_at_most > bytes_max {
            self.whole()?;
        }
        Ok(self.bytes_at_most <= bytes_max)
    }

    /// Would it be no larger than this with an update, or no larger than it is? Tries it on a copy.
    pub(crate) fn fits_with(&mut self, update: &[u8], bytes_max: usize) -> Result<bool, Broken> {
        let whole = self.whole()?;
        let mut copy = Self::new();
        let is_applied = copy.apply(&whole).is_ok() && copy.apply(update).is_ok();
        let bytes = copy.whole()?.len();
        Ok(is_applied && (bytes <= bytes_max || bytes <= whole.len()))
    }

    /// Waits it for something that has not come?
    pub(crate) fn has_missing(&mut self) -> Result<bool, Broken> {
        self.guarded(|doc| doc.transact().has_missing_updates())
    }

    /// Is everything here already that an update inserts and deletes?
    pub(crate) fn knows(&mut self, outline: &Outline) -> Result<bool, Broken> {
        self.guarded(|doc| {
            let transaction = doc.transact();
            let here = transaction.state_vector();
            let is_here = |range: &Range| range.to <= here.get(&ClientID::new(range.client));
            if !outline.inserts.iter().all(is_here) {
                return false;
            }
            let deleted = transaction.snapshot().delete_set;
            outline.deletes.iter().all(|range| is_deleted(&deleted, range))
        })
    }

    fn guarded<T>(&mut self, ask: impl FnOnce(&Doc) -> T) -> Result<T, Broken> {
        if self.is_broken {
            return Err(Broken);
        }
        let doc = self.doc.clone();
        catch_unwind(AssertUnwindSafe(|| ask(&doc))).map_err(|_| {
            self.is_broken = true;
            // Of what broke half way nothing is touched again: with this handle it is never dropped.
            std::mem::forget(doc.clone());
            Broken
        })
    }
}

fn is_deleted(deleted: &IdSet, range: &Range) -> bool {
    let Some(ranges) = deleted.get(&ClientID::new(range.client)) else { return false };
    // Sorted, and those that touch are one.
    ranges.ranges().any(|have| have.start <= range.from && range.to <= have.end)
}

fn read_state_vector(bytes: &[u8]) -> Option<StateVector> {
    let mut walk = Walk(bytes);
    let mut state_vector = StateVector::default();
    for _ in 0..walk.count()? {
        let (client, clock) = (walk.number()?, walk.number()?);
        state_vector.set_max(ClientID::new(client), u32::try_from(clock).ok()?);
    }
    walk.0.is_empty().then_some(state_vector)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use yrs::{GetString, Text, WriteTxn};

    /// A client's document with a text in it.
    pub(crate) struct Client(pub(crate) Doc);

    impl Client {
        pub(crate) fn new(name: u64) -> Self {
            let options = Options {
                offset_kind: OffsetKind::Utf16,
                ..Options::with_client_id(ClientID::new(name))
            };
            Self(Doc::with_options(options))
        }

        /// Edits, and gives the update.
        pub(crate) fn insert(&self, at: u32, text: &str) -> Vec<u8> {
            let mut transaction = self.0.transact_mut();
            let shared = transaction.get_or_insert_text("text");
            shared.insert(&mut transaction, at, text);
            transaction.encode_update_v1()
        }

        pub(crate) fn remove(&self, at: u32, count: u32) -> Vec<u8> {
            let mut transaction = self.0.transact_mut();
            let shared = transaction.get_or_insert_text("text");
            shared.remove_range(&mut transaction, at, count);
            transaction.encode_update_v1()
        }

        pub(crate) fn take(&self, update: &[u8]) {
            let update = Update::decode_v1(update).unwrap();
            self.0.transact_mut().apply_update(update).unwrap();
        }

        pub(crate) fn text(&self) -> String {
            let mut transaction = self.0.transact_mut();
            let shared = transaction.get_or_insert_text("text");
            shared.get_string(&transaction)
        }

        pub(crate) fn whole(&self) -> Vec<u8> {
            self.0.transact().encode_state_as_update_v1(&StateVector::default())
        }
    }

    #[test]
    fn what_comes_too_early_waits_for_what_is_missing() {
        let client = Client::new(1);
        let (first, second) = (client.insert(0, "a"), client.insert(1, "b"));
        let mut document = Document::new();
        document.apply(&second).unwrap();
        // Who comes now must not miss it later.
        let late = Client::new(2);
        late.take(&document.diff(&[0]).unwrap().unwrap());
        document.apply(&first).unwrap();
        assert!(!document.has_missing().unwrap());
        late.take(&first);
        assert_eq!(late.text(), "ab");
        late.take(&document.whole().unwrap());
        assert_eq!(late.text(), "ab");
    }

    #[test]
    fn it_knows_what_it_has() {
        let client = Client::new(1);
        let mut document = Document::new();
        let mut knows = |update: &[u8], expected: bool| {
            let outline = Outline::read(update).unwrap();
            assert_eq!(document.knows(&outline).unwrap(), expected);
            document.apply(update).unwrap();
            assert!(document.knows(&outline).unwrap());
        };
        knows(&[0, 0], true);
        knows(&client.insert(0, "abcdef"), false);
        knows(&client.remove(1, 2), false);
        knows(&client.whole(), true);
        knows(&client.remove(2, 1), false);
    }

    #[test]
    fn its_size_is_looked_at_where_it_matters() {
        let client = Client::new(1);
        let mut document = Document::new();
        document.apply(&client.insert(0, &"x".repeat(1_000))).unwrap();
        assert!(document.fits(2_000).unwrap());
        assert!(!document.fits(900).unwrap());
        document.apply(&client.remove(0, 950)).unwrap();
        assert!(document.fits(900).unwrap(), "what was deleted takes no room");
        let larger = client.insert(0, &"y".repeat(500));
        assert!(document.fits_with(&larger, 600).unwrap());
        assert!(!document.fits_with(&larger, 500).unwrap());
        document.apply(&larger).unwrap();
        let smaller = client.remove(0, 100);
        assert!(document.fits_with(&smaller, 100).unwrap(), "what makes room is let in");
    }

    #[test]
    fn what_is_no_update_changes_nothing() {
        let client = Client::new(1);
        let mut document = Document::new();
        document.apply(&client.insert(0, "a")).unwrap();
        assert_eq!(document.apply(&[1, 2, 3]), Err(Unapplied::NoUpdate));
        assert_eq!(document.diff(&[255, 255, 255, 127]).unwrap(), None);
        let late = Client::new(2);
        late.take(&document.whole().unwrap());
        assert_eq!(late.text(), "a");
    }
}

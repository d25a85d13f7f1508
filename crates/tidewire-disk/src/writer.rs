//! The one thread that appends. It takes what waits, writes it as one piece, syncs once, answers,
//! and begins again: *fsync as soon as the previous one returned*, so a group is as large as the
//! disk is slow. Where several publish one by one it waits a moment for those just answered (`gather`).
//!
//! Invariants: nothing is published before it is as safe as its feature asks, and nothing overtakes;
//! a failed sync is never tried again, because what the disk holds is then unknown.

use std::{io, sync::Arc};

use tidewire_core::{
    AppendError, Features, Receipt,
    log::idempotency::{KeyWindow, Verdict},
};
use tidewire_proto::{Entry, Message, Sequence, Stored};
use tokio::time::Instant;

use crate::{
    bytes::narrow,
    error::{StoreError, is_full},
    gather::Gather,
    group,
    queue::{Answer, Request},
    record,
    recovery::create_wal,
    retention,
    shared::{Shared, asks_for_sync},
    state::{Classes, Fresh},
    wal::{Noted, SealedWal, WalFile},
};

/// About how many payload bytes are written as one piece.
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// A log that only asks for the operating system's safety is still synced this often, so that
/// sealing never has to wait for long.
const UNSYNCED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How many entries are published under one lock.
const PUBLISH_ENTRIES: usize = 128;
/// How many sealed files may wait to be sorted before the writer waits too.
const SEALED_MAX: usize = 2;
/// A file that cannot be sealed for want of room grows to this and no further.
const FILE_BYTES_MAX: u64 = 3 << 30;

/// The writer.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wal: Arc<WalFile>,
    /// Which class each feature's entries have in this file.
    pub(crate) classes: Classes,
    /// The length of the file.
    pub(crate) written: u64,
    /// How much of it is durable.
    pub(crate) synced: u64,
    /// The newest place given out.
    pub(crate) newest: Sequence,
    pub(crate) keys: KeyWindow,
    pub(crate) salt: u64,
    pub(crate) buffer: Vec<u8>,
    pub(crate) failed: Option<String>,
    /// How many batches waited when the last group was answered.
    pub(crate) others: usize,
}

/// A batch with its places, encoded, not yet safe.
struct Prepared {
    request: Request,
    answer: Answer,
    /// Which messages are new, and where they stand in the file: offset and length.
    fresh: Vec<(usize, u64, u64)>,
    at_ms: u64,
    needs_sync: bool,
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let mut gather = Gather::default();
        loop {
            let work = self.shared.queue.take(GROUP_BYTES, gather);
            let (begun, count) = (Instant::now(), work.requests.len());
            self.others = 0;
            if count > 0 {
                self.take_up_features();
                self.commit(work.requests);
            }
            gather = Gather::after(begun.elapsed(), count, self.others);
            if self.failed.is_none() && (work.seal || self.is_due()) {
                self.seal();
            }
            if work.seal {
                self.shared.queue.sealed();
            }
            if work.seal || self.failed.is_some() {
                self.shared.keeper.wake();
            }
            if work.last {
                break;
            }
        }
        if self.failed.is_none() && self.synced < self.written {
            let _ = self.sync();
        }
    }

    /// When features have come or gone, their entries go to a new file, because a file knows each
    /// feature as declared or as not.
    fn take_up_features(&mut self) {
        let features = Arc::clone(&self.shared.settings.features.load());
        if self.failed.is_some() || self.classes.are_of(&features) {
            return;
        }
        let is_empty = self.shared.lock().index.is_empty();
        if is_empty {
            self.classes = Classes::new(&features);
        } else {
            self.seal();
        }
    }

    fn commit(&mut self, requests: Vec<Request>) {
        if let Some(reason) = &self.failed {
            let failed = AppendError::Failed(reason.clone());
            requests.into_iter().for_each(|request| self.refuse(request, failed.clone()));
            return;
        }
        let newest_before = self.newest;
        self.buffer.clear();
        let at_ms = self.shared.clock.now_ms();
        // One table for all that is decided about a group: it may be replaced meanwhile.
        let features = Arc::clone(&self.shared.settings.features.load());
        let prepare = |request| self.prepare(request, at_ms, &features);
        let mut group: Vec<_> = requests.into_iter().map(prepare).collect();
        if let Err(error) = self.write() {
            self.newest = newest_before;
            self.take_back(&group);
            group.into_iter().for_each(|prepared| self.refuse(prepared.request, error.clone()));
            return;
        }
        let safe = group.iter().position(|prepared| prepared.needs_sync).unwrap_or(group.len());
        let unsynced = group.split_off(safe);
        self.publish(group);
        let too_much = self.written - self.synced > UNSYNCED_BYTES_MAX;
        if (too_much || !unsynced.is_empty()) && self.sync().is_err() {
            let reason = self.failed.clone().unwrap_or_default();
            let failed = AppendError::Failed(reason);
            unsynced.into_iter().for_each(|prepared| self.refuse(prepared.request, failed.clone()));
            return;
        }
        self.publish(unsynced);
    }

    /// Gives the messages their places and appends them to the buffer as one group.
    fn prepare(&mut self, request: Request, at_ms: u64, features: &Features) -> Prepared {
        let (start, newest) = (self.buffer.len(), self.newest);
        let mut prepared =
            Prepared { request, answer: Ok(vec![]), fresh: vec![], at_ms, needs_sync: false };
        let head = group::begin(&mut self.buffer);
        match self.encode(&prepared.request, at_ms, &mut prepared.fresh) {
            Ok(receipts) => prepared.answer = Ok(receipts),
            Err(error) => {
                let taken = prepared.fresh.iter().rev();
                for message in taken.filter_map(|&(at, ..)| prepared.request.messages.get(at)) {
                    self.keys.take_back(message);
                }
                prepared.fresh.clear();
                prepared.answer = Err(error);
                self.newest = newest;
            }
        }
        if prepared.fresh.is_empty() {
            self.buffer.truncate(start);
        } else {
            let count = narrow(prepared.fresh.len() as u64);
            group::finish(&mut self.buffer, head, count, newest.next(), self.synced, self.salt);
        }
        self.name_levels(&mut prepared, features);
        prepared
    }

    fn encode(
        &mut self,
        request: &Request,
        at_ms: u64,
        fresh: &mut Vec<(usize, u64, u64)>,
    ) -> Result<Vec<Receipt>, AppendError> {
        let mut receipts = Vec::with_capacity(request.messages.len());
        for (index, message) in request.messages.iter().enumerate() {
            let duplicate = match self.keys.verdict(message, request.now) {
                Verdict::New => None,
                Verdict::Duplicate(earlier) => Some(earlier),
                Verdict::Conflict => return Err(AppendError::Conflict { index }),
                Verdict::Full => return Err(AppendError::Busy),
            };
            if duplicate.is_none() {
                self.newest = self.newest.next();
                self.keys.remember(message, self.newest, request.now);
                let start = self.buffer.len();
                record::encode(message, self.newest, at_ms, &mut self.buffer);
                let length = (self.buffer.len() - start) as u64;
                fresh.push((index, self.written + start as u64, length));
            }
            receipts.push(Receipt {
                sequence: duplicate.unwrap_or(self.newest),
                stored: Stored::Os,
                duplicate: duplicate.is_some(),
            });
        }
        Ok(receipts)
    }

    /// A batch is synced if any new message in it asks for that; then all of it is. So is one with a
    /// retry that asks, if anything is not on the disk yet: its entry may have been stored when its
    /// feature asked for less.
    fn name_levels(&self, prepared: &mut Prepared, features: &Features) {
        let messages = &prepared.request.messages;
        let asks = |message: &Message| asks_for_sync(features, &message.topic);
        let Ok(receipts) = &mut prepared.answer else { return };
        let mut fresh = prepared.fresh.iter().filter_map(|&(at, ..)| messages.get(at));
        let is_all_synced = self.synced == self.written + self.buffer.len() as u64;
        prepared.needs_sync = fresh.any(asks) || (!is_all_synced && messages.iter().any(asks));
        for (receipt, message) in receipts.iter_mut().zip(messages) {
            if prepared.needs_sync || asks(message) {
                receipt.stored = Stored::Fsync;
            }
        }
    }

    /// Writes the buffer, all of it or nothing.
    fn write(&mut self) -> Result<(), AppendError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = if self.written + self.buffer.len() as u64 > FILE_BYTES_MAX {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            self.wal.file.write_at(&self.buffer, self.written)
        };
        let Err(error) = written else {
            self.written += self.buffer.len() as u64;
            return Ok(());
        };
        if let Err(cut) = self.wal.file.truncate(self.written) {
            return Err(self.fail("cut back", &cut));
        }
        if is_full(&error) {
            tracing::warn!(file = self.wal.name, %error, "the disk is full: publishes are refused");
            Err(AppendError::Full)
        } else {
            // Nothing of it is there, so trying again is safe and may help.
            tracing::error!(file = self.wal.name, %error, "a write failed and was taken back");
            Err(AppendError::Busy)
        }
    }

    fn sync(&mut self) -> Result<(), AppendError> {
        match self.wal.file.sync() {
            Ok(()) => {
                self.synced = self.written;
                Ok(())
            }
            Err(error) => Err(self.fail("sync", &error)),
        }
    }

    /// Ends acknowledging until a restart.
    fn fail(&mut self, action: &str, error: &io::Error) -> AppendError {
        let reason = format!("cannot {action} {}: {error}", self.wal.name);
        tracing::error!(reason, "the log stores nothing more until it is opened again");
        self.shared.keeper.stop_sorting();
        self.failed = Some(reason.clone());
        AppendError::Failed(reason)
    }

    fn refuse(&self, request: Request, error: AppendError) {
        self.shared.queue.done(request.cost);
        let _ = request.reply.send(Err(error));
    }

    fn take_back(&mut self, group: &[Prepared]) {
        for prepared in group.iter().rev() {
            for &(at, ..) in prepared.fresh.iter().rev() {
                if let Some(message) = prepared.request.messages.get(at) {
                    self.keys.take_back(message);
                }
            }
        }
    }

    /// Lets readers and followers see the batches, then answers them.
    fn publish(&mut self, group: Vec<Prepared>) {
        let mut replies = Vec::with_capacity(group.len());
        let mut fresh = Vec::new();
        let mut done = 0;
        for prepared in group {
            let Prepared { request, answer, at_ms, .. } = prepared;
            let Request { messages, reply, cost, .. } = request;
            done += cost;
            if let Ok(receipts) = &answer {
                let mut places = prepared.fresh.into_iter().peekable();
                for (at, (message, receipt)) in messages.into_iter().zip(receipts).enumerate() {
                    if let Some((_, offset, length)) = places.next_if(|&(index, ..)| index == at) {
                        let noted = Noted { at_ms, length };
                        fresh.push(self.fresh(message, receipt.sequence, offset, noted));
                    }
                }
            }
            replies.push((reply, answer));
        }
        if !fresh.is_empty() {
            self.show(fresh);
        }
        // Before the answers: whoever hears one may publish again at once.
        self.others = self.shared.queue.done(done);
        for (reply, answer) in replies {
            // A publisher who left does not take the batch back.
            let _ = reply.send(answer);
        }
    }

    /// Lets readers and followers see the entries, piece by piece: no reader waits for all of them.
    fn show(&self, fresh: Vec<Fresh>) {
        let mut fresh = fresh.into_iter();
        loop {
            let piece: Vec<_> = fresh.by_ref().take(PUBLISH_ENTRIES).collect();
            if piece.is_empty() {
                break;
            }
            let gone = self.shared.lock().publish(piece);
            // What is freed here no reader waited for.
            drop(gone);
        }
        self.shared.tell_newest();
    }

    fn fresh(&self, message: Message, sequence: Sequence, offset: u64, noted: Noted) -> Fresh {
        let Message { topic, event, data, item, .. } = message;
        let class = Arc::clone(self.classes.of(topic.feature()));
        let hash = record::topic_hash(topic.as_str());
        let entry = Arc::new(Entry { sequence, topic, event, data, at_ms: noted.at_ms, item });
        Fresh { class, topic: hash, offset, noted, entry }
    }

    fn is_due(&self) -> bool {
        let settings = &self.shared.settings;
        self.written >= settings.segment_bytes || {
            let state = self.shared.lock();
            retention::is_full(&state.index, &settings.features.load(), settings.segment_bytes)
        }
    }

    /// Ends the active file and begins the next. If that cannot be, the active one goes on.
    fn seal(&mut self) {
        if self.shared.lock().index.is_empty() {
            return;
        }
        self.shared.keeper.wait_for_room(|| self.shared.lock().sealed.len() < SEALED_MAX);
        // Also when every entry is durable: what a failed write left and a cut took back must be
        // gone for good, because only the active file may end in something torn.
        if self.sync().is_err() {
            return;
        }
        match create_wal(&*self.shared.disk, self.newest.next(), self.salt) {
            Ok((wal, length)) => {
                self.begin(wal, length);
                self.shared.keeper.wake();
            }
            Err(error) => self.stay(&error),
        }
    }

    fn begin(&mut self, wal: WalFile, length: u64) {
        let wal = Arc::new(wal);
        let mut state = self.shared.lock();
        let next = state.index.succeeding(wal.head.base);
        let index = std::mem::replace(&mut state.index, next);
        let sealed = std::mem::replace(&mut state.wal, Arc::clone(&wal));
        state.sealed.push(Arc::new(SealedWal { wal: sealed, index }));
        drop(state);
        (self.wal, self.written, self.synced) = (wal, length, length);
        self.classes = Classes::new(&self.shared.settings.features.load());
    }

    /// The next file could not be made. What is left of it must go, or it would pass for the active
    /// one when the log opens.
    fn stay(&mut self, error: &StoreError) {
        tracing::warn!(%error, "the active file cannot be sealed yet");
        let name = crate::wal::file_name(self.newest.next());
        match self.shared.disk.remove(&name) {
            Ok(()) => {}
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.fail("remove the unfinished successor of", &error);
            }
        }
    }
}

//! Follows the log: every entry after a place, in log order, for ever. The only source of live
//! delivery.
//!
//! Near the end it hands out what is in memory; further back it reads files, piece by piece, and
//! waits for nobody. Invariant: a batch has no hole; a hole between two batches is retention's.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::stream::{self, BoxStream, StreamExt};
use tidewire_core::Batch;
use tidewire_proto::{Entry, Sequence};
use tokio::sync::watch;

use crate::{
    disk::Disk,
    error::StoreError,
    shared::{Progress, Shared},
    state::Piece,
};

/// Most entries in one batch: a follower that fell behind catches up in pieces.
const ENTRIES_MAX: usize = 1_024;
/// And about how many payload bytes are read from files for one.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// A follower that cannot read stands still and tries again: it may not skip, and it may not end.
const RETRY: Duration = Duration::from_secs(1);

struct Follower {
    shared: Arc<Shared>,
    news: watch::Receiver<Progress>,
    after: Sequence,
    ready: VecDeque<Arc<Entry>>,
}

/// Every entry after a place.
pub(crate) fn follow(shared: Arc<Shared>, after: Sequence) -> BoxStream<'static, Batch> {
    let news = shared.progress.subscribe();
    let follower = Follower { shared, news, after, ready: VecDeque::new() };
    stream::unfold(follower, |mut follower| async move {
        let batch = follower.next().await?;
        Some((batch, follower))
    })
    .boxed()
}

impl Follower {
    async fn next(&mut self) -> Option<Batch> {
        loop {
            if let Some(batch) = self.take_ready() {
                return Some(batch);
            }
            let progress = *self.news.borrow_and_update();
            if progress.newest > self.after {
                let recent = {
                    let state = self.shared.lock();
                    let near = self.after >= state.recent.floor();
                    near.then(|| state.recent.after(self.after, ENTRIES_MAX))
                };
                let found = match recent {
                    Some(recent) => recent,
                    None => self.read_files(progress).await?,
                };
                self.ready.extend(found);
                if !self.ready.is_empty() {
                    continue;
                }
            }
            if progress.closed {
                return None;
            }
            self.news.changed().await.ok()?;
        }
    }

    /// The ready entries up to the first hole.
    fn take_ready(&mut self) -> Option<Batch> {
        let first = self.ready.front()?.sequence;
        let before = Sequence(first.0.saturating_sub(1));
        let places = (first.0..).map(Sequence);
        let count =
            self.ready.iter().zip(places).take_while(|(entry, at)| entry.sequence == *at).count();
        let entries: Arc<[_]> = self.ready.drain(..count).collect();
        self.after = entries.last().map_or(self.after, |entry| entry.sequence);
        Some(Batch { after: before, entries })
    }

    /// Nothing if the log was closed while its files could not be read.
    async fn read_files(&mut self, progress: Progress) -> Option<Vec<Arc<Entry>>> {
        loop {
            let (shared, after) = (Arc::clone(&self.shared), self.after);
            let permit = Arc::clone(&shared.file_reads).acquire_owned().await;
            let read = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let pieces = shared.lock().next_pieces(after, ENTRIES_MAX);
                next_entries(&*shared.disk, &pieces, after)
            });
            match read.await {
                Ok(Ok(entries)) => return Some(entries),
                Ok(Err(error)) if error.is_gone() => continue,
                Ok(Err(error)) => tracing::error!(%error, "a follower cannot read and waits"),
                Err(error) => tracing::error!(%error, "a follower's read ended early"),
            }
            if progress.closed || self.news.borrow().closed {
                return None;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Merges the pieces, up to where all of them are known.
fn next_entries(
    disk: &dyn Disk,
    pieces: &[Piece],
    after: Sequence,
) -> Result<Vec<Arc<Entry>>, StoreError> {
    let mut all: Vec<Arc<Entry>> = Vec::new();
    let mut horizon = Sequence(u64::MAX);
    for piece in pieces {
        let (entries, whole, next) = match piece {
            Piece::Segment(segment, next) => {
                let entries = segment.in_order(disk, after, ENTRIES_MAX, BYTES_MAX)?;
                let reached = entries.last().map_or(after, |entry| entry.sequence);
                (entries, reached >= segment.footer.newest, next)
            }
            Piece::Wal(wal, places, next) => {
                let (mut entries, mut bytes): (Vec<Entry>, _) = (Vec::new(), 0);
                for &(sequence, offset) in places {
                    let entry = wal.entry_at(sequence, offset, entries.last())?;
                    bytes += entry.data.bytes().len();
                    entries.push(entry);
                    if bytes >= BYTES_MAX {
                        break;
                    }
                }
                // Whether this file ends here or goes on, the next one does not matter yet.
                (entries, false, next)
            }
        };
        let reached = entries.last().map_or(after, |entry| entry.sequence);
        let known = match next {
            Some(next) if whole => Sequence(next.0.saturating_sub(1)),
            None if whole => horizon,
            _ => reached,
        };
        horizon = horizon.min(known);
        all.extend(entries.into_iter().map(Arc::new));
    }
    all.retain(|entry| entry.sequence <= horizon);
    all.sort_unstable_by_key(|entry| entry.sequence);
    all.truncate(ENTRIES_MAX);
    Ok(all)
}

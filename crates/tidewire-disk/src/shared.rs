//! What the log's face, its writer, its keeper and its readers have in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewire_core::{Features, clock::Clock};
use tidewire_proto::{Lineage, Sequence, Stored, Topic};
use tokio::sync::{Semaphore, watch};

use crate::{disk::Disk, keeper::Inbox, queue::Queue, settings::DiskSettings, state::State};

/// Most reads of files at a time: each holds some buffers and one thread.
pub(crate) const FILE_READS_MAX: usize = 16;

/// One per open log.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) settings: DiskSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lineage: Arc<Lineage>,
    pub(crate) state: Mutex<State>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) queue: Queue,
    pub(crate) keeper: Inbox,
    pub(crate) file_reads: Arc<Semaphore>,
}

/// How far the log has come, as followers hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) newest: Sequence,
    pub(crate) closed: bool,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell_newest(&self) {
        let newest = self.lock().newest;
        self.progress.send_modify(|progress| progress.newest = newest);
    }

    pub(crate) fn tell_closed(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }
}

/// Must a message of this topic be on stable storage before it is acknowledged? Only a declared wish
/// says no. What asks for less than a file gives is written to one all the same.
pub(crate) fn asks_for_sync(features: &Features, topic: &Topic) -> bool {
    let stored = features.of(topic).map(|feature| feature.stored);
    !matches!(stored, Some(Stored::Os | Stored::Memory))
}

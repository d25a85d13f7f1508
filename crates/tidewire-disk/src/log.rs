//! The embedded log's face: [`DiskLog`].

use std::{
    any::Any,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tidewire_core::{
    AppendError, Batch, Bounds, Filter, Log, Page, PageBack, PageLimit, ReadError, Receipt,
    clock::{Clock, Random},
};
use tidewire_proto::{Message, Sequence};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{
    back,
    disk::{Disk, RealDisk},
    epoch,
    error::{Context, OpenError},
    follow,
    keeper::{self, Inbox, Retained},
    queue::{Queue, Request},
    reader, record,
    recovery::{Recovered, recover},
    settings::{DiskSettings, SEGMENT_BYTES_MAX},
    shared::{FILE_READS_MAX, Progress, Shared},
    state::{Classes, Wanted},
    writer::Writer,
};

/// Largest batch that one group on disk can hold with comfort.
const BATCH_BYTES_MAX: usize = 512 * 1024 * 1024;

/// A log in a directory of this machine: see the crate's documentation.
///
/// Dropping it stores what was accepted and lets go of the directory, as [`close`](Self::close)
/// does, but blocks the thread meanwhile.
pub struct DiskLog {
    shared: Arc<Shared>,
    started: Instant,
    threads: Mutex<Vec<JoinHandle<()>>>,
    // The directory is ours while this lives.
    guard: Mutex<Option<Box<dyn Any + Send + Sync>>>,
    closed: AtomicBool,
}

/// What a log holds, for those who watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskStats {
    /// Sorted files.
    pub segments: usize,
    /// Files that are not sorted, the active one included.
    pub unsorted: usize,
    /// Bytes of all files with entries.
    pub bytes: u64,
    /// About how much memory the tables take.
    pub index_bytes: usize,
    /// Memory for the newest entries, their payloads included.
    pub recent_bytes: usize,
}

impl DiskLog {
    /// Opens the log in a directory, or begins one there, and begins a new life of it.
    ///
    /// # Errors
    /// [`OpenError`] when the directory is taken, damaged, of another version or out of reach.
    pub fn open(
        dir: impl AsRef<Path>,
        settings: DiskSettings,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Result<Self, OpenError> {
        let dir = dir.as_ref();
        let disk = RealDisk::new(dir).on("create", &dir.display().to_string())?;
        Self::open_on(Arc::new(disk), &dir.display().to_string(), settings, clock, random)
    }

    /// Opens the log on any [`Disk`]: what tests do. `name` is how errors call the directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(
        disk: Arc<dyn Disk>,
        name: &str,
        mut settings: DiskSettings,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Result<Self, OpenError> {
        let guard = disk.lock().on("lock", name)?;
        let guard = guard.ok_or_else(|| OpenError::Locked { dir: name.to_owned() })?;
        settings.segment_bytes = settings.segment_bytes.clamp(1, SEGMENT_BYTES_MAX);
        let classes = Classes::new(&settings.features.load());
        let before = epoch::read(&*disk)?;
        let salt = random.next_u64();
        let Recovered { state, keys, written } = recover(&*disk, &settings, &classes, salt)?;
        let newest = state.newest;
        let lineage = epoch::begin(&*disk, before, newest, settings.limits.lives_max, random)?;
        let wal = Arc::clone(&state.wal);
        let shared = Arc::new(Shared {
            disk,
            clock,
            lineage: Arc::new(lineage),
            state: Mutex::new(state),
            progress: watch::Sender::new(Progress { newest, closed: false }),
            queue: Queue::new(settings.limits.append_bytes_pending_max),
            keeper: Inbox::default(),
            file_reads: Arc::new(Semaphore::new(FILE_READS_MAX)),
            settings,
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            salt: wal.head.salt,
            wal,
            classes,
            written,
            synced: written,
            newest,
            keys,
            buffer: Vec::new(),
            failed: None,
            others: 0,
        };
        let log = Self {
            shared: Arc::clone(&shared),
            started: Instant::now(),
            threads: Mutex::default(),
            guard: Mutex::new(Some(guard)),
            closed: AtomicBool::new(false),
        };
        log.spawn("tidewire-writer", move || writer.run())?;
        log.spawn("tidewire-keeper", move || keeper::run(&shared))?;
        Ok(log)
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = thread.on("start the thread", name)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Stores what was accepted, ends the follow streams and lets go of the directory.
    pub async fn close(&self) {
        if let Some(rest) = self.begin_to_close() {
            // The threads end soon, but a sync may take a moment.
            let _ = tokio::task::spawn_blocking(rest).await;
        }
    }

    /// What is left to wait for; nothing if somebody else is closing.
    fn begin_to_close(&self) -> Option<impl FnOnce() + Send + 'static> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return None;
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner).take();
        let shared = Arc::clone(&self.shared);
        shared.queue.close();
        shared.keeper.stop();
        Some(move || {
            for thread in threads {
                let _ = thread.join();
            }
            shared.tell_closed();
            drop(guard);
        })
    }

    /// One pass of retention, now: seals the active file if it is old enough, sorts what is sealed
    /// and removes what the features keep no longer. Happens by itself every
    /// [`retain_interval`](DiskSettings::retain_interval).
    pub async fn retain_now(&self) -> Retained {
        self.shared.keeper.ask(false).await.unwrap_or_default()
    }

    /// The same, but the active file is sealed whatever its age.
    pub async fn seal_now(&self) -> Retained {
        self.shared.keeper.ask(true).await.unwrap_or_default()
    }

    /// What the log holds.
    #[must_use]
    pub fn stats(&self) -> DiskStats {
        let state = self.shared.lock();
        let segments = || state.classes.values().flat_map(|segments| segments.iter());
        let unsorted = || state.sealed.iter().map(|sealed| &sealed.index).chain([&state.index]);
        let held = |index: &crate::wal::WalIndex| -> u64 {
            index.classes.values().map(|class| class.bytes).sum()
        };
        DiskStats {
            segments: segments().count(),
            unsorted: unsorted().count(),
            bytes: segments().map(|segment| segment.bytes).sum::<u64>()
                + unsorted().map(held).sum::<u64>(),
            index_bytes: segments().map(|segment| segment.memory_bytes()).sum::<usize>()
                + unsorted().map(crate::wal::WalIndex::memory_bytes).sum::<usize>()
                + state.losses.memory_bytes(),
            recent_bytes: state.recent.bytes(),
        }
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        if let Some(rest) = self.begin_to_close() {
            rest();
        }
    }
}

#[async_trait]
impl Log for DiskLog {
    async fn append(&self, batch: Vec<Message>) -> Result<Vec<Receipt>, AppendError> {
        if batch.is_empty() {
            return Ok(vec![]);
        }
        let bytes: usize =
            batch.iter().map(|message| message.data.bytes().len() + record::OVERHEAD_BYTES).sum();
        let payload = bytes - batch.len() * record::OVERHEAD_BYTES;
        if payload > self.shared.settings.limits.batch_bytes_max || bytes > BATCH_BYTES_MAX {
            return Err(AppendError::Busy);
        }
        let (request, answer) = Request::new(batch, self.started.elapsed());
        self.shared.queue.push(request)?;
        answer.await.unwrap_or_else(|_| {
            Err(AppendError::Failed("the thread that writes has ended".to_owned()))
        })
    }

    async fn read(
        &self,
        filter: &Filter,
        after: Sequence,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let wanted = filter.topics().iter().map(Wanted::from).collect();
        reader::read(&self.shared, wanted, after, limit).await
    }

    async fn read_back(
        &self,
        filter: &Filter,
        before: Option<Sequence>,
        limit: PageLimit,
    ) -> Result<PageBack, ReadError> {
        let wanted = filter.topics().iter().map(Wanted::from).collect();
        back::read(&self.shared, wanted, before, limit).await
    }

    fn follow(&self, after: Sequence) -> BoxStream<'static, Batch> {
        follow::follow(Arc::clone(&self.shared), after)
    }

    fn bounds(&self) -> Bounds {
        let state = self.shared.lock();
        Bounds {
            lineage: Arc::clone(&self.shared.lineage),
            oldest: state.oldest(),
            newest: state.newest,
        }
    }
}

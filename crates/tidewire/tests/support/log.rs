//! A log that a test can hold: appends wait until they are let go, and reads are noted.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use futures_util::stream::BoxStream;
use tidewire::{
    Feature, Features, Limits, Log, MemoryLog, Message,
    clock::{SeededRandom, SystemClock},
    tidewire_core::{
        AppendError, Batch, Bounds, Filter, Page, PageBack, PageLimit, ReadError, Receipt,
        log::memory::MemoryBounds,
    },
    tidewire_proto::Sequence,
};
use tokio::sync::watch;

pub(crate) struct HeldLog {
    inner: MemoryLog,
    held: watch::Sender<bool>,
    /// Appends are refused, as by a disk that is full.
    pub(crate) is_full: AtomicBool,
    /// Appends that have begun.
    pub(crate) begun: watch::Sender<usize>,
    /// The limits of all reads.
    pub(crate) reads: Mutex<Vec<PageLimit>>,
}

impl HeldLog {
    pub(crate) fn new() -> (Arc<Self>, Features) {
        Self::of(Feature::default())
    }

    /// A log of topics that are all of one kind.
    pub(crate) fn of(feature: Feature) -> (Arc<Self>, Features) {
        let features = Features::default().with_undeclared(feature);
        let inner = MemoryLog::new(
            Arc::new(features.clone()),
            &Limits::default(),
            MemoryBounds::default(),
            Arc::new(SystemClock),
            &SeededRandom::new(7),
        );
        let (held, begun) = (watch::Sender::new(false), watch::Sender::new(0));
        (
            Arc::new(Self { inner, held, is_full: false.into(), begun, reads: Mutex::default() }),
            features,
        )
    }

    /// From now on appends wait, or go on.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Waits until so many appends have begun.
    pub(crate) async fn has_begun(&self, count: usize) {
        let mut begun = self.begun.subscribe();
        let waited = begun.wait_for(|begun| *begun >= count);
        tokio::time::timeout(super::PATIENCE, waited).await.expect("an append").unwrap();
    }
}

#[async_trait::async_trait]
impl Log for HeldLog {
    async fn append(&self, batch: Vec<Message>) -> Result<Vec<Receipt>, AppendError> {
        self.begun.send_modify(|begun| *begun += 1);
        let _ = self.held.subscribe().wait_for(|held| !held).await;
        if self.is_full.load(Ordering::Relaxed) {
            return Err(AppendError::Full);
        }
        self.inner.append(batch).await
    }

    async fn read(
        &self,
        filter: &Filter,
        after: Sequence,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        self.reads.lock().unwrap().push(limit);
        self.inner.read(filter, after, limit).await
    }

    async fn read_back(
        &self,
        filter: &Filter,
        before: Option<Sequence>,
        limit: PageLimit,
    ) -> Result<PageBack, ReadError> {
        self.inner.read_back(filter, before, limit).await
    }

    fn follow(&self, after: Sequence) -> BoxStream<'static, Batch> {
        self.inner.follow(after)
    }

    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }
}

//! The seam to any store: [`Log`], the only thing that remembers.
//!
//! One log has one sequence. A topic is a label, so one cursor covers any set of topics. Retention,
//! batching, files and networks are an implementation's own business and do not appear here.
//! [`contract`] is the suite that every implementation passes.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tidewire_proto::{Entry, Lineage, Message, Sequence, Stored, Topic};

#[cfg(feature = "test-util")]
pub mod contract;
pub mod idempotency;
pub mod memory;

pub use memory::MemoryLog;

/// A piece of the log as [`Log::follow`] yields it: every entry that is kept with a place above
/// `after` and up to the last one here.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Where the batch before ended. Larger than that only if retention overtook the follower, which
    /// then knows what it cannot deliver.
    pub after: Sequence,
    /// The entries, in log order. Never empty.
    pub entries: Arc<[Arc<Entry>]>,
}

/// A sequence of entries that remembers, orders and keeps them as safely as it says.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Gives each message the next place, in one contiguous piece, and answers when the batch is
    /// stored as safely as its feature asks: all of it, or nothing.
    ///
    /// A message whose key was stored on its topic within the window gets the first answer again
    /// (`duplicate`), takes no place and is not delivered. The same key twice in one batch counts
    /// like a retry. An empty batch gives an empty answer.
    ///
    /// Dropping the future does not take the batch back: the answer is then unknown.
    ///
    /// # Errors
    /// [`AppendError`]. But for [`AppendError::Failed`], where it is unknown, nothing was stored.
    async fn append(&self, batch: Vec<Message>) -> Result<Vec<Receipt>, AppendError>;

    /// The entries of the filter's topics after a place, oldest first.
    ///
    /// The cost depends on what is returned, not on the size of the log. A `limit` of 0 entries
    /// returns none, and still says what was lost: it is how continuity is checked.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot be read.
    async fn read(
        &self,
        filter: &Filter,
        after: Sequence,
        limit: PageLimit,
    ) -> Result<Page, ReadError>;

    /// The newest entries of the filter's topics, those before a place if there is one: at most
    /// `limit`, oldest first. What [`read`](Self::read) is from the front, this is from the back.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    async fn read_back(
        &self,
        filter: &Filter,
        before: Option<Sequence>,
        limit: PageLimit,
    ) -> Result<PageBack, ReadError>;

    /// Every entry after a place, in batches, for ever: **the only source of live delivery**.
    /// An entry appears here only when it is stored as safely as its feature asks. A slow follower
    /// delays nobody; it skips nothing but what retention has dropped, and then it says so
    /// ([`Batch::after`]). The stream ends only when the log is closed.
    fn follow(&self, after: Sequence) -> BoxStream<'static, Batch>;

    /// The lives of this log and the ends of what it holds.
    fn bounds(&self) -> Bounds;
}

/// A stored message's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Where it stands.
    pub sequence: Sequence,
    /// How safely.
    pub stored: Stored,
    /// It was there already, under the same key.
    pub duplicate: bool,
}

/// The ends of a log at one moment.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Its lives.
    pub lineage: Arc<Lineage>,
    /// The place before the oldest entry it still holds, of any topic; `newest` if it holds none.
    pub oldest: Sequence,
    /// The newest place that was ever committed; 0 for a new log.
    pub newest: Sequence,
}

/// The set of topics that one subscription covers. Never empty; sorted, no topic twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Arc<[Topic]>);

impl Filter {
    /// A filter of these topics, or nothing if there are none.
    #[must_use]
    pub fn new(topics: impl IntoIterator<Item = Topic>) -> Option<Self> {
        let mut topics: Vec<_> = topics.into_iter().collect();
        topics.sort();
        topics.dedup();
        (!topics.is_empty()).then(|| Self(topics.into()))
    }

    /// The topics, sorted.
    #[must_use]
    pub fn topics(&self) -> &[Topic] {
        &self.0
    }
}

impl From<Topic> for Filter {
    fn from(topic: Topic) -> Self {
        Self([topic].into())
    }
}

/// How much one [`Log::read`] may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Most entries.
    pub entries: usize,
    /// Most payload bytes; the first entry is returned whatever its size.
    pub bytes: usize,
}

/// A piece of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Entries of the filter's topics with larger sequences than asked, oldest first.
    pub entries: Vec<Arc<Entry>>,
    /// You now have everything of these topics up to here. With a page that was not cut short by
    /// its limit this is the newest place of the whole log, so an empty page moves a cursor too.
    pub through: Sequence,
    /// The newest place after the asked one at which retention dropped an entry of these topics.
    /// Something was really lost to this reader if and only if this is there.
    pub lost: Option<Sequence>,
}

/// The newest piece of the past, or of what was before a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageBack {
    /// Entries of the filter's topics, oldest first.
    pub entries: Vec<Arc<Entry>>,
    /// There are others before them.
    pub earlier: bool,
    /// The newest place of the whole log when this was read: what is here is all, from its first
    /// entry up to there or up to the place that was asked for.
    pub newest: Sequence,
}

impl PageBack {
    /// The newest of these, as far as they fit. They come in any order.
    #[must_use]
    pub fn of(mut found: Vec<Arc<Entry>>, limit: PageLimit, newest: Sequence) -> Self {
        found.sort_unstable_by_key(|entry| entry.sequence);
        let mut bytes = 0_usize;
        let fits = |(index, entry): &(usize, &Arc<Entry>)| {
            bytes = bytes.saturating_add(entry.data.bytes().len());
            *index < limit.entries && (*index == 0 || bytes <= limit.bytes)
        };
        let count = found.iter().rev().enumerate().take_while(fits).count();
        let entries = found.split_off(found.len() - count);
        Self { entries, earlier: !found.is_empty(), newest }
    }
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The key of the message at `index` was used for another body on the same topic.
    #[error("the idempotency key of message {index} was used with another body")]
    Conflict {
        /// Which message of the batch, from 0.
        index: usize,
    },
    /// Too much waits to be stored, or too many keys are remembered. Try again later.
    #[error("the log has too much to store at once: try again in a moment")]
    Busy,
    /// The disk is full. Readers go on; it recovers by itself when there is room.
    #[error("the disk is full: free some space, then publish again")]
    Full,
    /// The store failed in a way that leaves the answer unknown, and it acknowledges nothing more
    /// until a restart.
    #[error("the log cannot store any more: {0}; restart the server after the cause is mended")]
    Failed(String),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why the past could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error("the log cannot be read: {0}")]
    Failed(String),
}

//! [`Hub`]: where the end of the log meets this machine's readers.
//!
//! It checks what a message may be, knows which of its two lanes a topic travels in, and opens
//! [`Session`]s. It knows no transport and no token: doors call it, through a session or, for an
//! app that embeds it, directly.

use std::sync::Arc;

use tidewire_proto::{
    After, Code, Continuity, Cursor, Entry, Message, Sequence, Stored, Topic, WireError,
    topic::PRESENCE,
};
use tokio::task::JoinHandle;

use crate::{
    feature::{CurrentFeatures, Feature, Features, Keep},
    framed::Framed,
    gate::{Gate, Peer},
    lane::{Lane, Turnover},
    limits::Limits,
    log::{AppendError, Bounds, Filter, Log, PageBack, PageLimit, ReadError, Receipt},
    presence::Presence,
    session::{Publisher, Session},
    subscription::Subscription,
};

/// The middle of Tidewire. Cheap to clone; all clones are one hub.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    kept: Arc<Lane>,
    passing: Arc<Lane>,
    features: CurrentFeatures,
    limits: Arc<Limits>,
    presence: Arc<Presence>,
    tasks: [JoinHandle<()>; 3],
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The answer to a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The entry's id. Nothing for a feature that keeps nothing.
    pub id: Option<Cursor>,
    /// How safely it is kept.
    pub stored: Stored,
    /// It was there already, under the same key.
    pub duplicate: bool,
}

/// A page of the past.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// What is known of the seam between the asked place and the first entry.
    pub continuity: Continuity,
    /// Entries with their ids, oldest first.
    pub entries: Vec<Arc<Framed>>,
    /// Everything up to here is in this page or was before it: where the next one begins.
    pub cursor: Cursor,
    /// There is more right now.
    pub more: bool,
    /// There are others before the first; known only of a page that was read from the back.
    pub earlier: bool,
}

/// The app has no such feature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no feature `{0}` is declared: add `[feature.{0}]` to the config, or check the topic")]
pub struct UnknownFeature(String);

/// Why a publish was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The app has no such feature.
    #[error(transparent)]
    UnknownFeature(#[from] UnknownFeature),
    /// A message or a batch is larger than its limit.
    #[error("{what} has at most {max} {unit}, this one has {found}")]
    TooLarge {
        /// A message's data, or a batch.
        what: &'static str,
        /// The limit.
        max: usize,
        /// Of what.
        unit: &'static str,
        /// How much it is.
        found: usize,
    },
    /// A batch has topics of features that keep and of features that don't.
    #[error(
        "a batch is stored in one piece, so it cannot mix features that keep their history with \
         features that keep nothing: send two batches"
    )]
    Mixed,
    /// A topic is a document, which takes nothing but updates of it.
    #[error(
        "`{0}` is a document: its updates go through the socket of documents, which looks at them \
         (`/v1/docs/{0}`)"
    )]
    Document(Topic),
    /// The log refused.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Nobody can be in a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    /// The app has no such feature.
    #[error(transparent)]
    UnknownFeature(#[from] UnknownFeature),
    /// The feature has none.
    #[error(
        "feature `{0}` has no presence: add `presence = true` to `[feature.{0}]` in the config"
    )]
    NoPresence(String),
}

/// Why a subscription could not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The app has no such feature.
    #[error(transparent)]
    UnknownFeature(#[from] UnknownFeature),
    /// A page was asked of a feature that keeps nothing.
    #[error(
        "feature `{0}` keeps nothing, so it has no past to read: subscribe by SSE or WebSocket"
    )]
    NoHistory(String),
    /// Entries before a place were asked for that is none of this log.
    #[error(
        "`before` is no place of this log, or one that it has lost: ask without it, for the newest"
    )]
    NoPlace,
    /// The past could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Hub {
    /// Opens a hub on a log for what is kept and one for what is only passed on, and starts to
    /// follow both. Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(
        kept: Arc<dyn Log>,
        passing: Arc<dyn Log>,
        features: impl Into<CurrentFeatures>,
        limits: Limits,
    ) -> Self {
        let features = features.into();
        let limits = Arc::new(limits);
        let lane =
            |log, kept| Arc::new(Lane::new(log, kept, features.clone(), Arc::clone(&limits)));
        let (kept, passing) = (lane(kept, true), lane(passing, false));
        let presence = Arc::new(Presence::new(Arc::clone(&passing), Arc::clone(&limits)));
        let tasks = [
            tokio::spawn(Arc::clone(&kept).follow()),
            tokio::spawn(Arc::clone(&passing).follow()),
            tokio::spawn(Arc::clone(&presence).keep()),
        ];
        Self { inner: Arc::new(Inner { kept, passing, features, limits, presence, tasks }) }
    }

    /// Publishes one message and answers when it is as safe as its feature asks.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was stored, but for [`AppendError::Failed`], where it is unknown.
    pub async fn publish(&self, message: Message) -> Result<Published, PublishError> {
        let published = self.publish_batch(vec![message]).await?;
        published.first().copied().ok_or(PublishError::Append(AppendError::Closed))
    }

    /// Publishes a batch: stored whole, in one piece, or not at all. One answer for each message.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), for the whole batch.
    pub async fn publish_batch(&self, batch: Vec<Message>) -> Result<Vec<Published>, PublishError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.check_sizes(&batch)?;
        let features = self.inner.features.load();
        let is_document = |message: &&Message| features.keep(&message.topic) == Keep::Document;
        if let Some(message) = batch.iter().find(is_document) {
            return Err(PublishError::Document(message.topic.clone()));
        }
        drop(features);
        self.publish_own(batch).await
    }

    /// Publishes in the name of a library over topics: also where nobody else may, and in whatever size
    /// the library allows. Nothing is asked but of the log.
    ///
    /// # Errors
    /// As [`publish_batch`](Self::publish_batch), but for sizes and documents.
    pub async fn publish_own(&self, batch: Vec<Message>) -> Result<Vec<Published>, PublishError> {
        let lane = self.lane(self.are_kept(&batch)?);
        let receipts = lane.log.append(batch).await?;
        let lineage = lane.log.bounds().lineage;
        let published = |receipt: Receipt| Published {
            id: lane.id(&lineage, receipt.sequence),
            stored: receipt.stored,
            duplicate: receipt.duplicate,
        };
        Ok(receipts.into_iter().map(published).collect())
    }

    /// Opens a session for a peer.
    #[must_use]
    pub fn session(&self, gate: Arc<dyn Gate>, peer: Arc<Peer>) -> Session {
        Session::new(self.clone(), gate, peer)
    }

    /// What publishes in a peer's name, for a door that reads nothing.
    #[must_use]
    pub fn publisher(&self, gate: Arc<dyn Gate>, peer: Arc<Peer>) -> Publisher {
        Publisher { hub: self.clone(), gate, peer }
    }

    /// Reads a page of the past, without waiting. At most `limit` entries, and never more than
    /// [`Limits::page_entries_max`].
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub async fn history(
        &self,
        filter: &Filter,
        after: After,
        limit: usize,
    ) -> Result<HistoryPage, SubscribeError> {
        self.check_history(filter)?;
        let lane = &self.inner.kept;
        let (mut walk, mut continuity) =
            Subscription::begin(Arc::clone(lane), filter, after).await?;
        let limits = &self.inner.limits;
        let limit = PageLimit {
            entries: limit.clamp(1, limits.page_entries_max),
            bytes: limits.page_bytes_max,
        };
        let (gap, mut entries) = walk.read_page(limit).await?;
        lane.join(&mut entries);
        if let Some(gap) = gap {
            continuity = Continuity::Gap(gap);
        }
        let Bounds { lineage, newest, .. } = lane.log.bounds();
        let place = walk.place();
        Ok(HistoryPage {
            continuity,
            entries,
            cursor: lineage.cursor_at(place),
            more: place < newest,
            earlier: false,
        })
    }

    /// The newest of the past, or of what was before a place: at most `limit` entries, as in
    /// [`history`](Self::history), oldest first.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub async fn history_back(
        &self,
        filter: &Filter,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<HistoryPage, SubscribeError> {
        self.check_history(filter)?;
        let (lane, limits) = (&self.inner.kept, &self.inner.limits);
        let Bounds { lineage, newest, .. } = lane.log.bounds();
        let is_ours = |before: &Cursor| lineage.check(*before, newest).is_ok();
        if before.as_ref().is_some_and(|before| !is_ours(before)) {
            return Err(SubscribeError::NoPlace);
        }
        let before = before.map(|before| before.sequence);
        let limit = PageLimit {
            entries: limit.clamp(1, limits.page_entries_max),
            bytes: limits.page_bytes_max,
        };
        let PageBack { entries, earlier, newest } =
            lane.log.read_back(filter, before, limit).await.map_err(SubscribeError::Read)?;
        let mut entries = lane.framed(entries);
        lane.join(&mut entries);
        let cursor = lane.log.bounds().lineage.cursor_at(newest);
        Ok(HistoryPage { continuity: Continuity::New, entries, cursor, more: false, earlier })
    }

    /// The newest base of a topic: the entry that stands for all of it up to a place. Nobody outside is
    /// given it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn newest_base(&self, topic: &Topic) -> Result<Option<Arc<Entry>>, ReadError> {
        let Some(base) = topic.base() else { return Ok(None) };
        let one = PageLimit { entries: 1, bytes: 0 };
        let page = self.inner.kept.log.read_back(&Filter::from(base), None, one).await?;
        Ok(page.entries.into_iter().next())
    }

    /// Where a reader begins who names no place: with what comes now, or, where only the newest values
    /// of all of these topics count, with those.
    #[must_use]
    pub fn fresh(&self, filter: &Filter) -> After {
        let features = self.inner.features.load();
        // Who comes and goes has no past, so it is the others that count.
        let is_latest =
            |topic: &Topic| features.keep(topic) == Keep::Latest || topic.about(PRESENCE).is_some();
        if filter.topics().iter().all(is_latest) { After::Start } else { After::Now }
    }

    fn check_history(&self, filter: &Filter) -> Result<(), SubscribeError> {
        for topic in filter.topics() {
            if !self.is_kept(topic)? {
                return Err(SubscribeError::NoHistory(topic.feature().to_owned()));
            }
        }
        Ok(())
    }

    /// The features, as the config declares them now.
    #[must_use]
    pub fn features(&self) -> Arc<Features> {
        Arc::clone(&self.inner.features.load())
    }

    /// Where the features in force come from, for who replaces them.
    #[must_use]
    pub fn current_features(&self) -> &CurrentFeatures {
        &self.inner.features
    }

    /// Does somebody read a topic of this feature, with what is kept or with what is only passed on?
    /// Looks at every topic that is read.
    #[must_use]
    pub fn is_read(&self, feature: &str, is_kept: bool) -> bool {
        self.lane(is_kept).is_read(feature)
    }

    /// The log that keeps, for who walks all of it: whoever reads some topics has a [`Session`].
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.inner.kept.log
    }

    /// Begins to note which topics get their first reader and lose their last, for
    /// [`turnover`](Self::turnover); or ceases to.
    pub fn note_turnover(&self, is_noted: bool) {
        for lane in [&self.inner.kept, &self.inner.passing] {
            lane.note_turnover(is_noted);
        }
    }

    /// Waits until a topic got its first reader or lost its last. For one who waits at a time.
    pub async fn turned(&self) {
        tokio::select! {
            () = self.inner.kept.turned() => {}
            () = self.inner.passing.turned() => {}
        }
    }

    /// What was noted since the last look.
    #[must_use]
    pub fn turnover(&self) -> Turnover {
        let (kept, passing) = (self.inner.kept.turnover(), self.inner.passing.turnover());
        let mut topics = kept.topics;
        topics.extend(passing.topics);
        let is_all = kept.is_all || passing.is_all;
        if is_all {
            topics = self.inner.kept.all_read();
            topics.extend(self.inner.passing.all_read());
        }
        Turnover { topics, is_all }
    }

    /// Who is in which topic.
    #[must_use]
    pub fn presence(&self) -> &Presence {
        &self.inner.presence
    }

    /// Can somebody be in this topic?
    pub(crate) fn check_presence(&self, topic: &Topic) -> Result<(), PresenceError> {
        let name = || topic.feature().to_owned();
        match self.inner.features.load().of(topic) {
            None => Err(UnknownFeature(name()).into()),
            Some(feature) if feature.presence => Ok(()),
            Some(_) => Err(PresenceError::NoPresence(name())),
        }
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The newest place of the log that keeps.
    #[must_use]
    pub fn newest(&self) -> Cursor {
        let Bounds { lineage, newest, .. } = self.inner.kept.log.bounds();
        lineage.cursor_at(newest)
    }

    /// A place of the log that keeps, as a cursor.
    #[must_use]
    pub fn cursor_at(&self, sequence: Sequence) -> Cursor {
        self.inner.kept.log.bounds().lineage.cursor_at(sequence)
    }

    pub(crate) fn lane(&self, is_kept: bool) -> &Arc<Lane> {
        if is_kept { &self.inner.kept } else { &self.inner.passing }
    }

    /// Are the topic's entries kept? Those of who is there never are.
    pub(crate) fn is_kept(&self, topic: &Topic) -> Result<bool, UnknownFeature> {
        is_kept(&self.inner.features.load(), topic)
    }

    /// Do the features of all of a batch keep something, or of none?
    fn are_kept(&self, batch: &[Message]) -> Result<bool, PublishError> {
        let features = self.inner.features.load();
        let mut each = batch.iter().map(|message| is_kept(&features, &message.topic));
        let first = each.next().unwrap_or(Ok(true))?;
        for other in each {
            if other? != first {
                return Err(PublishError::Mixed);
            }
        }
        Ok(first)
    }

    fn check_sizes(&self, batch: &[Message]) -> Result<(), PublishError> {
        let limits = &self.inner.limits;
        let check = |what, unit, max, found| {
            if found > max {
                return Err(PublishError::TooLarge { what, max, unit, found });
            }
            Ok(())
        };
        check("a batch", "messages", limits.batch_messages_max, batch.len())?;
        let sizes = batch.iter().map(|message| message.data.bytes().len());
        for size in sizes.clone() {
            check("a message's data", "bytes", limits.message_bytes_max, size)?;
        }
        check(
            "a batch",
            "bytes of data",
            limits.batch_bytes_max.max(limits.message_bytes_max),
            sizes.sum(),
        )
    }
}

fn is_kept(features: &Features, topic: &Topic) -> Result<bool, UnknownFeature> {
    let unknown = || UnknownFeature(topic.feature().to_owned());
    let is_kept = features.of(topic).map(Feature::is_kept).ok_or_else(unknown)?;
    Ok(is_kept && !topic.is_passing())
}

impl From<PublishError> for WireError {
    fn from(error: PublishError) -> Self {
        let code = match &error {
            PublishError::UnknownFeature(_) => Code::UnknownFeature,
            PublishError::TooLarge { .. } => Code::TooLarge,
            PublishError::Mixed => Code::BatchMixed,
            PublishError::Document(_) => Code::BadRequest,
            PublishError::Append(error) => match error {
                AppendError::Conflict { .. } => Code::KeyConflict,
                AppendError::Busy => Code::Busy,
                AppendError::Full => Code::DiskFull,
                AppendError::Failed(_) => Code::LogFailed,
                AppendError::Closed => Code::Restarting,
            },
        };
        Self::new(code, error.to_string())
    }
}

impl From<PresenceError> for WireError {
    fn from(error: PresenceError) -> Self {
        let code = match &error {
            PresenceError::UnknownFeature(_) => Code::UnknownFeature,
            PresenceError::NoPresence(_) => Code::NoPresence,
        };
        Self::new(code, error.to_string())
    }
}

impl From<SubscribeError> for WireError {
    fn from(error: SubscribeError) -> Self {
        let code = match &error {
            SubscribeError::UnknownFeature(_) => Code::UnknownFeature,
            SubscribeError::NoHistory(_) => Code::NoHistory,
            SubscribeError::NoPlace => Code::BadCursor,
            SubscribeError::Read(_) => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

//! What a lane reads of the past: of a `keep = "latest"` topic the values, of every other the log as
//! it is.
//!
//! Values are found from the topic's newest base on. Whoever had to read much beyond it leaves a new
//! one for those who come after, and so does the lane itself while many values are set.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use tidewire_proto::{Data, Entry, EventType, Key, Message, Sequence, Topic};

use super::Lane;
use crate::{
    feature::Keep,
    log::{Batch, Filter, Page, PageLimit, ReadError},
    values::Values,
};

/// So many entries above the newest base ask for a new one.
const BASE_ENTRIES: usize = 1_000;
/// Topics whose values are counted at a time. With more, all begin anew, and bases come later.
const COUNTED_MAX: usize = 65_536;

/// Which topics want a base.
#[derive(Default)]
pub(super) struct Bases(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    /// Values set since the last base, about.
    set: HashMap<Topic, usize>,
    /// Somebody makes one.
    under_way: HashSet<Topic>,
}

impl Bases {
    /// Counts values that were set. True when there are enough for a base.
    fn count(&self, topic: &Topic) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.set.len() >= COUNTED_MAX {
            counts.set.clear();
        }
        let count = counts.set.entry(topic.clone()).or_default();
        *count += 1;
        let is_due = *count >= BASE_ENTRIES;
        if is_due {
            counts.set.remove(topic);
        }
        is_due
    }

    /// False if somebody else makes a base of this topic.
    fn begin(&self, topic: &Topic) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.set.remove(topic);
        counts.under_way.insert(topic.clone())
    }

    fn end(&self, topic: &Topic) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.under_way.remove(topic);
    }
}

impl Lane {
    /// A page of the past, as [`Log::read`](crate::Log::read) says it; of topics whose newest values
    /// count, without the entries that newer ones have replaced.
    pub(crate) async fn read(
        self: &Arc<Self>,
        filter: &Filter,
        after: Sequence,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let latest = self.latest(filter);
        if latest.is_empty() || limit.entries == 0 {
            return self.log.read(filter, after, limit).await;
        }
        let nothing = PageLimit { entries: 0, bytes: 0 };
        let lost = self.log.read(filter, after, nothing).await?.lost;
        let others = filter.topics().iter().filter(|topic| !latest.contains(topic)).cloned();
        let (mut entries, mut through) = (Vec::new(), None);
        if let Some(others) = Filter::new(others) {
            let page = self.log.read(&others, after, limit).await?;
            (entries, through) = (page.entries, Some(page.through));
        }
        for topic in latest {
            let values = self.values(topic).await?;
            through = Some(through.map_or(values.through, |so_far| so_far.min(values.through)));
            entries.extend(values.after(after));
        }
        let through = through.unwrap_or(after).max(after);
        entries.retain(|entry| entry.sequence <= through);
        entries.sort_unstable_by_key(|entry| entry.sequence);
        let fits = fitting(&entries, limit);
        let is_whole = fits == entries.len();
        entries.truncate(fits);
        let last = entries.last().map_or(after, |entry| entry.sequence);
        Ok(Page { entries, through: if is_whole { through } else { last }, lost })
    }

    fn latest<'a>(&self, filter: &'a Filter) -> Vec<&'a Topic> {
        let features = self.features.load();
        if !self.kept || !features.has_latest() {
            return Vec::new();
        }
        filter.topics().iter().filter(|topic| features.keep(topic) == Keep::Latest).collect()
    }

    /// Counts what was stored of topics whose newest values count, and leaves a base now and then.
    pub(super) fn note_values(self: &Arc<Self>, batch: &Batch) {
        let features = self.features.load();
        if !self.kept || !features.has_latest() {
            return;
        }
        let latest =
            batch.entries.iter().filter(|entry| features.keep(&entry.topic) == Keep::Latest);
        for entry in latest {
            if self.bases.count(&entry.topic) {
                let (lane, topic) = (Arc::clone(self), entry.topic.clone());
                // Reading them leaves the base.
                tokio::spawn(async move { lane.values(&topic).await.map(drop) });
            }
        }
    }

    /// All values of a topic, as far as the log is now.
    async fn values(self: &Arc<Self>, topic: &Topic) -> Result<Values, ReadError> {
        let mut values = match topic.base() {
            Some(base) => self.newest_base(topic, base).await?,
            None => Values::new(),
        };
        let limits = &self.limits;
        let limit = PageLimit { entries: limits.page_entries_max, bytes: limits.page_bytes_max };
        let filter = Filter::from(topic.clone());
        let (mut read, newest) = (0, self.log.bounds().newest);
        while values.through < newest {
            let page = self.log.read(&filter, values.through, limit).await?;
            read += page.entries.len();
            values.take(page.entries, page.through);
        }
        if read >= BASE_ENTRIES {
            self.leave_base(topic, &values);
        }
        Ok(values)
    }

    async fn newest_base(&self, topic: &Topic, base: Topic) -> Result<Values, ReadError> {
        let one = PageLimit { entries: 1, bytes: 0 };
        let page = self.log.read_back(&Filter::from(base), None, one).await?;
        let values = page.entries.first().and_then(|entry| {
            let values = Values::decode(topic, entry.data.bytes());
            if values.is_none() {
                tracing::warn!(%topic, "the base of a topic cannot be read: the topic is read itself");
            }
            values
        });
        Ok(values.unwrap_or_else(Values::new))
    }

    /// Leaves a base, on the side: nobody waits for it.
    fn leave_base(self: &Arc<Self>, topic: &Topic, values: &Values) {
        let Some(base) = topic.base().filter(|_| self.bases.begin(topic)) else { return };
        let key = Key::parse(&format!("base-{}", values.through.0)).ok();
        let event = EventType::parse("tidewire.base").unwrap_or_else(|_| EventType::message());
        let data = Data::binary(values.encode());
        let message = Message { topic: base, event, data, key, item: None };
        let (lane, topic) = (Arc::clone(self), topic.clone());
        tokio::spawn(async move {
            if let Err(error) = lane.log.append(vec![message]).await {
                tracing::warn!(%topic, %error, "no base could be stored: new readers take longer");
            }
            lane.bases.end(&topic);
        });
    }
}

fn fitting(entries: &[Arc<Entry>], limit: PageLimit) -> usize {
    let mut bytes = 0_usize;
    let fits = |(index, entry): &(usize, &Arc<Entry>)| {
        bytes = bytes.saturating_add(entry.data.bytes().len());
        *index == 0 || bytes <= limit.bytes
    };
    entries.iter().take(limit.entries).enumerate().take_while(fits).count()
}

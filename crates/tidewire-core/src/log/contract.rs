//! The suite that every [`Log`] passes: each check is a sentence of the seam's documentation.
//!
//! An implementation brings a [`Harness`] and names its tests with [`log_contract!`](crate::log_contract).
//! The checks know nothing of how a log is built, so what holds here holds for memory, disk and any
//! shared log. They panic when a sentence is broken, as tests do.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt};
use tidewire_proto::{Data, Entry, EventType, Key, Message, Sequence, Topic};

use super::{Batch, Filter, Log, Page, PageLimit, Receipt};
use crate::{CurrentFeatures, Feature, Features, History, Limits, clock::ManualClock};

mod appending;
mod following;
mod lasting;
mod reading;

pub use appending::*;
pub use following::*;
pub use lasting::*;
pub use reading::*;

/// How the suite gets its logs.
pub trait Harness: Default + Send + Sync + 'static {
    /// The implementation.
    type Log: Log;

    /// A new, empty log.
    fn fresh(&self, setup: &Setup) -> impl Future<Output = Self::Log> + Send;

    /// The same log after a restart, or nothing if it does not outlive its process.
    fn reopen(
        &self,
        log: Self::Log,
        setup: &Setup,
    ) -> impl Future<Output = Option<Self::Log>> + Send;

    /// Waits until retention has dropped what it may drop now.
    fn retain(&self, log: &Self::Log) -> impl Future<Output = ()> + Send;
}

/// What a log is made with.
#[derive(Clone)]
pub struct Setup {
    /// What the features keep.
    pub features: CurrentFeatures,
    /// All bounds.
    pub limits: Limits,
    /// The wall clock.
    pub clock: Arc<ManualClock>,
}

impl Default for Setup {
    /// `chat` and `feed` keep everything, `short` keeps 4,000 bytes, `brief` keeps an hour.
    fn default() -> Self {
        let kept =
            |age, bytes| Feature { history: History::Kept { age, bytes }, ..Feature::default() };
        let features = BTreeMap::from([
            ("chat".to_owned(), kept(None, None)),
            ("feed".to_owned(), kept(None, None)),
            ("short".to_owned(), kept(None, Some(4_000))),
            ("brief".to_owned(), kept(Some(Duration::from_secs(3600)), None)),
        ]);
        Self {
            features: Features::declared(features).into(),
            limits: Limits::default(),
            clock: Arc::new(ManualClock::at(1_700_000_000_000)),
        }
    }
}

/// Makes one test of each check, for a harness: `log_contract!(MyHarness);` at the top of a file.
#[macro_export]
macro_rules! log_contract {
    ($harness:ty) => {
        $crate::log_contract!($harness:
            places_are_contiguous_and_follow_each_other,
            an_empty_batch_gives_an_empty_answer,
            entries_are_what_was_published,
            a_batch_is_in_one_piece_among_many,
            acknowledged_before_sent_is_before_in_the_log,
            a_repeated_key_gives_the_first_answer_and_delivers_nothing,
            a_key_with_another_body_is_a_conflict_that_leaves_nothing,
            the_same_key_twice_in_one_batch_counts_like_a_retry,
            a_key_belongs_to_its_topic,
            equal_keys_at_the_same_time_store_one_entry,
            too_many_keys_are_refused_and_leave_nothing,
            too_large_a_batch_is_refused_and_leaves_nothing,
            a_dropped_append_leaves_the_log_whole,
            a_page_has_what_is_after_and_nothing_else,
            a_page_merges_its_topics_in_log_order,
            a_page_is_cut_by_entries_and_bytes_and_says_how_far_it_goes,
            a_page_from_the_back_has_the_newest_and_nothing_else,
            a_page_from_the_back_is_cut_and_says_whether_there_are_earlier_ones,
            an_item_is_kept_with_its_entry,
            a_page_of_nothing_still_says_what_was_lost,
            an_empty_page_moves_the_cursor_to_the_newest_place,
            a_loss_is_told_exactly_where_something_was_lost,
            an_age_drops_nothing_early_and_a_clock_that_goes_back_nothing_at_all,
            the_bounds_are_the_ends_of_the_log,
            another_history_is_obeyed_from_then_on,
            the_history_of_a_feature_that_comes_is_obeyed,
            a_feature_that_comes_or_goes_hides_no_entry,
            following_brings_the_past_then_the_present_without_a_seam,
            followers_see_every_entry_once_while_many_append,
            a_slow_follower_delays_nobody_and_misses_nothing,
            a_follower_is_told_what_retention_took,
            following_from_the_end_brings_only_what_is_new,
            entries_and_lineage_survive_a_restart,
            keys_survive_a_restart,
            losses_survive_a_restart,
        );
        // Time stands still and jumps in this one.
        #[tokio::test(start_paused = true)]
        async fn a_key_is_forgotten_after_its_window_and_not_before() {
            $crate::log::contract::a_key_is_forgotten_after_its_window_and_not_before(
                &<$harness>::default(),
            )
            .await;
        }
    };
    ($harness:ty: $($check:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                $crate::log::contract::$check(&<$harness>::default()).await;
            }
        )*
    };
}

/// Nothing here takes longer, unless it never ends.
const PATIENCE: Duration = Duration::from_secs(30);

/// No bound that matters.
const ALL: PageLimit = PageLimit { entries: 100_000, bytes: usize::MAX };

fn topic(name: &str) -> Topic {
    Topic::parse(name).expect("a good topic")
}

fn filter(names: &[&str]) -> Filter {
    Filter::new(names.iter().map(|name| topic(name))).expect("some topics")
}

/// A message on a topic that says `body`.
#[allow(clippy::needless_pass_by_value)]
fn say(name: &str, body: impl ToString) -> Message {
    let data = Data::text(body.to_string()).expect("text");
    Message { topic: topic(name), event: EventType::message(), data, key: None, item: None }
}

/// The same with a key.
fn keyed(name: &str, key: &str, body: impl ToString) -> Message {
    Message { key: Some(Key::parse(key).expect("a good key")), ..say(name, body) }
}

fn text(entry: &Entry) -> &str {
    entry.data.as_text().unwrap_or_default()
}

fn places(receipts: &[Receipt]) -> Vec<u64> {
    receipts.iter().map(|receipt| receipt.sequence.0).collect()
}

fn sequences(entries: &[Arc<Entry>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.sequence.0).collect()
}

async fn append(log: &impl Log, batch: Vec<Message>) -> Vec<Receipt> {
    log.append(batch).await.expect("appended")
}

async fn page(log: &impl Log, names: &[&str], after: u64, limit: PageLimit) -> Page {
    log.read(&filter(names), Sequence(after), limit).await.expect("read")
}

async fn everything(log: &impl Log, names: &[&str]) -> Vec<Arc<Entry>> {
    page(log, names, 0, ALL).await.entries
}

/// Takes batches until `count` entries have come, and checks that they chain.
async fn take(
    stream: &mut (impl Stream<Item = Batch> + Unpin),
    after: &mut u64,
    count: usize,
) -> Vec<Arc<Entry>> {
    let mut entries: Vec<Arc<Entry>> = Vec::new();
    while entries.len() < count {
        let batch = tokio::time::timeout(PATIENCE, stream.next()).await.expect("a batch in time");
        let batch = batch.expect("the stream goes on");
        assert_eq!(batch.after.0, *after, "a batch begins where the one before ended");
        assert!(!batch.entries.is_empty(), "a batch is never empty");
        for entry in &*batch.entries {
            assert!(entry.sequence.0 > *after, "places increase");
            *after = entry.sequence.0;
            entries.push(Arc::clone(entry));
        }
    }
    entries
}

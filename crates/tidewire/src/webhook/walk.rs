//! One webhook: it reads the log from its place, tells what it asked for in batches, and goes on when
//! its receiver has answered with a 2xx. Until then it tells the same again, after a while that grows.
//!
//! Holds one batch of the log and one of its own, never more. Invariant: events are told in log
//! order, and none before those before it were taken.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use tidewire_core::{Log, log};
use tidewire_proto::{GapReason, Lineage, Sequence, Topic};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Counts, Surroundings,
    batch::{Batch, gap, meant},
    place,
};
use crate::{config::WebhookSettings, outbound::Outbound};

/// Longest wait before the first time that it is told again; each time after that doubles it.
const WAIT_BASE: Duration = Duration::from_secs(1);
/// Longest wait altogether.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Its place is kept so often at most, while it moves: each is an entry on disk. After a restart it
/// tells again what it told since.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// And so often at least, so that the log does not drop it, and that it is not far behind.
const KEEP_AGAIN: Duration = Duration::from_secs(3_600);

struct Walk {
    settings: WebhookSettings,
    surroundings: Surroundings,
    counts: Arc<Counts>,
    outbound: Outbound,
    log: Arc<dyn Log>,
    topic: Topic,
    /// Everything up to here was read.
    at: Sequence,
    /// Everything up to here was told.
    told: Sequence,
    keep_at: Instant,
    batch: Batch,
}

/// Walks until it is aborted.
pub(super) async fn run(
    settings: WebhookSettings,
    surroundings: Surroundings,
    counts: Arc<Counts>,
) {
    let outbound = match Outbound::new(&settings.url, &settings.secret, settings.timeout) {
        Ok(outbound) => outbound,
        Err(error) => {
            return tracing::error!(name = settings.name, %error, "a webhook cannot be told");
        }
    };
    let (log, topic) = (Arc::clone(surroundings.hub.log()), place::topic(&settings.name));
    let begun = loop {
        match place::begin(&*log, &topic).await {
            Ok(begun) => break begun,
            Err(error) => {
                tracing::error!(%topic, %error, "the place of a webhook cannot be read");
                sleep(WAIT_BASE).await;
            }
        }
    };
    counts.place.store(begun.at.0, Ordering::Relaxed);
    let mut walk = Walk {
        settings,
        surroundings,
        counts,
        outbound,
        log,
        topic,
        at: begun.at,
        told: begun.at,
        // A new one stands somewhere from now on, whatever becomes of the server.
        keep_at: Instant::now() + if begun.is_new { Duration::ZERO } else { KEEP_AGAIN },
        batch: Batch::default(),
    };
    if let Some(gap) = begun.gap {
        walk.batch.push_gap(&gap, begun.at);
    }
    walk.follow().await;
}

impl Walk {
    async fn follow(mut self) {
        let mut batches = self.log.follow(self.at);
        loop {
            // More that is there already comes in the same request.
            let there = batches.next().now_or_never();
            let next = match there {
                Some(next) => next,
                None => {
                    self.tell().await;
                    tokio::select! {
                        next = batches.next() => next,
                        () = sleep_until(self.keep_at) => {
                            self.keep().await;
                            continue;
                        }
                    }
                }
            };
            let Some(batch) = next else {
                return tracing::info!(
                    name = self.settings.name,
                    "the log is closed, a webhook ends"
                );
            };
            self.take(&batch).await;
        }
    }

    async fn take(&mut self, batch: &log::Batch) {
        let lineage = self.log.bounds().lineage;
        let limits = self.surroundings.hub.limits();
        let room = (limits.webhook_entries_max, limits.webhook_bytes_max);
        for entry in batch.entries.iter() {
            // Every place was an entry: one that is not here any more was dropped by retention.
            if entry.sequence > self.at.next() {
                let lost = Sequence(entry.sequence.0.saturating_sub(1));
                let gap = gap(&*self.log, GapReason::Trimmed, lost);
                self.batch.push_gap(&gap, lost);
            }
            if let Some(kind) = meant(&self.settings, entry) {
                if !self.batch.has_room(entry.data.bytes().len(), room) {
                    self.tell().await;
                }
                self.batch.push(entry, &kind, &lineage);
            }
            self.at = entry.sequence;
        }
        if self.batch.is_empty() {
            self.has_told(self.at);
        }
    }

    /// Tells what there is to tell, until it was taken.
    async fn tell(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let lineage = self.log.bounds().lineage;
        let (id, json) = (batch.id(&self.settings.name, &lineage), batch.json(&self.settings.name));
        let mut wait_max = WAIT_BASE;
        while !self.is_taken(&id, &json).await {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            let again = Instant::now() + self.surroundings.random.up_to(wait_max);
            wait_max = (wait_max * 2).min(WAIT_MAX);
            // What was told before must not be told again only because this takes long.
            while self.keep_at < again {
                sleep_until(self.keep_at).await;
                self.keep().await;
            }
            sleep_until(again).await;
        }
        self.counts.delivered.fetch_add(batch.entries(), Ordering::Relaxed);
        self.has_told(self.at);
        self.keep_at = self.keep_at.min(Instant::now() + KEEP_EVERY);
    }

    async fn is_taken(&self, id: &str, json: &str) -> bool {
        let now_ms = self.surroundings.clock.now_ms();
        let (name, url) = (&self.settings.name, &self.settings.url);
        match self.outbound.post(id, now_ms, json.to_owned()).await {
            Ok((status, _)) if status.is_success() => true,
            Ok((status, _)) => {
                tracing::warn!(name, %url, %status, "a webhook was not taken; it is told again");
                false
            }
            Err(error) => {
                tracing::warn!(name, %url, %error, "a webhook was not taken; it is told again");
                false
            }
        }
    }

    fn has_told(&mut self, told: Sequence) {
        self.told = told;
        self.counts.place.store(told.0, Ordering::Relaxed);
    }

    /// Keeps its place. One that has told nothing since keeps it now and then all the same.
    async fn keep(&mut self) {
        let lineage: Arc<Lineage> = self.log.bounds().lineage;
        let is_kept = place::keep(&self.surroundings.hub, &self.topic, &lineage, self.told).await;
        let again = if is_kept { KEEP_AGAIN } else { KEEP_EVERY };
        self.keep_at = Instant::now() + again;
    }
}

//! Webhooks: an app is told what happens. Each is *a cursor that walks the log*, with a request in
//! place of a connection; its place is kept in the log itself (`~tidewire/webhooks/NAME`), so it goes
//! on after a restart where it was.
//!
//! | Room | What |
//! |---|---|
//! | `walk` | one webhook: read, tell, wait, tell again; for ever |
//! | `batch` | what is told in one request, and its bytes |
//! | `place` | where a webhook stands, in the log |
//! | `crowd` | when a topic counts as occupied or vacated: pure |
//! | `occupancy` | who comes and goes → entries of `~tidewire/occupancy` |
//!
//! Knows no door. Invariant: nobody waits for a webhook, and it waits for nobody but its receiver.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tidewire_core::{
    Hub,
    clock::{Clock, Random},
};
use tokio::task::JoinHandle;

use crate::config::{Happening, WebhookSettings};

mod batch;
mod crowd;
mod occupancy;
mod place;
mod walk;

/// All webhooks of a server. When this is dropped, they end.
pub(crate) struct Webhooks {
    surroundings: Surroundings,
    running: Mutex<Running>,
    counts: Arc<AllCounts>,
}

/// What each of them needs.
#[derive(Clone)]
struct Surroundings {
    hub: Hub,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

#[derive(Default)]
struct Running {
    webhooks: Vec<(WebhookSettings, JoinHandle<()>)>,
    // With those for whom it runs.
    occupancy: Option<(Vec<WebhookSettings>, JoinHandle<()>)>,
}

/// The counts of each webhook, by its name; for as long as the process runs.
#[derive(Default)]
pub(crate) struct AllCounts(Mutex<BTreeMap<String, Arc<Counts>>>);

/// How one webhook fares.
#[derive(Default)]
pub(crate) struct Counts {
    /// Events that were told.
    pub(crate) delivered: AtomicU64,
    /// Requests that were not answered with a 2xx.
    pub(crate) failed: AtomicU64,
    /// The place up to which all is told.
    pub(crate) place: AtomicU64,
}

impl AllCounts {
    fn of(&self, name: &str) -> Arc<Counts> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    /// Name, events told, requests that failed, and places that it is behind the newest.
    pub(crate) fn read(&self, newest: u64) -> Vec<(String, [u64; 3])> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |(name, counts): (&String, &Arc<Counts>)| {
            let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let behind = newest.saturating_sub(load(&counts.place));
            (name.clone(), [load(&counts.delivered), load(&counts.failed), behind])
        };
        all.iter().map(read).collect()
    }
}

impl Webhooks {
    /// Nobody is told anything yet.
    pub(crate) fn new(hub: Hub, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        let surroundings = Surroundings { hub, clock, random };
        Self { surroundings, running: Mutex::default(), counts: Arc::default() }
    }

    /// How they fare.
    pub(crate) fn counts(&self) -> Arc<AllCounts> {
        Arc::clone(&self.counts)
    }

    /// Tells these from now on. One that is as it was goes on undisturbed. Must be called inside a
    /// tokio runtime.
    pub(crate) fn put_in_force(&self, wanted: &[WebhookSettings]) {
        let mut running = self.lock();
        let Running { webhooks, occupancy } = &mut *running;
        webhooks.retain(|(settings, task)| {
            let stays = wanted.contains(settings) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        for settings in wanted {
            if !webhooks.iter().any(|(have, _)| have == settings) {
                let counts = self.counts.of(&settings.name);
                let walk = walk::run(settings.clone(), self.surroundings.clone(), counts);
                webhooks.push((settings.clone(), tokio::spawn(walk)));
            }
        }
        let for_whom: Vec<_> = wanted
            .iter()
            .filter(|one| one.hears(Happening::Occupied) || one.hears(Happening::Vacated))
            .cloned()
            .collect();
        if occupancy.as_ref().map_or(&[][..], |(have, _)| have) == for_whom {
            return;
        }
        if let Some((_, task)) = occupancy.take() {
            task.abort();
        }
        self.surroundings.hub.note_turnover(!for_whom.is_empty());
        if !for_whom.is_empty() {
            let patterns = for_whom.iter().flat_map(|one| one.topics.clone()).collect();
            let run = occupancy::run(patterns, self.surroundings.hub.clone());
            *occupancy = Some((for_whom, tokio::spawn(run)));
        }
    }

    /// Ends all of them, and waits until they have ended. What was under way is told again by whoever
    /// comes next.
    pub(crate) async fn stop(&self) {
        let Running { webhooks, occupancy } = std::mem::take(&mut *self.lock());
        let tasks = webhooks.into_iter().map(|(_, task)| task);
        for task in tasks.chain(occupancy.map(|(_, task)| task)) {
            task.abort();
            // It was aborted: that is what it says.
            let _ = task.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        // Nothing in here panics half way through a change.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        let running = std::mem::take(&mut *self.lock());
        running.webhooks.iter().for_each(|(_, task)| task.abort());
        running.occupancy.iter().for_each(|(_, task)| task.abort());
    }
}

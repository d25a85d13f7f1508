//! The background thread: it sorts sealed files, asks for a seal when the active one is old enough,
//! and removes what retention no longer keeps.
//!
//! Invariant: losses are durable before files go, and files leave the readers' view before the disk.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    error::{Context, StoreError},
    retention::{self, Held},
    segment::Segment,
    shared::Shared,
    sorter,
    state::Gone,
    wal::SealedWal,
};

/// How long the keeper waits for the writer before it looks again for something to sort.
const SEAL_LOOK: Duration = Duration::from_millis(50);

/// What one pass of retention removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    /// Files removed.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// How others talk to the keeper.
#[derive(Default)]
pub(crate) struct Inbox {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    awake: bool,
    passes: Vec<Pass>,
    stopped: bool,
    // The writer failed or a file could not be sorted: nobody waits for room.
    stuck: bool,
    sorting_ended: bool,
}

struct Pass {
    seal: bool,
    reply: oneshot::Sender<Retained>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wake(&self) {
        self.lock().awake = true;
        self.changed.notify_all();
    }

    /// Asks for a whole pass, with a seal of whatever the active file holds or only of an old one.
    pub(crate) fn ask(&self, seal: bool) -> oneshot::Receiver<Retained> {
        let (reply, answer) = oneshot::channel();
        let mut inner = self.lock();
        if !inner.stopped {
            inner.passes.push(Pass { seal, reply });
        }
        drop(inner);
        self.changed.notify_all();
        answer
    }

    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.stopped = true;
        inner.passes.clear();
        drop(inner);
        self.changed.notify_all();
    }

    /// After a failed sync nothing is rewritten: the old files are what there is.
    pub(crate) fn stop_sorting(&self) {
        let mut inner = self.lock();
        inner.sorting_ended = true;
        inner.stuck = true;
        drop(inner);
        self.changed.notify_all();
    }

    /// The writer waits here while too much is unsorted, unless sorting does not get on.
    pub(crate) fn wait_for_room(&self, there_is: impl Fn() -> bool) {
        // The state's lock is never taken under this one: look outside, wait inside.
        while !there_is() {
            let mut inner = self.lock();
            if inner.stopped || inner.stuck {
                break;
            }
            // Nobody waits for a keeper that sleeps.
            inner.awake = true;
            self.changed.notify_all();
            drop(self.changed.wait_timeout(inner, SEAL_LOOK));
        }
    }

    fn wait(&self, timeout: Duration) -> Orders {
        let inner = self.lock();
        let idle = |inner: &mut Inner| !inner.awake && !inner.stopped && inner.passes.is_empty();
        let (mut inner, waited) = self
            .changed
            .wait_timeout_while(inner, timeout, idle)
            .unwrap_or_else(PoisonError::into_inner);
        inner.awake = false;
        let passes = std::mem::take(&mut inner.passes);
        Orders { stopped: inner.stopped, look: waited.timed_out() || !passes.is_empty(), passes }
    }

    fn is_stopped(&self) -> bool {
        let inner = self.lock();
        inner.stopped || inner.sorting_ended
    }
}

struct Orders {
    stopped: bool,
    /// Look at the clock, too.
    look: bool,
    passes: Vec<Pass>,
}

/// Works until it is told to stop.
pub(crate) fn run(shared: &Shared) {
    // An earlier life may have left sealed files.
    sort_all(shared);
    loop {
        let orders = shared.keeper.wait(shared.settings.retain_interval);
        if orders.stopped {
            return;
        }
        sort_all(shared);
        if orders.look {
            let forced = orders.passes.iter().any(|pass| pass.seal);
            if forced || is_ripe(shared) {
                seal(shared);
            }
        }
        let retained = drop_expired(shared).unwrap_or_else(|error| {
            tracing::warn!(%error, "retention could not remove anything");
            Retained::default()
        });
        for pass in orders.passes {
            let _ = pass.reply.send(retained);
        }
    }
}

fn is_ripe(shared: &Shared) -> bool {
    let now_ms = shared.clock.now_ms();
    let state = shared.lock();
    !state.index.is_empty()
        && retention::is_ripe(&state.index, &shared.settings.features.load(), now_ms)
}

/// Has the writer seal the active file, sorting meanwhile: the writer may be waiting for that.
fn seal(shared: &Shared) {
    shared.queue.ask_to_seal();
    while shared.queue.is_seal_asked() && !shared.keeper.is_stopped() {
        sort_all(shared);
        let inner = shared.keeper.lock();
        drop(shared.keeper.changed.wait_timeout(inner, SEAL_LOOK));
    }
    sort_all(shared);
}

fn sort_all(shared: &Shared) {
    while !shared.keeper.is_stopped() {
        let next = shared.lock().sealed.first().cloned();
        let Some(sealed) = next else {
            shared.keeper.lock().stuck = false;
            return;
        };
        match sort(shared, &sealed) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                // The unsorted file is as good to read, only slower. The next pass tries again.
                tracing::warn!(%error, "a sealed file could not be sorted");
                shared.keeper.lock().stuck = true;
                shared.keeper.changed.notify_all();
                return;
            }
        }
    }
}

fn sort(shared: &Shared, sealed: &SealedWal) -> Result<bool, StoreError> {
    let (classes, losses) = {
        let state = shared.lock();
        (state.classes.clone(), Arc::clone(&state.losses))
    };
    let previous = |class: &str| {
        let last = classes.get(class).and_then(|segments| segments.last());
        last.map_or(losses.dropped(class), |segment| segment.footer.last)
    };
    let disk = &*shared.disk;
    let Some(sorted) = sorter::sort(disk, sealed, previous, || shared.keeper.is_stopped())? else {
        return Ok(false);
    };
    shared.lock().replace_sealed(sealed.wal.head.base, sorted);
    shared.keeper.changed.notify_all();
    let name = &sealed.wal.name;
    // From here on opening would sort it again if it came back, so it must be gone for good before
    // retention touches what it became.
    disk.remove(name).on("remove", name)?;
    disk.sync().on("sync the directory of", name)?;
    Ok(true)
}

/// Removes what no feature keeps any more.
fn drop_expired(shared: &Shared) -> Result<Retained, StoreError> {
    let now_ms = shared.clock.now_ms();
    let features = shared.settings.features.load();
    let (expired, before) = {
        let state = shared.lock();
        let expired = state.classes.iter().map(|(class, segments)| {
            let held: Vec<_> = segments.iter().map(|segment| held(segment)).collect();
            let history = retention::history(&features, class);
            let unsorted = state.unsorted_bytes(class);
            let count = retention::expired(&held, unsorted, history, now_ms);
            (Arc::clone(class), Arc::clone(segments), count)
        });
        let expired: Vec<_> = expired.filter(|&(_, _, count)| count > 0).collect();
        (expired, Arc::clone(&state.losses))
    };
    if expired.is_empty() {
        return Ok(Retained::default());
    }
    let (mut losses, mut dropped) = ((*before).clone(), Vec::new());
    for (class, segments, count) in expired {
        let mut gone = Vec::new();
        for segment in segments.iter().take(count) {
            let mut lasts = segment.lasts(&*shared.disk)?;
            losses = losses.with_dropped(&class, segment.footer.last, lasts.iter().copied());
            if segment.footer.last <= shared.lock().recent.floor() {
                lasts = Vec::new();
            }
            gone.push(Gone { segment: Arc::clone(segment), lasts });
        }
        dropped.push((class, gone));
    }
    let losses = Arc::new(losses.bounded(shared.settings.losses_max));
    losses.write(&*shared.disk)?;
    let mut retained = Retained::default();
    for (class, gone) in dropped {
        shared.lock().drop_oldest(&class, &gone, Arc::clone(&losses));
        for Gone { segment, .. } in gone {
            retained.files += 1;
            retained.bytes += segment.bytes;
            if let Err(error) = shared.disk.remove(&segment.name) {
                // Opening removes it: the losses say that it is dropped.
                tracing::warn!(file = segment.name, %error, "a dropped file could not be removed");
            }
        }
    }
    shared.disk.sync().on("sync", "the data directory")?;
    Ok(retained)
}

fn held(segment: &Segment) -> Held {
    Held { newest_at_ms: segment.footer.newest_at_ms, bytes: segment.bytes }
}

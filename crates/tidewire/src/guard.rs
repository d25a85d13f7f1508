//! What `make guard` counts: the instructions of the hot paths on fixed inputs, never their time.
//!
//! Each case is an ignored test that prepares something and passes the work to [`count`]. The script
//! `scripts/guard/guard.mjs` runs the test binary of this crate under callgrind, one case a process,
//! and counts only while [`counted`] runs: neither the harness nor the preparation is in the figure,
//! and the kernel is not seen at all. The result is compared with `scripts/guard/baseline.json`.
//!
//! Why so, and not with gungraun (the successor of iai-callgrind): the sweep is private to this
//! crate, and stays so if its own tests drive it; and a runner that must be compiled in the version
//! of the library would cost CI more than all cases together.
//!
//! Nothing here varies but the seeds of hash maps: one thread, a paused clock, seeded chance, a log
//! in memory, sockets that never fill.

use std::{hint::black_box, sync::Arc};

use arc_swap::ArcSwap;
use tidewire_core::{
    Features, Hub, Limits, MemoryLog, OpenGate, Peer, Session,
    clock::{Clock, ManualClock, Random, SeededRandom},
    feature::Feature,
    log::memory::MemoryBounds,
};
use tidewire_proto::{After, Data, EventType, Message, Sequence, Topic};
use tokio::runtime::{Builder, Runtime};

use crate::{
    app::{App, Counted, Parts},
    config::Origins,
};

mod doors;
mod walks;
pub(crate) mod wires;

/// Rounds before the counting begins: lazily made things are there, buffers have their size.
const WARM_UP: usize = 8;
/// Rounds that are counted.
const ROUNDS: usize = 32;
/// Data of an entry.
pub(crate) const DATA_BYTES: usize = 200;

/// Counts `work`, which does so many operations. What it is given, and what it leaves behind, is
/// made and dropped outside.
pub(crate) fn count<Given, Left>(
    operations: usize,
    mut given: impl FnMut() -> Given,
    mut work: impl FnMut(Given) -> Left,
) {
    for round in 0..WARM_UP + ROUNDS {
        let (mut given, mut left) = (Some(given()), None);
        let mut once = || left = given.take().map(|given| work(black_box(given)));
        if round < WARM_UP {
            once();
        } else {
            counted(&mut once);
        }
        black_box(left);
    }
    println!("counted {}", ROUNDS * operations);
}

/// While this runs, and only then, callgrind counts: it knows it by its name.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

/// A server without doors to the outside: one thread, a clock that stands, a log in memory.
pub(crate) struct Bed {
    pub(crate) runtime: Runtime,
    pub(crate) app: App,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime of one thread");
        let _inside = runtime.enter();
        let features = Arc::new(Features::default().with_undeclared(Feature::default()));
        let limits = Limits::default();
        let random: Arc<dyn Random> = Arc::new(SeededRandom::new(7));
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(1_800_000_000_000));
        let log = || {
            let (features, clock) = (Arc::clone(&features), Arc::clone(&clock));
            Arc::new(MemoryLog::new(features, &limits, MemoryBounds::default(), clock, &*random))
        };
        let hub = Hub::new(log(), log(), Arc::clone(&features), limits.clone());
        let (gate, origins, prefix) =
            (Arc::new(OpenGate), ArcSwap::from_pointee(Origins::default()), "/v1".to_owned());
        let (keys, revocations) = (ArcSwap::default(), None);
        let (dev, counted) = (false, Counted::default());
        let app = App::new(Parts {
            hub,
            gate,
            origins,
            prefix,
            dev,
            keys,
            revocations,
            counted,
            clock,
            random,
        });
        drop(_inside);
        Self { runtime, app }
    }

    pub(crate) fn session(&self) -> Session {
        self.app.hub.session(Arc::clone(&self.app.gate), Arc::new(Peer::anybody()))
    }

    /// A session that reads this topic, has caught up and has said so.
    pub(crate) fn reader(&self, topic: &Topic) -> Session {
        self.runtime.block_on(async {
            let mut session = self.session();
            session.subscribe(&topic.clone().into(), After::Now).await.expect("it may subscribe");
            while session.ready().await.expect("the log can be read").is_some() {}
            session
        })
    }

    /// Publishes, and lets the follower bring it to the tails.
    pub(crate) fn publish(&self, batch: Vec<Message>) {
        self.runtime.block_on(async {
            self.app.hub.publish_batch(batch).await.expect("the log takes it");
            tokio::task::yield_now().await;
        });
    }

    pub(crate) fn newest(&self) -> Sequence {
        self.app.hub.newest().sequence
    }
}

pub(crate) fn topic(name: &str) -> Topic {
    Topic::parse(name).expect("a good name")
}

/// JSON of [`DATA_BYTES`] bytes.
pub(crate) fn data() -> String {
    format!("{{\"text\":\"{}\"}}", "tide ".repeat(DATA_BYTES).get(..DATA_BYTES - 11).unwrap_or(""))
}

pub(crate) fn message(topic: &Topic) -> Message {
    let data = Data::json(data()).expect("it is JSON");
    Message { topic: topic.clone(), event: EventType::message(), data, key: None, item: None }
}

#[test]
fn the_data_is_as_long_as_it_says() {
    assert_eq!(data().len(), DATA_BYTES);
}

//! What the tests of the sweep's parts share: a hub in memory, without a server.

use std::{ops::Range, sync::Arc};

use tidewire_core::{
    Feature, Features, Filter, Hub, Limits, MemoryLog, OpenGate, Peer, Session,
    clock::{SeededRandom, SystemClock},
    log::memory::MemoryBounds,
};
use tidewire_proto::{After, Data, EventType, Message, Topic};

/// A hub with memory logs.
pub(super) struct World(Hub);

impl World {
    pub(super) fn new(limits: &Limits) -> Self {
        let features = Arc::new(Features::default().with_undeclared(Feature::default()));
        let log = || {
            let (clock, random) = (Arc::new(SystemClock), SeededRandom::new(3));
            let bounds = MemoryBounds::default();
            Arc::new(MemoryLog::new(Arc::clone(&features), limits, bounds, clock, &random))
        };
        Self(Hub::new(log(), log(), Arc::clone(&features), limits.clone()))
    }

    fn topic(number: usize) -> Topic {
        Topic::parse(&format!("chat/{number}")).unwrap()
    }

    /// A session that reads these topics from now on.
    pub(super) async fn session(&self, topics: Range<usize>) -> Session {
        let mut session = self.0.session(Arc::new(OpenGate), Arc::new(Peer::anybody()));
        let filter = Filter::new(topics.map(Self::topic)).unwrap();
        session.subscribe(&filter, After::Now).await.unwrap();
        session
    }

    /// Publishes so many entries of so many bytes to a topic, in one batch.
    pub(super) async fn publish(&self, topic: usize, count: usize, bytes: usize) {
        let message = |_| Message {
            topic: Self::topic(topic),
            event: EventType::message(),
            data: Data::text("x".repeat(bytes)).unwrap(),
            key: None,
        };
        self.0.publish_batch((0..count).map(message).collect()).await.unwrap();
    }
}

/// Lets the followers deliver what was published: they are tasks of this thread.
pub(super) async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

//! Several subscriptions of one session: once they are live, their news come in one log order, even
//! when the tails of some are overrun while the reader is away.

use std::sync::Arc;

use proptest::prelude::*;
use tidewire_core::{
    Feature, Features, Filter, Hub, Limits, MemoryLog, OpenGate, Peer, clock,
    log::memory::MemoryBounds,
};
use tidewire_proto::{After, Data, EventType, Message, Topic};

const TOPICS: [&str; 3] = ["a/1", "a/2", "b/1"];

fn topic(index: usize) -> Topic {
    Topic::parse(TOPICS[index]).unwrap()
}

/// Publishes each burst, takes that many steps, and at the end everything; gives what was heard and
/// what was published, as places.
async fn run(bursts: Vec<(Vec<usize>, usize)>) -> (Vec<u64>, Vec<u64>) {
    // Tails of two entries: a burst of three to one topic overruns it.
    let limits = Limits { tail_entries_max: 2, page_entries_max: 2, ..Limits::default() };
    let features = Arc::new(Features::default().with_undeclared(Feature::default()));
    let log = || {
        let (clock, random) = (Arc::new(clock::SystemClock), clock::SystemRandom);
        let bounds = MemoryBounds::default();
        Arc::new(MemoryLog::new(Arc::clone(&features), &limits, bounds, clock, &random))
    };
    let hub = Hub::new(log(), log(), Arc::clone(&features), limits.clone());
    let mut session = hub.session(Arc::new(OpenGate), Arc::new(Peer::anybody()));
    for index in 0..TOPICS.len() {
        session.subscribe(&Filter::from(topic(index)), After::Now).await.unwrap();
    }
    let (mut heard, mut published) = (Vec::new(), Vec::new());
    let mut turn = 0;
    let mut step = async |session: &mut tidewire_core::Session| {
        let news = session.ready().await.unwrap();
        let Some(mut news) = news else { return false };
        assert!(news.gap.is_none());
        turn += 1;
        if turn % 3 == 0 {
            // Only the first gets through; the others come again.
            session.give_back(&news, 1);
            news.entries.truncate(1);
        }
        heard.extend(news.entries.iter().map(|framed| framed.entry().sequence.0));
        true
    };
    // They say that they are live.
    while step(&mut session).await {}
    for (topics, steps) in bursts {
        let message = |index: usize| Message {
            topic: topic(index),
            event: EventType::message(),
            data: Data::text("x").unwrap(),
            key: None,
            item: None,
        };
        for index in topics {
            let answer = hub.publish(message(index)).await.unwrap();
            published.push(answer.id.unwrap().sequence.0);
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        for _ in 0..steps {
            step(&mut session).await;
        }
    }
    while step(&mut session).await {}
    (heard, published)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn what_was_live_stays_in_one_order(
        bursts in proptest::collection::vec(
            (proptest::collection::vec(0..TOPICS.len(), 0..6), 0_usize..3), 1..20,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (heard, published) = runtime.block_on(run(bursts));
        prop_assert_eq!(heard, published);
    }
}

//! Promise 9: clocks do not matter for order, continuity and idempotency. Two things ask the wall
//! clock, because it is what they mean: when a token ends, and how old an entry is.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidewire::{
    Feature, Features, Limits, MemoryLog, Settings,
    clock::{Clock, ManualClock, SeededRandom},
    tidewire_core::{History, log::memory::MemoryBounds},
};

use crate::support::{
    Server, http, id, sequence,
    sse::Stream,
    tokens::{LATER_MS, NOW_MS, alice, bearer, lock, publish},
    ws::Socket,
};

const HOUR_MS: u64 = 3_600_000;

/// Where a clock may jump to; features that keep for ever, so that age takes nothing away.
const JUMPS: [u64; 6] = [NOW_MS + 9 * HOUR_MS, NOW_MS - 9 * HOUR_MS, 0, u64::MAX, NOW_MS, 1];

async fn dev(change: impl FnOnce(&mut Settings)) -> (Server, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(NOW_MS));
    let of_server = Arc::clone(&clock);
    let change = |settings: &mut Settings| {
        let history = History::Kept { age: None, bytes: None };
        let for_ever = Feature { history, ..Feature::default() };
        settings.features = Features::default().with_undeclared(for_ever);
        change(settings);
    };
    (Server::built(change, true, |builder| builder.clock(of_server)).await, clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_changes_neither_order_nor_continuity() {
    let (server, clock) = dev(|_| {}).await;
    let (mut stream, hello) = Stream::open(&server, "topic=chat/a").await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe("chat/a", None).await;
    let mut cursor = hello["at"].as_str().unwrap().to_owned();
    let mut newest = sequence(&cursor);
    for (number, jump) in JUMPS.into_iter().enumerate() {
        clock.set(jump);
        let stored = id(&server.publish("chat/a", &json!(number)).await);
        assert!(sequence(&stored) > newest, "{jump}");
        newest = sequence(&stored);
        assert_eq!(stream.data(1).await, [json!(number)]);
        assert_eq!(socket.data(1).await, [json!(number)]);
        let (mut resumed, hello) =
            Stream::open(&server, &format!("topic=chat/a&after={cursor}")).await;
        assert_eq!(hello["continuity"], "resumed", "{jump}");
        assert_eq!(resumed.data(1).await, [json!(number)]);
        cursor = stored;
    }
    let all: Vec<Value> =
        server.history("chat/a", "start").await.iter().map(|e| e["data"].clone()).collect();
    assert_eq!(all, (0..JUMPS.len()).map(|n| json!(n)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_forgets_no_key_and_keeps_none_too_long() {
    let window = Duration::from_millis(1_500);
    let (server, clock) = dev(|s| s.limits.idempotency_window = window).await;
    let keyed = async || {
        let response = server.post("chat/a", "1", &[("idempotency-key", "k")]).await;
        assert_eq!(response.status(), 201);
        response.json::<Value>().await.unwrap()
    };
    let stored = tokio::time::Instant::now();
    let first = keyed().await;
    for jump in JUMPS {
        clock.set(jump);
        let again = keyed().await;
        if stored.elapsed() < window {
            assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)), "{jump}");
        }
    }
    // The window is time that passes, whatever the clock on the wall shows.
    crate::support::until("the window has passed", async || keyed().await["id"] != first["id"])
        .await;
    assert!(stored.elapsed() >= window, "{:?}", stored.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn age_and_expiry_follow_the_clock() {
    let history = History::Kept { age: Some(Duration::from_secs(3_600)), bytes: None };
    let hour = Feature { history, ..Feature::default() };
    let features = Features::default().with_undeclared(hour);
    let clock = Arc::new(ManualClock::at(NOW_MS));
    // The embedded log drops whole pieces now and then; this one drops what is too old at once.
    let log = MemoryLog::new(
        Arc::new(features.clone()),
        &Limits::default(),
        MemoryBounds::default(),
        Arc::clone(&clock) as Arc<dyn Clock>,
        &SeededRandom::new(5),
    );
    let change = |settings: &mut Settings| {
        lock(settings);
        settings.features = features;
    };
    let of_server = Arc::clone(&clock);
    let build = |builder: tidewire::Builder| builder.clock(of_server).log(Arc::new(log));
    let server = Server::built(change, false, build).await;
    let first = id(&publish(&server, "chat/a", &json!(1)).await);
    let page = async |token: String| {
        let request = http().get(server.at("/events?topic=chat/a")).bearer_auth(token);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    clock.set(NOW_MS + HOUR_MS - 1);
    let (_, kept) = page(alice(LATER_MS)).await;
    assert_eq!(kept["entries"][0]["id"], json!(first));
    clock.set(LATER_MS);
    assert_eq!(page(alice(LATER_MS)).await.0, 401, "it has expired");
    clock.set(NOW_MS - 9 * HOUR_MS);
    assert_eq!(page(alice(LATER_MS)).await.0, 200, "by the clock it has not");

    // Beyond its age the entry goes; who has a cursor before it is told.
    clock.set(NOW_MS + 2 * HOUR_MS);
    let (name, value) = bearer(&alice(LATER_MS + 9 * HOUR_MS));
    let epoch = first.split_once('.').unwrap().0;
    let query = format!("topic=chat/a&after={epoch}.0");
    let (_, hello) = Stream::open_with(&server, &query, &[(name, &value)]).await;
    assert_eq!(hello["gap"]["reason"], "trimmed", "{hello}");
    let (_, page) = page(alice(LATER_MS + 9 * HOUR_MS)).await;
    assert_eq!(page["entries"], json!([]));
}

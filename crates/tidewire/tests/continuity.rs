//! Promise 2: continuity is said first, on every door, and `resumed` only where it is proved.

use serde_json::{Value, json};
use tidewire::{Feature, Features};

use crate::support::{Server, id, sse::Stream, ws::Socket};

/// What each door says about a cursor before anything else.
async fn told(server: &Server, topic: &str, after: &str) -> [Value; 3] {
    let (_stream, by_sse) = Stream::open(server, &format!("topic={topic}&after={after}")).await;
    let mut socket = Socket::open(server).await;
    let by_socket = socket.subscribe(topic, Some(after)).await;
    let by_page = server.page(&format!("topic={topic}&after={after}&wait=0")).await;
    [by_sse, by_socket, by_page]
}

async fn assert_told(server: &Server, topic: &str, after: &str, continuity: &str, reason: Value) {
    for said in told(server, topic, after).await {
        assert_eq!(said["continuity"], continuity, "{after}: {said}");
        assert_eq!(said["gap"]["reason"], reason, "{after}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_cursor_is_resumed_and_a_foreign_or_impossible_one_is_a_gap() {
    let server = Server::dev().await;
    let first = id(&server.publish("chat/a", &json!(1)).await);
    server.publish("chat/a", &json!(2)).await;
    assert_told(&server, "chat/a", &first, "resumed", Value::Null).await;
    assert_told(&server, "chat/a", "k3f9.1", "gap", json!("foreign")).await;
    let ahead = format!("{}.99", first.split_once('.').unwrap().0);
    assert_told(&server, "chat/a", &ahead, "gap", json!("ahead")).await;
    assert_told(&server, "chat/a", "now", "new", Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_gap_come_the_events_that_are_there() {
    let server = Server::dev().await;
    for number in 1..=3 {
        server.publish("chat/a", &json!(number)).await;
    }
    let (mut stream, hello) = Stream::open(&server, "topic=chat/a&after=k3f9.2").await;
    assert_eq!(hello["continuity"], "gap");
    let gap = stream.next().await.unwrap();
    assert_eq!(gap.event, "tidewire.gap", "a listener for gaps hears it too");
    assert_eq!(stream.data(3).await, [json!(1), json!(2), json!(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_begins_a_life_and_old_cursors_go_on() {
    let server = Server::dev().await;
    let first = id(&server.publish("chat/a", &json!(1)).await);
    let second = id(&server.publish("chat/a", &json!(2)).await);
    let server = server.restart().await;
    assert_told(&server, "chat/a", &first, "resumed", Value::Null).await;
    let third = id(&server.publish("chat/a", &json!(3)).await);
    assert_ne!(second.split_once('.').unwrap().0, third.split_once('.').unwrap().0);
    // The old life ended at the second entry: a cursor beyond it saw something that we lost.
    let beyond = format!("{}.3", second.split_once('.').unwrap().0);
    assert_told(&server, "chat/a", &beyond, "gap", json!("diverged")).await;
    // Such a reader has seen all up to there, and goes on from there.
    let (mut stream, _) = Stream::open(&server, &format!("topic=chat/a&after={beyond}")).await;
    assert_eq!(stream.next().await.unwrap().event, "tidewire.gap");
    assert_eq!(stream.data(1).await, [json!(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ids_life_never_changes() {
    let server = Server::dev().await;
    let before = id(&server.publish("chat/a", &json!(1)).await);
    let server = server.restart().await;
    let page = server.page("topic=chat/a").await;
    assert_eq!(page["entries"][0]["id"], json!(before));
}

/// The stream's own id before any entry came: a loss in that moment is resumed too.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_heard_nothing_yet_has_a_place_to_resume_from() {
    let server = Server::dev().await;
    let (_stream, hello) = Stream::open(&server, "topic=chat/a").await;
    server.publish("chat/a", &json!("in between")).await;
    let at = hello["at"].as_str().unwrap();
    let (mut stream, hello) =
        Stream::open_with(&server, "topic=chat/a", &[("last-event-id", at)]).await;
    assert_eq!(hello["continuity"], "resumed");
    assert_eq!(stream.data(1).await, [json!("in between")]);
}

/// A bound by bytes that drops early entries: `trimmed`, but only to those who lost something.
#[tokio::test(flavor = "multi_thread")]
async fn trimmed_is_told_only_to_those_who_lost_something() {
    use tidewire::tidewire_core::{History, MemoryLog, clock, log::memory::MemoryBounds};
    let small =
        Feature { history: History::Kept { age: None, bytes: Some(40) }, ..Feature::default() };
    let features = Features::declared([("small".to_owned(), small)].into())
        .with_undeclared(Feature::default());
    let limits = tidewire::Limits::default();
    let log = MemoryLog::new(
        features.clone(),
        &limits,
        MemoryBounds::default(),
        std::sync::Arc::new(clock::SystemClock),
        &clock::SystemRandom,
    );
    let server = Server::dev_on(std::sync::Arc::new(log), features).await;
    let early = id(&server.publish("small/a", &json!("0123456789012345678")).await);
    let of_b = id(&server.publish("small/b", &json!("0123456789012345678")).await);
    for _ in 0..3 {
        server.publish("small/a", &json!("0123456789012345678")).await;
    }
    assert_told(&server, "small/a", &early, "gap", json!("trimmed")).await;
    assert_told(&server, "small/b", &of_b, "resumed", Value::Null).await;
}

/// Two features with different patience on one stream: the gap of the one takes nothing from the
/// other, whether it is told at the start or in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_gap_takes_nothing_that_is_still_there() {
    use std::{sync::Arc, time::Duration};
    use tidewire::{clock, tidewire_core::History};
    const HOUR: Duration = Duration::from_secs(3_600);
    let short =
        Feature { history: History::Kept { age: Some(HOUR), bytes: None }, ..Feature::default() };
    let long = Feature { history: History::Kept { age: None, bytes: None }, ..Feature::default() };
    let declared = [("short".to_owned(), short), ("long".to_owned(), long)];
    let features = Features::declared(declared.into());
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(clock::ManualClock::at(1_800_000_000_000));
    let settings = tidewire_disk::DiskSettings {
        features: features.clone().into(),
        ..tidewire_disk::DiskSettings::default()
    };
    let random = clock::SystemRandom;
    let log = tidewire_disk::DiskLog::open(folder.path(), settings, clock.clone(), &random);
    let log = Arc::new(log.unwrap());
    let server = Server::dev_on(log.clone(), features).await;

    let (_, hello) = Stream::open(&server, "topic=long/a").await;
    let before = hello["at"].as_str().unwrap();
    server.publish("long/a", &json!(1)).await;
    server.publish("short/a", &json!(2)).await;
    server.publish("long/a", &json!(3)).await;
    log.seal_now().await;
    clock.advance(3 * HOUR);
    log.retain_now().await;

    let query = format!("topic=long/a&topic=short/a&after={before}");
    let (mut stream, hello) = Stream::open(&server, &query).await;
    assert_eq!((&hello["continuity"], &hello["gap"]["reason"]), (&json!("gap"), &json!("trimmed")));
    assert_eq!(hello["at"], before, "reading goes on from the cursor");
    assert_eq!(stream.next().await.unwrap().event, "tidewire.gap");
    assert_eq!(stream.data(2).await, [json!(1), json!(3)], "and the gap is told once");
    let page = server.page(&query).await;
    assert_eq!(page["continuity"], "gap");
    let data: Vec<_> = page["entries"].as_array().unwrap().iter().map(|e| &e["data"]).collect();
    assert_eq!(data, [1, 3]);
    let (_, hello) = Stream::open(&server, &format!("topic=long/a&after={before}")).await;
    assert_eq!(hello["continuity"], "resumed", "the patient feature lost nothing");
}

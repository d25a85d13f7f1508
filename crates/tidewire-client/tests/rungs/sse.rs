//! The event-stream rung, and what all rungs share: resuming, slots, beats, tokens, refusals.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tidewire_client::{
    After, Client, ClientError, ClientOptions, Continuity, Data, GapReason, Item, Rung, Status,
    Subscription, TokenSource,
};

use crate::fake::{
    Fake, Stream, at, continuity, entry, id, next, subscribe, time_of, topic, waiting,
};

fn follow(client: &Client, after: After) -> Subscription {
    subscribe(client, &["chat/a"], after, Rung::Sse)
}

/// A subscription with its first stream, greeted at `e.10`.
async fn opened(fake: &Fake) -> (Subscription, Stream) {
    let mut live = follow(&fake.client(), After::Now);
    let mut stream = fake.request().await.stream().await;
    stream.hello(r#""new""#, "e.10").await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    (live, stream)
}

#[tokio::test(start_paused = true)]
async fn it_asks_for_its_topics_and_yields_every_encoding() {
    let fake = Fake::start().await;
    let options = ClientOptions { token: Some(TokenSource::fixed("secret")), ..Fake::options() };
    let client = Client::new(&fake.url(), options).unwrap();
    let mut live = subscribe(&client, &["chat/a", "chat/b"], After::Start, Rung::Sse);
    let call = fake.request().await;
    assert_eq!(call.line(), "GET /app/v1/sse?topic=chat%2Fa&topic=chat%2Fb&after=start");
    assert_eq!(call.header("authorization"), Some("Bearer secret"));
    assert_eq!(call.header("accept"), Some("text/event-stream"));
    let mut stream = call.stream().await;
    stream.hello(r#""new""#, "e.0").await;
    stream.entry("chat/a", "e.1", r#"{"a": 1}"#).await;
    stream
        .send("event: said\ndata: two\ndata: lines\nencoding: text\ntopic: chat/b\nid: e.2\n\n")
        .await;
    stream.send("event: tidewire.new\ndata: {}\n\n: comment\n\n").await;
    stream.send("data: AP8=\nencoding: base64\ntopic: chat/a\n\n").await;
    let status = |item| matches!(item, Ok(Item::Status(_)));
    assert!(status(live.next().await), "connecting");
    let connected = Status::Connected { rung: Rung::Sse, connection: Some("c1".to_owned()) };
    assert_eq!(live.next().await, Ok(Item::Status(connected)));
    assert_eq!(live.next().await, Ok(Item::Continuity(Continuity::New)));
    let first = entry(&mut live).await;
    assert_eq!((first.topic, first.id), (topic("chat/a"), Some(at("e.1"))));
    assert_eq!(first.data, Data::Json(r#"{"a": 1}"#.into()));
    let second = entry(&mut live).await;
    assert_eq!((second.event.as_str(), second.data), ("said", Data::Text("two\nlines".into())));
    let third = entry(&mut live).await;
    assert_eq!((third.id, third.data), (None, Data::binary(vec![0, 255])));
    assert_eq!(live.cursor(), Some(at("e.2")), "an ephemeral entry moves no bookmark");
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_it_goes_on_from_its_place_in_its_slot() {
    let fake = Fake::start().await;
    let (mut live, mut stream) = opened(&fake).await;
    stream.entry("chat/a", "e.11", "1").await;
    stream.send("data: 2\ntopic: chat/a\n\n").await;
    assert_eq!(id(&mut live).await, "e.11");
    assert_eq!(id(&mut live).await, "none");
    drop(stream);
    let (call, waited) = time_of(fake.request()).await;
    assert_eq!(waited, Duration::from_millis(1_500), "the slot of `retry:`");
    assert_eq!(call.query("after").as_deref(), Some("e.11"));
    let mut stream = call.stream().await;
    stream.hello(r#""resumed""#, "e.11").await;
    stream.entry("chat/a", "e.12", "3").await;
    assert_eq!(continuity(&mut live).await, Continuity::Resumed);
    assert_eq!(id(&mut live).await, "e.12");
}

#[tokio::test(start_paused = true)]
async fn a_greeting_without_entries_is_a_place_too() {
    let fake = Fake::start().await;
    let (_live, stream) = opened(&fake).await;
    drop(stream);
    assert_eq!(fake.request().await.query("after").as_deref(), Some("e.10"));
}

#[tokio::test(start_paused = true)]
async fn a_beat_moves_the_bookmark_and_says_that_all_was_said() {
    let fake = Fake::start().await;
    let mut live = follow(&fake.client(), After::Cursor(at("e.10")));
    let mut stream = fake.request().await.stream().await;
    stream.hello(r#""resumed""#, "e.10").await;
    stream.entry("chat/a", "e.11", "1").await;
    stream.send("event: tidewire.beat\ndata: {\"beat\":true,\"at\":\"e.40\"}\nid: e.40\n\n").await;
    assert_eq!(continuity(&mut live).await, Continuity::Resumed);
    assert!(matches!(next(&mut live).await, Ok(Item::Entry(_))));
    assert_eq!(live.cursor(), Some(at("e.11")));
    assert_eq!(next(&mut live).await, Ok(Item::Live));
    assert_eq!(live.cursor(), Some(at("e.40")));
    drop(stream);
    assert_eq!(fake.request().await.query("after").as_deref(), Some("e.40"));
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told_once_with_its_reason() {
    let fake = Fake::start().await;
    let mut live = follow(&fake.client(), After::Cursor(at("old.900")));
    let mut stream = fake.request().await.stream().await;
    let gap = r#"{"reason":"foreign","oldest":"e.3","newest":"e.9"}"#;
    stream.hello(&format!(r#""gap","gap":{gap}"#), "e.3").await;
    stream.send(&format!("event: tidewire.gap\ndata: {gap}\n\n")).await;
    stream.entry("chat/a", "e.4", "1").await;
    let Continuity::Gap { gap: told, topic: None } = continuity(&mut live).await else { panic!() };
    assert_eq!((told.reason, told.oldest, told.newest), (GapReason::Foreign, at("e.3"), at("e.9")));
    assert_eq!(
        id(&mut live).await,
        "e.4",
        "a lower sequence, and no disorder: the past is another"
    );
    // On the way, a gap is news again.
    let gap = gap.replace("foreign", "trimmed").replace("e.3", "e.8");
    stream.send(&format!("event: tidewire.gap\ndata: {gap}\n\n")).await;
    stream.entry("chat/a", "e.9", "2").await;
    assert!(matches!(continuity(&mut live).await, Continuity::Gap { .. }));
    assert_eq!(id(&mut live).await, "e.9");
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_names_the_slot() {
    let fake = Fake::start().await;
    let (mut live, mut stream) = opened(&fake).await;
    let bye = r#"{"code":"restarting","message":"back soon","next":"resume","retry_ms":4321}"#;
    stream.send(&format!("retry: 4321\nevent: tidewire.bye\ndata: {bye}\n\n")).await;
    let (why, wait) = waiting(&mut live).await;
    assert_eq!((why.as_str(), wait.as_millis()), ("restarting: back soon", 4_321));
    let (call, waited) = time_of(fake.request()).await;
    assert_eq!(waited.as_millis(), 4_321);
    assert_eq!(call.query("after").as_deref(), Some("e.10"));
}

#[tokio::test(start_paused = true)]
async fn silence_beyond_two_beats_is_a_loss() {
    let fake = Fake::start().await;
    let (mut live, mut stream) = opened(&fake).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    stream.send(":\n").await;
    let ((why, _), silent) = time_of(waiting(&mut live)).await;
    assert_eq!(silent, Duration::from_secs(43), "two beats and the grace after the last byte");
    assert!(why.contains("not even a beat"), "{why}");
    assert_eq!(fake.request().await.query("after").as_deref(), Some("e.10"));
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn failures_are_forgiven_only_by_a_stable_stream_with_news() {
    let fake = Fake::start().await;
    let (mut live, mut stream) = opened(&fake).await;
    let mut waits = Vec::new();
    for round in 0..6_u64 {
        drop(stream);
        let (_, wait) = waiting(&mut live).await;
        waits.push(wait.as_millis());
        stream = fake.request().await.stream().await;
        stream.hello(r#""resumed""#, "e.10").await;
        if round == 4 {
            stream.entry("chat/a", "e.11", "1").await;
            id_after_continuity(&mut live).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }
    assert_eq!(waits[0], 1_500, "the first loss: the slot alone");
    assert!(waits[1..5].iter().all(|wait| *wait > 1_500), "then spread on top: {waits:?}");
    assert!(waits[4] > 3_000, "wider each time: {waits:?}");
    assert_eq!(waits[5], 1_500, "forgiven");
}

async fn id_after_continuity(live: &mut Subscription) {
    assert_eq!(continuity(live).await, Continuity::Resumed);
    id(live).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_refreshed_once() {
    let fake = Fake::start().await;
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let token = TokenSource::fetched(move || {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        async move { Ok(format!("t{number}")) }
    });
    let options = ClientOptions { token: Some(token), ..Fake::options() };
    let client = Client::new(&fake.url(), options).unwrap();
    let mut live = follow(&client, After::Now);
    let call = fake.request().await;
    assert_eq!(call.header("authorization"), Some("Bearer t0"));
    call.refuse(401, "token_expired", "refresh_token").await;
    let (call, waited) = time_of(fake.request()).await;
    assert_eq!(waited, Duration::ZERO);
    assert_eq!(call.header("authorization"), Some("Bearer t1"));
    let mut stream = call.stream().await;
    stream.hello(r#""new""#, "e.1").await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    // It expires while the stream is open, and this time the next one is not good either.
    let bye = r#"{"code":"token_expired","message":"over","next":"refresh_token","retry_ms":9000}"#;
    stream.send(&format!("event: tidewire.bye\ndata: {bye}\n\n")).await;
    fake.request().await.refuse(401, "token_invalid", "refresh_token").await;
    let Err(ClientError::Unauthorized(refusal)) = last(&mut live).await else { panic!("an end") };
    assert_eq!((refusal.code.as_str(), refusal.status), ("token_invalid", Some(401)));
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

/// The item that ends it.
async fn last(live: &mut Subscription) -> Result<Item, ClientError> {
    loop {
        match next(live).await {
            Ok(Item::Live | Item::Entry(_)) => {}
            item => return item,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fixed_token_that_is_refused_is_the_end() {
    let fake = Fake::start().await;
    let options = ClientOptions { token: Some(TokenSource::fixed("old")), ..Fake::options() };
    let mut live = follow(&Client::new(&fake.url(), options).unwrap(), After::Now);
    fake.request().await.refuse(401, "token_expired", "refresh_token").await;
    assert!(matches!(next(&mut live).await, Err(ClientError::Unauthorized(_))));
    let mut live = follow(&fake.client(), After::Now);
    fake.request().await.answer(401, "", "").await;
    assert!(matches!(next(&mut live).await, Err(ClientError::Unauthorized(_))), "no token at all");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_at_once_is_an_overloaded_server() {
    let fake = Fake::start().await;
    let mut live = follow(&fake.client(), After::Now);
    let mut stream = fake.request().await.stream().await;
    stream.send("retry: 7000\n\n").await;
    drop(stream);
    let (why, wait) = waiting(&mut live).await;
    assert!(why.contains("overloaded"), "{why}");
    assert_eq!(wait, Duration::from_secs(7));
    let mut stream = fake.request().await.stream().await;
    let bye = r#"{"code":"too_many_connections","message":"full","next":"resume","retry_ms":7000}"#;
    stream.send(&format!("retry: 7000\nevent: tidewire.bye\ndata: {bye}\n\n")).await;
    drop(stream);
    let (why, wait) = waiting(&mut live).await;
    assert_eq!(why, "too_many_connections: full");
    assert!(wait >= Duration::from_secs(7) && wait <= Duration::from_secs(8), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn a_204_and_a_final_refusal_are_the_end() {
    let fake = Fake::start().await;
    let mut live = follow(&fake.client(), After::Now);
    fake.request().await.answer(204, "", "").await;
    assert_eq!(next(&mut live).await, Err(ClientError::Stopped));
    assert_eq!(next(&mut live).await, Err(ClientError::Stopped), "the same from then on");
    let mut live = follow(&fake.client(), After::Now);
    fake.request().await.refuse(403, "forbidden", "give_up").await;
    let Err(ClientError::Refused(refusal)) = next(&mut live).await else { panic!("an end") };
    assert_eq!(refusal.code, "forbidden");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_and_spread() {
    let fake = Fake::start().await;
    let mut live = follow(&fake.client(), After::Now);
    fake.request().await.answer(503, "retry-after: 11\r\n", "").await;
    let (_, wait) = waiting(&mut live).await;
    assert!(wait >= Duration::from_secs(11) && wait <= Duration::from_millis(11_500), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_an_end_at_first_and_a_bad_moment_later() {
    let fake = Fake::start().await;
    let mut live = follow(&fake.client(), After::Now);
    fake.request().await.answer(404, "", "<html>").await;
    assert!(matches!(next(&mut live).await, Err(ClientError::Foreign(_))));
    let mut live = follow(&fake.client(), After::Now);
    fake.request().await.answer(200, "content-type: text/html\r\n", "<html>").await;
    assert!(matches!(next(&mut live).await, Err(ClientError::Foreign(_))), "a captive portal");
    let (mut live, stream) = opened(&fake).await;
    drop(stream);
    fake.request().await.answer(404, "", "no route").await;
    let mut stream = fake.request().await.stream().await;
    stream.hello(r#""resumed""#, "e.10").await;
    assert_eq!(continuity(&mut live).await, Continuity::Resumed);
}

#[tokio::test(start_paused = true)]
async fn a_twin_is_reported_and_not_yielded() {
    let fake = Fake::start().await;
    let (mut live, mut stream) = opened(&fake).await;
    stream.entry("chat/a", "e.11", "1").await;
    stream.entry("chat/a", "e.11", "1").await;
    assert_eq!(id(&mut live).await, "e.11");
    let Err(ClientError::Disorder(disorder)) = next(&mut live).await else { panic!("an end") };
    assert_eq!((disorder.seen, disorder.got), (at("e.11"), at("e.11")));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_accepts_and_says_nothing_is_left_after_five_seconds() {
    let fake = Fake::start().await;
    let mut live = follow(&fake.client(), After::Now);
    let (call, _) = time_of(fake.request()).await;
    let ((why, _), waited) = time_of(waiting(&mut live)).await;
    assert_eq!((why.as_str(), waited), ("it did not open within 5s", Duration::from_secs(5)));
    drop(call);
    let buffered = fake.request().await.stream().await;
    let ((why, _), waited) = time_of(waiting(&mut live)).await;
    assert_eq!((why.as_str(), waited), ("it did not open within 5s", Duration::from_secs(5)));
    drop(buffered);
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_waited_for() {
    let fake = Fake::start().await;
    let client = fake.client();
    drop(fake);
    let mut live = follow(&client, After::Now);
    for _ in 0..4 {
        let (why, wait) = waiting(&mut live).await;
        assert!(why.starts_with("cannot reach the server"), "{why}");
        assert!(wait <= Duration::from_secs(8));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_loses_nothing_and_is_not_taken_for_a_silent_server() {
    let fake = Fake::start().await;
    let (mut live, mut stream) = opened(&fake).await;
    for number in 11..311 {
        stream.entry("chat/a", &format!("e.{number}"), "1").await;
    }
    tokio::time::sleep(Duration::from_secs(300)).await;
    for number in 11..311 {
        assert_eq!(id(&mut live).await, format!("e.{number}"));
    }
    drop(stream);
}

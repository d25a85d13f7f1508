//! The plan, and the ladder of who follows it.

use std::time::Duration;

use tidewire_client::{After, Continuity, Item, Rung, Status, Subscription};

use crate::fake::{Fake, continuity, id, subscribe, time_of};

const PLAN: &str = r#"{"protocol":1,"beat_ms":20000,"retry_ms":1000,"undeclared":true,"features":[
    {"feature":"chat","transport":"ws","reason":"client_sends","why":"the client sends",
     "history":"30d","stored":"fsync","answers":{}}]}"#;

/// The rung of the next attempt.
async fn rung(live: &mut Subscription) -> Rung {
    loop {
        if let Item::Status(Status::Connecting { rung }) = live.next().await.unwrap() {
            return rung;
        }
    }
}

async fn give_plan(fake: &Fake) {
    let call = fake.call("GET /plan").await;
    call.json(200, PLAN).await;
}

#[tokio::test(start_paused = true)]
async fn the_plan_is_asked_and_followed() {
    let fake = Fake::start().await;
    let client = fake.client();
    let (plan, ()) = tokio::join!(client.plan(), give_plan(&fake));
    let plan = plan.unwrap();
    assert_eq!(
        (plan.features[0].transport, plan.features[0].why.as_str()),
        (Rung::Ws, "the client sends")
    );
    let mut live = subscribe(&client, &["chat/a"], After::Now, Rung::Auto);
    give_plan(&fake).await;
    assert_eq!(rung(&mut live).await, Rung::Ws);
    let mut live = subscribe(&client, &["notes/a"], After::Now, Rung::Auto);
    drop(fake.request().await);
    give_plan(&fake).await;
    assert_eq!(rung(&mut live).await, Rung::Sse);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_plan_gets_an_event_stream() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["chat/a"], After::Now, Rung::Auto);
    fake.request().await.answer(404, "", "").await;
    assert_eq!(rung(&mut live).await, Rung::Sse);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_judge_its_path_is_left_rung_by_rung_with_the_cursor() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["notes/a"], After::Start, Rung::Auto);
    for _ in 0..2 {
        give_plan(&fake).await;
        assert_eq!(rung(&mut live).await, Rung::Sse);
        // The head comes through, the events do not.
        let held = fake.call("GET /sse").await.stream().await;
        fake.call("GET /canary").await.answer(404, "", "").await;
        fake.call("GET /path").await.answer(404, "", "").await;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        drop(held);
    }
    for _ in 0..2 {
        give_plan(&fake).await;
        assert_eq!(rung(&mut live).await, Rung::Ws);
        fake.call("GET /socket").await.answer(502, "", "no upgrade").await;
    }
    give_plan(&fake).await;
    assert_eq!(rung(&mut live).await, Rung::Poll);
    let call = fake.call("GET /events").await;
    assert_eq!(call.query("after").as_deref(), Some("start"));
    call.json(200, r#"{"entries":[],"cursor":"e.5","more":false,"continuity":"new"}"#).await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
}

/// A plan that is named so and sends `notes` there.
async fn give_named(fake: &Fake, tag: &str, transport: &str) {
    let features = format!(r#"[{{"feature":"notes","transport":"{transport}"}}]"#);
    let plan = format!(r#"{{"protocol":1,"tag":"{tag}","beat_ms":20000,"features":{features}}}"#);
    fake.call("GET /plan").await.json(200, &plan).await;
}

#[tokio::test(start_paused = true)]
async fn another_plan_moves_the_live_subscription_in_its_slot() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["notes/a"], After::Now, Rung::Auto);
    give_named(&fake, "one", "sse").await;
    let mut stream = fake.call("GET /sse").await.stream().await;
    stream.hello(r#""new","plan":"one""#, "e.10").await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    stream.beat("e.10").await;
    stream.entry("notes/a", "e.11", "1").await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    assert_eq!(id(&mut live).await, "e.11");
    // Another plan that says the same of our topics changes nothing.
    stream.send("event: tidewire.plan\ndata: {\"tag\":\"two\",\"wait_ms\":0}\n\n").await;
    give_named(&fake, "two", "sse").await;
    stream.entry("notes/a", "e.12", "1").await;
    assert_eq!(id(&mut live).await, "e.12");
    stream.send("event: tidewire.plan\ndata: {\"tag\":\"three\",\"wait_ms\":1234}\n\n").await;
    let ((), waited) = time_of(give_named(&fake, "three", "ws")).await;
    assert_eq!(waited, Duration::from_millis(1_234), "its slot");
    let mut socket = fake.call("GET /socket").await.socket().await;
    socket.hello().await;
    assert_eq!(socket.command().await["after"], "e.12");
    loop {
        match live.next().await.unwrap() {
            Item::Status(Status::Waiting { why, .. }) => panic!("nothing was lost: {why}"),
            Item::Status(Status::Moved { from, to, why }) => {
                assert_eq!((from, to), (Rung::Sse, Rung::Ws));
                assert_eq!(why, "the server's plan says so");
                break;
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_polls_hears_of_another_plan_too() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["notes/a"], After::Now, Rung::Auto);
    give_named(&fake, "one", "poll").await;
    let page = |tag: &str| {
        format!(r#"{{"entries":[],"cursor":"e.5","more":false,"continuity":"new","plan":"{tag}"}}"#)
    };
    fake.call("GET /events").await.json(200, &page("one")).await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    fake.call("GET /events").await.json(200, &page("two")).await;
    let ((), waited) = time_of(give_named(&fake, "two", "sse")).await;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    let call = fake.call("GET /sse").await;
    assert_eq!(call.query("after").as_deref(), Some("e.5"));
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_taken_back_is_another_plan() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["notes/a"], After::Now, Rung::Auto);
    give_named(&fake, "one", "ws").await;
    let mut socket = fake.call("GET /socket").await.socket().await;
    socket.hello().await;
    socket.command().await;
    socket.send(r#"{"ref":0,"ok":{"topic":"notes/a","continuity":"new","at":"e.5"}}"#).await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    socket.send(r#"{"plan":{"tag":"two","wait_ms":0}}"#).await;
    give_named(&fake, "two", "poll").await;
    let page = |tag: &str| {
        format!(
            r#"{{"entries":[],"cursor":"e.5","more":false,"continuity":"resumed","plan":"{tag}"}}"#
        )
    };
    fake.call("GET /events").await.json(200, &page("two")).await;
    assert_eq!(continuity(&mut live).await, Continuity::Resumed);
    fake.call("GET /events").await.json(200, &page("one")).await;
    let ((), waited) = time_of(give_named(&fake, "one", "ws")).await;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    let mut socket = fake.call("GET /socket").await.socket().await;
    socket.hello().await;
    assert_eq!(socket.command().await["after"], "e.5");
}

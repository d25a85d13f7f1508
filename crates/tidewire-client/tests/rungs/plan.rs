//! The plan, and the ladder of who follows it.

use tidewire_client::{After, Continuity, Item, Rung, Status, Subscription};

use crate::fake::{Fake, continuity, subscribe};

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

//! Publishing: keys, retries, and what an error says about the message.

use std::time::Duration;

use tidewire_client::{
    Client, ClientOptions, Data, EventType, Key, Publish, PublishError, Timeouts, TokenSource,
};

use crate::fake::{Fake, at, time_of, topic};

fn message() -> Publish {
    Publish::new(topic("chat/a"), Data::json(&b"{\"a\": 1}"[..]).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_message_is_its_body_and_its_headers() {
    let fake = Fake::start().await;
    let client = fake.client();
    let said = message().event(EventType::parse("said").unwrap()).key(Key::parse("k1").unwrap());
    let (published, ()) = tokio::join!(client.publish(said), async {
        let call = fake.request().await;
        assert_eq!(call.line(), "POST /app/v1/topics/chat/a");
        assert_eq!(call.header("content-type"), Some("application/json"));
        assert_eq!(call.header("tidewire-event"), Some("said"));
        assert_eq!(call.header("idempotency-key"), Some("k1"));
        assert_eq!(call.body, b"{\"a\": 1}");
        call.json(201, r#"{"id":"e.7","stored":"fsync","duplicate":true}"#).await;
    });
    let published = published.unwrap();
    assert_eq!((published.id, published.duplicate), (Some(at("e.7")), true));
    let pointer = Publish::new(topic("pointers/a"), Data::binary(vec![1, 2]));
    let (published, ()) = tokio::join!(client.publish(pointer), async {
        let call = fake.request().await;
        assert_eq!(call.header("content-type"), Some("application/octet-stream"));
        call.json(201, r#"{"id":null,"stored":"memory"}"#).await;
    });
    assert_eq!(published.unwrap().id, None);
}

#[tokio::test(start_paused = true)]
async fn it_insists_with_one_key_until_the_log_has_it() {
    let fake = Fake::start().await;
    let client = fake.client();
    let (published, keys) = tokio::join!(client.publish(message()), async {
        let mut keys = Vec::new();
        // The answer is lost; then the server is busy; then a proxy cannot reach it.
        let call = fake.request().await;
        keys.push(call.header("idempotency-key").unwrap().to_owned());
        drop(call);
        let call = fake.request().await;
        keys.push(call.header("idempotency-key").unwrap().to_owned());
        call.refuse(503, "busy", "retry").await;
        let call = fake.request().await;
        keys.push(call.header("idempotency-key").unwrap().to_owned());
        call.answer(502, "", "<html>").await;
        let call = fake.request().await;
        keys.push(call.header("idempotency-key").unwrap().to_owned());
        call.json(201, r#"{"id":"e.7","stored":"fsync"}"#).await;
        keys
    });
    assert_eq!(published.unwrap().id, Some(at("e.7")));
    assert_eq!(keys[0].len(), 32);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_at_once() {
    let fake = Fake::start().await;
    let client = fake.client();
    for (status, code) in [(403, "forbidden"), (409, "key_conflict"), (413, "too_large")] {
        let (answer, ()) = tokio::join!(client.publish(message()), async {
            fake.request().await.refuse(status, code, "give_up").await;
        });
        let Err(PublishError::Refused(refusal)) = answer else { panic!("{answer:?}") };
        assert_eq!((refusal.code.as_str(), refusal.status), (code, Some(status)));
    }
    let (answer, ()) = tokio::join!(client.publish(message()), async {
        fake.request().await.answer(404, "", "<html>").await;
    });
    assert!(matches!(answer, Err(PublishError::Foreign(_))));
}

fn impatient(fake: &Fake) -> Client {
    let timeouts = Timeouts { publish: Duration::from_secs(3), ..Timeouts::default() };
    Client::new(&fake.url(), ClientOptions { timeouts, ..Fake::options() }).unwrap()
}

#[tokio::test(start_paused = true)]
async fn when_time_is_up_the_error_says_whether_it_may_be_stored() {
    let fake = Fake::start().await;
    let client = impatient(&fake);
    let busy = async {
        loop {
            fake.request().await.refuse(503, "busy", "retry").await;
        }
    };
    let (answer, waited) = tokio::select! {
        answer = time_of(client.publish(message())) => answer,
        () = busy => unreachable!(),
    };
    assert!(matches!(answer, Err(PublishError::Busy(_))), "{answer:?}");
    assert!(waited <= Duration::from_secs(3));

    let keyed = message().key(Key::parse("k1").unwrap());
    let (answer, call) = tokio::join!(time_of(client.publish(keyed)), fake.request());
    let (Err(PublishError::Unknown { key, .. }), waited) = answer else { panic!("{answer:?}") };
    assert_eq!((key.as_str(), waited), ("k1", Duration::from_secs(3)));
    drop(call);

    drop(fake);
    let answer = client.publish(message()).await;
    assert!(matches!(answer, Err(PublishError::Unreachable(_))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_lost_answer_a_refusal_does_not_claim_that_nothing_is_stored() {
    let fake = Fake::start().await;
    let client = fake.client();
    let (answer, ()) = tokio::join!(client.publish(message()), async {
        drop(fake.request().await);
        fake.request().await.refuse(403, "forbidden", "give_up").await;
    });
    assert!(matches!(answer, Err(PublishError::Unknown { .. })), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_refreshed_once() {
    let fake = Fake::start().await;
    let count = std::sync::atomic::AtomicU32::new(0);
    let token = TokenSource::fetched(move || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move { Ok(format!("t{number}")) }
    });
    let options = ClientOptions { token: Some(token), ..Fake::options() };
    let client = Client::new(&fake.url(), options).unwrap();
    let (answer, ()) = tokio::join!(client.publish(message()), async {
        fake.request().await.refuse(401, "token_expired", "refresh_token").await;
        let call = fake.request().await;
        assert_eq!(call.header("authorization"), Some("Bearer t1"));
        call.refuse(401, "token_invalid", "refresh_token").await;
    });
    assert!(matches!(answer, Err(PublishError::Unauthorized(_))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_request_with_a_key_for_each_message() {
    let fake = Fake::start().await;
    let client = fake.client();
    assert_eq!(client.publish_batch(Vec::new()).await, Ok(Vec::new()));
    let batch = vec![message(), message().key(Key::parse("k2").unwrap())];
    let (answer, bodies) = tokio::join!(client.publish_batch(batch), async {
        let lost = fake.request().await.body;
        let call = fake.request().await;
        assert_eq!(call.line(), "POST /app/v1/publish");
        let bodies = [lost, call.body.clone()];
        call.json(
            201,
            r#"{"results":[{"id":"e.1","stored":"fsync"},{"id":"e.2","stored":"fsync"}]}"#,
        )
        .await;
        bodies
    });
    assert_eq!(answer.unwrap()[1].id, Some(at("e.2")));
    assert_eq!(bodies[0], bodies[1], "the same keys again");
    let messages: serde_json::Value = serde_json::from_slice(&bodies[0]).unwrap();
    assert_eq!(messages[0]["key"].as_str().unwrap().len(), 32);
    assert_eq!(messages[1]["key"], "k2");
}

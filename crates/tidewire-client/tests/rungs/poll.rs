//! The long-poll rung and pages of history.

use std::time::Duration;

use tidewire_client::{After, ClientError, Continuity, GapReason, Item, Rung};

use crate::fake::{Call, Fake, at, continuity, id, next, subscribe, time_of, topic, waiting};

async fn page(call: Call, ids: &[&str], cursor: &str, rest: &str) {
    let entry = |id: &&str| format!(r#"{{"topic":"a","event":"message","id":"{id}","data":1}}"#);
    let entries = ids.iter().map(entry).collect::<Vec<_>>().join(",");
    call.json(200, &format!(r#"{{"entries":[{entries}],"cursor":"{cursor}",{rest}}}"#)).await;
}

#[tokio::test(start_paused = true)]
async fn it_says_continuity_at_once_catches_up_and_then_waits() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["a"], After::Start, Rung::Poll);
    let call = fake.request().await;
    assert_eq!(call.line(), "GET /app/v1/events?topic=a&after=start&wait=0");
    page(call, &["e.1", "e.2"], "e.2", r#""more":true,"continuity":"new""#).await;
    let call = fake.request().await;
    assert_eq!(
        (call.query("after").unwrap(), call.query("wait").unwrap()),
        ("e.2".into(), "0".into())
    );
    page(call, &["e.3"], "e.7", r#""more":false,"continuity":"resumed""#).await;
    let call = fake.request().await;
    assert_eq!(
        (call.query("after").unwrap(), call.query("wait").unwrap()),
        ("e.7".into(), "25".into())
    );
    tokio::time::sleep(Duration::from_secs(20)).await;
    page(call, &["e.8"], "e.8", r#""more":false,"continuity":"resumed""#).await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    for expected in ["e.1", "e.2", "e.3"] {
        assert_eq!(id(&mut live).await, expected);
    }
    assert_eq!(next(&mut live).await, Ok(Item::Live));
    assert_eq!(id(&mut live).await, "e.8");
    assert_eq!(live.cursor(), Some(at("e.8")));
    assert_eq!(fake.request().await.query("after").as_deref(), Some("e.8"));
}

#[tokio::test(start_paused = true)]
async fn a_loss_resumes_and_a_gap_is_told() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Poll);
    let call = fake.request().await;
    assert_eq!(call.query("after").as_deref(), Some("now"));
    page(call, &[], "e.5", r#""more":false,"continuity":"new""#).await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    drop(fake.request().await);
    let (_, wait) = waiting(&mut live).await;
    assert!(wait <= Duration::from_millis(500), "no slot was given: {wait:?}");
    let call = fake.request().await;
    assert_eq!(
        (call.query("after").unwrap(), call.query("wait").unwrap()),
        ("e.5".into(), "0".into())
    );
    let gap = r#"{"reason":"trimmed","oldest":"e.8","newest":"e.9"}"#;
    page(call, &["e.9"], "e.9", &format!(r#""more":false,"continuity":"gap","gap":{gap}"#)).await;
    let Continuity::Gap { gap, .. } = continuity(&mut live).await else { panic!("a gap") };
    assert_eq!(gap.reason, GapReason::Trimmed);
    assert_eq!(id(&mut live).await, "e.9");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_wait_is_not_hammered() {
    let fake = Fake::start().await;
    let _live = subscribe(&fake.client(), &["a"], After::Now, Rung::Poll);
    let nothing = r#""more":false,"continuity":"resumed""#;
    page(fake.request().await, &[], "e.5", nothing).await;
    page(fake.request().await, &[], "e.5", nothing).await;
    for _ in 0..5 {
        let (call, waited) = time_of(fake.request()).await;
        assert_eq!(waited, Duration::from_secs(1));
        page(call, &[], "e.5", nothing).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_never_answered_is_a_loss() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Poll);
    page(fake.request().await, &[], "e.5", r#""more":false,"continuity":"new""#).await;
    let call = fake.request().await;
    let ((why, _), waited) = time_of(waiting(&mut live)).await;
    assert_eq!(waited, Duration::from_secs(35), "the wait and the time for an answer");
    assert!(why.starts_with("it did not open"), "{why}");
    drop(call);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_history_asks_once() {
    let fake = Fake::start().await;
    let client = fake.client();
    let topics = [topic("a")];
    let (page_read, ()) = tokio::join!(client.page(&topics, After::Start, 10), async {
        let call = fake.request().await;
        assert_eq!(call.line(), "GET /app/v1/events?topic=a&after=start&limit=10");
        page(call, &["e.1"], "e.1", r#""more":true,"continuity":"new""#).await;
    });
    let page_read = page_read.unwrap();
    assert_eq!((page_read.entries.len(), page_read.more), (1, true));
    assert_eq!(page_read.cursor, Some(at("e.1")));
    let (refused, ()) = tokio::join!(client.page(&topics, After::Start, 10), async {
        fake.request().await.refuse(400, "no_history", "give_up").await;
    });
    assert!(matches!(refused, Err(ClientError::Refused(_))));
}

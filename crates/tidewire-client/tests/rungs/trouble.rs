//! What networks and proxies do to a subscription: it always says what happened and what comes next,
//! never spins, and goes on from its place.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tidewire_client::{
    After, Client, ClientError, ClientOptions, Continuity, Item, Rung, Status, Subscription,
    TokenSource,
};

use crate::fake::{Call, Fake, continuity, id, next, subscribe, time_of, waiting};

const PLAN: &str = r#"{"protocol":1,"beat_ms":20000,"features":[]}"#;
const HTML: &str = "content-type: text/html; charset=utf-8\r\n";
const RUNGS: [(Rung, &str); 3] =
    [(Rung::Sse, "GET /sse"), (Rung::Ws, "GET /socket"), (Rung::Poll, "GET /events")];

async fn plan(fake: &Fake) {
    fake.call("GET /plan").await.json(200, PLAN).await;
}

/// A subscription on an event stream that was greeted at `e.10` and has heard `e.11`.
async fn running(fake: &Fake, rung: Rung) -> (Subscription, crate::fake::Stream) {
    let mut live = subscribe(&fake.client(), &["a"], After::Now, rung);
    let mut stream = fake.call("GET /sse").await.stream().await;
    stream.hello(r#""new""#, "e.10").await;
    stream.entry("a", "e.11", "1").await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    assert_eq!(id(&mut live).await, "e.11");
    (live, stream)
}

/// The next stream goes on after `e.11` with `e.12`.
async fn goes_on(fake: &Fake, live: &mut Subscription) {
    let call = fake.call("GET /sse").await;
    assert_eq!(call.query("after").as_deref(), Some("e.11"));
    let mut stream = call.stream().await;
    stream.hello(r#""resumed""#, "e.11").await;
    stream.entry("a", "e.12", "2").await;
    assert_eq!(continuity(live).await, Continuity::Resumed);
    assert_eq!(id(live).await, "e.12");
}

/// Where the next attempt stands, and what was said before it.
async fn connecting(live: &mut Subscription) -> (Rung, Vec<String>) {
    let mut said = Vec::new();
    loop {
        match live.next().await.unwrap() {
            Item::Status(Status::Connecting { rung }) => return (rung, said),
            Item::Status(Status::Waiting { why, .. } | Status::Moved { why, .. }) => said.push(why),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_page_in_place_of_the_stream_leads_to_the_next_rung() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Auto);
    plan(&fake).await;
    assert_eq!(connecting(&mut live).await, (Rung::Sse, vec![]));
    fake.call("GET /sse").await.answer(200, HTML, "<h1>Oops</h1>").await;
    plan(&fake).await;
    let (rung, said) = connecting(&mut live).await;
    assert_eq!((rung, &said[..]), (Rung::Sse, &["the answer is no event stream".to_owned()][..]));
    fake.call("GET /sse").await.answer(502, HTML, "<h1>Bad gateway</h1>").await;
    plan(&fake).await;
    let (rung, said) = connecting(&mut live).await;
    assert_eq!(rung, Rung::Ws);
    assert!(said[0].contains("status 502"), "{said:?}");
    assert!(said[1].contains("does not open"), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_captive_portal_is_the_end_for_who_was_never_there_and_a_wait_for_who_was() {
    let fake = Fake::start().await;
    let to_login = format!("location: {}/login\r\n", fake.url());
    let portal = async |call: Call| {
        call.answer(302, &to_login, "").await;
        // The redirection is followed, without our prefix.
        fake.call("GET /app/login").await.answer(200, HTML, "<form>").await;
    };
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Auto);
    portal(fake.call("GET /plan").await).await;
    portal(fake.call("GET /sse").await).await;
    let Err(ClientError::Foreign(what)) = next(&mut live).await else { panic!("an end") };
    assert_eq!(what, "the answer is no event stream");
    let (mut live, stream) = running(&fake, Rung::Sse).await;
    drop(stream);
    for _ in 0..3 {
        waiting(&mut live).await;
        portal(fake.call("GET /sse").await).await;
    }
    let (why, _) = waiting(&mut live).await;
    assert_eq!(why, "the answer is no event stream");
    goes_on(&fake, &mut live).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_in_mid_frame_yields_no_half_entry() {
    let fake = Fake::start().await;
    let (mut live, mut stream) = running(&fake, Rung::Sse).await;
    stream.send("data: 2\ntopic: a\nid: e.12\n").await;
    drop(stream);
    let (why, _) = waiting(&mut live).await;
    assert_eq!(why, "the connection ended");
    // The same in the middle of a chunk: now the end is no clean one.
    let call = fake.call("GET /sse").await;
    assert_eq!(call.query("after").as_deref(), Some("e.11"));
    let frame = "data: 2\ntopic: a\nid: e.12\n";
    call.cut(&format!(
        "HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
         ff\r\n{frame}"
    ))
    .await;
    let (why, _) = waiting(&mut live).await;
    assert!(why.starts_with("the connection broke"), "{why}");
    goes_on(&fake, &mut live).await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_and_a_page_that_are_cut_yield_no_half_entry() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Ws);
    let mut socket = fake.call("GET /socket").await.socket().await;
    socket.hello().await;
    socket.command().await;
    socket.send(r#"{"ref":0,"ok":{"topic":"a","continuity":"new","at":"e.10"}}"#).await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    socket.send_raw(b"\x81\x7e\x01\x00{\"topic\":\"a\",\"id\":\"e.11\"").await;
    drop(socket);
    let (why, _) = waiting(&mut live).await;
    assert!(why.starts_with("the connection"), "{why}");
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Poll);
    let half = r#"{"entries":[{"topic":"a","event":"message","id":"e.11","data":1}"#;
    let head = "HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n";
    fake.call("GET /events").await.cut(&format!("{head}{half}")).await;
    let (why, _) = waiting(&mut live).await;
    assert!(why.starts_with("the connection broke"), "{why}");
    assert_eq!(fake.call("GET /events").await.query("after").as_deref(), Some("now"));
}

/// A client whose tokens are `t0`, `t1` and so on, and how many there were.
fn with_tokens(fake: &Fake) -> (Client, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let token = TokenSource::fetched(move || {
        let number = counted.fetch_add(1, Ordering::Relaxed);
        async move { Ok(format!("t{number}")) }
    });
    let options = ClientOptions { token: Some(token), ..Fake::options() };
    (Client::new(&fake.url(), options).unwrap(), count)
}

#[tokio::test(start_paused = true)]
async fn endless_401_is_an_end_on_every_rung() {
    for (rung, line) in [&RUNGS[..], &[(Rung::Auto, "GET /plan")]].concat() {
        let fake = Fake::start().await;
        let (client, count) = with_tokens(&fake);
        let mut live = subscribe(&client, &["a"], After::Now, rung);
        for number in 0..2 {
            let (call, waited) = time_of(fake.call(line)).await;
            assert_eq!(waited, Duration::ZERO, "{rung}: a fresh token is tried at once");
            assert_eq!(call.header("authorization"), Some(&*format!("Bearer t{number}")));
            call.refuse(401, "token_expired", "refresh_token").await;
        }
        let Err(ClientError::Unauthorized(refusal)) = next(&mut live).await else {
            panic!("{rung}")
        };
        assert_eq!(refusal.code, "token_expired");
        assert_eq!((count.load(Ordering::Relaxed), fake.unasked().len()), (2, 0), "{rung}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_greets_every_token_and_then_calls_it_expired_is_not_hammered() {
    let fake = Fake::start().await;
    let (client, _) = with_tokens(&fake);
    let mut live = subscribe(&client, &["a"], After::Now, Rung::Sse);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let mut stream = fake.call("GET /sse").await.stream().await;
        stream.hello(r#""new""#, "e.10").await;
        let bye = r#"{"code":"token_expired","message":"over","next":"refresh_token"}"#;
        stream.send(&format!("event: tidewire.bye\ndata: {bye}\n\n")).await;
        let (why, wait) = waiting(&mut live).await;
        assert_eq!(why, "token_expired: over");
        waits.push(wait);
    }
    assert_eq!(waits[0], Duration::ZERO, "a token may expire");
    let whole: Duration = waits.iter().sum();
    assert!(whole > Duration::from_secs(10), "wider each time: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_stay_away_stays_away_on_every_rung() {
    for (rung, line) in [&RUNGS[..], &[(Rung::Auto, "GET /plan")]].concat() {
        for status in [429, 503] {
            let fake = Fake::start().await;
            let mut live = subscribe(&fake.client(), &["a"], After::Now, rung);
            fake.call(line).await.answer(status, "retry-after: 7\r\n", "later").await;
            let (why, wait) = waiting(&mut live).await;
            assert!(why.contains(&status.to_string()), "{rung}: {why}");
            assert!(wait >= Duration::from_secs(7), "{rung}: {wait:?}");
            assert!(wait < Duration::from_millis(7_500), "{rung}: {wait:?}");
            let (call, waited) = time_of(fake.call(line)).await;
            assert_eq!(waited, wait, "{rung}");
            assert!(fake.unasked().is_empty(), "{rung}: {:?}", fake.unasked());
            let body = r#"{"error":{"code":"rate_limited","message":"too fast","next":"retry"}}"#;
            call.answer(status, "retry-after: 9\r\ncontent-type: application/json\r\n", body).await;
            let (why, wait) = waiting(&mut live).await;
            assert_eq!(why, "rate_limited: too fast", "{rung}");
            assert!(wait >= Duration::from_secs(9), "{rung}: {wait:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_is_replaced_without_loss_on_an_automatic_subscription() {
    let fake = Fake::start().await;
    let (client, count) = with_tokens(&fake);
    let mut live = subscribe(&client, &["a"], After::Now, Rung::Auto);
    plan(&fake).await;
    let mut stream = fake.call("GET /sse").await.stream().await;
    stream.hello(r#""new""#, "e.10").await;
    stream.entry("a", "e.11", "1").await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    assert_eq!(id(&mut live).await, "e.11");
    let bye = r#"{"code":"token_expired","message":"over","next":"refresh_token","retry_ms":0}"#;
    stream.send(&format!("event: tidewire.bye\ndata: {bye}\n\n")).await;
    // The plan is asked with the new token; the old one is refused everywhere.
    let call = fake.call("GET /plan").await;
    assert_eq!(call.header("authorization"), Some("Bearer t1"));
    call.json(200, PLAN).await;
    goes_on(&fake, &mut live).await;
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

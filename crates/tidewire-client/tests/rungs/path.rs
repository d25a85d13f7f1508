//! Paths that hold event streams back, and who leaves them: canary, probe, the next rung, and back.

use std::time::Duration;

use serde_json::{Value, json};
use tidewire_client::{After, ClientError, Continuity, Item, Rung, Status, Subscription};
use tokio::time::{Instant, sleep, sleep_until};

use crate::fake::{Call, Fake, Socket, Stream, continuity, id, next, subscribe, time_of, waiting};

const NO_FEATURES: &str =
    r#"{"protocol":1,"beat_ms":20000,"retry_ms":1000,"undeclared":true,"features":[]}"#;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A subscription that follows a plan, which sends it to the event stream, and its first request.
async fn asked(fake: &Fake, after: After) -> (Subscription, Call) {
    let live = subscribe(&fake.client(), &["a"], after, Rung::Auto);
    plan(fake).await;
    (live, fake.call("GET /sse").await)
}

async fn plan(fake: &Fake) {
    fake.call("GET /plan").await.json(200, NO_FEATURES).await;
}

/// A path that holds the whole answer until its end.
async fn hold_canary(fake: &Fake, gap_ms: u64) {
    let call = fake.call("GET /canary").await;
    assert_eq!(call.query("gap"), Some(gap_ms.to_string()));
    sleep(ms(gap_ms * 2)).await;
    let mut stream = call.stream().await;
    for number in 1..=3 {
        stream.canary(number).await;
    }
}

/// A path that lets every event through as it is written.
async fn pass_canary(fake: &Fake) {
    let call = fake.call("GET /canary").await;
    let mut stream = call.stream().await;
    for number in 1..=3 {
        stream.canary(number).await;
        sleep(ms(250)).await;
    }
}

/// Answers the next probe.
async fn written(fake: &Fake, events: u64, open_ms: u64, quiet_ms: u64) {
    let call = fake.call("GET /path").await;
    let body = json!({"connection": "c", "events": events, "open_ms": open_ms, "quiet_ms": quiet_ms,
        "blocked": false});
    call.json(200, &body.to_string()).await;
}

/// A socket on which topic `a` goes on after this place.
async fn socket(fake: &Fake, after: &str) -> Socket {
    let mut socket = fake.call("GET /socket").await.socket().await;
    socket.hello().await;
    let command = socket.command().await;
    assert_eq!((&command["topic"], &command["after"]), (&json!("a"), &json!(after)));
    let continuity = if after.contains('.') { "resumed" } else { "new" };
    let at = if after.contains('.') { after } else { "e.10" };
    let answer = json!({"ref": command["ref"],
        "ok": {"topic": "a", "continuity": continuity, "at": at}});
    socket.send(&answer.to_string()).await;
    socket
}

/// What the server is told of the path.
async fn report(fake: &Fake) -> Value {
    let call = fake.call("POST /path").await;
    let told = serde_json::from_slice(&call.body).unwrap();
    call.answer(204, "", "").await;
    told
}

/// The next change of rung, and why.
async fn moved(live: &mut Subscription) -> (Rung, Rung, String) {
    loop {
        match live.next().await.unwrap() {
            Item::Status(Status::Moved { from, to, why }) => return (from, to, why),
            Item::Entry(entry) => panic!("a move, not {entry:?}"),
            _ => {}
        }
    }
}

/// A stream that shows itself to be clear with its first early beat.
async fn clear(fake: &Fake, call: Call) -> Stream {
    let mut stream = call.stream().await;
    stream.hello(r#""new""#, "e.10").await;
    let (_, ()) = tokio::join!(pass_canary(fake), async {
        sleep(ms(250)).await;
        stream.beat("e.10").await;
    });
    stream
}

#[tokio::test(start_paused = true)]
async fn a_path_that_holds_everything_is_left_within_a_second() {
    let fake = Fake::start().await;
    let begun = Instant::now();
    let (mut live, call) = asked(&fake, After::Now).await;
    assert_eq!(call.query("beats").as_deref(), Some("early"));
    let name = call.query("connection").unwrap();
    assert!(name.len() >= 8 && name.len() <= 32, "{name}");
    let held = call.stream().await;
    hold_canary(&fake, 250).await;
    let probe = fake.call("GET /path").await;
    assert_eq!(probe.line(), format!("GET /app/v1/path/{name}"));
    let answer =
        json!({"connection": name, "events": 3, "open_ms": 549, "quiet_ms": 49, "blocked": false});
    probe.json(200, &answer.to_string()).await;
    let (from, to, why) = moved(&mut live).await;
    assert_eq!((from, to), (Rung::Sse, Rung::Ws));
    assert!(why.contains("holds event streams back"), "{why}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let mut socket = socket(&fake, "now").await;
    let told = report(&fake).await;
    let seen = json!({"verdict": "buffered", "from": "sse", "to": "ws", "by": "probe",
        "detail": told["detail"]});
    assert_eq!(told, seen);
    assert!(told["detail"].as_str().unwrap().starts_with("canary: "), "{told}");
    socket.entry("a", "e.11", "1").await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    assert_eq!(id(&mut live).await, "e.11");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn two_canaries_are_enough_where_another_node_answers_the_probe() {
    let fake = Fake::start().await;
    let (mut live, call) = asked(&fake, After::Now).await;
    let mut stream = call.stream().await;
    stream.hello(r#""new""#, "e.10").await;
    stream.entry("a", "e.11", "1").await;
    hold_canary(&fake, 250).await;
    fake.call("GET /path").await.refuse(404, "not_found", "give_up").await;
    hold_canary(&fake, 500).await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    assert_eq!(id(&mut live).await, "e.11");
    assert!(moved(&mut live).await.2.contains("three events came together"));
    // What came is not asked for again.
    let _socket = socket(&fake, "e.11").await;
    assert_eq!(report(&fake).await["by"], "canary");
}

#[tokio::test(start_paused = true)]
async fn a_clear_path_is_asked_no_more_and_not_again_after_a_loss() {
    let fake = Fake::start().await;
    let (mut live, call) = asked(&fake, After::Now).await;
    let stream = clear(&fake, call).await;
    sleep(Duration::from_secs(15)).await;
    drop(stream);
    waiting(&mut live).await;
    plan(&fake).await;
    let call = fake.call("GET /sse").await;
    assert!(call.query("connection").is_some());
    assert_eq!(call.query("beats"), None, "the path is known");
    let mut stream = call.stream().await;
    stream.hello(r#""resumed""#, "e.10").await;
    // A beat is overdue: now the server is asked.
    let (probe, waited) = time_of(fake.call("GET /path")).await;
    assert_eq!(waited, Duration::from_secs(21));
    drop(probe);
    assert_eq!(fake.unasked(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_held_later_is_left_after_two_probes() {
    let fake = Fake::start().await;
    let (mut live, call) = asked(&fake, After::Now).await;
    let mut stream = clear(&fake, call).await;
    stream.entry("a", "e.11", "1").await;
    assert_eq!(continuity(&mut live).await, Continuity::New);
    assert_eq!(id(&mut live).await, "e.11");
    written(&fake, 5, 21_500, 1_000).await;
    written(&fake, 5, 22_500, 2_000).await;
    assert_eq!(moved(&mut live).await.1, Rung::Ws);
    let _socket = socket(&fake, "e.11").await;
    assert_eq!(report(&fake).await["by"], "probe");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_and_a_slow_subscriber_are_not_taken_for_a_path_that_holds() {
    let fake = Fake::start().await;
    let (mut live, call) = asked(&fake, After::Now).await;
    let mut stream = clear(&fake, call).await;
    // More than may wait for the subscriber, who sleeps: the stream is not read meanwhile.
    for number in 11..311 {
        stream.entry("a", &format!("e.{number}"), "1").await;
    }
    sleep(Duration::from_secs(300)).await;
    assert_eq!(fake.unasked(), [""; 0], "who does not listen hears no silence");
    assert_eq!(continuity(&mut live).await, Continuity::New);
    for number in 11..311 {
        assert_eq!(id(&mut live).await, format!("e.{number}"));
    }
    // Late, but nothing is missing: not a reason to leave.
    written(&fake, 302, 400_000, 99_000).await;
    stream.entry("a", "e.311", "1").await;
    assert_eq!(id(&mut live).await, "e.311");
}

#[tokio::test(start_paused = true)]
async fn silence_twice_is_a_verdict_where_the_server_cannot_be_asked() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Auto);
    for _ in 0..2 {
        plan(&fake).await;
        let mut stream = fake.call("GET /sse").await.stream().await;
        stream.hello(r#""new""#, "e.10").await;
        fake.call("GET /canary").await.answer(404, "", "").await;
        fake.call("GET /path").await.answer(404, "", "").await;
        let (why, _) = waiting(&mut live).await;
        assert!(why.contains("not even a beat"), "{why}");
    }
    plan(&fake).await;
    assert_eq!(moved(&mut live).await.1, Rung::Ws);
    let _socket = socket(&fake, "e.10").await;
    assert_eq!(
        report(&fake).await,
        json!({"verdict": "buffered", "from": "sse", "to": "ws", "by": "silence"})
    );
}

/// A subscription on a socket, because the path held its event stream.
async fn fallen(fake: &Fake) -> (Subscription, Socket) {
    let (mut live, call) = asked(fake, After::Now).await;
    let held = call.stream().await;
    hold_canary(fake, 250).await;
    written(fake, 3, 549, 49).await;
    assert_eq!(moved(&mut live).await.1, Rung::Ws);
    drop(held);
    // The second canary, which is not needed any more.
    drop(fake.call("GET /canary").await);
    let socket = socket(fake, "now").await;
    assert_eq!(report(fake).await["verdict"], "buffered");
    assert_eq!(continuity(&mut live).await, Continuity::New);
    (live, socket)
}

/// Keeps a socket alive until then.
async fn beat_until(socket: &mut Socket, until: Instant) {
    while Instant::now() + Duration::from_secs(20) < until {
        sleep(Duration::from_secs(20)).await;
        socket.send(r#"{"beat":{"at":"e.10"}}"#).await;
    }
    sleep_until(until).await;
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_clear_again_leads_back_with_the_cursor() {
    let fake = Fake::start().await;
    let (mut live, mut socket) = fallen(&fake).await;
    // Still held at the first look.
    let fell_at = Instant::now();
    let (_, ()) = tokio::join!(
        async {
            let call = fake.call("GET /canary").await;
            let looked = fell_at.elapsed();
            assert!(
                looked > Duration::from_secs(598) && looked <= Duration::from_secs(600),
                "{looked:?}"
            );
            sleep(ms(500)).await;
            let mut stream = call.stream().await;
            for number in 1..=3 {
                stream.canary(number).await;
            }
        },
        beat_until(&mut socket, fell_at + Duration::from_secs(605)),
    );
    socket.entry("a", "e.11", "1").await;
    assert_eq!(id(&mut live).await, "e.11");
    let begun = Instant::now();
    tokio::join!(pass_canary(&fake), beat_until(&mut socket, begun + Duration::from_secs(600)));
    assert_eq!(moved(&mut live).await.1, Rung::Sse);
    let call = fake.call("GET /sse").await;
    assert_eq!(call.query("after").as_deref(), Some("e.11"));
    let mut stream = call.stream().await;
    stream.hello(r#""resumed""#, "e.11").await;
    assert_eq!(
        report(&fake).await,
        json!({"verdict": "clear", "from": "ws", "to": "sse", "by": "retest"})
    );
    assert_eq!(continuity(&mut live).await, Continuity::Resumed);
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_opens_again_leads_back_to_the_planned_rung() {
    let fake = Fake::start().await;
    let plan = r#"{"protocol":1,"beat_ms":20000,"features":[{"feature":"a","transport":"ws"}]}"#;
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Auto);
    for _ in 0..2 {
        fake.call("GET /plan").await.json(200, plan).await;
        fake.call("GET /socket").await.answer(502, "", "no upgrade").await;
    }
    fake.call("GET /plan").await.json(200, plan).await;
    let call = fake.call("GET /sse").await;
    let mut stream = clear(&fake, call).await;
    let told = report(&fake).await;
    assert_eq!(told, json!({"verdict": "blocked", "from": "ws", "to": "sse", "by": "connect"}));
    let (handshake, ()) = tokio::join!(fake.call("GET /socket"), async {
        for _ in 0..30 {
            sleep(Duration::from_secs(20)).await;
            stream.beat("e.10").await;
        }
    });
    let mut tried = handshake.socket().await;
    tried.hello().await;
    let (from, to, _) = moved(&mut live).await;
    assert_eq!((from, to), (Rung::Ws, Rung::Sse), "what was long ago");
    let (from, to, why) = moved(&mut live).await;
    assert_eq!((from, to), (Rung::Sse, Rung::Ws), "{why}");
}

#[tokio::test(start_paused = true)]
async fn who_names_the_rung_is_not_watched() {
    let fake = Fake::start().await;
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Sse);
    let call = fake.request().await;
    assert_eq!(call.line(), "GET /app/v1/sse?topic=a&after=now");
    let held = call.stream().await;
    let (why, _) = waiting(&mut live).await;
    assert_eq!(why, "it did not open within 5s");
    drop(held);
    assert_eq!(fake.request().await.line(), "GET /app/v1/sse?topic=a&after=now");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_takes_the_upgrade_away_is_left_at_once_by_who_follows_the_plan() {
    let fake = Fake::start().await;
    let (mut live, call) = asked(&fake, After::Now).await;
    let held = call.stream().await;
    hold_canary(&fake, 250).await;
    written(&fake, 3, 549, 49).await;
    assert_eq!(moved(&mut live).await.1, Rung::Ws);
    fake.call("GET /socket").await.refuse(426, "upgrade_required", "give_up").await;
    let (call, waited) = time_of(fake.call("GET /events")).await;
    assert_eq!(waited, Duration::ZERO);
    assert_eq!(call.query("after").as_deref(), Some("now"));
    call.json(200, r#"{"entries":[],"cursor":"e.5","more":false,"continuity":"new"}"#).await;
    assert_eq!(
        (report(&fake).await["to"].clone(), report(&fake).await["to"].clone()),
        ("ws".into(), "poll".into())
    );
    assert_eq!(continuity(&mut live).await, Continuity::New);
    drop(held);
    // Who named the rung has no other.
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Ws);
    fake.call("GET /socket").await.refuse(426, "upgrade_required", "give_up").await;
    assert!(matches!(next(&mut live).await, Err(ClientError::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn who_has_tried_every_rung_waits() {
    let fake = Fake::start().await;
    let plan = r#"{"protocol":1,"beat_ms":20000,"features":[{"feature":"a","transport":"ws","history":"none"}]}"#;
    let mut live = subscribe(&fake.client(), &["a"], After::Now, Rung::Auto);
    fake.call("GET /plan").await.json(200, plan).await;
    let mut waits = Vec::new();
    for round in 0..6 {
        if round > 0 {
            fake.call("GET /plan").await.json(200, plan).await;
        }
        fake.call("GET /socket").await.refuse(426, "upgrade_required", "give_up").await;
        let held = fake.call("GET /sse").await.stream().await;
        hold_canary(&fake, 250).await;
        written(&fake, 3, 549, 49).await;
        let (why, wait) = waiting(&mut live).await;
        assert!(why.contains("holds event streams back"), "{why}");
        waits.push(wait);
        drop((held, fake.call("GET /canary").await));
    }
    assert!(waits.iter().sum::<Duration>() > Duration::from_secs(5), "wider each time: {waits:?}");
    assert!(fake.unasked().is_empty(), "what is not kept is not polled: {:?}", fake.unasked());
}

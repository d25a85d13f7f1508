//! Verdicts are taken from whoever may come in, and counted; the counts are for whom they concern.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    Server,
    embedded::Embedded,
    http,
    sse::Stream,
    tokens::{API_KEY, LATER_MS, READER_KEY, SECRET, alice, grant, locked, signed},
    until,
    ws::Socket,
};

/// The metrics' text, for who needs to show nothing.
async fn text(server: &Server) -> String {
    let response = http().get(format!("{}metrics", server.url)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(headers["cache-control"], "no-store");
    response.text().await.unwrap()
}

/// Each series with its value. Panics at anything that is not of the format.
fn series(text: &str) -> BTreeMap<String, f64> {
    let (mut all, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(name.starts_with("tidewire_") && help.ends_with('.'), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            assert!(kinds.insert(name, kind).is_none(), "{line} again");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            assert!(kinds.contains_key(family), "{line} comes before its type");
            assert!(all.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{line} again");
        }
    }
    all
}

fn open(text: &str) -> [f64; 3] {
    let all = series(text);
    ["sse", "ws", "poll"].map(|name| all[&format!("tidewire_streams_open{{transport=\"{name}\"}}")])
}

fn verdict(words: [&str; 4]) -> Value {
    let [verdict, from, to, by] = words;
    json!({"verdict": verdict, "from": from, "to": to, "by": by})
}

async fn report(server: &Server, body: impl Into<String>) -> (u16, String) {
    let response = http().post(server.at("/path")).body(body.into()).send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_are_counted_by_their_words() {
    let server = Server::dev().await;
    let of = |words: [&str; 4]| {
        let [verdict, from, to, by] = words;
        format!(
            "tidewire_path_verdicts_total{{verdict=\"{verdict}\",from=\"{from}\",to=\"{to}\",by=\"{by}\"}}"
        )
    };
    let mut expected = BTreeMap::new();
    for words in [
        ["buffered", "sse", "ws", "canary"],
        ["buffered", "sse", "ws", "probe"],
        ["buffered", "sse", "ws", "probe"],
        ["blocked", "ws", "poll", "connect"],
        ["blocked", "sse", "ws", "silence"],
        ["clear", "poll", "sse", "retest"],
    ] {
        let mut body = verdict(words);
        body["detail"] = json!("Via: 1.1 proxy\nand \"more\"");
        assert_eq!(report(&server, body.to_string()).await, (204, String::new()));
        *expected.entry(of(words)).or_insert(0.0) += 1.0;
    }
    let mut counted = series(&text(&server).await);
    counted.retain(|name, _| name.starts_with("tidewire_path_verdicts_total"));
    assert_eq!(counted, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_verdict_is_refused_and_counts_nothing() {
    let server = Server::dev().await;
    let good = verdict(["clear", "sse", "sse", "canary"]);
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body.to_string()
    };
    for (body, expected) in [
        (String::new(), (400, "bad_json")),
        ("buffered".into(), (400, "bad_json")),
        ("[]".into(), (400, "bad_json")),
        (json!({"verdict": "clear"}).to_string(), (400, "bad_json")),
        (with("by", json!(7)), (400, "bad_json")),
        (with("verdict", json!("unknown")), (400, "bad_request")),
        (with("from", json!("SSE")), (400, "bad_request")),
        (with("to", json!("\"} 9\n")), (400, "bad_request")),
        (with("by", json!("")), (400, "bad_request")),
        (with("detail", json!("x".repeat(201))), (400, "bad_request")),
        (with("other", json!("x".repeat(4 * 1024))), (413, "too_large")),
    ] {
        let (status, code) = report(&server, body.clone()).await;
        assert_eq!((status, code.as_str()), expected, "{body}");
    }
    assert!(!text(&server).await.contains("tidewire_path_verdicts_total{"));
    // 200 characters, each as long as it can be written.
    let longest = with("detail", json!("?".repeat(200))).replace('?', "\\ud83d\\ude00");
    assert_eq!(report(&server, longest).await.0, 204);
    assert_eq!(report(&server, with("other", json!(true))).await.0, 204);
    let response = http().get(server.at("/path")).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_is_taken_from_whoever_may_come_in() {
    let (server, _clock) = locked(|_| {}).await;
    let body = verdict(["buffered", "sse", "ws", "canary"]).to_string();
    assert_eq!(report(&server, body.clone()).await, (401, "token_missing".into()));
    let request = http().post(server.at("/path")).bearer_auth(alice(LATER_MS)).body(body);
    assert_eq!(request.send().await.unwrap().status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_sockets_and_polls_are_counted_apart() {
    let server = Server::dev().await;
    assert_eq!(open(&text(&server).await), [0.0, 0.0, 0.0]);
    let (one, _) = Stream::open(&server, "topic=chat/a").await;
    let (two, _) = Stream::open(&server, "topic=chat/a").await;
    let socket = Socket::open(&server).await;
    let poll = server.at("/events?topic=chat/a&wait=30");
    let poll = tokio::spawn(async move { http().get(poll).send().await.unwrap().status() });
    until("they are all there", async || open(&text(&server).await) == [2.0, 1.0, 1.0]).await;
    drop((one, two));
    socket.close().await;
    server.publish("chat/a", &json!(1)).await;
    assert_eq!(poll.await.unwrap(), 200);
    until("they are all gone", async || open(&text(&server).await) == [0.0, 0.0, 0.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_dev_shows_its_metrics_to_api_keys_only() {
    let (server, _clock) = locked(|_| {}).await;
    let ask = async |token: Option<&str>| {
        let request = http().get(format!("{}metrics", server.url));
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    };
    for key in [API_KEY, READER_KEY] {
        let (status, text) = ask(Some(key)).await;
        assert_eq!(status, 200);
        assert_eq!(open(&text), [0.0, 0.0, 0.0]);
    }
    // Who may everything, and calls itself as a program is called, is none all the same.
    let everything = grant(&["**"], &["**"]);
    let pretender = signed(SECRET, "key:worker", LATER_MS, everything);
    for (token, expected, code) in [
        (None, 401, "token_missing"),
        (Some("the key of nobody, and long enough for one"), 401, "token_invalid"),
        (Some(&*alice(LATER_MS)), 403, "forbidden"),
        (Some(&*pretender), 403, "forbidden"),
        (Some(&*alice(1)), 401, "token_expired"),
    ] {
        let (status, text) = ask(token).await;
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, body["error"]["code"].as_str().unwrap()), (expected, code));
        assert!(!text.contains("tidewire_"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_has_its_own_metrics() {
    let app = Embedded::dev().await;
    for path in ["metrics", "v1/metrics"] {
        let response = http().get(format!("{}{path}", app.url)).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
    }
}

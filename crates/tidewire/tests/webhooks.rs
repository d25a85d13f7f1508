//! Webhooks: at least once, in log order, signed, through the death of the receiver and of the
//! server; nobody waits for a slow one, and what is lost is said.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tidewire::{
    Settings,
    config::{Happening, WebhookSettings},
    tidewire_proto::Pattern,
};

use crate::support::{
    Server,
    app::{App, Mood},
    http, id,
    sse::Stream,
    until,
};

fn hook(app: &App, name: &str, events: &[Happening], topics: &[&str]) -> WebhookSettings {
    WebhookSettings {
        name: name.to_owned(),
        url: app.url(),
        secret: app.secret(),
        events: events.to_vec(),
        topics: topics.iter().map(|text| Pattern::parse(text).unwrap()).collect(),
        timeout: Duration::from_millis(500),
    }
}

fn published(app: &App, topics: &[&str]) -> WebhookSettings {
    hook(app, "search", &[Happening::Published], topics)
}

async fn server(webhook: WebhookSettings) -> Server {
    Server::dev_with(|settings| settings.webhooks = vec![webhook]).await
}

/// All events that the app was told, in the order in which they came.
fn events(app: &App) -> Vec<Value> {
    let told = app.told().into_iter();
    told.flat_map(|told| told.body["events"].as_array().unwrap().clone()).collect()
}

/// The events by their ids, each once, in the order in which each came first.
fn once(app: &App) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    events(app).into_iter().filter(|event| seen.insert(event["id"].to_string())).collect()
}

async fn has_told(app: &App, count: usize) {
    until("it was told", async || once(app).len() >= count).await;
}

/// Waits until the place of a webhook is in the log, so that nothing up to now is told again.
async fn is_new(server: &Server, name: &str) {
    let topic = tidewire::Topic::parse(&format!("~tidewire/webhooks/{name}")).unwrap();
    let filter = tidewire::Filter::from(topic);
    let kept = async || {
        let page = server.hub.history_back(&filter, None, 1).await.unwrap();
        !page.entries.is_empty()
    };
    until("the webhook stands somewhere", kept).await;
}

async fn metric(server: &Server, name: &str) -> u64 {
    let text = http().get(format!("{}metrics", server.url)).send().await.unwrap();
    let text = text.text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    line.rsplit_once(' ').and_then(|(_, value)| value.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_told_as_readers_see_it_and_in_order() {
    let app = App::start().await;
    let server = server(published(&app, &["chat/**"])).await;
    is_new(&server, "search").await;
    let first = id(&server.publish("chat/a", &json!({"text": "hi"})).await);
    server.publish("board/a", &json!("not for it")).await;
    for number in 0..20 {
        server.publish("chat/b", &json!(number)).await;
    }
    has_told(&app, 21).await;
    let told = once(&app);
    let head = &told[0];
    assert_eq!(head["type"], "published");
    assert_eq!((&head["topic"], &head["id"]), (&json!("chat/a"), &json!(first)));
    assert_eq!(head["data"], json!({"text": "hi"}));
    assert!(head["at_ms"].as_u64().unwrap() > 0);
    let numbers: Vec<_> = told[1..].iter().map(|event| event["data"].clone()).collect();
    assert_eq!(numbers, (0..20).map(|number| json!(number)).collect::<Vec<_>>());
    assert_eq!(app.told()[0].body["webhook"], "search");
    until("it is counted", async || {
        metric(&server, "tidewire_webhook_delivered_total{webhook=\"search\"}").await == 21
    })
    .await;
    until("it has caught up", async || {
        metric(&server, "tidewire_webhook_behind{webhook=\"search\"}").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_receiver_dies_and_the_server_restarts() {
    let mut app = App::start().await;
    let mut server = server(published(&app, &["chat/**"])).await;
    is_new(&server, "search").await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..10 {
            let data = json!([round, number]);
            expected.push(id(&server.publish("chat/a", &data).await));
            match (round, number) {
                (0, 5) => app.die().await,
                (1, 2) => app.revive().await,
                (1, 6) => app.says(503, &json!({})),
                _ => {}
            }
        }
        server = server.restart().await;
    }
    app.says(200, &json!({}));
    let ids = || once(&app).into_iter().map(|event| event["id"].as_str().unwrap().to_owned());
    until("everything was told", async || ids().count() == expected.len()).await;
    assert_eq!(ids().collect::<Vec<_>>(), expected);
    assert!(events(&app).iter().all(|event| event["type"] == "published"), "and no gap");
    drop(server);
}

/// What was not taken comes again under the same name, and nothing else comes before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_comes_again_as_it_was() {
    let app = App::start().await;
    let server = server(published(&app, &["chat/**"])).await;
    is_new(&server, "search").await;
    app.says(500, &json!({}));
    server.publish("chat/a", &json!(1)).await;
    until("it was tried", async || app.count() >= 1).await;
    server.publish("chat/a", &json!(2)).await;
    until("it was tried again", async || app.count() >= 3).await;
    let told = app.told();
    assert!(told.iter().all(|again| again.id == told[0].id && again.body == told[0].body));
    assert!(metric(&server, "tidewire_webhook_failed_total{webhook=\"search\"}").await >= 2);
    app.says(204, &json!({}));
    has_told(&app, 2).await;
    let last = app.told().pop().unwrap();
    assert_eq!(last.body["events"][0]["data"], 2);
    assert_ne!(last.id, told[0].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_delays_nobody() {
    let (slow, quick) = (App::start().await, App::start().await);
    slow.is(Mood::Hangs);
    let happenings = [Happening::Published];
    let webhooks = vec![
        hook(&slow, "slow", &happenings, &["**"]),
        hook(&quick, "quick", &happenings, &["**"]),
    ];
    let server = Server::dev_with(|settings| settings.webhooks = webhooks).await;
    is_new(&server, "slow").await;
    is_new(&server, "quick").await;
    let (mut reader, _) = Stream::open(&server, "topic=chat/a").await;
    for number in 0..50 {
        server.publish("chat/a", &json!(number)).await;
    }
    assert_eq!(reader.data(50).await.len(), 50);
    has_told(&quick, 50).await;
    assert!(events(&slow).len() <= 100 * slow.count());
    // What waits for it waits in the log: one request holds no more than it may.
    slow.says(200, &json!({}));
    has_told(&slow, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_holds_so_much_and_no_more() {
    let app = App::start().await;
    let webhook = published(&app, &["**"]);
    let server = Server::dev_with(|settings| {
        settings.webhooks = vec![webhook];
        settings.limits.webhook_entries_max = 3;
        settings.limits.webhook_bytes_max = 100;
    })
    .await;
    is_new(&server, "search").await;
    app.is(Mood::Hangs);
    server.publish("chat/a", &json!("first")).await;
    until("it hangs", async || app.count() == 1).await;
    for _ in 0..7 {
        server.publish("chat/a", &json!("x")).await;
    }
    server.publish("chat/a", &json!("y".repeat(60))).await;
    server.publish("chat/a", &json!("z".repeat(600))).await;
    app.says(200, &json!({}));
    has_told(&app, 10).await;
    for told in app.told() {
        let events = told.body["events"].as_array().unwrap();
        let bytes: usize = events.iter().map(|event| event["data"].to_string().len()).sum();
        assert!(events.len() <= 3 && (bytes <= 100 || events.len() == 1), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_occupied_and_vacated_and_a_reconnect_says_nothing() {
    let app = App::start().await;
    let both = [Happening::Occupied, Happening::Vacated];
    let server = server(hook(&app, "rooms", &both, &["chat/**", "pointers/*"])).await;
    is_new(&server, "rooms").await;
    server.page("topic=chat/a").await;
    let (first, _) = Stream::open(&server, "topic=chat/a").await;
    let (second, _) = Stream::open(&server, "topic=chat/a&topic=board/x").await;
    has_told(&app, 1).await;
    drop((first, second));
    until("they have left", async || crate::support::streams(&server).await == 0).await;
    // Back within a second or so: nobody was away.
    let (again, _) = Stream::open(&server, "topic=chat/a").await;
    let (other, _) = Stream::open(&server, "topic=chat/b").await;
    has_told(&app, 2).await;
    drop(again);
    has_told(&app, 3).await;
    let told = once(&app);
    let words: Vec<_> = told
        .iter()
        .map(|event| (event["type"].as_str().unwrap(), event["topic"].as_str().unwrap()))
        .collect();
    assert_eq!(words, [("occupied", "chat/a"), ("occupied", "chat/b"), ("vacated", "chat/a")]);
    assert!(told.iter().all(|event| event["id"].is_string() && event["at_ms"].is_u64()));
    drop(other);
}

/// The place is judged as any cursor is: of a log that was wiped, say.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_none_of_this_log_is_told_as_a_gap() {
    let app = App::start().await;
    let server = server(published(&app, &["chat/**"])).await;
    is_new(&server, "search").await;
    let topic = tidewire::Topic::parse("~tidewire/webhooks/search").unwrap();
    let data = tidewire::Data::json(r#"{"cursor":"zzzz.7"}"#).unwrap();
    let event = tidewire::EventType::parse("cursor").unwrap();
    let message = tidewire::Message { topic, event, data, key: None, item: None };
    server.publish("chat/a", &json!(1)).await;
    has_told(&app, 1).await;
    // Whatever is kept after it on the way down would be the newest: it keeps at most once a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.hub.publish(message).await.unwrap();
    let before = app.count();
    let server = server.restart().await;
    until("it was told", async || app.count() > before).await;
    let told = app.told()[before].body["events"].clone();
    assert_eq!(told[0]["type"], "gap", "{told}");
    assert_eq!(told[0]["gap"]["reason"], "foreign");
    until("it goes on from the oldest", async || {
        let told = app.told().split_off(before);
        told.iter().any(|told| told.body.to_string().contains("\"data\":1"))
    })
    .await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_begins_and_ends_webhooks_and_leaves_the_others_alone() {
    let (first, second) = (App::start().await, App::start().await);
    let mut server = server(published(&first, &["chat/**"])).await;
    is_new(&server, "search").await;
    server.publish("chat/a", &json!(1)).await;
    has_told(&first, 1).await;
    let other = hook(&second, "other", &[Happening::Published], &["chat/**"]);
    let add = |settings: &mut Settings| settings.webhooks.push(other);
    let reloaded = server.reload(add).unwrap();
    let said: Vec<_> = reloaded.changes.iter().map(ToString::to_string).collect();
    assert_eq!(said, [format!("webhook.other: none → published of chat/** to {}", second.url())]);
    is_new(&server, "other").await;
    server.publish("chat/a", &json!(2)).await;
    has_told(&second, 1).await;
    has_told(&first, 2).await;
    assert_eq!(once(&second)[0]["data"], 2, "a new one begins now");
    server.reload(|settings| settings.webhooks.retain(|one| one.name == "other")).unwrap();
    server.publish("chat/a", &json!(3)).await;
    has_told(&second, 2).await;
    // Under its name it goes on where it was.
    let again = published(&first, &["chat/**"]);
    server.reload(|settings| settings.webhooks.push(again)).unwrap();
    has_told(&first, 3).await;
    assert_eq!(once(&first)[2]["data"], 3);
}

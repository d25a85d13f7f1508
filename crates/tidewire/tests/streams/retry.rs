//! A producer that comes back with its key: what is stored is not stored again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::stream::BoxStream;
use serde_json::json;
use tidewire::{
    Log, Message,
    tidewire_core::{
        AppendError, Batch, Bounds, Filter, Page, PageBack, PageLimit, ReadError, Receipt,
    },
    tidewire_proto::Sequence,
};

use super::{EVENTS, LINES, Pour, TEXT, entry, log, lost, pour, server, server_with, text};
use crate::support::{Server, log::HeldLog, sse::Stream, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_its_key_repeats_no_text_wherever_it_was_cut() {
    let server = server().await;
    let (mut reader, _) = Stream::open(&server, "topic=answers/1").await;
    let first = Pour::open(&server, "answers/1", TEXT, Some("run-1"));
    for piece in ["Once u", "pon \u{e9}"] {
        first.say(piece).await;
        assert_eq!(reader.entry().await.data, piece);
    }
    first.lose().await;
    // Nobody is told of a loss that may pass.
    let (status, answer) =
        pour(&server, "answers/1", TEXT, Some("run-1"), "Once upon \u{e9} time").await;
    assert_eq!((status, &answer["ended"]), (200, &json!("end")));
    assert_eq!(reader.entry().await.data, " time");
    assert_eq!(
        log(&server, "answers/1").await,
        [entry("text", json!("Once upon \u{e9} time")), entry("end", json!({}))]
    );
    // Once more, because the answer was lost.
    let (status, answer) =
        pour(&server, "answers/1", TEXT, Some("run-1"), "Once upon \u{e9} time").await;
    assert_eq!((status, &answer["parts"], &answer["ended"]), (200, &json!(0), &json!("end")));

    let second = Pour::open(&server, "answers/2", TEXT, Some("run-2"));
    second.say("Once ").await;
    until("it is stored", async || text(&server, "answers/2").await == "Once ").await;
    second.lose().await;
    for other in ["Twice upon", "On"] {
        let (status, answer) = pour(&server, "answers/2", TEXT, Some("run-2"), other).await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("key_conflict")));
    }
    assert_eq!(
        log(&server, "answers/2").await,
        [entry("text", json!("Once "))],
        "and the stream goes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_its_key_repeats_no_line_and_no_event() {
    let server = server().await;
    for (topic, media, parts) in [
        ("chat/1", LINES, ["\"a\"\n", "{\"event\":\"n\",\"data\":1}\n", "\"b\"\n"]),
        (
            "chat/2",
            EVENTS,
            ["event: text\ndata: a\n\n", "event: n\ndata: 1\n\n", "event: text\ndata: b\n\n"],
        ),
    ] {
        let first = Pour::open(&server, topic, media, Some("run"));
        first.say(parts[..2].concat()).await;
        until("it is stored", async || log(&server, topic).await.len() == 2).await;
        first.lose().await;
        let (status, answer) = pour(&server, topic, media, Some("run"), &parts.concat()).await;
        assert_eq!((status, &answer["parts"], &answer["ended"]), (200, &json!(4), &json!("end")));
        assert_eq!(
            log(&server, topic).await,
            [
                entry("text", json!("a")),
                entry("n", json!(1)),
                entry("text", json!("b")),
                entry("end", json!({}))
            ]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_said_it_would_come_back_and_did_not_has_failed() {
    let server = server_with(|s| s.limits.producer_timeout = Duration::from_millis(300)).await;
    let pour = Pour::open(&server, "answers/1", TEXT, Some("run"));
    pour.say("Once ").await;
    until("it is stored", async || text(&server, "answers/1").await == "Once ").await;
    pour.lose().await;
    assert_eq!(log(&server, "answers/1").await.len(), 1);
    until("it has failed", async || log(&server, "answers/1").await.contains(&lost())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_short_enough_for_those_of_the_parts() {
    let server = server().await;
    assert_eq!(
        pour(&server, "answers/1", LINES, Some(&"k".repeat(43)), "1").await.1["error"]["code"],
        "bad_json"
    );
    for key in ["k".repeat(44), String::new(), "a b".to_owned()] {
        let (status, answer) = pour(&server, "answers/2", TEXT, Some(&key), "a").await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("bad_key")), "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_down_sends_its_producers_away() {
    let mut server = server().await;
    let pour = Pour::open(&server, "answers/1", TEXT, Some("run"));
    pour.say("Once ").await;
    until("it is stored", async || text(&server, "answers/1").await == "Once ").await;
    server.stop().await;
    let (status, answer) = pour.answer().await;
    assert_eq!(
        (status, &answer["error"]["code"], &answer["parts"]),
        (503, &json!("restarting"), &json!(1))
    );
    let server = server.restart().await;
    assert_eq!(super::pour(&server, "answers/1", TEXT, Some("run"), "Once upon").await.0, 200);
    assert_eq!(text(&server, "answers/1").await, "Once upon");
}

/// A log whose disk is full when the test says so.
struct FullLog {
    inner: Arc<HeldLog>,
    is_full: AtomicBool,
}

#[async_trait::async_trait]
impl Log for FullLog {
    async fn append(&self, batch: Vec<Message>) -> Result<Vec<Receipt>, AppendError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(AppendError::Full);
        }
        self.inner.append(batch).await
    }

    async fn read(
        &self,
        filter: &Filter,
        after: Sequence,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        self.inner.read(filter, after, limit).await
    }

    async fn read_back(
        &self,
        filter: &Filter,
        before: Option<Sequence>,
        limit: PageLimit,
    ) -> Result<PageBack, ReadError> {
        self.inner.read_back(filter, before, limit).await
    }

    fn follow(&self, after: Sequence) -> BoxStream<'static, Batch> {
        self.inner.follow(after)
    }

    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_in_the_middle_says_how_much_is_stored_and_a_retry_goes_on() {
    let (inner, features) = HeldLog::new();
    let full = Arc::new(FullLog { inner, is_full: AtomicBool::new(false) });
    let server = Server::dev_on(Arc::clone(&full) as Arc<dyn Log>, features).await;
    let pour = Pour::open(&server, "answers/1", LINES, Some("run"));
    pour.say("\"a\"\n\"b\"\n").await;
    until("it is stored", async || log(&server, "answers/1").await.len() == 2).await;
    full.is_full.store(true, Ordering::Relaxed);
    pour.say("\"c\"\n").await;
    let (status, answer) = pour.answer().await;
    assert_eq!(
        (status, &answer["error"]["code"], &answer["parts"]),
        (507, &json!("disk_full"), &json!(2))
    );
    full.is_full.store(false, Ordering::Relaxed);
    let (status, answer) =
        super::pour(&server, "answers/1", LINES, Some("run"), "\"a\"\n\"b\"\n\"c\"\n").await;
    assert_eq!((status, &answer["parts"]), (200, &json!(4)));
    assert_eq!(text(&server, "answers/1").await, "abc");
}

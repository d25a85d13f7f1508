//! Promise 4: acknowledged means kept, and the answer names how. (What a kill or a torn write leaves
//! is in the disk log's own tests and in the crash test of the finished binary.)

use std::sync::Arc;

use serde_json::{Value, json};
use tidewire::{
    Feature, Features, Limits, Log, Message, Stored,
    tidewire_core::{
        AppendError, Batch, Bounds, Filter, History, Page, PageBack, PageLimit, ReadError, Receipt,
    },
};

use crate::support::{Server, http, sse::Stream, ws::Socket};

fn with_levels(settings: &mut tidewire::Settings) {
    let os = Feature { stored: Stored::Os, ..Feature::default() };
    let none = Feature { history: History::None, ..Feature::default() };
    let declared = [("quick".to_owned(), os), ("pointers".to_owned(), none)];
    settings.features = Features::declared(declared.into()).with_undeclared(Feature::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_names_the_level_that_was_reached() {
    let server = Server::dev_with(with_levels).await;
    assert_eq!(server.publish("chat/a", &json!(1)).await["stored"], "fsync");
    assert_eq!(server.publish("quick/a", &json!(1)).await["stored"], "os");
    assert_eq!(server.publish("pointers/a", &json!(1)).await["stored"], "memory");
    let mut socket = Socket::open(&server).await;
    let answer = socket.ask(json!({"do": "publish", "topic": "quick/a", "data": 2})).await;
    assert_eq!(answer["ok"]["stored"], "os");
    // A batch is one piece, as safe as the most careful of its features asks.
    let batch = json!([{"topic": "quick/a", "data": 3}, {"topic": "chat/a", "data": 4}]);
    let answer = http().post(server.at("/publish")).body(batch.to_string()).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let levels: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| &r["stored"]).collect();
    assert_eq!(levels, ["fsync", "fsync"]);
}

/// Whatever was acknowledged is there after a restart, with its id.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let server = Server::dev_with(with_levels).await;
    let mut ids = Vec::new();
    for number in 0..50 {
        let topic = if number % 2 == 0 { "chat/a" } else { "quick/a" };
        ids.push(server.publish(topic, &json!(number)).await["id"].clone());
    }
    let server = server.restart().await;
    let page = server.page("topic=chat/a&topic=quick/a&limit=100").await;
    let kept: Vec<_> =
        page["entries"].as_array().unwrap().iter().map(|e| e["id"].clone()).collect();
    assert_eq!(kept, ids);
}

/// A log that stores nothing more, for a reason.
struct Refusing {
    inner: Arc<dyn Log>,
    error: AppendError,
}

#[async_trait::async_trait]
impl Log for Refusing {
    async fn append(&self, batch: Vec<Message>) -> Result<Vec<Receipt>, AppendError> {
        if batch.iter().any(|message| message.topic.as_str() == "chat/full") {
            return Err(self.error.clone());
        }
        self.inner.append(batch).await
    }

    async fn read(
        &self,
        filter: &Filter,
        after: tidewire::tidewire_proto::Sequence,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        self.inner.read(filter, after, limit).await
    }

    async fn read_back(
        &self,
        filter: &Filter,
        before: Option<tidewire::tidewire_proto::Sequence>,
        limit: PageLimit,
    ) -> Result<PageBack, ReadError> {
        self.inner.read_back(filter, before, limit).await
    }

    fn follow(
        &self,
        after: tidewire::tidewire_proto::Sequence,
    ) -> futures_util::stream::BoxStream<'static, Batch> {
        self.inner.follow(after)
    }

    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_refused_and_readers_go_on() {
    for (error, status, code) in [
        (AppendError::Full, 507, "disk_full"),
        (AppendError::Failed("cannot sync".to_owned()), 503, "log_failed"),
        (AppendError::Busy, 503, "busy"),
    ] {
        let features = Features::default().with_undeclared(Feature::default());
        let inner = Arc::new(tidewire::MemoryLog::new(
            Arc::new(features.clone()),
            &Limits::default(),
            tidewire::tidewire_core::log::memory::MemoryBounds::default(),
            Arc::new(tidewire::clock::SystemClock),
            &tidewire::clock::SystemRandom,
        ));
        let server = Server::dev_on(Arc::new(Refusing { inner, error }), features).await;
        let (mut stream, _) = Stream::open(&server, "topic=chat/full&topic=chat/a").await;
        let refused = server.post("chat/full", "1", &[]).await;
        assert_eq!(refused.status(), status);
        assert_eq!(refused.headers()["retry-after"], "1");
        let body: Value = refused.json().await.unwrap();
        assert_eq!(body["error"]["code"], code);
        server.publish("chat/a", &json!("still here")).await;
        assert_eq!(stream.data(1).await, [json!("still here")]);
    }
}

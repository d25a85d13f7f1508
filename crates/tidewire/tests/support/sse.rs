//! An event stream as a client reads it.

use std::collections::VecDeque;

use futures_util::StreamExt;
use serde_json::Value;
use tidewire::tidewire_proto::sse::{Event, Parser};
use tokio::time::timeout;

use super::{PATIENCE, Server};

pub(crate) struct Stream {
    response: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    parser: Parser,
    events: VecDeque<Event>,
}

impl Stream {
    /// Opens a stream and gives its hello.
    pub(crate) async fn open(server: &Server, query: &str) -> (Self, Value) {
        Self::open_with(server, query, &[]).await
    }

    /// The same, with headers.
    pub(crate) async fn open_with(
        server: &Server,
        query: &str,
        headers: &[(&str, &str)],
    ) -> (Self, Value) {
        Self::connect(&server.at(&format!("/sse?{query}")), headers).await
    }

    /// The same, of any server.
    pub(crate) async fn connect(url: &str, headers: &[(&str, &str)]) -> (Self, Value) {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self::connect_by(&client, url, headers).await
    }

    /// The same, by a client of the test's own.
    pub(crate) async fn connect_by(
        client: &reqwest::Client,
        url: &str,
        headers: &[(&str, &str)],
    ) -> (Self, Value) {
        let mut request = client.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self {
            response: response.bytes_stream().boxed(),
            parser: Parser::new(1 << 24),
            events: VecDeque::new(),
        };
        let hello = stream.next().await.expect("a hello");
        assert_eq!(hello.event, "tidewire.hello");
        (stream, serde_json::from_str(&hello.data).unwrap())
    }

    /// The next event of any kind; nothing at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let chunk = timeout(PATIENCE, self.response.next()).await.expect("an event in time");
            self.events.extend(self.parser.feed(&chunk?.ok()?).unwrap());
        }
    }

    /// The next entry; beats are passed over, other signals are not expected.
    pub(crate) async fn entry(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("an entry, not the end");
            if event.event == "tidewire.beat" {
                continue;
            }
            assert!(!event.event.starts_with("tidewire."), "{event:?}");
            return event;
        }
    }

    /// The data of the next entries as they came.
    pub(crate) async fn data_as_text(&mut self, count: usize) -> Vec<String> {
        let mut said = Vec::with_capacity(count);
        while said.len() < count {
            said.push(self.entry().await.data);
        }
        said
    }

    /// The data of the next `count` entries.
    pub(crate) async fn data(&mut self, count: usize) -> Vec<Value> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(serde_json::from_str(&self.entry().await.data).unwrap());
        }
        all
    }
}

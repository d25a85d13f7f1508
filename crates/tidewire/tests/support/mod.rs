//! A real server on a free port of loopback, and small clients that wait with a bound.

// Not every file of the suite uses every helper.
#![allow(dead_code)]

use std::{ops::Not, path::PathBuf, sync::Arc, time::Duration};

use serde_json::Value;
use tidewire::{Hub, Reloaded, Settings, Tidewire, config::ConfigError};
use tokio::{sync::oneshot, task::JoinHandle};

pub(crate) mod app;
pub(crate) mod embedded;
pub(crate) mod log;
pub(crate) mod raw;
pub(crate) mod sse;
pub(crate) mod tokens;
pub(crate) mod ws;

/// Longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server. Its folder goes with it.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) hub: Hub,
    tidewire: Arc<Tidewire>,
    pub(crate) settings: Settings,
    dev: bool,
    folder: Arc<tempfile::TempDir>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

impl Server {
    /// As `tidewire dev`.
    pub(crate) async fn dev() -> Self {
        Self::dev_with(|_| {}).await
    }

    /// As `tidewire dev`, with other settings.
    pub(crate) async fn dev_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start(change, true).await
    }

    /// As `tidewire serve`, with these settings.
    pub(crate) async fn closed_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::start(change, false).await
    }

    /// As `tidewire dev`, on a log of the test's own.
    pub(crate) async fn dev_on(log: Arc<dyn tidewire::Log>, features: tidewire::Features) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut settings = Settings::for_dev("127.0.0.1:0".parse().unwrap(), folder.path().into());
        settings.features = features;
        let builder = Self::builder(&settings, true).log(log);
        Self::serve(builder, settings, true, folder).await
    }

    async fn start(change: impl FnOnce(&mut Settings), dev: bool) -> Self {
        Self::built(change, dev, |builder| builder).await
    }

    /// With a builder of the test's own making. A restart forgets what `build` did.
    pub(crate) async fn built(
        change: impl FnOnce(&mut Settings),
        dev: bool,
        build: impl FnOnce(tidewire::Builder) -> tidewire::Builder,
    ) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let data: PathBuf = folder.path().join("log");
        let mut settings = Settings::for_dev("127.0.0.1:0".parse().unwrap(), data);
        settings.origins.loopback = dev;
        // Nobody here waits long for a goodbye.
        settings.limits.drain_timeout = Duration::from_secs(3);
        change(&mut settings);
        let builder = build(Self::builder(&settings, dev));
        Self::serve(builder, settings, dev, folder).await
    }

    fn builder(settings: &Settings, dev: bool) -> tidewire::Builder {
        let builder = Tidewire::builder(settings.clone());
        let builder = if is_swept() { builder } else { builder.without_sweep() };
        if dev { builder.dev() } else { builder }
    }

    async fn serve(
        builder: tidewire::Builder,
        settings: Settings,
        dev: bool,
        folder: Arc<tempfile::TempDir>,
    ) -> Self {
        let tidewire = Arc::new(builder.open().await.unwrap());
        let hub = tidewire.hub().clone();
        let listener = tidewire.bind().unwrap();
        let url = tidewire.url(listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = Arc::clone(&tidewire);
        let served = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            serving.serve(listener, shutdown).await.unwrap();
        });
        Self { url, hub, tidewire, settings, dev, folder, stop: Some(stop), served: Some(served) }
    }

    /// Goes on with other settings.
    pub(crate) fn reload(
        &mut self,
        change: impl FnOnce(&mut Settings),
    ) -> Result<Reloaded, ConfigError> {
        let mut settings = self.settings.clone();
        change(&mut settings);
        let reloaded = self.tidewire.reload(settings.clone())?;
        self.settings = settings;
        Ok(reloaded)
    }

    /// Goes down politely.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            served.await.unwrap();
        }
    }

    /// Goes down politely and comes back on another port, over the same folder.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(|builder| builder).await
    }

    /// The same, on this clock.
    pub(crate) async fn restart_on(self, clock: Arc<dyn tidewire::clock::Clock>) -> Self {
        self.restart_with(|builder| builder.clock(clock)).await
    }

    async fn restart_with(
        mut self,
        build: impl FnOnce(tidewire::Builder) -> tidewire::Builder,
    ) -> Self {
        self.stop().await;
        let (settings, dev, folder) = (self.settings.clone(), self.dev, Arc::clone(&self.folder));
        // The last handles on the log go before it is opened again.
        drop(self);
        Self::serve(build(Self::builder(&settings, dev)), settings, dev, folder).await
    }

    /// The folder of the log.
    pub(crate) fn data(&self) -> PathBuf {
        self.settings.data.clone()
    }

    /// The URL of a path under the prefix.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}v1{path}", self.url)
    }

    /// Publishes JSON and returns the answer; panics unless it is 201.
    pub(crate) async fn publish(&self, topic: &str, data: &Value) -> Value {
        let response = self.post(topic, &data.to_string(), &[]).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 201, "{body}");
        body
    }

    /// Publishes JSON text with headers.
    pub(crate) async fn post(
        &self,
        topic: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> reqwest::Response {
        let mut request = http()
            .post(self.at(&format!("/topics/{topic}")))
            .header("content-type", "application/json")
            .body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// A page, or a long-poll; panics unless it is 200.
    pub(crate) async fn page(&self, query: &str) -> Value {
        let response = http().get(self.at(&format!("/events?{query}"))).send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// All entries of a topic after a place, page by page.
    pub(crate) async fn history(&self, topic: &str, after: &str) -> Vec<Value> {
        let (mut entries, mut after) = (Vec::new(), after.to_owned());
        loop {
            let page = self.page(&format!("topic={topic}&after={after}&limit=1000")).await;
            entries.extend(page["entries"].as_array().unwrap().iter().cloned());
            after = page["cursor"].as_str().unwrap().to_owned();
            if page["more"] == false {
                return entries;
            }
        }
    }
}

/// The promises hold on both paths: `make tasks` runs them again with a task for each connection.
pub(crate) fn is_swept() -> bool {
    std::env::var("TIDEWIRE_TEST_SWEEP").is_ok_and(|value| value == "off").not()
}

/// A client without a pool, so that each request is a connection of its own.
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap()
}

/// A client that speaks HTTP/2 and nothing else: its streams share one connection.
pub(crate) fn http2() -> reqwest::Client {
    reqwest::Client::builder().http2_prior_knowledge().timeout(PATIENCE).build().unwrap()
}

/// Waits until something holds, with a bound.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Open streams, sockets and waiting polls, as the server counts them.
pub(crate) async fn streams(server: &Server) -> u64 {
    let ready = http().get(format!("{}readyz", server.url)).send().await.unwrap();
    ready.json::<Value>().await.unwrap()["streams"].as_u64().unwrap()
}

/// The id of a published answer.
pub(crate) fn id(published: &Value) -> String {
    published["id"].as_str().unwrap().to_owned()
}

/// The sequence in an id.
pub(crate) fn sequence(id: &str) -> u64 {
    id.split_once('.').unwrap().1.parse().unwrap()
}

//! A server with Workboard on a free port, and a client that waits with a bound.

#![allow(dead_code)]

use std::{path::Path, sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tidewire::{
    Settings, Tidewire,
    clock::{SystemClock, SystemRandom},
};
use tidewire_demo::{App, Workboard};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One life of a server.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) tidewire: Arc<Tidewire>,
    pub(crate) app: Arc<App>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::start_with(folder, Duration::from_millis(1)).await
    }

    /// With so long between two words of an answer.
    pub(crate) async fn start_with(folder: &Path, pace: Duration) -> Self {
        let settings = Settings::for_dev("127.0.0.1:0".parse().unwrap(), folder.into());
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        // What a life before has let go of is free when its last task has gone.
        let workboard = until("the database is free", async || {
            Workboard::open_with(folder, clock.clone(), random.clone(), pace).await.ok()
        });
        let workboard = workboard.await;
        let builder = Tidewire::builder(Workboard::features(settings)).dev();
        let builder = builder.gate(workboard.gate()).resets();
        let tidewire = Arc::new(builder.open().await.unwrap());
        let listener = tidewire.bind().unwrap();
        let address = listener.local_addr().unwrap();
        let app = Arc::new(workboard.start(Arc::clone(&tidewire), address).await);
        let (stop, stopped) = oneshot::channel();
        let (served_by, around) = (Arc::clone(&tidewire), Arc::clone(&app));
        let served = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            served_by.serve_with(listener, |own| around.around(own), stopped).await.unwrap();
        });
        let url = format!("http://{address}");
        Self { url, tidewire, app, stop: Some(stop), served }
    }

    /// Ends in order, and waits until the folder is free.
    pub(crate) async fn end(mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, &mut self.served).await.expect("an end").unwrap();
        self.app.stop().await;
    }

    pub(crate) async fn sign_in(&self, person: &str) -> Client {
        let nobody = Client { url: self.url.clone(), session: String::new() };
        let body = serde_json::json!({ "person": person });
        let answer = nobody.send(Method::POST, "/session", &body).await;
        let session = json(answer, 201).await["session"].as_str().unwrap().to_owned();
        Client { session, ..nobody }
    }
}

/// Somebody at a window.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) url: String,
    pub(crate) session: String,
}

impl Client {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = http().request(method, format!("{}/app/api{path}", self.url));
        request.bearer_auth(&self.session)
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Response {
        self.request(method, path).json(body).send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        json(self.request(Method::GET, path).send().await.unwrap(), 200).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.send(Method::POST, path, &body).await;
        let status = answer.status().as_u16();
        json(answer, status).await
    }

    /// The entries of a topic, once there are as many as `are_enough` wants.
    pub(crate) async fn entries(
        &self,
        topic: &str,
        are_enough: impl Fn(&[Value]) -> bool,
    ) -> Vec<Value> {
        let url = format!("{}/v1/events?topic={topic}&after=start&limit=1000", self.url);
        until(topic, async || {
            let page = json(http().get(&url).send().await.unwrap(), 200).await;
            let entries = page["entries"].as_array().unwrap().clone();
            are_enough(&entries).then_some(entries)
        })
        .await
    }
}

pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap()
}

/// The body, if the status is the one that is expected.
pub(crate) async fn json(answer: Response, status: u16) -> Value {
    let (found, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Waits for a condition, with a bound.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looks = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

//! The app of somebody else's that a server asks and tells: a real one, behind a socket, that can
//! refuse, hang, die and come back on the same port.

use std::{
    future::IntoFuture,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tidewire::config::Secret;
use tokio::task::JoinHandle;
use url::Url;

/// What questions and webhooks are signed with.
pub(crate) const SIGNING: &str = "a secret that signs what the server asks and tells";

/// What the app answers to the next requests.
#[derive(Clone)]
pub(crate) enum Mood {
    /// This status and body.
    Says(u16, String),
    /// This body, after a while.
    Late(Duration, String),
    /// Nothing, for ever.
    Hangs,
    /// What this says to a question.
    Decides(Arc<dyn Fn(&Value) -> Value + Send + Sync>),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) body: Value,
}

#[derive(Clone)]
struct Shared {
    mood: Arc<Mutex<Mood>>,
    told: Arc<Mutex<Vec<Told>>>,
}

pub(crate) struct App {
    address: SocketAddr,
    shared: Shared,
    served: Option<JoinHandle<std::io::Result<()>>>,
}

impl App {
    pub(crate) async fn start() -> Self {
        let mood = Arc::new(Mutex::new(Mood::Says(200, "{\"allow\":true}".to_owned())));
        let shared = Shared { mood, told: Arc::default() };
        let address = "127.0.0.1:0".parse().unwrap();
        let mut app = Self { address, shared, served: None };
        app.revive().await;
        app
    }

    /// Listens, again, on its port.
    pub(crate) async fn revive(&mut self) {
        let bind = async || tokio::net::TcpListener::bind(self.address).await;
        let mut listener = bind().await;
        for _ in 0..200 {
            if listener.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            listener = bind().await;
        }
        let listener = listener.unwrap();
        self.address = listener.local_addr().unwrap();
        let router = Router::new().route("/", post(answer)).with_state(self.shared.clone());
        self.served = Some(tokio::spawn(axum::serve(listener, router).into_future()));
    }

    /// Is gone: nobody listens any more.
    pub(crate) async fn die(&mut self) {
        if let Some(served) = self.served.take() {
            served.abort();
            let _ = served.await;
        }
    }

    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("http://{}/", self.address)).unwrap()
    }

    pub(crate) fn secret(&self) -> Secret {
        Secret::new(SIGNING)
    }

    pub(crate) fn is(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    pub(crate) fn says(&self, status: u16, body: &Value) {
        self.is(Mood::Says(status, body.to_string()));
    }

    pub(crate) fn decides(&self, decide: impl Fn(&Value) -> Value + Send + Sync + 'static) {
        self.is(Mood::Decides(Arc::new(decide)));
    }

    /// All that it was asked or told so far, in order, also what it did not take.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.shared.told.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.told.lock().unwrap().len()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(served) = &self.served {
            served.abort();
        }
    }
}

/// Checks the signature of every request as a receiver would, then answers as the mood is.
async fn answer(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> (axum::http::StatusCode, String) {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let signed = [id.as_bytes(), b".", at.as_bytes(), b".", &body].concat();
    let tag = STANDARD.decode(header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SIGNING.as_bytes());
    let good = hmac::verify(&key, &signed, &tag).is_ok() && at.parse::<u64>().is_ok();
    let unauthorized = axum::http::StatusCode::IM_A_TEAPOT;
    if !good {
        return (unauthorized, "the signature is not good".to_owned());
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    shared.told.lock().unwrap().push(Told { id, body: body.clone() });
    let mood = shared.mood.lock().unwrap().clone();
    match mood {
        Mood::Says(status, text) => (axum::http::StatusCode::from_u16(status).unwrap(), text),
        Mood::Late(wait, text) => {
            tokio::time::sleep(wait).await;
            (axum::http::StatusCode::OK, text)
        }
        Mood::Hangs => std::future::pending().await,
        Mood::Decides(decide) => (axum::http::StatusCode::OK, decide(&body).to_string()),
    }
}

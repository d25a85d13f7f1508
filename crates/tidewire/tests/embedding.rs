//! Mounted in an app of its own: the app keeps its paths and its fallback, and leaves politely.

use std::{future::IntoFuture, sync::Arc};

use axum::{Router, routing::get};
use tidewire::{Settings, Tidewire};
use tokio::sync::oneshot;

use crate::support::http;

#[tokio::test(flavor = "multi_thread")]
async fn an_app_keeps_its_own_paths_and_lets_streams_go_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::for_dev("127.0.0.1:0".parse().unwrap(), folder.path().into());
    let tidewire = Arc::new(Tidewire::builder(settings).dev().open().await.unwrap());
    let app = Router::new()
        .route("/", get(async || "the app's page"))
        .route("/healthz", get(async || "the app's health"))
        .fallback(async || "the app's fallback")
        .merge(tidewire.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let leaving = Arc::clone(&tidewire);
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        let _ = stopped.await;
        leaving.leave().await;
    });
    let served = tokio::spawn(server.into_future());

    let text = async |path: &str| {
        http().get(format!("{url}{path}")).send().await.unwrap().text().await.unwrap()
    };
    assert_eq!(text("/").await, "the app's page");
    assert_eq!(text("/healthz").await, "the app's health");
    assert_eq!(text("/elsewhere").await, "the app's fallback");
    assert!(text("/v1/elsewhere").await.contains("\"/v1/elsewhere\\\""), "the whole path is named");

    let stream = http().get(format!("{url}/v1/sse?topic=chat/a")).send().await.unwrap();
    // Its head is there, so the stream is open.
    let body = tokio::spawn(stream.text());
    drop(stop);
    let heard = body.await.unwrap().unwrap();
    assert!(heard.contains("tidewire.bye") && heard.contains("restarting"), "{heard}");
    served.await.unwrap().unwrap();
    tidewire.close().await;
    let refused = tidewire.hub().publish(tidewire::Message {
        topic: tidewire::Topic::parse("chat/a").unwrap(),
        event: tidewire::EventType::message(),
        data: tidewire::Data::text("late").unwrap(),
        key: None,
        item: None,
    });
    assert!(refused.await.is_err(), "the log is closed");
}

//! Tidewire: a real-time server that matches the transport to the feature.
//!
//! A feature answers three questions: does the client send on this connection? is the data binary?
//! are there proxies you don't control? The answers pick Server-Sent Events, WebSocket or plain
//! HTTP, and one cursor resumes on any of them.
//!
//! In your own axum application:
//!
//! ```no_run
//! use axum::{Router, extract::State, http::StatusCode, routing::post};
//! use tidewire::{Data, EventType, Hub, Message, Settings, Tidewire, Topic};
//!
//! async fn assign(State(hub): State<Hub>) -> Result<(), StatusCode> {
//!     let topic = Topic::parse("notifications/alice").unwrap();
//!     let event = EventType::parse("task.assigned").unwrap();
//!     let data = Data::json(r#"{"task": 7}"#).unwrap();
//!     let message = Message { topic, event, data, key: None, item: None };
//!     hub.publish(message).await.map(|_| ()).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::for_dev("127.0.0.1:4000".parse()?, "tidewire-data".into());
//! let tidewire = Tidewire::builder(settings).dev().open().await?;
//! let app = Router::new()
//!     .route("/assign", post(assign))
//!     .with_state(tidewire.hub().clone())
//!     .merge(tidewire.router()); // /v1/sse, /v1/socket, /v1/events, …
//! axum::serve(tokio::net::TcpListener::bind("127.0.0.1:4000").await?, app).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | Room | What lives there |
//! |---|---|
//! | [`config`] | a TOML file as written → settings as meant, every problem at once |
//! | [`token`] | the standard gate: signed tokens and API keys |
//! | `access` | who may: the app that decides, and what was taken back |
//! | `webhook` | telling an app what happens: a cursor that walks the log |
//! | `outbound` | requests that this server makes |
//! | `routes` | the one table of paths |
//! | `sse` `socket` `events` `publish` `presence` `manifest` `ticket` | the doors |
//! | `streams` | the door for producers: parts, for as long as they come |
//! | `canary` `path` | what a client needs to find out that its network holds streams back |
//! | `metrics` | what is counted, for Prometheus |
//! | `cors` | which pages may talk to this server |
//! | `page` | the live page of `tidewire dev` |
//! | `serve` `activity` `io` `tls` | the listener, its limits, and the way out |
//! | `app` `answer` `query` `wire` | what the doors share |
//! | `reload` | other settings for a server that runs |
//! | `handover` `places` `connected` | connections that doors take over; how many there may be; how one is reset |
//! | `sweep` | many plain sockets without a task for any of them |
//! | `guard` | in tests only: what `make guard` counts the instructions of |
//!
//! Doors call the core; the core never calls a door.

mod access;
mod activity;
mod answer;
mod app;
mod canary;
pub mod config;
mod connected;
mod cors;
#[cfg(feature = "documents")]
mod docs;
mod events;
#[cfg(test)]
mod guard;
mod handover;
mod io;
mod manifest;
mod metrics;
mod outbound;
mod page;
mod path;
mod places;
mod presence;
mod publish;
mod query;
mod reload;
mod routes;
mod serve;
mod socket;
mod sse;
mod streams;
mod sweep;
mod ticket;
mod tidewire;
mod tls;
pub mod token;
mod webhook;
mod wire;

pub use config::Settings;
pub use connected::Connected;
pub use reload::Reloaded;
pub use tidewire::{Builder, StartError, Tidewire};
pub use tidewire_core::{
    Action, Credential, CurrentFeatures, Feature, Features, Filter, Gate, Grant, Hub, Keep, Limits,
    Log, MemoryLog, OpenGate, Peer, PublishError, Published, Refusal, Session, clock,
};
pub use tidewire_proto::{
    After, Code, Continuity, Cursor, Data, Entry, EventType, Gap, GapReason, Item, Key, Message,
    Stored, Topic, WireError, plan,
};

/// The crates below, whole.
pub use {tidewire_core, tidewire_proto};

/// The Rust of the guide and of the README compiles.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct Readme;

    #[doc = include_str!("../../../docs/guide/embedding.md")]
    struct Embedding;
}

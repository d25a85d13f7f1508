//! An axum app with Tidewire inside: its own routes, Tidewire's doors beside them, and a handler that
//! publishes without HTTP in between.
//!
//! ```text
//! cargo run -p tidewire --example axum
//! curl -N 'http://127.0.0.1:4000/v1/sse?topic=notifications/alice'
//! curl -X POST http://127.0.0.1:4000/people/alice/tasks/7
//! ```

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use tidewire::{Data, EventType, Hub, Key, Message, Settings, Tidewire, Topic, WireError};

const ADDRESS: &str = "127.0.0.1:4000";

/// Assigns a task to somebody, and tells them. The key makes a repeated request harmless.
async fn assign(
    State(hub): State<Hub>,
    Path((person, task)): Path<(String, u32)>,
) -> Result<String, (StatusCode, String)> {
    let bad = |error: String| (StatusCode::BAD_REQUEST, error);
    let message = Message {
        topic: Topic::parse(&format!("notifications/{person}"))
            .map_err(|error| bad(error.to_string()))?,
        event: EventType::parse("task.assigned").map_err(|error| bad(error.to_string()))?,
        data: Data::json(format!("{{\"task\":{task}}}")).map_err(|error| bad(error.to_string()))?,
        key: Key::parse(&format!("assign-{task}")).ok(),
        item: None,
    };
    let published = hub.publish(message).await.map_err(|error| {
        let WireError { code, message } = error.into();
        (StatusCode::from_u16(code.status()).unwrap_or_default(), message)
    })?;
    let id = published.id.map(|id| id.to_string()).unwrap_or_default();
    Ok(format!("{id} stored: {}, duplicate: {}\n", published.stored, published.duplicate))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::for_dev(ADDRESS.parse()?, "tidewire-data".into());
    let tidewire = Tidewire::builder(settings).dev().open().await?;
    let app = Router::new()
        .route("/people/{person}/tasks/{task}", post(assign))
        .with_state(tidewire.hub().clone())
        .merge(tidewire.router());
    let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
    println!("http://{ADDRESS}/");
    axum::serve(listener, app).await?;
    Ok(())
}

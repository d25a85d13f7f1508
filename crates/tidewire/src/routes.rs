//! The one table of paths.

use axum::{
    Router,
    extract::{Request, State},
    middleware,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use tidewire_proto::Code;

use crate::{
    answer::{Refused, json_response},
    app::App,
    cors, events, manifest, publish, socket, sse,
};

/// All paths, under the prefix, and the health checks beside it.
pub(crate) fn router(app: App) -> Router {
    let mut doors = Router::new()
        .route("/sse", get(sse::sse))
        .route("/socket", get(socket::socket))
        .route("/events", get(events::events))
        .route("/topics/{*topic}", post(publish::publish))
        .route("/publish", post(publish::publish_batch))
        .route("/tickets", post(publish::ticket))
        .route("/plan", get(manifest::plan));
    if app.dev {
        doors = doors.route("/echo", get(socket::echo));
    }
    let doors = doors
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), cors::check));
    let mut paths = Router::new()
        .nest(&app.prefix, doors)
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .fallback(not_found);
    if app.dev {
        paths = paths.route("/", get(async || Html(include_str!("live.html"))));
        // Health and the page too: nothing of this machine is for a foreign name.
        paths = paths.layer(middleware::from_fn(cors::check_host));
    }
    paths.with_state(app)
}

async fn ready(State(app): State<App>) -> Response {
    if app.is_leaving() {
        return Refused::new(Code::Restarting, "the server is going down").into_response();
    }
    let body = format!("{{\"ready\":true,\"streams\":{}}}", app.streams());
    json_response(StatusCode::OK, body)
}

async fn not_found(State(app): State<App>, request: Request) -> Refused {
    let prefix = &app.prefix;
    let message = format!(
        "there is nothing at {:?}: the doors are {prefix}/sse, {prefix}/socket, {prefix}/events, \
         {prefix}/topics/…, {prefix}/publish, {prefix}/tickets and {prefix}/plan",
        request.uri().path()
    );
    Refused::new(Code::NotFound, message)
}

async fn method_not_allowed(request: Request) -> Refused {
    let message = format!("{} is not for {}", request.method(), request.uri().path());
    Refused::new(Code::MethodNotAllowed, message)
}

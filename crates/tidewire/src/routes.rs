//! The one table of paths.

use axum::{
    Router,
    extract::{OriginalUri, State},
    middleware,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{Method, StatusCode};
use tidewire_proto::Code;

#[cfg(feature = "documents")]
use crate::docs;
use crate::{
    access,
    answer::{Refused, json_response},
    app::App,
    canary, cors, events, manifest, metrics, page, path, presence, publish, socket, sse, streams,
};

/// The doors, under the prefix and nowhere else: what an app mounts beside its own paths.
pub(crate) fn doors(app: App) -> Router {
    let mut doors = Router::new()
        .route("/sse", get(sse::sse))
        .route("/socket", get(socket::socket))
        .route("/events", get(events::events))
        .route("/topics/{*topic}", post(publish::publish))
        .route("/streams/{*topic}", post(streams::streams))
        .route("/publish", post(publish::publish_batch))
        .route("/presence", post(presence::announce))
        .route("/presence/{*topic}", get(presence::members))
        .route("/tickets", post(publish::ticket))
        .route("/revoke", post(access::revoke))
        .route("/plan", get(manifest::plan))
        .route("/canary", get(canary::canary))
        .route("/path", post(path::verdict))
        .route("/path/{connection}", get(path::path));
    #[cfg(feature = "documents")]
    {
        doors = doors.route("/docs/{*topic}", get(docs::docs));
    }
    if app.dev {
        doors = doors.route("/echo", get(socket::echo));
    }
    let doors = doors
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), cors::check));
    let doors = Router::new().nest(&app.prefix, doors);
    for_this_machine(doors, &app).with_state(app)
}

/// The doors, the health checks, the metrics and, in `dev`, the live page: all that the own server answers.
pub(crate) fn server(app: App) -> Router {
    let mut paths = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics::metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found);
    if app.dev {
        let live = async || Redirect::temporary("/live");
        paths = paths.route("/live", get(page::live)).route("/", get(live));
    }
    for_this_machine(paths, &app).with_state(app.clone()).merge(doors(app))
}

/// The same with an app around it. In `dev` the app's own paths are for this machine too.
pub(crate) fn around(app: &App, around: impl FnOnce(Router) -> Router) -> Router {
    let all = around(server(app.clone()));
    if app.dev { all.layer(middleware::from_fn(cors::check_host)) } else { all }
}

/// In `dev` nothing of this machine is for a foreign name, health and page included.
fn for_this_machine(paths: Router<App>, app: &App) -> Router<App> {
    if app.dev { paths.layer(middleware::from_fn(cors::check_host)) } else { paths }
}

async fn ready(State(app): State<App>) -> Response {
    if app.is_leaving() {
        return Refused::new(Code::Restarting, "the server is going down").into_response();
    }
    let body = format!("{{\"ready\":true,\"streams\":{}}}", app.streams());
    json_response(StatusCode::OK, body)
}

async fn not_found(State(app): State<App>, OriginalUri(uri): OriginalUri) -> Refused {
    let prefix = &app.prefix;
    let message = format!(
        "there is nothing at {:?}: the doors are {prefix}/sse, {prefix}/socket, {prefix}/events, \
         {prefix}/topics/…, {prefix}/streams/…, {prefix}/publish, {prefix}/presence, {prefix}/tickets, {prefix}/plan, \
         {prefix}/canary and {prefix}/path",
        uri.path()
    );
    Refused::new(Code::NotFound, message)
}

async fn method_not_allowed(method: Method, OriginalUri(uri): OriginalUri) -> Refused {
    let message = format!("{method} is not for {}", uri.path());
    Refused::new(Code::MethodNotAllowed, message)
}

//! The API of Workboard: `/app/api/…`, JSON in and out, and an error in the form of the house.
//!
//! | Room | What lives there |
//! |---|---|
//! | `session` | who is at the window |
//! | `work` | boards, tasks, comments |
//! | `told` | what somebody was notified of, read from Tidewire's log |
//! | `ask` | the assistant |
//! | `hurt` | the buttons that hurt |
//! | `answer` | bodies and errors as HTTP |
//!
//! Knows the store and the hub; no page. Invariant: a page of another origin changes nothing here: it
//! has no session, and its requests are refused by their `Origin`.

mod answer;
mod ask;
mod hurt;
mod session;
mod told;
mod work;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, header};

use crate::{failure::Failure, workboard::Running};
pub(crate) use session::Session;

/// Bytes of a request's body: the longest description, in the longest spelling.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The one table of its paths.
pub(crate) fn routes(running: Arc<Running>) -> Router {
    let api = Router::new()
        .route("/people", get(session::people))
        .route("/session", post(session::sign_in).delete(session::sign_out))
        .route("/me", get(session::me))
        .route("/boards", get(work::boards))
        .route("/boards/{board}", get(work::board))
        .route("/boards/{board}/tasks", post(work::create))
        .route("/boards/{board}/ask", post(ask::ask))
        .route("/tasks/{id}", get(work::task).patch(work::edit).delete(work::delete))
        .route("/tasks/{id}/move", post(work::relocate))
        .route("/tasks/{id}/comments", post(work::comment))
        .route("/notifications", get(told::notifications))
        .route("/notifications/seen", post(told::seen))
        .route("/conversations", get(ask::conversations))
        .route("/conversations/{id}", get(ask::conversation))
        .route("/hurt/restart", post(hurt::restart))
        .route("/hurt/cut", post(hurt::cut))
        .route("/hurt/buffer", post(hurt::buffer))
        .route("/hurt/chat", post(hurt::chat))
        .fallback(async || Failure::NotFound("there is nothing here: see the API's paths".into()))
        .method_not_allowed_fallback(async || Failure::NotFound("not by this method".into()))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(own_pages_only))
        .with_state(running);
    Router::new().nest("/app/api", api)
}

/// Pages of other origins may not even ask: WebDriver, `curl` and programs send no `Origin`.
async fn own_pages_only(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        let message = "pages of another origin may not use Workboard's API";
        return answer::refused("origin_refused", 403, message);
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return headers.contains_key(header::ORIGIN) };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_none() || authority != text(header::HOST)
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        answer::failed(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_foreign_unless_it_is_this_host() {
        for (origin, expected) in [
            (None, false),
            (Some("http://127.0.0.1:4000"), false),
            (Some("http://127.0.0.1:4001"), true),
            (Some("https://evil.example"), true),
            (Some("null"), true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "127.0.0.1:4000".parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(is_foreign(&headers), expected, "{origin:?}");
        }
    }
}

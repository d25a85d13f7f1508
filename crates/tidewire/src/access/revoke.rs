//! Taking access back: `POST {prefix}/revoke`; and the walk of the topic in which revocations are
//! kept, by which this server (and any other on the same log) hears of them, now and after a restart.
//!
//! Knows no stream and no socket: those look by themselves when they are told to.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tidewire_core::{Filter, Framed, Hub, OpenGate, Peer, SubscribeError};
use tidewire_proto::{After, Code, Cursor, Data, EventType, Message, Sequence, Topic, WireError};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::revoked::{Revocation, Revocations, Whose};
use crate::{
    answer::{Refused, json_response},
    app::{App, bearer},
    publish::read_body,
};

/// Where revocations are kept.
const TOPIC: &str = "~tidewire/revocations";
/// How long one counts unless it says otherwise, and at most: as long as the log keeps it.
const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long the end of a connection is remembered: long enough for all who have it to hear of it.
const DISMISSAL_AGE: Duration = Duration::from_secs(60);
/// Most bytes of a request.
const BODY_BYTES_MAX: usize = 4 * 1024;
/// Most bytes of a name.
const NAME_BYTES_MAX: usize = 1_024;
/// Longest wait until this server obeys what it has stored.
const OBEYED: Duration = Duration::from_secs(5);
/// How long after a failed read of the log it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    user: Option<String>,
    token: Option<String>,
    connection: Option<String>,
    until: Option<u64>,
}

/// A revocation as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    at_ms: u64,
    until_ms: u64,
}

impl Kept {
    fn of(revocation: &Revocation) -> Self {
        let Revocation { whose, at_ms, until_ms } = revocation.clone();
        let mut kept = Self { user: None, token: None, connection: None, at_ms, until_ms };
        match whose {
            Whose::User(user) => kept.user = Some(user),
            Whose::Token(id) => kept.token = Some(id),
            Whose::Connection(name) => kept.connection = Some(name),
        }
        kept
    }

    fn revocation(self) -> Option<Revocation> {
        let Self { user, token, connection, at_ms, until_ms } = self;
        Some(Revocation { whose: whose(user, token, connection)?, at_ms, until_ms })
    }
}

/// Exactly one of them.
fn whose(user: Option<String>, token: Option<String>, connection: Option<String>) -> Option<Whose> {
    match (user, token, connection) {
        (Some(user), None, None) => Some(Whose::User(user)),
        (None, Some(id), None) => Some(Whose::Token(id)),
        (None, None, Some(name)) => Some(Whose::Connection(name)),
        _ => None,
    }
}

/// The handler.
pub(crate) async fn revoke(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let (head, body) = request.into_parts();
    let Some(revocations) = &app.revocations else {
        let message = "nobody shows a token here, as in `tidewire dev`: there is nothing to take \
                       back";
        return Err(Refused::new(Code::BadRequest, message));
    };
    check(&app, &head.headers).await?;
    let bytes = read_body(&app, body, BODY_BYTES_MAX).await?;
    let revocation = parse(&bytes, app.clock.now_ms())?;
    if !revocations.has_room(&revocation.whose) {
        let most = app.hub.limits().revocations_max;
        let message = format!(
            "{most} revocations are in force, and no more are remembered: change the secret that \
             tokens are checked with, or raise limits.revocations_max"
        );
        return Err(Refused::new(Code::Busy, message));
    }
    let kept = serde_json::to_vec(&Kept::of(&revocation)).unwrap_or_default();
    let message = Message {
        topic: topic(),
        event: EventType::parse("revoke").map_err(|error| internal(error.to_string()))?,
        data: Data::json(kept).map_err(|error| internal(error.to_string()))?,
        key: None,
        item: None,
    };
    let published = app.hub.publish(message).await.map_err(WireError::from)?;
    let id = published.id.ok_or_else(|| internal("a revocation has no place".to_owned()))?;
    obeyed(&app, id).await;
    let until = revocation.until_ms / 1_000;
    let body = format!("{{\"id\":\"{id}\",\"stored\":\"{}\",\"until\":{until}}}", published.stored);
    Ok(json_response(StatusCode::OK, body))
}

/// Is this a program that manages?
async fn check(app: &App, headers: &HeaderMap) -> Result<(), WireError> {
    let shown = bearer(headers)?;
    let manages = shown.and_then(|shown| app.keys.load().manages(shown));
    if manages == Some(true) {
        return Ok(());
    }
    if manages.is_none() {
        app.admit(headers, None).await?;
    }
    let message = "access is taken back by programs whose API key has `manage = true` in \
                   `[[auth.key]]`";
    Err(WireError::new(Code::Forbidden, message))
}

fn parse(bytes: &[u8], now_ms: u64) -> Result<Revocation, WireError> {
    let asked: Asked = serde_json::from_slice(bytes).map_err(|error| {
        WireError::new(Code::BadJson, format!("the body is no revocation: {error}"))
    })?;
    let refuse = |message: &str| Err(WireError::new(Code::BadRequest, message));
    let Some(whose) = whose(asked.user, asked.token, asked.connection) else {
        return refuse("say one of `user`, `token` (its `jti`) and `connection`");
    };
    let (Whose::User(name) | Whose::Token(name) | Whose::Connection(name)) = &whose;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return refuse("a name has 1 to 1,024 bytes");
    }
    let later =
        |age: Duration| now_ms.saturating_add(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    if matches!(whose, Whose::Connection(_)) {
        if asked.until.is_some() {
            return refuse("`until` is for users and tokens: a connection ends, and may come back");
        }
        return Ok(Revocation { whose, at_ms: now_ms, until_ms: later(DISMISSAL_AGE) });
    }
    let until_ms = asked.until.map_or(later(AGE_MAX), |until| until.saturating_mul(1_000));
    if until_ms <= now_ms {
        return refuse("`until` is over already: it is in seconds since 1970, as `exp` is");
    }
    if until_ms > later(AGE_MAX) {
        return refuse("`until` is 30 days ahead at most: so long the log keeps it");
    }
    Ok(Revocation { whose, at_ms: now_ms, until_ms })
}

fn internal(message: String) -> WireError {
    WireError::new(Code::Internal, message)
}

fn topic() -> Topic {
    Topic::parse(TOPIC).expect("the name of our own topic is one")
}

/// Waits until this server obeys what has this place: then the answer says so.
async fn obeyed(app: &App, id: Cursor) {
    let mut obeyed = app.obeyed.subscribe();
    let reached = obeyed.wait_for(|obeyed| *obeyed >= id.sequence);
    if timeout(OBEYED, reached).await.is_err() {
        tracing::error!("a revocation is stored, but not obeyed yet");
    }
}

/// The walk through all revocations. It ends when this is dropped.
pub(crate) struct Following(AbortHandle);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Following {
    /// Puts all that are kept in force, and goes on with those that come. Nothing where nothing can be
    /// taken back.
    pub(crate) async fn begin(app: &App) -> Result<Option<Self>, SubscribeError> {
        let Some(revocations) = app.revocations.clone() else { return Ok(None) };
        let filter = Filter::from(topic());
        let mut after = After::Start;
        loop {
            let page = app.hub.history(&filter, after, usize::MAX).await?;
            put(&revocations, &page.entries);
            after = After::Cursor(page.cursor);
            if !page.more {
                app.obeyed.send_replace(page.cursor.sequence);
                break;
            }
        }
        // The app holds what ends this task, so the task does not hold the app.
        let (hub, look, obeyed) = (app.hub.clone(), app.look_again(), app.obeyed.clone());
        let task = tokio::spawn(async move {
            loop {
                if let Err(error) = follow(&hub, &filter, after, &revocations, &look, &obeyed).await
                {
                    tracing::error!(%error, "revocations cannot be read");
                }
                sleep(AGAIN).await;
                // Not from there again, but from where it had come.
                let bounds = hub.log().bounds();
                after = After::Cursor(bounds.lineage.cursor_at(*obeyed.borrow()));
            }
        });
        Ok(Some(Self(task.abort_handle())))
    }
}

async fn follow(
    hub: &Hub,
    filter: &Filter,
    after: After,
    revocations: &Revocations,
    look: &(impl Fn() + Send + Sync),
    obeyed: &watch::Sender<Sequence>,
) -> Result<(), WireError> {
    let mut session = hub.session(Arc::new(OpenGate), Arc::new(Peer::anybody()));
    session.subscribe_unasked(filter, after).await?;
    loop {
        let news = session.next().await?;
        let Some(last) = news.entries.last() else { continue };
        put(revocations, &news.entries);
        obeyed.send_replace(last.entry().sequence);
        look();
    }
}

fn put(revocations: &Revocations, entries: &[Arc<Framed>]) {
    for framed in entries {
        let kept = serde_json::from_slice::<Kept>(framed.entry().data.bytes());
        match kept.ok().and_then(Kept::revocation) {
            Some(revocation) => revocations.put(revocation),
            None => tracing::warn!(id = ?framed.id(), "a revocation cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    #[test]
    fn a_request_names_one_of_three() {
        let read = |body: &str| parse(body.as_bytes(), NOW_MS);
        let revocation = read(r#"{"user":"alice","until":1800000060}"#).unwrap();
        assert_eq!(revocation.whose, Whose::User("alice".into()));
        assert_eq!((revocation.at_ms, revocation.until_ms), (NOW_MS, NOW_MS + 60_000));
        let revocation = read(r#"{"token":"t1"}"#).unwrap();
        assert_eq!(revocation.until_ms, NOW_MS + 30 * 24 * 3_600_000);
        assert!(read(r#"{"connection":"tab-one-1"}"#).is_ok());
        for (body, code) in [
            ("{}", Code::BadRequest),
            (r#"{"user":"a","token":"b"}"#, Code::BadRequest),
            (r#"{"user":""}"#, Code::BadRequest),
            (r#"{"user":"a","until":1800000000}"#, Code::BadRequest),
            (r#"{"user":"a","until":1802592001}"#, Code::BadRequest),
            (r#"{"connection":"a","until":1800000060}"#, Code::BadRequest),
            (r#"{"user":"a","till":1}"#, Code::BadJson),
            ("", Code::BadJson),
        ] {
            assert_eq!(read(body).unwrap_err().code, code, "{body}");
        }
    }

    #[test]
    fn what_is_kept_is_what_was_meant() {
        for whose in [
            Whose::User("alice".into()),
            Whose::Token("t1".into()),
            Whose::Connection("tab-one-1".into()),
        ] {
            let revocation = Revocation { whose, at_ms: 1, until_ms: 2 };
            let kept = serde_json::to_string(&Kept::of(&revocation)).unwrap();
            let read: Kept = serde_json::from_str(&kept).unwrap();
            assert_eq!(read.revocation(), Some(revocation), "{kept}");
        }
    }
}

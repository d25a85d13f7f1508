//! Asking what a path does: the canary, the sequence probe, and the report of what was found.
//!
//! Decides nothing: [`PathJudge`](crate::path::PathJudge) does. A server that has none of these
//! paths is answered by silence here: nothing is known then.

use std::{sync::Arc, time::Duration};

use reqwest::{
    Response,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::json;
use tidewire_proto::sse::Parser;
use tokio::time::{Instant, timeout};

use crate::{
    client::Client,
    http,
    ladder::Move,
    loss::Loss,
    path::{Answer, Canary, Written},
};

/// Largest canary, and largest answer to a probe, that is looked at.
const BYTES_MAX: usize = 4 * 1024;
/// Most characters of a report's detail.
const DETAIL_CHARS_MAX: usize = 200;

/// A canary that came back, and which proxies said that they passed it on.
#[derive(Debug)]
pub(crate) struct Flown {
    pub(crate) canary: Canary,
    pub(crate) via: Option<String>,
}

/// Sends a canary. One that fails comes back with fewer than three arrivals.
pub(crate) async fn fly(client: Client, token: Option<Arc<str>>, gap: Duration) -> Flown {
    let mut flown = Flown { canary: Canary { gap, arrivals: Vec::new() }, via: None };
    let asked_at = Instant::now();
    if hear(&client, token.as_deref(), asked_at, &mut flown).await.is_none() {
        flown.canary.arrivals.clear();
    }
    flown
}

/// Hears the three events; nothing if anything else came.
async fn hear(
    client: &Client,
    token: Option<&str>,
    asked_at: Instant,
    flown: &mut Flown,
) -> Option<()> {
    let gap = flown.canary.gap;
    let mut url = client.at("/canary");
    url.query_pairs_mut().append_pair("gap", &gap.as_millis().to_string());
    let request = client.http().get(url).header(ACCEPT, "text/event-stream");
    let request = request.header(CACHE_CONTROL, "no-store");
    let silence = client.options().timeouts.connect;
    // A path that holds events back mostly holds the head of the answer too.
    let mut response = http::send(request, token, gap * 2 + silence).await.ok()?;
    if response.status() != 200 || !http::has_type(&response, "text/event-stream") {
        return None;
    }
    flown.via = via(&response);
    let (mut parser, mut bytes) = (Parser::new(BYTES_MAX), 0);
    while flown.canary.arrivals.len() < 3 {
        let piece = timeout(gap * 2 + silence, response.chunk()).await.ok()?.ok()??;
        let arrived = asked_at.elapsed();
        bytes += piece.len();
        for event in parser.feed(&piece).ok().filter(|_| bytes <= BYTES_MAX)? {
            let number = flown.canary.arrivals.len() + 1;
            if event.event != "tidewire.canary" || event.data != format!("{{\"n\":{number}}}") {
                return None;
            }
            flown.canary.arrivals.push(arrived);
        }
    }
    (flown.canary.arrivals.len() == 3).then_some(())
}

/// Who says that it stands between us and the server.
fn via(response: &Response) -> Option<String> {
    let mut said = Vec::new();
    for name in ["via", "x-cache", "server"] {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        said.extend(value.map(|value| format!("{name}: {value}")));
    }
    (!said.is_empty()).then(|| said.join(", "))
}

#[derive(Deserialize)]
struct WrittenText {
    events: u64,
    open_ms: u64,
    quiet_ms: u64,
    blocked: bool,
}

/// Asks what the server has written to the stream of this name. Also how long that took.
pub(crate) async fn probe(
    client: Client,
    token: Option<Arc<str>>,
    name: Arc<str>,
) -> (Duration, Answer) {
    let asked_at = Instant::now();
    let answer = match written(&client, token.as_deref(), &name).await {
        Ok(answer) => answer,
        Err(Loss::Refused(refusal)) if refusal.status == Some(404) => Answer::NotFound,
        Err(Loss::Foreign { status: 404, .. }) => Answer::NotFound,
        Err(_) => Answer::Failed,
    };
    (asked_at.elapsed(), answer)
}

async fn written(client: &Client, token: Option<&str>, name: &str) -> Result<Answer, Loss> {
    let limit = client.options().timeouts.connect;
    let request = client.http().get(client.at(&format!("/path/{name}")));
    let response = http::send(request.header(CACHE_CONTROL, "no-store"), token, limit).await?;
    let body = http::body(response, BYTES_MAX, limit).await?;
    let said: WrittenText =
        serde_json::from_slice(&body).map_err(|error| Loss::Garbled(error.to_string()))?;
    Ok(Answer::Written(Written {
        events: said.events,
        open: Duration::from_millis(said.open_ms),
        quiet: Duration::from_millis(said.quiet_ms),
        blocked: said.blocked,
    }))
}

/// Tells the server what its path did to us. Nobody waits for it, and nothing depends on it.
pub(crate) fn report(client: &Client, token: Option<Arc<str>>, went: &Move) {
    let Some((by, verdict)) = went.by.words() else { return };
    let mut body = json!({
        "verdict": verdict, "from": went.from.as_str(), "to": went.to.as_str(), "by": by,
    });
    if let Some(detail) = &went.detail {
        body["detail"] = detail.chars().take(DETAIL_CHARS_MAX).collect::<String>().into();
    }
    let request = client.http().post(client.at("/path"));
    let request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
    let limit = client.options().timeouts.answer;
    tokio::spawn(async move {
        let _unread = http::send(request, token.as_deref(), limit).await;
    });
}

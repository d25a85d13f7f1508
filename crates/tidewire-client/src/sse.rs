//! The event-stream rung: open `/v1/sse` from where the walk stands, yield what comes.
//!
//! Knows nothing of coming back. Invariant: the place moves by `id:` only, so an ephemeral entry
//! never moves it.

use std::convert::Infallible;

mod watch;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use reqwest::{
    Response,
    header::{ACCEPT, CACHE_CONTROL},
};
use tidewire_proto::{
    After, Data, EventType,
    sse::{Event, Parser},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    attempt::{Attempt, Watched},
    http,
    item::{Continuity, Delivery},
    loss::Loss,
    recall::Recall,
    wire,
};

use watch::Watch;

/// Follows the stream until it is lost.
pub(crate) async fn follow(
    attempt: &mut Attempt<'_>,
    recall: &mut Recall,
) -> Result<Infallible, Loss> {
    let mut watch = Watch::new(attempt, recall);
    let lost = hear(attempt, &mut watch).await;
    attempt.came_through = watch.is_clear();
    lost
}

async fn hear(attempt: &mut Attempt<'_>, watch: &mut Watch<'_>) -> Result<Infallible, Loss> {
    let limit = attempt.client.options().timeouts.connect;
    let deadline = Instant::now() + limit;
    let after = attempt.walk.begin_stream();
    let mut response = watch.beside(open(attempt, after)).await??;
    let mut parser = Parser::new(attempt.client.options().event_bytes_max);
    loop {
        let silence = attempt.silence_max();
        let (until, lost) = match attempt.is_open() {
            true => (Instant::now() + silence, Loss::Silent(silence)),
            false => (deadline, Loss::NotOpened(limit)),
        };
        watch.listens();
        let piece = match watch.beside(timeout_at(until, response.chunk())).await? {
            Err(_) => return Err(lost),
            Ok(Err(error)) => return Err(Loss::Broken(http::chain(&error))),
            Ok(Ok(None)) => return Err(ended(attempt, &mut parser)),
            Ok(Ok(Some(piece))) => piece,
        };
        let events = parser.feed(&piece).map_err(|error| Loss::TooLarge(error.to_string()))?;
        watch.piece(&events);
        for event in events {
            heard(attempt, event, after).await?;
        }
    }
}

async fn open(attempt: &Attempt<'_>, after: After) -> Result<Response, Loss> {
    let mut url = attempt.client.at("/sse");
    {
        let mut query = url.query_pairs_mut();
        for topic in attempt.walk.topics() {
            query.append_pair("topic", topic.as_str());
        }
        query.append_pair("after", &wire::after(after));
        if let Some(Watched { name, early }) = &attempt.watched {
            query.append_pair("connection", name);
            if *early {
                query.append_pair("beats", "early");
            }
        }
    }
    let request = attempt.client.http().get(url);
    let request = request.header(ACCEPT, "text/event-stream").header(CACHE_CONTROL, "no-store");
    let limit = attempt.client.options().timeouts.connect;
    let response = http::send(request, attempt.token.as_deref(), limit).await?;
    if !http::has_type(&response, "text/event-stream") {
        let what = "the answer is no event stream".to_owned();
        return Err(Loss::Foreign { status: response.status().as_u16(), what });
    }
    Ok(response)
}

/// A stream that ends before its greeting is how an overloaded server says "later" to clients that
/// would never come back after a 503. Its `retry:` may stand alone.
fn ended(attempt: &mut Attempt<'_>, parser: &mut Parser) -> Loss {
    // An event of our own brings out a `retry:` that no event followed.
    if let Ok(events) = parser.feed(b"\n\ndata\n\n") {
        attempt.slot(events.last().and_then(retry));
    }
    if attempt.is_open() { Loss::Ended } else { Loss::Overloaded }
}

fn retry(event: &Event) -> Option<std::time::Duration> {
    event.retry_ms.map(std::time::Duration::from_millis)
}

async fn heard(attempt: &mut Attempt<'_>, event: Event, after: After) -> Result<(), Loss> {
    attempt.slot(retry(&event));
    let at = event.id.as_deref().map(wire::cursor).transpose()?;
    match event.event.as_str() {
        "tidewire.hello" => hello(attempt, &event.data, after).await,
        "tidewire.bye" => {
            let refusal = wire::bye(&event.data)?;
            attempt.slot(refusal.retry_after);
            Err(Loss::Refused(refusal))
        }
        _ if !attempt.is_open() => Err(Loss::Garbled("an event before the greeting".to_owned())),
        "tidewire.gap" => attempt.gap(wire::gap(&event.data)?, None).await,
        "tidewire.live" => attempt.live().await,
        "tidewire.beat" => {
            attempt.beat(at).await?;
            // A beat says that everything up to its place was sent.
            attempt.live().await
        }
        signal if signal.starts_with("tidewire.") => Ok(()),
        _ => attempt.entry(delivery(attempt, event)?).await,
    }
}

async fn hello(attempt: &mut Attempt<'_>, data: &str, after: After) -> Result<(), Loss> {
    let hello = wire::hello(data)?;
    attempt.beats_every(hello.beat);
    attempt.slot(hello.retry);
    attempt.opened(hello.connection).await?;
    let begins_now = after == After::Now && hello.continuity == Continuity::New;
    attempt.continuity(hello.continuity, hello.at).await?;
    if let Some(at) = hello.at {
        attempt.walk.move_all(at);
    }
    if begins_now { attempt.live().await } else { Ok(()) }
}

fn delivery(attempt: &Attempt<'_>, event: Event) -> Result<Delivery, Loss> {
    let topic = match (&event.topic, attempt.walk.topics()) {
        (Some(name), _) => wire::topic(name)?,
        (None, [only]) => only.clone(),
        (None, _) => return Err(Loss::Garbled("an entry without its topic".to_owned())),
    };
    let data = match event.encoding.as_deref() {
        None | Some("json") => Data::Json(event.data.into()),
        Some("text") => Data::Text(event.data.into()),
        Some("base64") => {
            let bytes = BASE64.decode(event.data.as_bytes());
            Data::binary(bytes.map_err(|error| Loss::Garbled(error.to_string()))?)
        }
        Some(other) => return Err(Loss::Garbled(format!("`{other}` as an encoding"))),
    };
    Ok(Delivery {
        topic,
        event: EventType::parse(&event.event).map_err(|error| Loss::Garbled(error.to_string()))?,
        id: event.id.as_deref().map(wire::cursor).transpose()?,
        item: event.item.as_deref().map(wire::item).transpose()?,
        data,
    })
}

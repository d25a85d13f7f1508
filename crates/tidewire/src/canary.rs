//! `GET {prefix}/canary[?gap=MS]`: three events with the head of an event stream, and then the end.
//!
//! Who gets them apart has a path that passes streams on; who gets them at once has one that holds
//! them back until the end. It always ends, so nobody guesses by a timeout.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tidewire_proto::{WireError, sse::canary_frame};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    answer::Refused,
    app::{App, left, restarting},
    handover, query, sse,
};

/// Events of a canary.
const EVENTS: u32 = 3;
/// Time between two, unless the client wants another. Wide enough for what the network itself adds
/// in between, and short enough for nobody to wait.
const GAP_MS_DEFAULT: u64 = 250;
/// A shorter gap drowns in what the network adds.
const GAP_MS_MIN: u64 = 50;
/// A longer gap tells nothing more, and a canary must end soon.
const GAP_MS_MAX: u64 = 2_000;

/// The handler.
pub(crate) async fn canary(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let gap = gap(request.uri().query().unwrap_or_default())?;
    app.admit(request.headers(), None).await?;
    if app.is_leaving() {
        return Err(restarting().into());
    }
    let mut response = sse::response(Body::from_stream(events(app.leaving.subscribe(), gap)));
    // As on a stream, where there is one connection for each.
    if handover::of(&request).is_some() {
        sse::close_after(&mut response);
    }
    Ok(response)
}

fn gap(query: &str) -> Result<Duration, WireError> {
    let mut gap_ms = GAP_MS_DEFAULT;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == "gap" {
            gap_ms = query::number("gap", &value, GAP_MS_MIN, GAP_MS_MAX)?;
        }
    }
    Ok(Duration::from_millis(gap_ms))
}

/// Each event when its time has come. It begins when it is first asked for, and is not asked while
/// the peer takes nothing; the connection's own deadline sees to that one.
fn events(
    leaving: watch::Receiver<bool>,
    gap: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold((1, None, leaving), move |(number, began, mut leaving)| async move {
        if number > EVENTS {
            return None;
        }
        let began = began.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            // A shutdown does not wait for it; the client asks another time.
            () = left(&mut leaving) => return None,
            () = sleep_until(began + gap * (number - 1)) => {}
        }
        Some((Ok(canary_frame(number).into()), (number + 1, Some(began), leaving)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Bed;
    use futures_util::StreamExt;
    use tidewire_proto::Code;

    #[test]
    fn a_gap_is_from_50_to_2000_ms() {
        for (query, expected) in [
            ("", Some(250)),
            ("x=y", Some(250)),
            ("gap=50", Some(50)),
            ("gap=2000", Some(2_000)),
            ("gap=49", None),
            ("gap=2001", None),
            ("gap=", None),
            ("gap=250ms", None),
            ("gap=-250", None),
            ("gap=1e2", None),
        ] {
            let gap = gap(query).map_err(|error| error.code);
            let expected = expected.map(Duration::from_millis).ok_or(Code::BadRequest);
            assert_eq!(gap, expected, "{query}");
        }
    }

    #[test]
    fn three_events_at_their_times_and_then_the_end() {
        let bed = Bed::new();
        bed.runtime.block_on(async {
            let mut events =
                std::pin::pin!(events(bed.app.leaving.subscribe(), Duration::from_millis(100)));
            let started = Instant::now();
            let mut heard = Vec::new();
            while let Some(Ok(event)) = events.next().await {
                heard.push((started.elapsed().as_millis(), event));
            }
            let expected = [(0, 1), (100, 2), (200, 3)].map(|(ms, n)| {
                (ms, Bytes::from(format!("event: tidewire.canary\ndata: {{\"n\":{n}}}\n\n")))
            });
            assert_eq!(heard, expected);
            assert_eq!(started.elapsed().as_millis(), 200, "it ends with the last");
        });
    }

    #[test]
    fn a_shutdown_does_not_wait_for_a_canary() {
        let bed = Bed::new();
        bed.runtime.block_on(async {
            let mut events =
                std::pin::pin!(events(bed.app.leaving.subscribe(), Duration::from_secs(2)));
            assert!(events.next().await.is_some());
            let started = Instant::now();
            bed.app.leave();
            assert!(events.next().await.is_none());
            assert_eq!(started.elapsed(), Duration::ZERO);
        });
    }
}

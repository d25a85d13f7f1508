//! [`Activity`]: how many requests of one connection are under way, and for how long there was none.
//!
//! hyper ends an idle HTTP/1.1 connection by itself; an HTTP/2 connection whose peer answers pings
//! it would keep for ever. Knows nothing of what the requests ask.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{sync::watch, time::timeout};

/// The requests under way on one connection. Clones count together.
#[derive(Clone)]
pub(crate) struct Activity(watch::Sender<usize>);

impl Activity {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Counts a request, until the last byte of its answer is handed over or the answer is dropped.
    pub(crate) fn begin(&self) -> Busy {
        self.0.send_modify(|busy| *busy += 1);
        Busy(self.0.clone())
    }

    /// Waits until nothing was under way for so long.
    pub(crate) async fn ended_for(&self, idle: Duration) {
        let mut busy = self.0.subscribe();
        // The sender is `self`, so waiting does not fail; if it did, the connection would be over.
        while busy.wait_for(|busy| *busy == 0).await.is_ok() {
            if timeout(idle, busy.wait_for(|busy| *busy > 0)).await.is_err() {
                return;
            }
        }
    }
}

/// One request under way.
pub(crate) struct Busy(watch::Sender<usize>);

impl Busy {
    /// Keeps the request under way until the answer's body is done with.
    pub(crate) fn until_sent(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| Body::new(BusyBody { body, _busy: self }))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|busy| *busy -= 1);
    }
}

struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn idle_is_counted_from_the_last_answer() {
        const SECOND: Duration = Duration::from_secs(1);
        let activity = Activity::new();
        let started = Instant::now();
        let requests = async {
            sleep(5 * SECOND).await;
            let first = activity.begin();
            let second = activity.begin();
            drop(first);
            sleep(30 * SECOND).await;
            drop(second);
        };
        let ((), ()) = tokio::join!(activity.ended_for(10 * SECOND), requests);
        assert_eq!(started.elapsed(), 45 * SECOND);
    }
}

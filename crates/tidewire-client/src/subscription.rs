//! [`Subscription`]: what a subscriber holds. Items come in; the connection is somebody else's.
//!
//! Invariant: `next` is cancel-safe: an item that was not returned comes next time.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;
use tidewire_proto::{After, Cursor, Topic};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    attempt::{Outlet, Parcel},
    client::Client,
    error::ClientError,
    item::{Item, Rung},
    resume,
};

/// Items that may wait for the subscriber. Beyond it the connection is not read any more.
const ITEMS_MAX: usize = 64;

/// How to subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Where to begin. [`After::Now`] unless said otherwise.
    pub after: After,
    /// On which transport. The server's plan unless said otherwise.
    pub rung: Rung,
}

impl Default for Options {
    fn default() -> Self {
        Self { after: After::Now, rung: Rung::Auto }
    }
}

/// A subscription that connects, and connects again, until it is dropped.
///
/// Also a [`Stream`], which ends after the error that ended the subscription.
#[derive(Debug)]
pub struct Subscription {
    parcels: mpsc::Receiver<Parcel>,
    task: Option<JoinHandle<()>>,
    cursor: Option<Cursor>,
    ended: Option<ClientError>,
    said_ended: bool,
}

impl Subscription {
    pub(crate) fn begin(client: Client, mut topics: Vec<Topic>, options: Options) -> Self {
        let mut seen = std::collections::HashSet::new();
        topics.retain(|topic| seen.insert(topic.clone()));
        let (sender, parcels) = mpsc::channel(ITEMS_MAX);
        let ended = topics.is_empty().then_some(ClientError::NoTopic);
        let task = ended
            .is_none()
            .then(|| tokio::spawn(resume::run(client, topics, options, Outlet(sender))));
        let cursor = match options.after {
            After::Cursor(cursor) => Some(cursor),
            After::Now | After::Start => None,
        };
        Self { parcels, task, cursor, ended, said_ended: false }
    }

    /// Waits for the next item. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError`] when the subscription has ended for good; the same again from then on.
    pub async fn next(&mut self) -> Result<Item, ClientError> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// The place that the items taken so far have reached: everything up to it was yielded. Store it
    /// with what you made of the items, and give it as [`Options::after`] to go on from here, on any
    /// transport. Beats move it too, so it is often newer than the last entry's `id`.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Item, ClientError>> {
        loop {
            if let Some(ended) = &self.ended {
                return Poll::Ready(Err(ended.clone()));
            }
            let Some(parcel) = std::task::ready!(self.parcels.poll_recv(context)) else {
                self.ended = Some(ClientError::Gone);
                continue;
            };
            self.cursor = parcel.at.or(self.cursor);
            match parcel.item {
                Some(Ok(item)) => return Poll::Ready(Ok(item)),
                Some(Err(error)) => self.ended = Some(error),
                None => {}
            }
        }
    }
}

impl Stream for Subscription {
    type Item = Result<Item, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.said_ended {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(self.poll(context));
        self.said_ended = item.is_err();
        Poll::Ready(Some(item))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

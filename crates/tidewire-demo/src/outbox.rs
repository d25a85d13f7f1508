//! The drain: what transactions have put into the outbox goes to Tidewire's hub, in that order, and is
//! then taken out.
//!
//! Each event goes with an idempotency key made of the database's own name and the event's number. If
//! the process ends before an event is published, the next one finds it in the outbox; if it ends
//! after that and before the event is taken out, the next one publishes it again, and the log knows
//! the key. So nothing is lost and nothing comes twice, as long as the server is back within the
//! window of keys, which begins anew with a start.
//!
//! Knows no task and no HTTP. Invariant: one drain at a time.

use std::time::Duration;

use tidewire::{
    Data, EventType, Hub, Item, Key, Message, PublishError, Topic, tidewire_core::log::AppendError,
};

use crate::{
    failure::Failure,
    store::{Event, META, OUTBOX, Rows, Store},
};

/// Events in one batch to the log.
const BATCH_MAX: usize = 100;
/// Rest after the log, or the database, could take no more.
const REST: Duration = Duration::from_millis(250);

/// Publishes for as long as this is waited for, or until the log is closed.
pub(crate) async fn drain(store: Store, hub: Hub) {
    loop {
        match drain_once(&store, &hub).await {
            Ok(0) => store.committed().await,
            Ok(_) => {}
            Err(Stopped::Closed) => return,
            Err(Stopped::Later(why)) => {
                tracing::warn!(%why, "Workboard's events wait in its outbox");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Why the drain stops.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The log is closed: the next start goes on.
    Closed,
    /// It is worth another try.
    Later(String),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Later(failure.to_string())
    }
}

/// Publishes one batch of what waits, and takes it out. Says how many those were.
pub(crate) async fn drain_once(store: &Store, hub: &Hub) -> Result<usize, Stopped> {
    let (name, waiting) = store.read(waiting).await?;
    for (key, event) in &waiting {
        let message = message(&name, key, event).map_err(Stopped::Later);
        publish(hub, message?).await?;
    }
    let count = waiting.len();
    if count > 0 {
        take_out(store, waiting.into_iter().map(|(key, _)| key).collect()).await?;
    }
    Ok(count)
}

/// The oldest events that wait, with their keys, and the name of the database.
fn waiting(rows: &impl Rows) -> Result<(String, Vec<(String, Event)>), Failure> {
    let name = rows.row(META, "name")?.unwrap_or_default();
    let rows = rows.bytes_under(OUTBOX, "")?.into_iter().take(BATCH_MAX);
    let events = rows.map(|(key, bytes)| Ok((key, serde_json::from_slice(&bytes)?)));
    Ok((name, events.collect::<Result<_, serde_json::Error>>()?))
}

async fn take_out(store: &Store, keys: Vec<String>) -> Result<(), Failure> {
    let take = move |change: &crate::store::Change| {
        keys.iter().try_for_each(|key| change.remove(OUTBOX, key))
    };
    store.write(take).await
}

async fn publish(hub: &Hub, message: Message) -> Result<(), Stopped> {
    let topic = message.topic.clone();
    match hub.publish(message).await {
        Ok(_) => Ok(()),
        Err(PublishError::Append(AppendError::Closed)) => Err(Stopped::Closed),
        // A config without this feature: nobody can hear of it, now or later.
        Err(PublishError::UnknownFeature(unknown)) => {
            tracing::warn!(%topic, %unknown, "an event of Workboard is passed over");
            Ok(())
        }
        Err(error) => Err(Stopped::Later(error.to_string())),
    }
}

fn message(name: &str, number: &str, event: &Event) -> Result<Message, String> {
    let said = |error: &dyn std::fmt::Display| format!("{event:?} is no message: {error}");
    let key = format!("{name}.{}", number.trim_start_matches('0'));
    let item = event.item.as_deref().map(Item::parse).transpose();
    Ok(Message {
        topic: Topic::parse(&event.topic).map_err(|error| said(&error))?,
        event: EventType::parse(&event.event).map_err(|error| said(&error))?,
        data: Data::json(event.data.to_string()).map_err(|error| said(&error))?,
        key: Some(Key::parse(&key).map_err(|error| said(&error))?),
        item: item.map_err(|error| said(&error))?,
    })
}

#[cfg(test)]
mod tests;

//! What Workboard hears in the chat: who is called there gets a notification.
//!
//! The chat goes from client to client, past this app; but an app can subscribe as any client does. The
//! place up to which it has heard is stored in the transaction that puts the notifications into the
//! outbox, so each call is told once, whatever ends in between.
//!
//! Knows no HTTP. What a message says is its sender's word: `tidewire dev` asks nobody for proof.

use std::sync::Arc;

use serde::Deserialize;
use tidewire::{
    After, Cursor, Filter, Hub, OpenGate, Peer, Topic, WireError,
    tidewire_core::{framed::Framed, log::ReadError},
};

use crate::{
    failure::Failure,
    mention::mentioned,
    model::{Board, Person},
    store::{BOARDS, META, PEOPLE, Rows, Store},
    tasks::{self, Where},
};

/// What a page publishes in a chat.
#[derive(Debug, Deserialize)]
struct Said {
    by: String,
    text: String,
}

/// Why nothing more is heard.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error(transparent)]
    Store(#[from] Failure),
    #[error(transparent)]
    Refused(#[from] WireError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Listens for as long as this is waited for.
pub(crate) async fn listen(store: Store, hub: Hub) {
    if let Err(error) = listen_on(&store, &hub).await {
        tracing::warn!(%error, "Workboard hears no more of the chat");
    }
}

async fn listen_on(store: &Store, hub: &Hub) -> Result<(), Deaf> {
    let (boards, heard) = store
        .read(|rows| Ok((rows.rows::<Board>(BOARDS)?, rows.row::<String>(META, "heard")?)))
        .await?;
    let topics = boards.iter().filter_map(|board| Topic::parse(&format!("chat/{}", board.id)).ok());
    let Some(filter) = Filter::new(topics) else { return Ok(()) };
    let heard = heard.and_then(|heard| Cursor::parse(&heard).ok());
    let after = match heard {
        Some(cursor) => After::Cursor(cursor),
        // The first time. From here on a restart finds where it was.
        None => {
            let newest = hub.newest();
            remember(store, newest).await?;
            After::Cursor(newest)
        }
    };
    let mut session = hub.session(Arc::new(OpenGate), Arc::new(Peer::anybody()));
    session.subscribe(&filter, after).await?;
    loop {
        for framed in session.next().await?.entries {
            hear(store, &framed).await?;
        }
    }
}

async fn remember(store: &Store, cursor: Cursor) -> Result<(), Failure> {
    store.write(move |change| change.put(META, "heard", &cursor.to_string())).await
}

/// One message: nothing is stored of those that call nobody, because to hear them again is no harm.
async fn hear(store: &Store, framed: &Framed) -> Result<(), Failure> {
    let entry = framed.entry();
    let Some(said) = entry.data.as_text().and_then(|text| serde_json::from_str::<Said>(text).ok())
    else {
        return Ok(());
    };
    let board = entry.topic.as_str().split('/').nth(1).unwrap_or_default().to_owned();
    let heard = framed.id();
    if !said.text.contains('@') {
        return Ok(());
    }
    store
        .write(move |change| {
            let people: Vec<Person> = change.rows(PEOPLE)?;
            let by = people.iter().find(|person| person.id == said.by);
            let (Some(by), false) = (by, mentioned(&said.text, &people).is_empty()) else {
                return Ok(());
            };
            tasks::call(change, by, &said.text, "", &Where::chat(&board))?;
            heard.map_or(Ok(()), |heard| change.put(META, "heard", &heard.to_string()))
        })
        .await
}

//! How a room finds out what is there already: the newest base, and the updates after it.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use tidewire_core::{Filter, Hub, OpenGate, Peer, Session};
use tidewire_proto::{After, Code, Continuity, Data, Entry, Gap, Sequence, Topic, WireError};

use crate::{
    base::Base,
    document::{Document, Unapplied},
    room::{Tally, UPDATE},
};

/// Updates that the library cannot bear, and that are passed over; with more of them a document is
/// given up. Each costs one more reading of the document.
const PASSED_OVER_MAX: usize = 16;

/// A document as it is now, and who hears what comes next.
pub(crate) struct Loaded {
    pub(crate) session: Session,
    pub(crate) document: Document,
    pub(crate) through: Sequence,
    pub(crate) since_base: Tally,
    /// Updates were passed over: with a base nobody will see them again.
    pub(crate) passed_over: bool,
}

/// Reads a document.
///
/// # Errors
/// `internal` when the log cannot be read, or too much of it not be borne.
pub(crate) async fn load(hub: &Hub, topic: &Topic) -> Result<Loaded, WireError> {
    let mut passed_over = HashSet::new();
    loop {
        match attempt(hub, topic, &passed_over).await? {
            Ok(loaded) => return Ok(loaded),
            Err(sequence) => {
                tracing::error!(%topic, place = sequence.0, "an update cannot be borne and is passed over");
                passed_over.insert(sequence);
            }
        }
        if passed_over.len() > PASSED_OVER_MAX {
            let message = "too many updates of the document cannot be borne";
            return Err(WireError::new(Code::Internal, message));
        }
    }
}

/// Reads a document without some of its updates. The inner error is an update that cannot be borne.
async fn attempt(
    hub: &Hub,
    topic: &Topic,
    passed_over: &HashSet<Sequence>,
) -> Result<Result<Loaded, Sequence>, WireError> {
    let (mut document, base) = newest_base(hub, topic).await?;
    let mut through = base.as_ref().map_or(Sequence::ZERO, |base| base.through);
    let base_bytes = base.map_or(0, |base| base.update.len());
    let mut since_base = Tally { base_bytes, ..Tally::default() };
    let after = match through {
        Sequence::ZERO => After::Start,
        place => After::Cursor(hub.cursor_at(place)),
    };
    // The server's own reader: who may read the document is asked at the door.
    let mut session = hub.session(Arc::new(OpenGate), Arc::new(Peer::anybody()));
    let filter = Filter::from(topic.clone());
    for begun in session.subscribe_unasked(&filter, after).await? {
        if let Continuity::Gap(gap) = begun.continuity {
            return Err(torn(gap));
        }
    }
    loop {
        let news = session.next().await?;
        if let Some((_, gap)) = news.gap {
            return Err(torn(gap));
        }
        for entry in news.entries.iter().map(|framed| framed.entry()) {
            through = entry.sequence;
            let Some(update) = update_of(entry) else { continue };
            since_base.count(update);
            if passed_over.contains(&entry.sequence) {
                continue;
            }
            match document.apply(update) {
                Ok(()) => {}
                Err(Unapplied::NoUpdate) => warn_no_update(entry),
                Err(Unapplied::Broken) => return Ok(Err(entry.sequence)),
            }
        }
        if !news.live.is_empty() {
            break;
        }
        // A long document must not keep others from their turn.
        tokio::task::yield_now().await;
    }
    if let Some(awareness) = topic.awareness() {
        session.subscribe_unasked(&Filter::from(awareness), After::Now).await?;
    }
    let passed_over = !passed_over.is_empty();
    Ok(Ok(Loaded { session, document, through, since_base, passed_over }))
}

async fn newest_base(hub: &Hub, topic: &Topic) -> Result<(Document, Option<Base>), WireError> {
    let mut document = Document::new();
    let Some(entry) = hub.newest_base(topic).await? else { return Ok((document, None)) };
    let base = Base::decode(entry.data.bytes()).filter(|base| base.through < entry.sequence);
    if let Some(base) = base
        && document.apply(&base.update).is_ok()
    {
        return Ok((document, Some(base)));
    }
    tracing::warn!(%topic, "the base of a document cannot be read: the document is read itself");
    Ok((Document::new(), None))
}

/// The update that an entry is. Something else may stand in the topic from before it was a document's.
pub(crate) fn update_of(entry: &Entry) -> Option<&Bytes> {
    match &entry.data {
        Data::Binary(bytes) if entry.event.as_str() == UPDATE => Some(bytes),
        _ => None,
    }
}

pub(crate) fn warn_no_update(entry: &Entry) {
    let (topic, place) = (&entry.topic, entry.sequence.0);
    tracing::warn!(%topic, place, "an entry of a document is no update, and is passed over");
}

/// A part of the document is lost: what is left of it would not be the document.
pub(crate) fn torn(gap: Gap) -> WireError {
    let message = format!("a part of the document is no longer in the log ({:?})", gap.reason);
    WireError::new(Code::Internal, message)
}

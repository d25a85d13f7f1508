//! Where a webhook stands: an entry of `~tidewire/webhooks/NAME`, the newest of which counts.
//!
//! Invariant: a place is kept only after everything up to there was told.

use serde::{Deserialize, Serialize};
use tidewire_core::{Bounds, Filter, Hub, Log, PageLimit, ReadError};
use tidewire_proto::{Cursor, Data, EventType, Gap, GapReason, Lineage, Message, Sequence, Topic};

use super::batch::gap;

/// A place as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    cursor: String,
}

/// Where a webhook goes on.
pub(super) struct Begun {
    pub(super) at: Sequence,
    /// What is lost before that.
    pub(super) gap: Option<Gap>,
    /// It has never stood anywhere before.
    pub(super) is_new: bool,
}

/// The topic of a webhook's places.
pub(super) fn topic(name: &str) -> Topic {
    // Names of webhooks are segments.
    Topic::parse(&format!("~tidewire/webhooks/{name}")).expect("a webhook's name is a segment")
}

/// Where this webhook goes on: at its place, or, if it is new, with what comes now.
pub(super) async fn begin(log: &dyn Log, topic: &Topic) -> Result<Begun, ReadError> {
    let one = PageLimit { entries: 1, bytes: usize::MAX };
    let page = log.read_back(&Filter::from(topic.clone()), None, one).await?;
    let kept = page.entries.last().and_then(|entry| {
        let kept: Kept = serde_json::from_slice(entry.data.bytes()).ok()?;
        Cursor::parse(&kept.cursor).ok()
    });
    let bounds = log.bounds();
    let Some(cursor) = kept else {
        return Ok(Begun { at: bounds.newest, gap: None, is_new: true });
    };
    let (at, reason) = resume(cursor, &bounds);
    Ok(Begun { at, gap: reason.map(|reason| gap(log, reason, at)), is_new: false })
}

/// The same rule as for any cursor.
fn resume(cursor: Cursor, bounds: &Bounds) -> (Sequence, Option<GapReason>) {
    match bounds.lineage.check(cursor, bounds.newest) {
        Ok(()) => (cursor.sequence, None),
        Err(GapReason::Diverged) => {
            let ended = bounds.lineage.ended(cursor.epoch).unwrap_or(bounds.oldest);
            (ended.min(bounds.newest), Some(GapReason::Diverged))
        }
        Err(reason) => (bounds.oldest, Some(reason)),
    }
}

/// Keeps a place. What goes wrong is only logged: the webhook goes on, and after a restart some of it
/// is told again.
pub(super) async fn keep(hub: &Hub, topic: &Topic, lineage: &Lineage, at: Sequence) -> bool {
    let kept = Kept { cursor: lineage.cursor_at(at).to_string() };
    let json = serde_json::to_vec(&kept).unwrap_or_default();
    let (Ok(event), Ok(data)) = (EventType::parse("cursor"), Data::json(json)) else {
        return false;
    };
    let message = Message { topic: topic.clone(), event, data, key: None, item: None };
    match hub.publish(message).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%topic, %error, "the place of a webhook could not be kept");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewire_proto::Epoch;

    use super::*;

    #[test]
    fn a_place_is_judged_as_any_cursor_is() {
        let (first, second, foreign) = (Epoch(1), Epoch(2), Epoch(3));
        let mut lineage = Lineage::new(first);
        lineage.begin(second, Sequence(70));
        let bounds =
            Bounds { lineage: Arc::new(lineage), oldest: Sequence(10), newest: Sequence(90) };
        for (epoch, sequence, at, reason) in [
            (first, 60, 60, None),
            (second, 80, 80, None),
            (first, 75, 70, Some(GapReason::Diverged)),
            (foreign, 75, 10, Some(GapReason::Foreign)),
            (second, 95, 10, Some(GapReason::Ahead)),
        ] {
            let cursor = Cursor { epoch, sequence: Sequence(sequence) };
            assert_eq!(resume(cursor, &bounds), (Sequence(at), reason), "{cursor}");
        }
    }
}

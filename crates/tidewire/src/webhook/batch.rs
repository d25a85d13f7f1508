//! [`Batch`]: what a webhook is told in one request, in log order.
//!
//! Pure. Which entries are told, and what their bytes are, is decided here.
//!
//! Invariant: the same walk from the same place gives the same events with the same ids, so whoever
//! is told twice can tell.

use serde::Deserialize;
use serde_json::json;
use tidewire_core::log::Log;
use tidewire_proto::{Entry, Gap, GapReason, Lineage, Sequence, Topic, json};

use super::occupancy;
use crate::config::{Happening, WebhookSettings};

/// What is told in one request.
#[derive(Default)]
pub(super) struct Batch {
    /// Events as JSON, in log order.
    events: Vec<String>,
    bytes: usize,
    first: Option<Sequence>,
    last: Sequence,
    entries: u64,
}

/// An entry of `~tidewire/occupancy`.
#[derive(Deserialize)]
struct Turn {
    topic: String,
}

/// What this entry is for this webhook, if it is anything, and of which topic.
pub(super) fn meant(settings: &WebhookSettings, entry: &Entry) -> Option<(Happening, Topic)> {
    let (happening, topic) = if entry.topic.as_str() == occupancy::TOPIC {
        let happening = Happening::parse(entry.event.as_str())?;
        let turn: Turn = serde_json::from_slice(entry.data.bytes()).ok()?;
        (happening, Topic::parse(&turn.topic).ok()?)
    } else if entry.topic.is_reserved() {
        return None;
    } else {
        (Happening::Published, entry.topic.clone())
    };
    let is_covered = || settings.topics.iter().any(|pattern| pattern.covers(&topic, None));
    (settings.hears(happening) && is_covered()).then_some((happening, topic))
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Does something of so many bytes fit beside what is there?
    pub(super) fn has_room(&self, bytes: usize, (entries_max, bytes_max): (usize, usize)) -> bool {
        self.is_empty()
            || (self.events.len() < entries_max && self.bytes.saturating_add(bytes) <= bytes_max)
    }

    /// Tells of an entry.
    pub(super) fn push(
        &mut self,
        entry: &Entry,
        (happening, topic): &(Happening, Topic),
        lineage: &Lineage,
    ) {
        let id = lineage.cursor_at(entry.sequence);
        let kind = happening.as_str();
        let event = if *happening == Happening::Published {
            let mut entry_json = String::new();
            json::push_entry(&mut entry_json, entry, Some(id));
            // The entry as readers see it, with what happened before it.
            let rest = entry_json.strip_prefix('{').unwrap_or_default();
            format!("{{\"type\":\"{kind}\",\"at_ms\":{},{rest}", entry.at_ms)
        } else {
            let (topic, id) = (topic.as_str(), id.to_string());
            json!({"type": kind, "at_ms": entry.at_ms, "topic": topic, "id": id}).to_string()
        };
        self.add(event, entry.sequence);
        self.bytes += entry.data.bytes().len();
        self.entries += 1;
    }

    /// Tells that something before `next` may be missing.
    pub(super) fn push_gap(&mut self, gap: &Gap, next: Sequence) {
        let mut event = String::from("{\"type\":\"gap\",\"gap\":");
        json::push_gap(&mut event, gap, None);
        event.push('}');
        self.add(event, next);
    }

    fn add(&mut self, event: String, at: Sequence) {
        self.first.get_or_insert(at);
        self.last = at;
        self.events.push(event);
    }

    /// Entries that are told.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// What this request is called: the same for the same events.
    pub(super) fn id(&self, name: &str, lineage: &Lineage) -> String {
        let first = lineage.cursor_at(self.first.unwrap_or(self.last));
        format!("{name}:{first}:{}", lineage.cursor_at(self.last))
    }

    /// The body.
    pub(super) fn json(&self, name: &str) -> String {
        format!("{{\"webhook\":\"{name}\",\"events\":[{}]}}", self.events.join(","))
    }
}

/// The gap that is told when retention took something between two places.
pub(super) fn gap(log: &dyn Log, reason: GapReason, oldest: Sequence) -> Gap {
    let bounds = log.bounds();
    Gap {
        reason,
        oldest: bounds.lineage.cursor_at(oldest),
        newest: bounds.lineage.cursor_at(bounds.newest),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;
    use tidewire_proto::{Data, Epoch, EventType, Pattern};
    use url::Url;

    use super::*;
    use crate::config::Secret;

    fn settings(events: &[Happening], topic: &str) -> WebhookSettings {
        WebhookSettings {
            name: "hook".to_owned(),
            url: Url::parse("http://127.0.0.1:1/").unwrap(),
            secret: Secret::new("s".repeat(32)),
            events: events.to_vec(),
            topics: vec![Pattern::parse(topic).unwrap()],
            timeout: Duration::from_secs(1),
        }
    }

    fn entry(sequence: u64, topic: &str, event: &str, data: &str) -> Entry {
        Entry {
            sequence: Sequence(sequence),
            topic: Topic::parse(topic).unwrap(),
            event: EventType::parse(event).unwrap(),
            data: Data::json(data.to_owned()).unwrap(),
            at_ms: 7,
            item: None,
        }
    }

    #[test]
    fn a_webhook_hears_what_it_asked_for_and_never_the_servers_own() {
        let all = settings(&Happening::ALL, "chat/**");
        let turn = |topic: &str| format!("{{\"topic\":\"{topic}\"}}");
        for (topic, event, data, heard) in [
            ("chat/a", "message", "1".to_owned(), Some((Happening::Published, "chat/a"))),
            ("board/a", "message", "1".to_owned(), None),
            ("chat/a/~base", "message", "1".to_owned(), None),
            (occupancy::TOPIC, "occupied", turn("chat/a"), Some((Happening::Occupied, "chat/a"))),
            (occupancy::TOPIC, "vacated", turn("chat/a"), Some((Happening::Vacated, "chat/a"))),
            (occupancy::TOPIC, "vacated", turn("board/a"), None),
            (occupancy::TOPIC, "else", turn("chat/a"), None),
            ("~tidewire/webhooks/hook", "cursor", "{}".to_owned(), None),
        ] {
            let heard = heard.map(|(kind, topic)| (kind, Topic::parse(topic).unwrap()));
            assert_eq!(meant(&all, &entry(1, topic, event, &data)), heard, "{topic} {event}");
        }
        let published = settings(&[Happening::Published], "**");
        let occupied = entry(1, occupancy::TOPIC, "occupied", &turn("chat/a"));
        assert_eq!(meant(&published, &occupied), None);
        assert_eq!(meant(&published, &entry(1, "~tidewire/revocations", "revoke", "{}")), None);
    }

    #[test]
    fn a_batch_is_json_with_an_id_that_says_what_is_in_it() {
        let lineage = Lineage::new(Epoch(5));
        let mut batch = Batch::default();
        assert!(batch.has_room(usize::MAX, (1, 1)), "one entry always fits");
        let kind = (Happening::Published, Topic::parse("chat/a").unwrap());
        batch.push(&entry(3, "chat/a", "task", "{\"x\":1}"), &kind, &lineage);
        assert!(!batch.has_room(1, (1, 99)) && !batch.has_room(93, (9, 99)));
        let kind = (Happening::Vacated, Topic::parse("chat/b").unwrap());
        batch.push(&entry(4, occupancy::TOPIC, "vacated", "{}"), &kind, &lineage);
        let (three, four) = (lineage.cursor_at(Sequence(3)), lineage.cursor_at(Sequence(4)));
        assert_eq!(batch.id("hook", &lineage), format!("hook:{three}:{four}"));
        let body: Value = serde_json::from_str(&batch.json("hook")).unwrap();
        assert_eq!(
            body,
            json!({"webhook": "hook", "events": [
                {"type": "published", "at_ms": 7, "topic": "chat/a", "event": "task",
                 "id": three.to_string(), "data": {"x": 1}},
                {"type": "vacated", "at_ms": 7, "topic": "chat/b", "id": four.to_string()},
            ]})
        );
    }
}

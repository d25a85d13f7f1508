//! Idempotency keys within their window: what makes a retry safe. Pure; the log that owns a
//! [`KeyWindow`] stores keys beside its entries and fills the window again when it opens.
//!
//! Invariant: a key is never forgotten before its window has passed on the monotonic clock, so a
//! wall clock that jumps forgets nothing.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tidewire_proto::{Data, Message, Sequence, Topic};

/// What was stored under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// Where the message stands.
    pub sequence: Sequence,
    /// What it said: see [`body_hash`].
    pub body: [u8; 16],
}

/// What a key says about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen: store it.
    New,
    /// The same message was stored there.
    Duplicate(Sequence),
    /// Another message was stored under this key.
    Conflict,
    /// No room for one more key.
    Full,
}

/// The keys of the last window. Times are measured from any fixed moment of a monotonic clock.
#[derive(Debug)]
pub struct KeyWindow {
    window: Duration,
    keys_max: usize,
    keys: HashMap<[u8; 16], Remembered>,
    // In the order of storing, so the oldest are in front.
    ages: VecDeque<(Duration, [u8; 16])>,
}

impl KeyWindow {
    /// An empty window.
    #[must_use]
    pub fn new(window: Duration, keys_max: usize) -> Self {
        Self { window, keys_max, keys: HashMap::new(), ages: VecDeque::new() }
    }

    /// Looks a message's key up at the time `now`. A message without a key is always new.
    pub fn verdict(&mut self, message: &Message, now: Duration) -> Verdict {
        let Some(name) = key_hash(message) else { return Verdict::New };
        self.forget(now);
        match self.keys.get(&name) {
            Some(seen) if seen.body == body_hash(message) => Verdict::Duplicate(seen.sequence),
            Some(_) => Verdict::Conflict,
            None if self.keys.len() >= self.keys_max => Verdict::Full,
            None => Verdict::New,
        }
    }

    /// Remembers the message's key, if it has one, as stored at `sequence` at the time `now`.
    pub fn remember(&mut self, message: &Message, sequence: Sequence, now: Duration) {
        if let Some(name) = key_hash(message) {
            self.restore(name, Remembered { sequence, body: body_hash(message) }, now);
        }
    }

    /// Puts a key back that was read from where the log keeps it.
    pub fn restore(&mut self, name: [u8; 16], seen: Remembered, now: Duration) {
        self.keys.insert(name, seen);
        self.ages.push_back((now, name));
    }

    /// Takes back what [`remember`](Self::remember) said of a batch that was not stored.
    pub fn take_back(&mut self, message: &Message) {
        if let Some(name) = key_hash(message) {
            self.keys.remove(&name);
            // It is among the newest: found at once from the back, however many are remembered.
            if let Some(at) = self.ages.iter().rposition(|(_, aged)| *aged == name) {
                self.ages.remove(at);
            }
        }
    }

    fn forget(&mut self, now: Duration) {
        while let Some((stored, name)) = self.ages.front() {
            if now.saturating_sub(*stored) <= self.window {
                break;
            }
            self.keys.remove(name);
            self.ages.pop_front();
        }
    }
}

/// The name under which a message's key is remembered: a key belongs to its topic.
#[must_use]
pub fn key_hash(message: &Message) -> Option<[u8; 16]> {
    let key = message.key.as_ref()?;
    Some(key_hash_of(&message.topic, key.as_str()))
}

fn key_hash_of(topic: &Topic, key: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    // A topic has no space and a key has none either, so the two cannot run into each other.
    hasher.update(topic.as_str().as_bytes()).update(b" ").update(key.as_bytes());
    short(&hasher)
}

/// What a message says, but for its key: event type, item, kind of data and data.
#[must_use]
pub fn body_hash(message: &Message) -> [u8; 16] {
    let kind: &[u8] = match message.data {
        Data::Json(_) => b" json ",
        Data::Text(_) => b" text ",
        Data::Binary(_) => b" binary ",
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(message.event.as_str().as_bytes());
    if let Some(item) = &message.item {
        // No event type has a space, so this is never part of one.
        hasher.update(b" of ").update(item.as_str().as_bytes());
    }
    hasher.update(kind).update(message.data.bytes());
    short(&hasher)
}

fn short(hasher: &blake3::Hasher) -> [u8; 16] {
    let mut out = [0; 16];
    hasher.finalize_xof().fill(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_proto::{EventType, Key};

    fn message(topic: &str, key: &str, body: &'static str) -> Message {
        Message {
            topic: Topic::parse(topic).unwrap(),
            event: EventType::message(),
            data: Data::text(body).unwrap(),
            key: Some(Key::parse(key).unwrap()),
            item: None,
        }
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_key_lives_for_its_window_and_belongs_to_its_topic() {
        let mut window = KeyWindow::new(seconds(600), 10);
        let first = message("chat/a", "k", "hi");
        assert_eq!(window.verdict(&first, seconds(0)), Verdict::New);
        window.remember(&first, Sequence(7), seconds(0));
        assert_eq!(window.verdict(&first, seconds(600)), Verdict::Duplicate(Sequence(7)));
        assert_eq!(window.verdict(&message("chat/a", "k", "ho"), seconds(600)), Verdict::Conflict);
        assert_eq!(window.verdict(&message("chat/b", "k", "ho"), seconds(600)), Verdict::New);
        assert_eq!(window.verdict(&first, seconds(601)), Verdict::New);
    }

    #[test]
    fn a_full_window_refuses_new_keys_and_forgets_none() {
        let mut window = KeyWindow::new(seconds(600), 1);
        window.remember(&message("a", "1", "x"), Sequence(1), seconds(0));
        assert_eq!(window.verdict(&message("a", "2", "x"), seconds(1)), Verdict::Full);
        assert_eq!(
            window.verdict(&message("a", "1", "x"), seconds(1)),
            Verdict::Duplicate(Sequence(1))
        );
        let mut keyless = message("a", "2", "x");
        keyless.key = None;
        assert_eq!(window.verdict(&keyless, seconds(1)), Verdict::New);
        assert_eq!(window.verdict(&message("a", "2", "x"), seconds(601)), Verdict::New);
    }

    #[test]
    fn a_batch_that_was_not_stored_leaves_no_key() {
        let mut window = KeyWindow::new(seconds(600), 1);
        let first = message("a", "1", "x");
        window.remember(&first, Sequence(1), seconds(0));
        window.take_back(&first);
        assert_eq!(window.verdict(&first, seconds(0)), Verdict::New);
    }
}

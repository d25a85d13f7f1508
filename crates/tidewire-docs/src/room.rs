//! [`Room`]: a document that somebody has open. It follows the log and takes in what comes; those who
//! are in it are told that there is something new, and fetch it from where they stand.
//!
//! A reader that fell behind the newest updates is given the difference to what it had: the state of
//! a document is its own summary. So nobody has a queue.
//!
//! Invariant: what is in the document was stored before, and came through the log.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tidewire_core::{Framed, Hub, Limits};
use tidewire_proto::{
    Code, Data, EventType, Key, Message, Sequence, Topic, WireError, topic::AWARENESS,
};
use tokio::{
    sync::watch,
    time::{Instant, interval},
};

use crate::{
    awareness::{Awareness, Verdict},
    base::Base,
    document::{Broken, Document, Unapplied},
    loading::{self, Loaded},
    outline::Outline,
    wire::{self, State},
};

/// The type of an update's entry.
pub(crate) const UPDATE: &str = "update";
/// How often the room looks for clients that are not heard any more (y-protocols do, as often).
const EXPIRE_INTERVAL: Duration = Duration::from_secs(3);
/// So many updates above the newest base, or so many bytes, ask for a new one …
const BASE_UPDATES: usize = 200;
const BASE_BYTES: usize = 64 * 1024;
/// … but what they take on disk is this part of what the base takes, at least: bases together take no
/// more than some times the updates.
const BASE_PART: usize = 4;
/// What an update takes beside its bytes, on disk and in reading.
const UPDATE_OVERHEAD_BYTES: usize = 64;

/// An open document.
pub(crate) struct Room {
    hub: Hub,
    topic: Topic,
    inside: Mutex<Inside>,
    changed: watch::Sender<()>,
}

struct Inside {
    stage: Stage,
    document: Document,
    through: Sequence,
    recent: Recent,
    awareness: Awareness,
    // Which visit said a client's state last.
    speakers: HashMap<u64, u64>,
    visits: u64,
    since_base: Tally,
    makes_base: bool,
    // Of updates that were let in and have not come through the log yet, nor been refused by it.
    bytes_on_their_way: usize,
    // Of those, the ones whose place is known.
    coming: Vec<(Sequence, usize)>,
}

impl Inside {
    fn forget_those_that_came(&mut self) {
        let Self { coming, through, bytes_on_their_way, .. } = self;
        for (_, bytes) in coming.extract_if(.., |(place, _)| *place <= *through) {
            *bytes_on_their_way = bytes_on_their_way.saturating_sub(bytes);
        }
    }
}

enum Stage {
    Opening,
    Open,
    Ended(WireError),
}

/// What came after the newest base.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) updates: usize,
    pub(crate) bytes: usize,
    pub(crate) base_bytes: usize,
}

impl Tally {
    pub(crate) fn count(&mut self, update: &[u8]) {
        self.updates += 1;
        self.bytes += update.len();
    }

    pub(crate) fn asks_for_base(&self) -> bool {
        let weight = self.bytes + self.updates * UPDATE_OVERHEAD_BYTES;
        (self.updates >= BASE_UPDATES || self.bytes >= BASE_BYTES)
            && weight >= self.base_bytes / BASE_PART
    }
}

/// The newest updates.
#[derive(Default)]
struct Recent {
    updates: VecDeque<Bytes>,
    bytes: usize,
    // How many there were before these.
    before: u64,
}

impl Recent {
    fn end(&self) -> u64 {
        self.before + self.updates.len() as u64
    }

    fn push(&mut self, update: Bytes, limits: &Limits) {
        self.bytes += update.len();
        self.updates.push_back(update);
        let is_over = |have: &Self| {
            have.bytes > limits.tail_bytes_max || have.updates.len() > limits.tail_entries_max
        };
        while self.updates.len() > 1 && is_over(self) {
            let oldest = self.updates.pop_front();
            self.bytes -= oldest.map_or(0, |update| update.len());
            self.before += 1;
        }
    }

    /// Those from a number on, as many as fit; nothing if the first of them is here no more.
    fn from(&self, number: u64, bytes_max: usize) -> Option<Vec<Bytes>> {
        let skipped = usize::try_from(number.checked_sub(self.before)?).ok()?;
        let mut bytes = 0;
        let fits = |(index, update): &(usize, &Bytes)| {
            bytes += update.len();
            *index == 0 || bytes <= bytes_max
        };
        let those = self.updates.iter().skip(skipped).enumerate().take_while(fits);
        Some(those.map(|(_, update)| update.clone()).collect())
    }
}

/// Where a reader stands.
pub(crate) struct Seen {
    /// Of the updates that the room has passed on, the next one.
    next: u64,
    /// What it had for certain, once: a state vector.
    state_vector: Vec<u8>,
}

/// What becomes of an update that a peer sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may be stored.
    New,
    /// There is nothing in it that is not here.
    Known,
    /// The document would be too large.
    TooLarge,
}

/// Follows the log for a room, until the room is dropped or ends.
pub(crate) async fn follow(room: Arc<Room>) {
    let Err(error) = walk(&room).await;
    tracing::error!(topic = %room.topic, %error, "a document is closed");
    room.end(error);
}

async fn walk(room: &Arc<Room>) -> Result<std::convert::Infallible, WireError> {
    let Loaded { mut session, document, through, since_base, passed_over } =
        loading::load(&room.hub, &room.topic).await?;
    room.open(document, through, since_base);
    room.leave_base(passed_over);
    let mut expiring = interval(EXPIRE_INTERVAL);
    loop {
        tokio::select! {
            news = session.next() => {
                let news = news.map_err(WireError::from)?;
                if let Some((_, gap)) = news.gap {
                    return Err(loading::torn(gap));
                }
                room.take(&news.entries)?;
                room.leave_base(false);
            }
            _ = expiring.tick() => room.expire(),
        }
    }
}

impl Room {
    pub(crate) fn new(hub: Hub, topic: Topic) -> Self {
        let awareness = Awareness::new(hub.limits().awareness_states_max);
        let inside = Mutex::new(Inside {
            stage: Stage::Opening,
            document: Document::new(),
            through: Sequence::ZERO,
            recent: Recent::default(),
            awareness,
            speakers: HashMap::new(),
            visits: 0,
            since_base: Tally::default(),
            makes_base: false,
            bytes_on_their_way: 0,
            coming: Vec::new(),
        });
        Self { hub, topic, inside, changed: watch::Sender::new(()) }
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.lock().stage, Stage::Ended(_))
    }

    /// A number for a visit, and how it hears that there is something new.
    pub(crate) fn enter(&self) -> (u64, watch::Receiver<()>) {
        let mut inside = self.lock();
        inside.visits += 1;
        (inside.visits, self.changed.subscribe())
    }

    /// Is it open? An error when it has ended.
    pub(crate) fn is_open(&self) -> Result<bool, WireError> {
        match &self.lock().stage {
            Stage::Opening => Ok(false),
            Stage::Open => Ok(true),
            Stage::Ended(error) => Err(error.clone()),
        }
    }

    /// What the document has, as a state vector.
    pub(crate) fn state_vector(&self) -> Result<Vec<u8>, WireError> {
        self.lock().document.state_vector().map_err(broken)
    }

    /// What a reader has not that has this, and where it stands then. Nothing if that is no state
    /// vector.
    pub(crate) fn sync(&self, state_vector: &[u8]) -> Result<Option<(Vec<u8>, Seen)>, WireError> {
        let mut inside = self.lock();
        let Some(diff) = inside.document.diff(state_vector).map_err(broken)? else {
            return Ok(None);
        };
        let state_vector = inside.document.state_vector().map_err(broken)?;
        Ok(Some((diff, Seen { next: inside.recent.end(), state_vector })))
    }

    /// The next updates for a reader; empty if it has all.
    pub(crate) fn updates(&self, seen: &mut Seen) -> Result<Vec<Bytes>, WireError> {
        let mut inside = self.lock();
        if let Stage::Ended(error) = &inside.stage {
            return Err(error.clone());
        }
        if let Some(updates) = inside.recent.from(seen.next, self.hub.limits().step_bytes_max) {
            seen.next += updates.len() as u64;
            return Ok(updates);
        }
        // It fell behind: from what it had once, in one piece.
        let diff = inside.document.diff(&seen.state_vector).map_err(broken)?.unwrap_or_default();
        seen.state_vector = inside.document.state_vector().map_err(broken)?;
        seen.next = inside.recent.end();
        Ok(vec![diff.into()])
    }

    /// May this update be stored? If so, [`answered`](Self::answered) is to be called.
    pub(crate) fn admit(
        &self,
        update: &[u8],
        outline: &Outline,
        may_be_known: bool,
    ) -> Result<Admission, WireError> {
        let mut inside = self.lock();
        if may_be_known && inside.document.knows(outline).map_err(broken)? {
            return Ok(Admission::Known);
        }
        let most = self.hub.limits().document_bytes_max;
        let Inside { document, bytes_on_their_way, .. } = &mut *inside;
        let most = most.saturating_sub(*bytes_on_their_way);
        let fits = document.fits(most.saturating_sub(update.len())).map_err(broken)?
            || document.fits_with(update, most).map_err(broken)?;
        if !fits {
            return Ok(Admission::TooLarge);
        }
        *bytes_on_their_way += update.len();
        Ok(Admission::New)
    }

    /// An update of so many bytes has a place, or will have none.
    pub(crate) fn answered(&self, bytes: usize, place: Option<Sequence>) {
        let mut inside = self.lock();
        match place {
            // It counts until it is in the document.
            Some(place) if place > inside.through => inside.coming.push((place, bytes)),
            _ => inside.bytes_on_their_way = inside.bytes_on_their_way.saturating_sub(bytes),
        }
    }

    /// What to think of a state that a visit says?
    pub(crate) fn judge(&self, visit: u64, state: &State) -> Verdict {
        let mut inside = self.lock();
        let verdict = inside.awareness.judge(state);
        if verdict == Verdict::Newer {
            inside.speakers.insert(state.client, visit);
        }
        verdict
    }

    /// What clients said after a version.
    pub(crate) fn states(&self, version: u64) -> (Vec<State>, u64) {
        self.lock().awareness.after(version)
    }

    /// A visit is over: what is to be said in the name of the clients that spoke on it.
    pub(crate) fn leave(&self, visit: u64) -> Vec<Message> {
        let mut inside = self.lock();
        let Inside { awareness, speakers, .. } = &mut *inside;
        let gone: Vec<_> =
            speakers.extract_if(|_, speaker| *speaker == visit).map(|(client, _)| client).collect();
        let null = |client| {
            let state = awareness.of(client)?;
            Some(State { json: Bytes::from_static(b"null"), ..*state })
        };
        let gone: Vec<_> = gone.into_iter().filter_map(null).collect();
        drop(inside);
        gone.iter().filter_map(|state| self.announcement(state)).collect()
    }

    /// A client's state as a message of the passing lane.
    pub(crate) fn announcement(&self, state: &State) -> Option<Message> {
        let item = tidewire_proto::Item::parse(&state.client.to_string()).ok();
        let data = Data::binary(wire::awareness_update(std::slice::from_ref(state)));
        let event = EventType::parse("awareness").ok()?;
        Some(Message { topic: self.topic.awareness()?, event, data, key: None, item })
    }

    fn open(&self, document: Document, through: Sequence, since_base: Tally) {
        let mut inside = self.lock();
        inside.document = document;
        (inside.through, inside.since_base) = (through, since_base);
        inside.stage = Stage::Open;
        drop(inside);
        self.changed.send_replace(());
    }

    fn end(&self, error: WireError) {
        self.lock().stage = Stage::Ended(error);
        self.changed.send_replace(());
    }

    /// Takes in what came through the log.
    fn take(&self, entries: &[Arc<Framed>]) -> Result<(), WireError> {
        let (limits, now) = (self.hub.limits(), Instant::now());
        let mut inside = self.lock();
        for entry in entries.iter().map(|framed| framed.entry()) {
            let bytes = entry.data.bytes();
            if entry.topic.about(AWARENESS).is_some() {
                for state in wire::states(bytes, bytes).unwrap_or_default() {
                    inside.awareness.take(state, now);
                }
                continue;
            }
            inside.through = entry.sequence;
            let Some(update) = loading::update_of(entry) else { continue };
            inside.since_base.count(update);
            match inside.document.apply(update) {
                Ok(()) => inside.recent.push(update.clone(), limits),
                Err(Unapplied::NoUpdate) => loading::warn_no_update(entry),
                Err(Unapplied::Broken) => return Err(broken(Broken)),
            }
        }
        inside.forget_those_that_came();
        drop(inside);
        self.changed.send_replace(());
        Ok(())
    }

    fn expire(&self) {
        let mut inside = self.lock();
        let is_news = inside.awareness.expire(Instant::now());
        let Inside { awareness, speakers, .. } = &mut *inside;
        // Those that were let in and did not come are forgotten with those that have gone.
        speakers.retain(|&client, _| awareness.of(client).is_some());
        drop(inside);
        if is_news {
            self.changed.send_replace(());
        }
    }

    /// Leaves a base if enough has come since the last one, on the side: nobody waits for it.
    fn leave_base(self: &Arc<Self>, must_be: bool) {
        let Some(topic) = self.topic.base() else { return };
        let Some(base) = self.next_base(must_be) else { return };
        let key = Key::parse(&format!("base-{}", base.through.0)).ok();
        let event = EventType::parse("tidewire.base").unwrap_or_else(|_| EventType::message());
        let message = Message { topic, event, data: Data::binary(base.encode()), key, item: None };
        let room = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = room.hub.publish_own(vec![message]).await {
                let topic = &room.topic;
                tracing::warn!(%topic, %error, "no base could be stored: opening takes longer");
            }
            room.lock().makes_base = false;
        });
    }

    fn next_base(&self, must_be: bool) -> Option<Base> {
        let mut inside = self.lock();
        let is_due = must_be || inside.since_base.asks_for_base();
        // What still waits for something is better left as it came.
        if !is_due || inside.makes_base || inside.document.has_missing().unwrap_or(true) {
            return None;
        }
        let update: Bytes = inside.document.whole().ok()?.into();
        inside.since_base = Tally { base_bytes: update.len(), ..Tally::default() };
        inside.makes_base = true;
        Some(Base { through: inside.through, update })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // What may panic half way is fenced in the document.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn broken(_: Broken) -> WireError {
    let message = "the document's library could not bear an update: it is opened again without it";
    WireError::new(Code::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_left_where_it_pays() {
        let tally = |updates, bytes, base_bytes| Tally { updates, bytes, base_bytes };
        for (tally, expected) in [
            (tally(199, 5_000, 0), false),
            (tally(200, 5_000, 0), true),
            (tally(3, 64 * 1024, 0), true),
            // 1 MB of base for some keys pressed would not pay.
            (tally(200, 5_000, 1_000_000), false),
            (tally(3_000, 80_000, 1_000_000), true),
        ] {
            assert_eq!(tally.asks_for_base(), expected, "{tally:?}");
        }
    }

    #[test]
    fn the_newest_updates_are_kept_within_bounds() {
        let limits = Limits { tail_bytes_max: 10, tail_entries_max: 3, ..Limits::default() };
        let mut recent = Recent::default();
        for n in 0..5 {
            recent.push(Bytes::from(vec![n; 4]), &limits);
        }
        assert_eq!((recent.before, recent.updates.len(), recent.bytes), (3, 2, 8));
        assert_eq!(recent.from(2, 100), None);
        assert_eq!(recent.from(3, 100).unwrap().len(), 2);
        assert_eq!(recent.from(3, 5).unwrap().len(), 1);
        assert_eq!(recent.from(5, 100).unwrap().len(), 0);
        recent.push(Bytes::from(vec![9; 100]), &limits);
        assert_eq!(recent.from(5, 1).unwrap().len(), 1, "the newest is there whatever its size");
    }
}

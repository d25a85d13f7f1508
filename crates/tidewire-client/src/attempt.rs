//! [`Attempt`]: one connection's life, and the only way from a rung to the subscriber.
//!
//! A rung tells it what it heard; the attempt keeps the walk, guards the order, passes items on and
//! remembers what the back-off will ask: did it open, was anything heard, which slot was given.
//!
//! Invariant: continuity is yielded before the first entry; a bookmark never runs ahead of an item.

use std::{sync::Arc, time::Duration};

use tidewire_proto::{Cursor, Gap, Topic};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    backoff::Told,
    client::Client,
    error::ClientError,
    item::{Continuity, Delivery, Item, Rung, Status},
    ladder::Move,
    loss::Loss,
    walk::{Step, Walk},
    witness,
};

/// No server beats more seldom than this: one that says so is not waited for that long.
const BEAT_MAX: Duration = Duration::from_secs(600);

/// What goes to the subscriber: an item, and the place that is reached once it is taken.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) item: Option<Result<Item, ClientError>>,
    pub(crate) at: Option<Cursor>,
}

/// The way to the subscriber. Bounded: a slow subscriber makes the rung stop reading.
#[derive(Debug, Clone)]
pub(crate) struct Outlet(pub(crate) mpsc::Sender<Parcel>);

impl Outlet {
    pub(crate) async fn put(&self, item: Item, at: Option<Cursor>) -> Result<(), Loss> {
        self.send(Parcel { item: Some(Ok(item)), at }).await
    }

    pub(crate) async fn send(&self, parcel: Parcel) -> Result<(), Loss> {
        self.0.send(parcel).await.map_err(|_| Loss::Dropped)
    }
}

/// How the path of an event stream is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The stream's name at the server, to ask by.
    pub(crate) name: Arc<str>,
    /// Nothing is known of the path yet: beats come early, and a canary goes out beside.
    pub(crate) early: bool,
}

/// One connection's life.
pub(crate) struct Attempt<'a> {
    pub(crate) client: &'a Client,
    pub(crate) token: Option<Arc<str>>,
    pub(crate) walk: &'a mut Walk,
    pub(crate) rung: Rung,
    /// How the path of an event stream is watched; not at all where the rung was named.
    pub(crate) watched: Option<Watched>,
    /// Did an event stream come through?
    pub(crate) came_through: bool,
    // What the server is told when it has answered.
    moves: &'a mut Vec<Move>,
    out: &'a Outlet,
    opened_at: Option<Instant>,
    heard: bool,
    live: bool,
    slot: Option<Duration>,
    beat: Duration,
    said_gap: Option<Gap>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(
        client: &'a Client,
        token: Option<Arc<str>>,
        walk: &'a mut Walk,
        out: &'a Outlet,
        rung: Rung,
        moves: &'a mut Vec<Move>,
    ) -> Self {
        Self {
            client,
            token,
            walk,
            rung,
            watched: None,
            came_through: false,
            moves,
            out,
            opened_at: None,
            heard: false,
            live: false,
            slot: None,
            beat: Duration::ZERO,
            said_gap: None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.opened_at.is_some()
    }

    /// How long it was open, if it was, and whether anything came after the greeting.
    pub(crate) fn lasted(&self) -> Option<(Duration, bool)> {
        self.opened_at.map(|at| (at.elapsed(), self.heard))
    }

    pub(crate) fn told(&self) -> Option<Told> {
        self.slot.map(Told::Slot)
    }

    pub(crate) fn slot(&mut self, slot: Option<Duration>) {
        self.slot = slot.or(self.slot);
    }

    pub(crate) fn beats_every(&mut self, beat: Duration) {
        self.beat = beat.min(BEAT_MAX);
    }

    /// The longest silence that is still life: two beats, and what a network may add.
    pub(crate) fn silence_max(&self) -> Duration {
        self.beat.saturating_mul(2).saturating_add(self.client.options().timeouts.grace)
    }

    /// The server has answered.
    pub(crate) async fn opened(&mut self, connection: Option<String>) -> Result<(), Loss> {
        self.opened_at = Some(Instant::now());
        for went in self.moves.drain(..) {
            witness::report(self.client, self.token.clone(), &went);
        }
        let connected = Status::Connected { rung: self.rung, connection };
        self.out.put(Item::Status(connected), None).await
    }

    /// What is known of the seam, and where the stream begins.
    pub(crate) async fn continuity(
        &mut self,
        continuity: Continuity,
        at: Option<Cursor>,
    ) -> Result<(), Loss> {
        if let Continuity::Gap { gap, topic } = &continuity {
            let index = topic.as_ref().and_then(|topic| self.walk.index_of(topic));
            self.walk.broke(gap, index);
            self.said_gap = Some(*gap);
        }
        self.out.put(Item::Continuity(continuity), at).await
    }

    /// Continuity ended on the way. The greeting's own gap is not said twice.
    pub(crate) async fn gap(&mut self, gap: Gap, topic: Option<Topic>) -> Result<(), Loss> {
        if self.said_gap.take() == Some(gap) {
            return Ok(());
        }
        self.continuity(Continuity::Gap { gap, topic }, None).await
    }

    /// An entry of a stream that has one order for all topics.
    pub(crate) async fn entry(&mut self, entry: Delivery) -> Result<(), Loss> {
        let step = match entry.id {
            Some(id) => self.walk.step(&entry.topic, id).map_err(Loss::Disorder)?,
            None => Step::Deliver,
        };
        match step {
            Step::Deliver => self.deliver(entry).await,
            Step::Skip => Ok(()),
        }
    }

    /// An entry of a stream that is its topic's own.
    pub(crate) async fn entry_of(&mut self, index: usize, entry: Delivery) -> Result<(), Loss> {
        if let Some(id) = entry.id {
            self.walk.step_one(index, id).map_err(Loss::Disorder)?;
        }
        self.deliver(entry).await
    }

    async fn deliver(&mut self, entry: Delivery) -> Result<(), Loss> {
        self.heard = true;
        self.said_gap = None;
        let at = entry.id;
        self.out.put(Item::Entry(entry), at).await
    }

    /// A sign of life. With a place: everything up to it was said.
    pub(crate) async fn beat(&mut self, at: Option<Cursor>) -> Result<(), Loss> {
        self.heard = true;
        match at {
            Some(at) => {
                self.walk.move_all(at);
                self.out.send(Parcel { item: None, at: Some(at) }).await
            }
            None => Ok(()),
        }
    }

    /// Everything that was there is said. Yielded once per connection.
    pub(crate) async fn live(&mut self) -> Result<(), Loss> {
        if std::mem::replace(&mut self.live, true) {
            return Ok(());
        }
        self.out.put(Item::Live, None).await
    }
}

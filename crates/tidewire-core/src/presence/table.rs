//! [`Table`]: who is where, until when, and what of that has changed. Pure: whoever asks says what
//! time it is. Knows no log, no gate and no clock.
//!
//! Invariant: each change has a larger version than the one before, over all topics of the table; so
//! a topic of which nothing was left and which is entered again goes on where it was.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use tidewire_proto::{
    Code, Topic, WireError,
    presence::{Announcement, Gone, Member, State},
};

/// Who is here: one client instance of a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Who {
    /// The subject of its token.
    pub user: Option<Arc<str>>,
    /// The instance, by the name that it has chosen.
    pub member: Member,
}

/// A connection on which somebody has announced something, for as long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Connection(NonZeroU32);

/// What has changed in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) topic: Topic,
    pub(crate) who: Who,
    pub(crate) what: What,
    pub(crate) version: u64,
}

/// What a member did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Join(State),
    Change(State),
    /// It said so.
    Left,
    /// Its lease has run out.
    Lost,
}

/// How much a table holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) lease: Duration,
    pub(crate) grace: Duration,
    pub(crate) state_bytes_max: usize,
    pub(crate) topics_max: usize,
    pub(crate) members_max: usize,
    pub(crate) total_max: usize,
}

/// Why an announcement was refused, all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("one member is in at most {0} topics: leave some, or be another member there")]
    Topics(usize),
    #[error("a state has at most {max} bytes, that for `{topic}` has {found}")]
    State { topic: Topic, max: usize, found: usize },
    #[error("`{0}` is too long a name: with `/~presence` it is no topic any more")]
    Name(Topic),
    #[error("`{topic}` has {max} members, as many as it may: try again when some have left")]
    Room { topic: Topic, max: usize },
    #[error("this server has {0} members, as many as it may: try again in a while")]
    Total(usize),
}

/// A member in a topic.
struct Seat {
    topic: Topic,
    who: Who,
    state: State,
    until: Duration,
    /// On which connection it was announced last, if on one that stays.
    via: Option<Connection>,
}

/// Who is where.
pub(crate) struct Table {
    bounds: Bounds,
    // By numbers that grow, so that in their order is the order of entering.
    seats: HashMap<u64, Seat>,
    rooms: HashMap<Topic, HashMap<Who, u64>>,
    held: HashMap<Who, Vec<u64>>,
    carried: HashMap<Connection, HashSet<u64>>,
    leases: BTreeSet<(Duration, u64)>,
    last_seat: u64,
    last_version: u64,
    last_connection: u32,
}

impl Table {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            seats: HashMap::new(),
            rooms: HashMap::new(),
            held: HashMap::new(),
            carried: HashMap::new(),
            leases: BTreeSet::new(),
            last_seat: 0,
            last_version: 0,
            last_connection: 0,
        }
    }

    /// A connection that announces for the first time.
    pub(crate) fn connect(&mut self) -> Connection {
        loop {
            self.last_connection = self.last_connection.wrapping_add(1);
            let number = NonZeroU32::new(self.last_connection).map(Connection);
            if let Some(connection) = number.filter(|number| !self.carried.contains_key(number)) {
                return connection;
            }
        }
    }

    /// A member says where it is and where it is no more: all of it, or, when it is refused, nothing.
    /// Tells in which topics it wanted to go on and is not known.
    pub(crate) fn announce(
        &mut self,
        who: &Who,
        said: &Announcement,
        via: Option<Connection>,
        now: Duration,
        changes: &mut Vec<Change>,
    ) -> Result<Vec<Topic>, Refused> {
        let most = self.bounds.topics_max;
        if said.here.len() > most {
            return Err(Refused::Topics(most));
        }
        let gone = self.gone(who, said);
        self.check(who, said, gone.len())?;
        for number in gone {
            self.leave(number, What::Left, changes);
        }
        let mut unknown = Vec::new();
        for (topic, state) in &said.here {
            match (self.seat(topic, who), state) {
                (Some(number), state) => self.renew(number, state.as_ref(), via, now, changes),
                (None, Some(state)) => self.join(topic, who, state, via, now, changes),
                (None, None) => unknown.push(topic.clone()),
            }
        }
        Ok(unknown)
    }

    /// A connection is there no more: who was announced on it last has little time left to come back
    /// on another.
    pub(crate) fn hang_up(&mut self, connection: Connection, now: Duration) {
        let until = now + self.bounds.grace;
        for number in self.carried.remove(&connection).unwrap_or_default() {
            let Some(seat) = self.seats.get_mut(&number) else { continue };
            seat.via = None;
            if until < seat.until {
                self.leases.remove(&(seat.until, number));
                seat.until = until;
                self.leases.insert((until, number));
            }
        }
    }

    /// Takes out those whose lease has run out, at most so many.
    pub(crate) fn expire(&mut self, now: Duration, most: usize, changes: &mut Vec<Change>) {
        for _ in 0..most {
            match self.leases.first() {
                Some(&(until, number)) if until <= now => self.leave(number, What::Lost, changes),
                _ => return,
            }
        }
    }

    /// When the next lease runs out.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.leases.first().map(|(until, _)| *until)
    }

    /// Who is in a topic, in the order of entering.
    pub(crate) fn members(&self, topic: &Topic) -> Vec<(Who, State)> {
        let mut numbers: Vec<_> =
            self.rooms.get(topic).into_iter().flat_map(HashMap::values).collect();
        numbers.sort_unstable();
        let seats = numbers.into_iter().filter_map(|number| self.seats.get(number));
        seats.map(|seat| (seat.who.clone(), seat.state.clone())).collect()
    }

    /// The version of the newest change. Whoever has seen the members now has seen it.
    pub(crate) fn version(&self) -> u64 {
        self.last_version
    }

    /// How many there are, in all topics.
    pub(crate) fn total(&self) -> usize {
        self.seats.len()
    }

    fn seat(&self, topic: &Topic, who: &Who) -> Option<u64> {
        self.rooms.get(topic)?.get(who).copied()
    }

    /// What a member leaves by saying this.
    fn gone(&self, who: &Who, said: &Announcement) -> Vec<u64> {
        let is_here = |topic: &Topic| said.here.iter().any(|(named, _)| named == topic);
        match &said.gone {
            Gone::From(topics) => {
                let left = topics.iter().filter(|topic| !is_here(topic));
                let mut numbers: Vec<_> = left.filter_map(|topic| self.seat(topic, who)).collect();
                numbers.sort_unstable();
                numbers.dedup();
                numbers
            }
            Gone::Everywhere => {
                let held = self.held.get(who).into_iter().flatten().copied();
                let is_left =
                    |number: &u64| self.seats.get(number).is_some_and(|seat| !is_here(&seat.topic));
                held.filter(is_left).collect()
            }
        }
    }

    fn check(&self, who: &Who, said: &Announcement, gone: usize) -> Result<(), Refused> {
        let Bounds { state_bytes_max, topics_max, members_max, total_max, .. } = self.bounds;
        let mut joins = 0;
        for (topic, state) in &said.here {
            let Some(state) = state else { continue };
            let found = state.as_str().len();
            if found > state_bytes_max {
                let topic = topic.clone();
                return Err(Refused::State { topic, max: state_bytes_max, found });
            }
            if self.seat(topic, who).is_some() {
                continue;
            }
            joins += 1;
            if topic.presence().is_none() {
                return Err(Refused::Name(topic.clone()));
            }
            if self.rooms.get(topic).is_some_and(|room| room.len() >= members_max) {
                return Err(Refused::Room { topic: topic.clone(), max: members_max });
            }
        }
        let held = self.held.get(who).map_or(0, Vec::len);
        if held - gone + joins > topics_max {
            return Err(Refused::Topics(topics_max));
        }
        if joins > gone && self.seats.len() - gone + joins > total_max {
            return Err(Refused::Total(total_max));
        }
        Ok(())
    }

    fn join(
        &mut self,
        topic: &Topic,
        who: &Who,
        state: &State,
        via: Option<Connection>,
        now: Duration,
        changes: &mut Vec<Change>,
    ) {
        self.last_seat += 1;
        let (number, until) = (self.last_seat, now + self.bounds.lease);
        let (topic, who) = (topic.clone(), who.clone());
        self.rooms.entry(topic.clone()).or_default().insert(who.clone(), number);
        self.held.entry(who.clone()).or_default().push(number);
        self.leases.insert((until, number));
        if let Some(via) = via {
            self.carried.entry(via).or_default().insert(number);
        }
        self.tell(topic.clone(), who.clone(), What::Join(state.clone()), changes);
        self.seats.insert(number, Seat { topic, who, state: state.clone(), until, via });
    }

    fn renew(
        &mut self,
        number: u64,
        state: Option<&State>,
        via: Option<Connection>,
        now: Duration,
        changes: &mut Vec<Change>,
    ) {
        let Some(seat) = self.seats.get_mut(&number) else { return };
        self.leases.remove(&(seat.until, number));
        seat.until = now + self.bounds.lease;
        self.leases.insert((seat.until, number));
        if seat.via != via {
            let before = std::mem::replace(&mut seat.via, via);
            uncarry(&mut self.carried, before, number);
            if let Some(via) = via {
                self.carried.entry(via).or_default().insert(number);
            }
        }
        let Some(state) = state.filter(|state| **state != seat.state) else { return };
        seat.state = state.clone();
        let (topic, who) = (seat.topic.clone(), seat.who.clone());
        self.tell(topic, who, What::Change(state.clone()), changes);
    }

    fn leave(&mut self, number: u64, what: What, changes: &mut Vec<Change>) {
        let Some(seat) = self.seats.remove(&number) else { return };
        let Seat { topic, who, until, via, .. } = seat;
        self.leases.remove(&(until, number));
        uncarry(&mut self.carried, via, number);
        if let Some(room) = self.rooms.get_mut(&topic) {
            room.remove(&who);
            if room.is_empty() {
                self.rooms.remove(&topic);
            }
        }
        if let Some(held) = self.held.get_mut(&who) {
            held.retain(|have| *have != number);
            if held.is_empty() {
                self.held.remove(&who);
            }
        }
        self.tell(topic, who, what, changes);
    }

    fn tell(&mut self, topic: Topic, who: Who, what: What, changes: &mut Vec<Change>) {
        self.last_version += 1;
        changes.push(Change { topic, who, what, version: self.last_version });
    }
}

/// A connection that carries nobody is forgotten.
fn uncarry(
    carried: &mut HashMap<Connection, HashSet<u64>>,
    connection: Option<Connection>,
    number: u64,
) {
    let Some(connection) = connection else { return };
    if let Some(seats) = carried.get_mut(&connection) {
        seats.remove(&number);
        if seats.is_empty() {
            carried.remove(&connection);
        }
    }
}

impl From<Refused> for WireError {
    fn from(refused: Refused) -> Self {
        let code = match &refused {
            Refused::Topics(_) => Code::TooManyTopics,
            Refused::State { .. } => Code::TooLarge,
            Refused::Name(_) => Code::BadTopic,
            Refused::Room { .. } | Refused::Total(_) => Code::PresenceFull,
        };
        Self::new(code, refused.to_string())
    }
}

#[cfg(test)]
mod tests;

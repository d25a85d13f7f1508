//! The load: tens of thousands of subscribers on one thread, and the connections that publish to
//! them.
//!
//! It must not know which server it loads or what is made of the figures. One epoll set, one read
//! buffer, and some 32 bytes for each connection; what only a few connections need at a time (a
//! handshake, a marker that was cut in two) lies in side tables. On a small machine this competes
//! with the server for the processor, so the path of a delivery is one `recv` and no allocation.

mod answer;
mod publisher;
mod socket;
mod subscriber;

use std::{collections::BTreeMap, os::fd::OwnedFd};

use anyhow::{Context, bail};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, Event, EventFlags},
    },
};

use self::subscriber::Subscribers;
pub(crate) use self::{
    publisher::{BATCH_MAX, Publisher, Way, topic_name},
    socket::watch,
};
use super::{
    clock::{self, SECOND},
    door::Door,
    fleet::Fleet,
    histogram::Histogram,
    marker::{self, Marker},
    phase::Phase,
    tally::{Faults, Tally},
    timeline::Timeline,
};

/// Tokens from here on are publishers.
const PUBLISHERS: u64 = 1 << 32;
/// Another load process has said something.
const WAKE: u64 = u64::MAX;
/// Events taken at once.
const EVENTS: usize = 1_024;
/// Connections that are on their way at a time: below every listen backlog.
const OPENING_MAX: usize = 400;
/// Longest that nothing may happen while connections are made.
const PATIENCE: u64 = 15 * SECOND;
/// Longest wait for an event.
const TURN: u64 = SECOND / 10;

/// What every connection of a phase has in common.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) door: Door,
    /// First segment of every topic.
    pub(crate) feature: String,
    pub(crate) topics: u32,
    /// Size of a payload.
    pub(crate) bytes: usize,
    /// Sequence of the first message.
    pub(crate) base: u64,
    /// Number of the first connection, for its source address.
    pub(crate) first: u32,
    /// Most subscribers of this process; more of them get processes of their own.
    pub(crate) per_process: u32,
}

/// All connections of a phase, and the books.
pub(crate) struct Load {
    epoll: OwnedFd,
    events: Vec<Event>,
    shape: Shape,
    subscribers: Subscribers,
    publishers: Vec<Publisher>,
    fleet: Fleet,
    pub(crate) tally: Tally,
    pub(crate) latency: Histogram,
    pub(crate) timeline: Timeline,
    /// What broke a connection, and how often.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Bytes that subscribers have read.
    pub(crate) bytes: u64,
    /// When the hostile readers take their next byte.
    drip_ns: u64,
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl Load {
    /// No connections yet.
    ///
    /// # Errors
    /// When the kernel has no epoll set left.
    pub(crate) fn new(shape: Shape) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("no epoll set")?;
        let fleet = Fleet::new()?;
        socket::watch(&epoll, fleet.wake(), WAKE)?;
        Ok(Self {
            epoll,
            fleet,
            events: Vec::with_capacity(EVENTS),
            subscribers: Subscribers::default(),
            publishers: Vec::new(),
            tally: Tally::new(shape.base, shape.topics),
            latency: Histogram::default(),
            timeline: Timeline::default(),
            errors: BTreeMap::new(),
            bytes: 0,
            drip_ns: 0,
            shape,
        })
    }

    /// Connects `count` more subscribers, each with this cursor, and waits until all stand. Returns
    /// how many connections a second that were.
    ///
    /// # Errors
    /// When not all of them stand in the end: how many do, and why the others do not.
    pub(crate) fn connect(&mut self, count: u32, after: &str) -> anyhow::Result<f64> {
        let began = clock::now_ns();
        let here = count.min(self.shape.per_process);
        let mut first = here;
        while first < count {
            let share = (count - first).min(self.shape.per_process);
            let shape = Shape { first: self.shape.first + first, ..self.shape.clone() };
            self.fleet.begin(&shape, share, after)?;
            first += share;
        }
        self.connect_here(here, after)?;
        self.fleet.connected()?;
        Ok(f64::from(count) / clock::seconds(clock::now_ns() - began).max(1e-9))
    }

    fn connect_here(&mut self, count: u32, after: &str) -> anyhow::Result<()> {
        let began = clock::now_ns();
        let (mut dialled, mut standing, mut progress) = (0, self.subscribers.standing(), began);
        let all = standing + count;
        let failed_before = self.subscribers.gone();
        if !self.subscribers.hostile {
            let first = self.subscribers.len();
            (first..first + count).for_each(|who| self.tally.expect(who));
        }
        while self.subscribers.standing() < all {
            while dialled < count && self.subscribers.opening() < OPENING_MAX {
                dialled += 1;
                if let Err(error) = self.dial(after) {
                    *self.errors.entry(format!("no connection: {error}")).or_default() += 1;
                }
            }
            self.turn(None)?;
            let now = clock::now_ns();
            if self.subscribers.standing() > standing {
                (standing, progress) = (self.subscribers.standing(), now);
            }
            let nobody_left = dialled == count && self.subscribers.opening() == 0;
            if self.subscribers.standing() < all && (nobody_left || now - progress > PATIENCE) {
                let (there, gone) = (all - standing, self.subscribers.gone() - failed_before);
                bail!(
                    "only {} of {count} subscribers are connected ({gone} were cut off, {there} are missing){}",
                    count - there,
                    self.reasons()
                );
            }
        }
        Ok(())
    }

    /// From now on, connections are made that do not read (`true`), or that do.
    pub(crate) fn connect_hostile(&mut self, hostile: bool) {
        self.subscribers.hostile = hostile;
    }

    fn dial(&mut self, after: &str) -> rustix::io::Result<()> {
        let who = self.subscribers.len();
        let topic = topic_name(&self.shape.feature, u64::from(who % self.shape.topics.max(1)));
        let door = &self.shape.door;
        let socket =
            socket::dial(door.template.address, self.shape.first + who, self.subscribers.hostile)?;
        socket::watch(&self.epoll, &socket, u64::from(who))?;
        self.subscribers.begin(socket, door.request(&topic, after), door.says(&topic, after));
        Ok(())
    }

    /// Adds a connection that publishes.
    ///
    /// # Errors
    /// When it cannot connect.
    pub(crate) fn add_publisher(&mut self, way: Way) -> anyhow::Result<()> {
        let publisher = Publisher::open(way, &self.shape.feature)?;
        let token = PUBLISHERS + self.publishers.len() as u64;
        socket::watch(&self.epoll, publisher.socket(), token)?;
        self.publishers.push(publisher);
        self.publishers.iter_mut().try_for_each(Publisher::flush)
    }

    /// Publishes up to `most` messages: as many as the publishers take now. `due` tells when each
    /// was due. Returns how many.
    ///
    /// # Errors
    /// When a publisher's connection is gone.
    pub(crate) fn publish(&mut self, most: u64, due: impl Fn(u64) -> u64) -> anyhow::Result<u64> {
        let mut taken = 0;
        let count = self.publishers.len() as u64;
        while taken < most {
            let index = self.tally.published();
            let topic = index % u64::from(self.shape.topics.max(1));
            let publisher = &mut self.publishers[(topic % count) as usize];
            if !publisher.takes() {
                break;
            }
            let marker = Marker { sequence: self.tally.publish(), sent_ns: due(index) };
            publisher.add(topic, &marker::payload(self.shape.bytes, marker));
            taken += 1;
        }
        for publisher in &mut self.publishers {
            publisher.send()?;
        }
        Ok(taken)
    }

    /// Tells the floor server what every new subscriber gets with its head: so many messages.
    ///
    /// # Errors
    /// When its connection is gone.
    pub(crate) fn publish_greeting(&mut self, count: u64) -> anyhow::Result<()> {
        let now = clock::now_ns();
        let bytes = self.shape.bytes;
        let markers = (0..count).map(|_| Marker { sequence: self.tally.publish(), sent_ns: now });
        let payloads: Vec<_> = markers.map(|marker| marker::payload(bytes, marker)).collect();
        let Some(publisher) = self.publishers.first_mut() else { return Ok(()) };
        publisher.add_greeting(&payloads);
        publisher.send()
    }

    /// Is an answer to a publish still to come?
    pub(crate) fn publishing(&self) -> bool {
        self.publishers.iter().any(Publisher::busy)
    }

    /// The last answer to a publish.
    pub(crate) fn last_answer(&self) -> &[u8] {
        self.publishers.first().map_or(&[], |publisher| &publisher.answer)
    }

    /// Waits for events, at most until `wake_ns`, and handles them.
    ///
    /// # Errors
    /// When a publisher's connection is gone or a publish was refused.
    pub(crate) fn turn(&mut self, wake_ns: Option<u64>) -> anyhow::Result<()> {
        let now = clock::now_ns();
        if now >= self.drip_ns {
            self.drip_ns = now + SECOND;
            self.subscribers.drip();
        }
        let wait = wake_ns.map_or(TURN, |wake| wake.saturating_sub(now).min(TURN));
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(wait).unwrap_or(0) };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        for event in &events {
            let (token, flags) = (event.data.u64(), event.flags);
            match u32::try_from(token) {
                Ok(who) => self.subscriber(who, flags),
                Err(_) if token == WAKE => {}
                Err(_) => self.publisher((token - PUBLISHERS) as usize)?,
            }
        }
        self.events = events;
        Ok(())
    }

    fn publisher(&mut self, at: usize) -> anyhow::Result<()> {
        let Some(publisher) = self.publishers.get_mut(at) else { return Ok(()) };
        publisher.flush()?;
        publisher.read().map(drop)
    }

    fn subscriber(&mut self, who: u32, flags: EventFlags) {
        let ending = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        let Self { subscribers, tally, latency, timeline, bytes, shape, .. } = self;
        let mut take = |who: u32, next: &mut u32, now: u64, marker: Marker| {
            if tally.see(who, next, marker.sequence) {
                latency.record(now.saturating_sub(marker.sent_ns));
                timeline.record(now);
            }
        };
        if let Some(error) = subscribers.event(who, ending, &shape.door, bytes, &mut take) {
            *self.errors.entry(error).or_default() += 1;
        }
    }

    /// Ends every subscriber's connection; the books begin anew at `base`.
    pub(crate) fn drop_subscribers(&mut self, base: u64) {
        self.subscribers.cut();
        self.fleet.cut();
        self.shape.base = base;
        self.tally = Tally::new(base, self.shape.topics);
    }

    /// Forgets latencies and deliveries over time: what was measured so far was for warming up.
    ///
    /// # Errors
    /// When a load process is gone.
    pub(crate) fn restart_clocks(&mut self) -> anyhow::Result<()> {
        self.fleet.restart_clocks()?;
        self.latency = Histogram::default();
        self.timeline = Timeline::starting(clock::now_ns());
        self.bytes = 0;
        Ok(())
    }

    /// Messages that have reached everybody, in every process.
    pub(crate) fn done(&self) -> u64 {
        self.fleet.done().map_or(self.tally.done(), |there| there.min(self.tally.done()))
    }

    /// Deliveries in every process.
    pub(crate) fn delivered(&self) -> u64 {
        self.tally.delivered() + self.fleet.delivered()
    }

    /// The books of the other processes, closed and added.
    ///
    /// # Errors
    /// When one of them is gone.
    pub(crate) fn close_others(&mut self, phase: &mut Phase) -> anyhow::Result<()> {
        self.fleet.close(self.tally.published(), phase)
    }

    /// The books, closed: everything that has not come by now is lost.
    pub(crate) fn faults(&self) -> Faults {
        self.tally.close(self.subscribers.positions())
    }

    /// The same, when so many messages were published to each topic.
    pub(crate) fn faults_of(&self, published: &[u64]) -> Faults {
        self.tally.close_with(self.subscribers.positions(), |topic| {
            published.get(topic as usize).copied().unwrap_or(0)
        })
    }

    /// Connections that ended by themselves.
    pub(crate) fn gone(&self) -> u32 {
        self.subscribers.gone()
    }

    /// What broke connections, as words after a sentence.
    pub(crate) fn reasons(&self) -> String {
        let list: Vec<_> =
            self.errors.iter().map(|(error, count)| format!("{count} × {error}")).collect();
        if list.is_empty() { String::new() } else { format!(": {}", list.join("; ")) }
    }
}

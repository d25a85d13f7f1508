//! Presence: who is in a topic, as a library over topics.
//!
//! A member is there for as long as its lease, which it renews. What changes is an entry of the topic
//! `T/~presence`, of the lane that passes on, so whoever reads that hears of it as of anything else.
//! The table with all members is `table`; here it meets the log, the gate and the clock.
//!
//! Invariant: entries are appended in the order of their versions, by one task alone.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidewire_proto::{
    Code, Epoch, EventType, Message, Topic, WireError,
    presence::{self, Announcement, State, Told},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    lane::Lane,
    limits::Limits,
    log::AppendError,
    session::{Publisher, may_read},
};

mod table;

pub(crate) use table::Connection;
pub use table::Who;
use table::{Bounds, Change, Table, What};

/// Changes that wait to be appended; beyond it an announcement is answered `busy`.
const PENDING_MAX: usize = 10_000;
/// Leases that are ended at a time, before those who wait for the table get their turn.
const EXPIRED_MAX: usize = 1_000;
/// Times that a log may refuse a batch before it is given up, and the wait after each.
const TRIES: u32 = 10;
const TRY_AGAIN: Duration = Duration::from_millis(100);
/// Renewals in one lease: two may be lost.
const RENEWALS: u32 = 3;

/// The members of all topics.
pub struct Presence {
    lane: Arc<Lane>,
    limits: Arc<Limits>,
    shared: Mutex<Shared>,
    // There is something to append, or a lease ends earlier than was known.
    news: Notify,
    started: Instant,
    life: Epoch,
}

struct Shared {
    table: Table,
    pending: VecDeque<Change>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    joins: u64,
    left: u64,
    lost: u64,
}

/// What is counted of presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceStats {
    /// Members now, over all topics.
    pub members: usize,
    /// Members that have entered a topic since the start.
    pub joins: u64,
    /// Members that have said that they leave one.
    pub left: u64,
    /// Members whose lease has run out.
    pub lost: u64,
}

/// The answer to an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// For how long it is good.
    pub lease: Duration,
    /// When to renew it.
    pub renew: Duration,
    /// Topics that were to be renewed, and in which the member is not known.
    pub unknown: Vec<Topic>,
}

/// Who is in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Of which life of the server's table the version is.
    pub life: Epoch,
    /// Changes up to this version are in it.
    pub version: u64,
    /// In the order of entering.
    pub members: Vec<(Who, State)>,
}

impl Members {
    /// As JSON, for a topic.
    #[must_use]
    pub fn to_json(&self, topic: &Topic) -> String {
        let all = self.members.iter().map(|(who, state)| (&who.member, who.user.as_deref(), state));
        presence::members(topic, self.life, self.version, all)
    }
}

impl Announced {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let ms = |wait: Duration| wait.as_millis() as u64;
        presence::announced(ms(self.lease), ms(self.renew), &self.unknown)
    }
}

impl Presence {
    /// Nobody is there yet. Changes go into this lane's log.
    pub(crate) fn new(lane: Arc<Lane>, limits: Arc<Limits>) -> Self {
        let table = Table::new(Bounds {
            lease: limits.presence_lease,
            grace: limits.presence_grace,
            state_bytes_max: limits.presence_state_bytes_max,
            topics_max: limits.presence_topics_max,
            members_max: limits.presence_members_max,
            total_max: limits.presence_total_max,
        });
        let shared = Shared { table, pending: VecDeque::new(), counts: Counts::default() };
        // The log that passes on begins a new life with each process, as the table does.
        let life = lane.log.bounds().lineage.epoch();
        let (shared, news, started) = (Mutex::new(shared), Notify::new(), Instant::now());
        Self { lane, limits, shared, news, started, life }
    }

    /// What is counted.
    #[must_use]
    pub fn stats(&self) -> PresenceStats {
        let shared = self.lock();
        let Counts { joins, left, lost } = shared.counts;
        PresenceStats { members: shared.table.total(), joins, left, lost }
    }

    pub(crate) fn connect(&self) -> Connection {
        self.lock().table.connect()
    }

    /// A connection on which somebody announced something is gone.
    pub(crate) fn hang_up(&self, connection: Connection) {
        let now = self.started.elapsed();
        self.lock().table.hang_up(connection, now);
        self.news.notify_one();
    }

    fn announce(
        &self,
        who: &Who,
        said: &Announcement,
        via: Option<Connection>,
    ) -> Result<Announced, WireError> {
        let now = self.started.elapsed();
        let mut shared = self.lock();
        if shared.pending.len() >= PENDING_MAX {
            let message = "too many members come and go at once: the same again in a moment";
            return Err(WireError::new(Code::Busy, message));
        }
        let (due, mut changes) = (shared.table.next_due(), Vec::new());
        let unknown = shared.table.announce(who, said, via, now, &mut changes)?;
        // A lease that is renewed only makes the next one later: who waits for it finds that out.
        let is_news = !changes.is_empty() || due.is_none();
        shared.note(changes);
        drop(shared);
        if is_news {
            self.news.notify_one();
        }
        let lease = self.limits.presence_lease;
        Ok(Announced { lease, renew: lease / RENEWALS, unknown })
    }

    fn members(&self, topic: &Topic) -> Members {
        let shared = self.lock();
        let (version, members) = (shared.table.version(), shared.table.members(topic));
        Members { life: self.life, version, members }
    }

    /// Appends what changes and ends leases, until the log is closed.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            let (batch, due) = self.take();
            if !batch.is_empty() {
                if !self.append(batch).await {
                    return;
                }
                continue;
            }
            let due = async {
                match due {
                    Some(due) => sleep_until(self.started + due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.news.notified() => {}
                () = due => {}
            }
        }
    }

    /// What is to be appended next, as much as one batch holds; and when there is more, if nobody
    /// says so before.
    fn take(&self) -> (Vec<Message>, Option<Duration>) {
        let now = self.started.elapsed();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut shared = self.lock();
        if shared.pending.is_empty() {
            let mut lost = Vec::new();
            shared.table.expire(now, EXPIRED_MAX, &mut lost);
            shared.note(lost);
        }
        while batch.len() < self.limits.batch_messages_max {
            let Some(change) = shared.pending.pop_front() else { break };
            let Some(message) = self.message(&change) else { continue };
            bytes += message.data.bytes().len();
            if !batch.is_empty() && bytes > self.limits.batch_bytes_max {
                shared.pending.push_front(change);
                break;
            }
            batch.push(message);
        }
        (batch, shared.table.next_due())
    }

    fn message(&self, change: &Change) -> Option<Message> {
        let Change { topic, who, what, version } = change;
        let (event, told) = match what {
            What::Join(state) => ("join", Told::State(state)),
            What::Change(state) => ("change", Told::State(state)),
            What::Left => ("leave", Told::Why("left")),
            What::Lost => ("leave", Told::Why("lost")),
        };
        let data = presence::change(&who.member, who.user.as_deref(), told, self.life, *version);
        // Whoever could enter has a topic for its changes.
        let (topic, event) = (topic.presence()?, EventType::parse(event).ok()?);
        Some(Message { topic, event, data, key: None, item: who.member.item() })
    }

    /// False if the log takes nothing any more.
    async fn append(&self, batch: Vec<Message>) -> bool {
        for _ in 0..TRIES {
            match self.lane.log.append(batch.clone()).await {
                Ok(_) => return true,
                Err(AppendError::Closed | AppendError::Failed(_)) => return false,
                Err(_) => sleep(TRY_AGAIN).await,
            }
        }
        tracing::error!(
            count = batch.len(),
            "the log refused changes of presence; nobody hears them"
        );
        true
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing in here panics half way through a change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn note(&mut self, changes: Vec<Change>) {
        for change in &changes {
            match change.what {
                What::Join(_) => self.counts.joins += 1,
                What::Change(_) => {}
                What::Left => self.counts.left += 1,
                What::Lost => self.counts.lost += 1,
            }
        }
        self.pending.extend(changes);
    }
}

impl Publisher {
    /// Says in the peer's name where a member of its is, and where it is no more. All of it, or
    /// nothing.
    ///
    /// # Errors
    /// The gate's refusal of one of the topics, `no_presence`, or a bound that is reached.
    pub async fn announce(&self, said: &Announcement) -> Result<Announced, WireError> {
        self.announce_via(said, None).await
    }

    pub(crate) async fn announce_via(
        &self,
        said: &Announcement,
        via: Option<Connection>,
    ) -> Result<Announced, WireError> {
        let most = self.hub.limits().presence_topics_max;
        if said.here.len() > most {
            // Before the gate is asked about each.
            return Err(table::Refused::Topics(most).into());
        }
        for (topic, _) in &said.here {
            self.may_be_in(topic).await?;
        }
        let user = self.peer.subject.as_deref().map(Arc::from);
        let who = Who { user, member: said.member.clone() };
        self.hub.presence().announce(&who, said, via)
    }

    /// Who is in a topic, if the gate lets the peer read it.
    ///
    /// # Errors
    /// The gate's refusal, `unknown_feature` or `no_presence`.
    pub async fn members(&self, topic: &Topic) -> Result<Members, WireError> {
        self.may_be_in(topic).await?;
        Ok(self.hub.presence().members(topic))
    }

    async fn may_be_in(&self, topic: &Topic) -> Result<(), WireError> {
        if topic.is_reserved() {
            let message = format!("`{topic}` is the server's own: nobody is there");
            return Err(WireError::new(Code::BadTopic, message));
        }
        may_read(&*self.gate, &self.peer, topic).await?;
        Ok(self.hub.check_presence(topic)?)
    }
}

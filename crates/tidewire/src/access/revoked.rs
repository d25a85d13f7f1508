//! [`Revocations`]: whose access was taken back, and until when that counts.
//!
//! Pure but for one lock and the wall clock it is given. Where they are kept is `revoke`'s.
//! Invariant: one that is in force goes only when its time is over.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tidewire_core::{Connection, Peer, Proof, clock::Clock};

/// Whose access is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whose {
    /// A user's: all tokens that were issued until now.
    User(String),
    /// One token's, by its `jti`.
    Token(String),
    /// One connection's: those that have this name now. They may come back.
    Connection(String),
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) whose: Whose,
    pub(crate) at_ms: u64,
    pub(crate) until_ms: u64,
}

/// Why a peer's access has ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was taken back.
    Revoked,
    /// Only the connection was ended.
    Dismissed,
}

/// All that are in force.
pub(crate) struct Revocations {
    clock: Arc<dyn Clock>,
    max: usize,
    in_force: RwLock<InForce>,
    // Mostly there are none, and then nobody looks.
    has_any: AtomicBool,
    // Connections that were ended by their names.
    dismissed: AtomicU64,
}

#[derive(Default)]
struct InForce {
    /// When it was said, and until when it counts.
    users: HashMap<String, (u64, u64)>,
    tokens: HashMap<String, u64>,
    /// How many had been ended by then, and until when it counts.
    connections: HashMap<String, (u64, u64)>,
}

impl InForce {
    fn count(&self) -> usize {
        self.users.len() + self.tokens.len() + self.connections.len()
    }

    fn forget_past(&mut self, now_ms: u64) {
        self.users.retain(|_, (_, until_ms)| now_ms < *until_ms);
        self.tokens.retain(|_, until_ms| now_ms < *until_ms);
        self.connections.retain(|_, (_, until_ms)| now_ms < *until_ms);
    }

    fn knows(&self, whose: &Whose) -> bool {
        match whose {
            Whose::User(user) => self.users.contains_key(user),
            Whose::Token(id) => self.tokens.contains_key(id),
            Whose::Connection(name) => self.connections.contains_key(name),
        }
    }

    fn is_revoked(&self, peer: &Peer, now_ms: u64) -> bool {
        let (id, issued_at_ms) = match &peer.proof {
            // The config says what becomes of a key.
            Proof::Key => return false,
            Proof::Token { id, issued_at_ms } => (id.as_ref(), *issued_at_ms),
            Proof::None => (None, None),
        };
        let user = peer.subject.as_ref().and_then(|user| self.users.get(user));
        let by_user = user.is_some_and(|&(at_ms, until_ms)| {
            // A token that does not say how old it is counts as older.
            now_ms < until_ms && issued_at_ms.is_none_or(|issued_at_ms| issued_at_ms <= at_ms)
        });
        let by_token = id.and_then(|id| self.tokens.get(id));
        by_user || by_token.is_some_and(|until_ms| now_ms < *until_ms)
    }
}

impl Revocations {
    pub(crate) fn new(max: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            max,
            in_force: RwLock::default(),
            has_any: AtomicBool::new(false),
            dismissed: AtomicU64::new(0),
        }
    }

    /// Is there room for this one?
    pub(crate) fn has_room(&self, whose: &Whose) -> bool {
        let now_ms = self.clock.now_ms();
        let mut in_force = self.write();
        if in_force.count() >= self.max {
            in_force.forget_past(now_ms);
        }
        in_force.count() < self.max || in_force.knows(whose)
    }

    /// Puts one in force. What is over already changes nothing.
    pub(crate) fn put(&self, revocation: Revocation) {
        let Revocation { whose, at_ms, until_ms } = revocation;
        if until_ms <= self.clock.now_ms() {
            return;
        }
        let mut in_force = self.write();
        let later = |have: &mut u64, new: u64| *have = new.max(*have);
        match whose {
            Whose::User(user) => {
                let (at, until) = in_force.users.entry(user).or_default();
                later(at, at_ms);
                later(until, until_ms);
            }
            Whose::Token(id) => later(in_force.tokens.entry(id).or_default(), until_ms),
            Whose::Connection(name) => {
                let number = self.dismissed.fetch_add(1, Ordering::AcqRel) + 1;
                in_force.connections.insert(name, (number, until_ms));
            }
        }
        drop(in_force);
        self.has_any.store(true, Ordering::Release);
    }

    /// Was this peer's access taken back?
    pub(crate) fn is_revoked(&self, peer: &Peer) -> bool {
        self.has_any.load(Ordering::Acquire) && self.read().is_revoked(peer, self.clock.now_ms())
    }

    /// Has it, or its connection, been ended?
    pub(crate) fn ended(&self, peer: &Peer) -> Option<Ended> {
        if !self.has_any.load(Ordering::Acquire) {
            return None;
        }
        let in_force = self.read();
        if in_force.is_revoked(peer, self.clock.now_ms()) {
            return Some(Ended::Revoked);
        }
        let Connection { name, opened } = peer.connection.as_ref()?;
        let (number, _) = in_force.connections.get(name)?;
        (opened < number).then_some(Ended::Dismissed)
    }

    /// A connection that is opened now.
    pub(crate) fn connection(&self, name: &str) -> Connection {
        Connection { name: name.to_owned(), opened: self.dismissed.load(Ordering::Acquire) }
    }

    fn read(&self) -> RwLockReadGuard<'_, InForce> {
        // Nothing in here panics half way through a change.
        self.in_force.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, InForce> {
        self.in_force.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidewire_core::clock::ManualClock;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn revocations(max: usize) -> (Revocations, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(NOW));
        (Revocations::new(max, Arc::<ManualClock>::clone(&clock)), clock)
    }

    fn of(whose: Whose) -> Revocation {
        Revocation { whose, at_ms: NOW, until_ms: NOW + 5_000 }
    }

    fn peer(subject: &str, id: Option<&str>, issued_at_ms: Option<u64>) -> Peer {
        let proof = Proof::Token { id: id.map(str::to_owned), issued_at_ms };
        Peer { subject: Some(subject.to_owned()), proof, ..Peer::anybody() }
    }

    #[test]
    fn a_users_older_tokens_are_revoked_until_its_time() {
        let (revocations, clock) = revocations(9);
        revocations.put(of(Whose::User("alice".into())));
        for (peer, is_revoked) in [
            (peer("alice", None, Some(NOW - 1)), true),
            (peer("alice", None, Some(NOW)), true),
            (peer("alice", None, Some(NOW + 1)), false),
            (peer("alice", None, None), true),
            (Peer { proof: Proof::None, ..peer("alice", None, None) }, true),
            (Peer { proof: Proof::Key, ..peer("alice", None, None) }, false),
            (peer("bob", None, None), false),
            (Peer::anybody(), false),
        ] {
            assert_eq!(revocations.is_revoked(&peer), is_revoked, "{peer:?}");
        }
        clock.advance(Duration::from_secs(5));
        assert!(!revocations.is_revoked(&peer("alice", None, None)));
    }

    #[test]
    fn one_token_is_revoked_by_its_name() {
        let (revocations, _clock) = revocations(9);
        revocations.put(of(Whose::Token("t1".into())));
        assert!(revocations.is_revoked(&peer("alice", Some("t1"), Some(NOW + 1))));
        assert!(!revocations.is_revoked(&peer("alice", Some("t2"), Some(NOW - 1))));
    }

    #[test]
    fn a_connection_is_ended_once_and_its_name_may_come_back() {
        let (revocations, _clock) = revocations(9);
        let named = |name: &str| {
            let connection = Some(revocations.connection(name));
            Peer { connection, ..peer("alice", None, None) }
        };
        let (before, other) = (named("tab-one-1"), named("tab-two-2"));
        revocations.put(of(Whose::Connection("tab-one-1".into())));
        assert_eq!(revocations.ended(&before), Some(Ended::Dismissed));
        assert_eq!(revocations.ended(&other), None);
        assert_eq!(revocations.ended(&named("tab-one-1")), None);
        assert!(!revocations.is_revoked(&before), "its token is as good as before");
    }

    #[test]
    fn there_are_as_many_as_may_be_and_none_is_forgotten_early() {
        let (revocations, clock) = revocations(2);
        let (one, two) = (Whose::User("one".into()), Whose::Token("two".into()));
        for whose in [&one, &two] {
            assert!(revocations.has_room(whose));
            revocations.put(of(whose.clone()));
        }
        assert!(!revocations.has_room(&Whose::User("three".into())));
        assert!(revocations.has_room(&one), "it takes no more room than it has");
        assert!(revocations.is_revoked(&peer("one", None, None)));
        clock.advance(Duration::from_secs(5));
        assert!(revocations.has_room(&Whose::User("three".into())));
        revocations.put(of(one));
        assert!(!revocations.is_revoked(&peer("one", None, None)), "it was over before it came");
    }
}

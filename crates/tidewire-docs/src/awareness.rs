//! [`Awareness`]: of each client of a document the newest state that it said of itself, as y-protocols
//! mean it: a newer clock wins, and `null` of the same clock is the end. Pure.
//!
//! Invariant: there are never more than [`Limits::awareness_states_max`](tidewire_core::Limits), those
//! that have gone included.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::wire::State;

/// A state that is not renewed for so long is gone (`outdatedTimeout` of y-protocols; clients renew
/// after half of it). What has gone is remembered for as long again.
const LEASE: Duration = Duration::from_secs(30);

/// What to think of a state that somebody says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is newer than what is known.
    Newer,
    /// It is known, or older, or there is no room.
    Known,
    /// Its client counts as gone at this clock or a later one. A client that hears so says its state
    /// again, with a clock after that.
    Gone(State),
}

/// The states of a document's clients.
#[derive(Default)]
pub(crate) struct Awareness {
    states: HashMap<u64, Known>,
    states_max: usize,
    // Counts changes, so that who has seen some of them gets the others.
    version: u64,
}

struct Known {
    state: State,
    heard_at: Instant,
    version: u64,
}

impl Awareness {
    pub(crate) fn new(states_max: usize) -> Self {
        Self { states_max, ..Self::default() }
    }

    /// What to think of this state?
    pub(crate) fn judge(&self, state: &State) -> Verdict {
        let Some(Known { state: known, .. }) = self.states.get(&state.client) else {
            let has_room = self.states.len() < self.states_max;
            return if has_room && !state.is_gone() { Verdict::Newer } else { Verdict::Known };
        };
        match state.clock.cmp(&known.clock) {
            std::cmp::Ordering::Greater => Verdict::Newer,
            std::cmp::Ordering::Equal if state.is_gone() && !known.is_gone() => Verdict::Newer,
            _ if known.is_gone() && !state.is_gone() => Verdict::Gone(known.clone()),
            _ => Verdict::Known,
        }
    }

    /// Takes a state in, if it is newer. Says whether it is.
    pub(crate) fn take(&mut self, state: State, now: Instant) -> bool {
        let is_newer = self.judge(&state) == Verdict::Newer;
        if is_newer {
            self.version += 1;
            let known = Known { heard_at: now, version: self.version, state };
            self.states.insert(known.state.client, known);
        }
        is_newer
    }

    /// The state of a client that is there.
    pub(crate) fn of(&self, client: u64) -> Option<&State> {
        self.states.get(&client).map(|known| &known.state).filter(|state| !state.is_gone())
    }

    /// Says of those that were not heard for too long that they have gone, and forgets those of whom
    /// that was said long ago. Tells whether there is anything new.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let before = self.version;
        self.states.retain(|_, known| !known.state.is_gone() || now < known.heard_at + LEASE);
        for known in self.states.values_mut() {
            if !known.state.is_gone() && now >= known.heard_at + LEASE {
                self.version += 1;
                let json = bytes::Bytes::from_static(b"null");
                let state = State { json, ..known.state };
                *known = Known { state, heard_at: now, version: self.version };
            }
        }
        self.version > before
    }

    /// What was said after a version, and the version that this is. Who has seen nothing hears nothing
    /// of those that have gone.
    pub(crate) fn after(&self, version: u64) -> (Vec<State>, u64) {
        if version == self.version {
            return (Vec::new(), version);
        }
        let is_news =
            |known: &&Known| known.version > version && !(version == 0 && known.state.is_gone());
        let states = self.states.values().filter(is_news).map(|known| known.state.clone());
        (states.collect(), self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn state(client: u64, clock: u64, json: &'static str) -> State {
        State { client, clock, json: Bytes::from_static(json.as_bytes()) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_clock_wins_and_null_ends() {
        let (mut awareness, now) = (Awareness::new(10), Instant::now());
        assert!(!awareness.take(state(1, 3, "null"), now), "whom nobody knew has not gone");
        assert!(awareness.take(state(1, 3, "{}"), now));
        assert!(!awareness.take(state(1, 3, "{\"a\":1}"), now));
        assert!(!awareness.take(state(1, 2, "null"), now));
        assert!(awareness.take(state(1, 4, "{\"a\":2}"), now));
        assert_eq!(awareness.after(0).0, [state(1, 4, "{\"a\":2}")]);
        assert!(awareness.take(state(1, 4, "null"), now));
        assert_eq!(awareness.of(1), None);
        assert_eq!(awareness.after(0).0, []);
        assert_eq!(awareness.after(1).0, [state(1, 4, "null")]);
    }

    /// A provider that reconnects says its state with the clock that it had: others would not listen.
    #[tokio::test(start_paused = true)]
    async fn who_counts_as_gone_is_told_so() {
        let (mut awareness, now) = (Awareness::new(10), Instant::now());
        awareness.take(state(1, 3, "{}"), now);
        awareness.take(state(1, 3, "null"), now);
        assert_eq!(awareness.judge(&state(1, 3, "{}")), Verdict::Gone(state(1, 3, "null")));
        assert_eq!(awareness.judge(&state(1, 4, "{}")), Verdict::Newer);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_heard_for_thirty_seconds_has_gone_and_is_forgotten_later() {
        let (mut awareness, now) = (Awareness::new(10), Instant::now());
        awareness.take(state(1, 3, "{}"), now);
        let seen = awareness.after(0).1;
        assert!(!awareness.expire(now + LEASE - Duration::from_millis(1)));
        assert!(awareness.expire(now + LEASE));
        assert_eq!(awareness.after(seen).0, [state(1, 3, "null")]);
        awareness.expire(now + 2 * LEASE);
        assert_eq!(awareness.judge(&state(1, 3, "{}")), Verdict::Newer);
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_so_many_states_and_no_more() {
        let (mut awareness, now) = (Awareness::new(2), Instant::now());
        for client in 1..=3 {
            assert_eq!(awareness.take(state(client, 1, "{}"), now), client <= 2);
        }
        assert!(awareness.take(state(2, 2, "{}"), now), "who is there may go on");
    }
}

//! Tickets: short-lived and single-use, so that no long-lived token stands in a URL.
//!
//! A page that cannot set headers (a bare `EventSource` or `WebSocket`) first asks for a ticket with
//! its token, then puts the ticket into the URL.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tidewire_core::{Peer, clock::Random};
use tidewire_proto::Epoch;
use tokio::time::Instant;

/// How long a ticket is good.
pub(crate) const TICKET_LIFE: Duration = Duration::from_secs(30);
/// Most tickets that wait to be used; beyond it the request is answered `busy`.
const TICKETS_MAX: usize = 100_000;

pub(crate) struct Tickets {
    waiting: Mutex<HashMap<String, (Instant, Arc<Peer>)>>,
    random: Arc<dyn Random>,
}

impl Tickets {
    pub(crate) fn new(random: Arc<dyn Random>) -> Self {
        Self { waiting: Mutex::default(), random }
    }

    /// A new ticket for this peer; nothing when too many wait.
    pub(crate) fn issue(&self, peer: Arc<Peer>) -> Option<String> {
        let ticket =
            format!("t{}-{}", Epoch(self.random.next_u64()), Epoch(self.random.next_u64()));
        let now = Instant::now();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= TICKETS_MAX {
            waiting.retain(|_, (expires, _)| *expires > now);
        }
        if waiting.len() >= TICKETS_MAX {
            return None;
        }
        waiting.insert(ticket.clone(), (now + TICKET_LIFE, peer));
        Some(ticket)
    }

    /// The peer of a ticket that is good. It is used up by this.
    pub(crate) fn redeem(&self, ticket: &str) -> Option<Arc<Peer>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (expires, peer) = waiting.remove(ticket)?;
        (Instant::now() < expires).then_some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::clock::SeededRandom;

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_not_for_long() {
        let tickets = Tickets::new(Arc::new(SeededRandom::new(1)));
        let issue = || tickets.issue(Arc::new(Peer::anybody())).unwrap();
        let (first, second) = (issue(), issue());
        assert!(tickets.redeem(&first).is_some());
        assert!(tickets.redeem(&first).is_none());
        assert!(tickets.redeem("t1-1").is_none());
        tokio::time::advance(TICKET_LIFE).await;
        assert!(tickets.redeem(&second).is_none());
    }
}

//! [`App`]: what every door shares. No door's own business is here.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderMap, header};
use tidewire_core::{
    Credential, Gate, Hub, Peer, Proof, Refusal,
    clock::{Clock, Random},
};
use tidewire_proto::{Code, Epoch, Sequence, WireError, plan::Transport};
use tokio::sync::watch;

use crate::{
    access::{self, Ended, Revocations},
    config::Origins,
    manifest::Plan,
    metrics::Metrics,
    path::Paths,
    streams::Lingering,
    ticket::Tickets,
    token::ApiKeys,
    webhook::AllCounts,
};

/// A handle on what the doors share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

/// What the doors share.
pub(crate) struct Shared {
    parts: Parts,
    pub(crate) tickets: Tickets,
    #[cfg(feature = "documents")]
    pub(crate) documents: tidewire_docs::Documents,
    pub(crate) metrics: Metrics,
    pub(crate) paths: Paths,
    pub(crate) lingering: Lingering,
    pub(crate) leaving: watch::Sender<bool>,
    /// Sent anew by each reload, also when it is the same.
    pub(crate) plan: watch::Sender<Arc<Plan>>,
    /// Up to where revocations are in force.
    pub(crate) obeyed: watch::Sender<Sequence>,
    // Whose access a reload has ended. None but those of API keys: a token ends by itself.
    retired: ArcSwap<Vec<Arc<Peer>>>,
    // Mostly nobody's, and then nobody looks.
    has_retired: AtomicBool,
    // How many there were when the server began to go down.
    crowd: AtomicUsize,
}

/// What an [`App`] is made of.
pub(crate) struct Parts {
    pub(crate) hub: Hub,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) origins: ArcSwap<Origins>,
    pub(crate) prefix: String,
    /// Is this `tidewire dev`: the live page and the echo socket are there.
    pub(crate) dev: bool,
    /// The keys of programs, whatever else the gate takes: whoever shows one may read the metrics.
    pub(crate) keys: ArcSwap<ApiKeys>,
    /// Whose access was taken back; nothing where everybody may do everything.
    pub(crate) revocations: Option<Arc<Revocations>>,
    pub(crate) counted: Counted,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

/// Counts of those who are not doors.
#[derive(Default)]
pub(crate) struct Counted {
    /// Nothing where no app is ever asked.
    pub(crate) asked: Option<Arc<access::Counts>>,
    pub(crate) webhooks: Arc<AllCounts>,
}

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Deref for Shared {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        let plan = Plan::first(&parts.hub.features(), parts.hub.limits());
        Self(Arc::new(Shared {
            tickets: Tickets::new(Arc::clone(&parts.random)),
            #[cfg(feature = "documents")]
            documents: tidewire_docs::Documents::new(parts.hub.clone()),
            parts,
            metrics: Metrics::default(),
            paths: Paths::default(),
            lingering: Lingering::default(),
            leaving: watch::Sender::new(false),
            plan: watch::Sender::new(Arc::new(plan)),
            obeyed: watch::Sender::new(Sequence::ZERO),
            retired: ArcSwap::default(),
            has_retired: AtomicBool::new(false),
            crowd: AtomicUsize::new(0),
        }))
    }

    /// Who sends this request: by its ticket if it shows one, else by its `Authorization`.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        ticket: Option<&str>,
    ) -> Result<Arc<Peer>, WireError> {
        if let Some(ticket) = ticket {
            let peer = self.tickets.redeem(ticket);
            return peer.ok_or_else(|| {
                let message = "the ticket was used, has expired or never was: ask for a new one";
                WireError::new(Code::TokenInvalid, message)
            });
        }
        let token = bearer(headers)?;
        let credential = token.map_or(Credential::None, Credential::Bearer);
        self.gate.admit(credential).await.map_err(|refusal| {
            let error = WireError::from(refusal);
            match (token, error.code) {
                (None, Code::TokenInvalid) => WireError { code: Code::TokenMissing, ..error },
                _ => error,
            }
        })
    }

    /// A name for a connection.
    pub(crate) fn connection_name(&self) -> String {
        format!("c{}", Epoch(self.random.next_u64()))
    }

    /// How long this client waits before it comes back after a loss: its own slot, from one to two
    /// times the base.
    pub(crate) fn retry(&self) -> Duration {
        let base = self.hub.limits().retry_base;
        base + self.random.up_to(base)
    }

    /// The slot of a client that is sent away by a restart: all of them spread over a window that
    /// grows with their number, a millisecond each.
    pub(crate) fn restart_slot(&self) -> Duration {
        let base = self.hub.limits().retry_base;
        // Not of those who are still here: the last to leave would all get the first slots.
        let crowd = self.crowd.load(Ordering::Relaxed).max(self.streams());
        let window = Duration::from_millis(crowd as u64);
        base + self.random.up_to(base.max(window))
    }

    /// The plan that is in force.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.borrow())
    }

    /// When a client that hears of another plan asks for it: all of them spread over a window that
    /// grows with their number, a millisecond each.
    pub(crate) fn plan_slot(&self) -> Duration {
        let window = Duration::from_millis(self.streams() as u64);
        self.random.up_to(self.hub.limits().retry_base.max(window))
    }

    /// Other features or rights are in force: everybody looks whether that is news for them. Says
    /// whether the plan is another.
    pub(crate) fn reloaded(&self, retired: Vec<Arc<Peer>>) -> bool {
        if !retired.is_empty() {
            let known = self.retired.load();
            // Nobody but this list remembers those whose last connection has gone.
            let still = known.iter().filter(|peer| Arc::strong_count(peer) > 1).cloned();
            self.retired.store(Arc::new(still.chain(retired).collect()));
            self.has_retired.store(true, Ordering::Release);
        }
        let before = self.plan();
        let next = before.next(&self.hub.features(), self.hub.limits());
        let is_new = next.is_some();
        self.plan.send_replace(next.map_or(before, Arc::new));
        is_new
    }

    /// What makes everybody look whether their access has ended. Does not keep the app alive.
    pub(crate) fn look_again(&self) -> impl Fn() + Send + Sync + use<> {
        let plan = self.plan.clone();
        // Whoever hears of a reload looks, and finds the plan that they know.
        move || plan.send_modify(|_| {})
    }

    /// The peer of a connection, which can be ended by its name from here on.
    pub(crate) fn connected(&self, mut peer: Arc<Peer>, name: &str) -> Arc<Peer> {
        // An API key's peer is one for all that it opens, and goes with the key.
        if let Some(revocations) = self.revocations.as_ref().filter(|_| peer.proof != Proof::Key) {
            Arc::make_mut(&mut peer).connection = Some(revocations.connection(name));
        }
        peer
    }

    /// Counts one open stream, socket or waiting poll, until it is dropped.
    pub(crate) fn stream_guard(&self, transport: Transport) -> StreamGuard {
        let open = Arc::clone(self.metrics.open(transport));
        open.fetch_add(1, Ordering::Relaxed);
        StreamGuard(open)
    }

    /// Open streams, sockets and waiting polls.
    pub(crate) fn streams(&self) -> usize {
        let open = Transport::ALL.map(|transport| self.metrics.open(transport));
        open.iter().map(|open| open.load(Ordering::Relaxed)).sum()
    }

    /// How long until this peer's access ends, if it ends.
    pub(crate) fn access_left(&self, peer: &Peer) -> Option<Duration> {
        if self.ended(peer).is_some() {
            return Some(Duration::ZERO);
        }
        let Some(expires_at_ms) = peer.expires_at_ms else {
            return self.is_retired(peer).then_some(Duration::ZERO);
        };
        let left_ms = expires_at_ms.saturating_sub(self.clock.now_ms());
        Some(Duration::from_millis(left_ms))
    }

    /// What a peer hears whose access has ended.
    pub(crate) fn why_ended(&self, peer: &Peer) -> WireError {
        match self.ended(peer) {
            Some(Ended::Revoked) => WireError::from(Refusal::Revoked),
            Some(Ended::Dismissed) => dismissed(),
            None => expired(),
        }
    }

    /// Was this peer's access taken back?
    pub(crate) fn is_taken_back(&self, peer: &Peer) -> bool {
        self.ended(peer).is_some()
    }

    fn ended(&self, peer: &Peer) -> Option<Ended> {
        self.revocations.as_ref()?.ended(peer)
    }

    fn is_retired(&self, peer: &Peer) -> bool {
        self.has_retired.load(Ordering::Acquire)
            && self.retired.load().iter().any(|gone| std::ptr::eq(&**gone, peer))
    }

    /// Begins to go down: everybody is sent away.
    pub(crate) fn leave(&self) {
        self.crowd.store(self.streams(), Ordering::Relaxed);
        self.leaving.send_replace(true);
    }

    /// Is the server going down?
    pub(crate) fn is_leaving(&self) -> bool {
        *self.leaving.borrow()
    }
}

/// See [`App::stream_guard`].
pub(crate) struct StreamGuard(Arc<AtomicUsize>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until access ends; for ever if it does not. Looks at the wall clock again now and then,
/// because that is what a token means and it may have been moved.
pub(crate) async fn access_ended(app: &App, peer: &Peer) {
    const LOOK_AGAIN: Duration = Duration::from_secs(5);
    loop {
        match app.access_left(peer) {
            None => std::future::pending().await,
            Some(Duration::ZERO) => return,
            Some(left) => tokio::time::sleep(left.min(LOOK_AGAIN)).await,
        }
    }
}

/// Waits until the server goes down.
pub(crate) async fn left(leaving: &mut watch::Receiver<bool>) {
    if leaving.wait_for(|leaving| *leaving).await.is_err() {
        // The server is gone altogether, and this task will be soon.
        std::future::pending::<()>().await;
    }
}

/// Waits for the next reload.
pub(crate) async fn reloaded(plan: &mut watch::Receiver<Arc<Plan>>) {
    if plan.changed().await.is_err() {
        // As in `left`.
        std::future::pending::<()>().await;
    }
}

/// What everybody hears when the server goes down.
pub(crate) fn restarting() -> WireError {
    WireError::new(Code::Restarting, "the server is restarting: come back with your cursor")
}

/// What a peer hears whose token is over, or whose key is gone.
fn expired() -> WireError {
    let message = "the token has expired, or the API key is good no longer: get a new one and resume \
                   with your cursor";
    WireError::new(Code::TokenExpired, message)
}

/// What a peer hears whose connection was ended by its name.
fn dismissed() -> WireError {
    let message = "whoever runs the server has ended this connection: come back with your cursor";
    WireError::new(Code::Dismissed, message)
}

/// What `Authorization` shows.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, WireError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let malformed = || {
        let message = "`Authorization` is `Bearer` and a token";
        WireError::new(Code::TokenInvalid, message)
    };
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim())) } else { Err(malformed()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::{
        Features, Limits, MemoryLog, OpenGate,
        clock::{SeededRandom, SystemClock},
        log::memory::MemoryBounds,
    };

    fn app() -> App {
        let (features, limits) = (Arc::<Features>::default(), Limits::default());
        let random: Arc<dyn Random> = Arc::new(SeededRandom::new(3));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let log = || {
            let (features, clock) = (Arc::clone(&features), Arc::clone(&clock));
            Arc::new(MemoryLog::new(features, &limits, MemoryBounds::default(), clock, &*random))
        };
        let hub = Hub::new(log(), log(), Arc::clone(&features), limits.clone());
        let (gate, origins, prefix) =
            (Arc::new(OpenGate), ArcSwap::from_pointee(Origins::default()), "/v1".to_owned());
        let (keys, revocations) = (ArcSwap::default(), None);
        let (dev, counted) = (true, Counted::default());
        App::new(Parts {
            hub,
            gate,
            origins,
            prefix,
            dev,
            keys,
            revocations,
            counted,
            clock,
            random,
        })
    }

    /// The window of the slots is the crowd's, for the last who leaves as for the first.
    #[tokio::test]
    async fn the_last_to_leave_has_a_slot_in_the_same_window_as_the_first() {
        let app = app();
        let mut guards: Vec<_> = (0..20_000).map(|_| app.stream_guard(Transport::Sse)).collect();
        app.leave();
        let mut late = 0;
        while guards.pop().is_some() {
            if guards.len() < 1_000 && app.restart_slot() > Duration::from_secs(11) {
                late += 1;
            }
        }
        // Half of them: slots go from 1 s to 21 s.
        assert!((400..600).contains(&late), "{late}");
        assert!(app.is_leaving());
    }
}

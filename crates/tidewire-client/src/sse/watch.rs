//! [`Watch`]: the judge of a path at work beside one event stream.
//!
//! Sends the canaries and probes that the judge asks for, while the stream is opened and whenever it
//! waits for bytes, and leaves the stream when the verdict is that the path holds it back. Who named
//! the rung is not watched: there would be nowhere to go.

use std::{future::Future, sync::Arc, time::Duration};

use tidewire_proto::sse::Event;
use tokio::time::{Instant, sleep_until};

use crate::{
    attempt::{Attempt, Watched},
    client::Client,
    loss::Loss,
    path::{Answer, By, PathJudge, PathVerdict, Signal},
    recall::{Beside, Recall, ready},
    wire, witness,
};

pub(super) struct Watch<'a> {
    witnesses: Option<Witnesses>,
    recall: &'a mut Recall,
}

struct Witnesses {
    client: Client,
    token: Option<Arc<str>>,
    name: Arc<str>,
    judge: PathJudge,
    requested_at: Instant,
    canary: Option<Beside<witness::Flown>>,
    probe: Option<Beside<(Duration, Answer)>>,
    // What the canaries saw, for the report.
    seen: String,
}

impl<'a> Watch<'a> {
    /// A stream is about to be asked for.
    pub(super) fn new(attempt: &Attempt<'_>, recall: &'a mut Recall) -> Self {
        let witnesses = attempt.watched.as_ref().map(|Watched { name, early }| Witnesses {
            client: attempt.client.clone(),
            token: attempt.token.clone(),
            name: Arc::clone(name),
            judge: PathJudge::new(*early),
            requested_at: Instant::now(),
            canary: None,
            probe: None,
            seen: String::new(),
        });
        Self { witnesses, recall }
    }

    /// Has the stream come through?
    pub(super) fn is_clear(&self) -> bool {
        let verdict = self.witnesses.as_ref().map(|witnesses| witnesses.judge.verdict());
        verdict == Some(PathVerdict::Clear)
    }

    /// Does this, and asks the witnesses meanwhile.
    pub(super) async fn beside<T>(&mut self, doing: impl Future<Output = T>) -> Result<T, Loss> {
        let Some(witnesses) = &mut self.witnesses else { return self.recall.or(doing).await };
        tokio::pin!(doing);
        loop {
            // What has come counts before what a witness says of it.
            tokio::select! {
                biased;
                done = &mut doing => return Ok(done),
                loss = self.recall.called() => return Err(loss),
                () = witnesses.ask() => {}
            }
            if let PathVerdict::Buffered(by) = witnesses.judge.verdict() {
                return Err(witnesses.held(by));
            }
        }
    }

    /// A piece of the stream came, with these events in it.
    pub(super) fn piece(&mut self, events: &[Event]) {
        for event in events {
            self.plan_in(event);
        }
        let Some(witnesses) = &mut self.witnesses else { return };
        let now = witnesses.requested_at.elapsed();
        witnesses.judge.piece(now, &events.iter().map(signal).collect::<Vec<_>>());
    }

    fn plan_in(&mut self, event: &Event) {
        // What makes no sense here is found to be so when the event is passed on.
        match event.event.as_str() {
            "tidewire.hello" => {
                if let Ok(hello) = wire::hello(&event.data) {
                    self.recall.greeted(&hello);
                }
            }
            "tidewire.plan" => {
                if let Ok(named) = wire::plan(&event.data) {
                    self.recall.plan_is(named);
                }
            }
            _ => {}
        }
    }

    /// Passing on what came may have taken long: silence begins when we listen.
    pub(super) fn listens(&mut self) {
        if let Some(witnesses) = &mut self.witnesses {
            witnesses.judge.piece(witnesses.requested_at.elapsed(), &[]);
        }
    }
}

impl Witnesses {
    /// Sends what is due, and hears one of those that were sent. Cancel-safe.
    async fn ask(&mut self) {
        if let Some(gap) = self.judge.canary_gap().filter(|_| self.canary.is_none()) {
            let flight = witness::fly(self.client.clone(), self.token.clone(), gap);
            self.canary = Some(Box::pin(flight));
        }
        let due = self.judge.probe_at().filter(|_| self.probe.is_none());
        let due = due.and_then(|due| self.requested_at.checked_add(due));
        tokio::select! {
            biased;
            flown = ready(&mut self.canary) => self.flown(&flown),
            (rtt, answer) = ready(&mut self.probe) => {
                self.judge.answered(self.requested_at.elapsed(), rtt, answer);
            }
            () = until(due) => {
                let (client, token) = (self.client.clone(), self.token.clone());
                self.probe = Some(Box::pin(witness::probe(client, token, Arc::clone(&self.name))));
            }
        }
    }

    fn flown(&mut self, flown: &witness::Flown) {
        let arrivals = &flown.canary.arrivals;
        if let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) {
            let (spread, whole) = (last.saturating_sub(*first), flown.canary.gap * 2);
            self.seen = format!("canary: {} ms of {}", spread.as_millis(), whole.as_millis());
            if let Some(via) = &flown.via {
                self.seen.push_str(&format!(", {via}"));
            }
        }
        self.judge.canary(self.requested_at.elapsed(), &flown.canary);
    }

    fn held(&self, by: By) -> Loss {
        let detail = (!self.seen.is_empty()).then(|| self.seen.clone());
        Loss::Held { by, detail }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn signal(event: &Event) -> Signal {
    match event.event.as_str() {
        "tidewire.hello" => {
            let beat = wire::hello(&event.data).map(|hello| hello.beat).unwrap_or_default();
            Signal::Hello { beat }
        }
        "tidewire.beat" => Signal::Beat,
        _ => Signal::Other,
    }
}

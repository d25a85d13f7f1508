//! The loop: attempt after attempt, for ever, each from where the last one stopped.
//!
//! What comes next is decided by pure parts: [`Loss::verdict`], [`Backoff`], [`Ladder`]. This module
//! asks them in order and waits.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use tidewire_proto::{Code, Next, Topic};
use tokio::time::{Instant, sleep};

use crate::{
    attempt::{Attempt, Outlet, Parcel, Watched},
    backoff::{Backoff, Told},
    client::Client,
    error::ClientError,
    item::{Item, Rung, Status},
    jitter::random_key,
    ladder::Ladder,
    loss::{Loss, Verdict},
    path::By,
    plan, poll,
    recall::Recall,
    sse,
    subscription::Options,
    walk::Walk,
    ws,
};

struct Resume {
    client: Client,
    walk: Walk,
    out: Outlet,
    ladder: Ladder,
    backoff: Backoff,
    // Has this server ever answered in Tidewire's protocol?
    known: bool,
    // Was the token refreshed since a connection was open?
    refreshed: bool,
    // Is the next attempt a reading of pages?
    by_pages: bool,
    // Which plan we follow.
    tag: String,
    // Does the next attempt only change the rung?
    moves: bool,
    // The rung of the last attempt, for who hears the status.
    stood_on: Option<Rung>,
}

/// Where a verdict on the path leads.
enum Went {
    /// To another rung, at once.
    Elsewhere,
    /// To the first rung again, when none is left: that waits like any loss.
    Round,
}

/// How an attempt went. No loss: it did what it should, go on at once.
struct Outcome {
    loss: Option<Loss>,
    lasted: Option<(Duration, bool)>,
    told: Option<Told>,
    token: Option<Arc<str>>,
    came_through: bool,
}

impl Outcome {
    fn unopened(loss: Loss, token: Option<Arc<str>>) -> Self {
        Self { loss: Some(loss), lasted: None, told: None, token, came_through: false }
    }
}

/// Follows topics until nobody listens or the server ends it for good.
pub(crate) async fn run(client: Client, topics: Vec<Topic>, options: Options, out: Outlet) {
    let backoff = Backoff::new(client.options().backoff.clone());
    let mut resume = Resume {
        walk: Walk::new(topics, options.after),
        ladder: Ladder::new(options.rung, client.options().timeouts.retest),
        backoff,
        client,
        out,
        known: false,
        refreshed: false,
        by_pages: false,
        tag: String::new(),
        moves: false,
        stood_on: None,
    };
    while resume.step().await.is_continue() {}
}

impl Resume {
    /// One attempt, and the wait after it.
    async fn step(&mut self) -> ControlFlow<()> {
        let outcome = self.attempt().await;
        let verdict = self.judge(&outcome);
        let Some(loss) = outcome.loss else { return ControlFlow::Continue(()) };
        let wait = match verdict {
            Verdict::Leave => return ControlFlow::Break(()),
            Verdict::End(error) => {
                let _nobody = self.out.send(Parcel { item: Some(Err(error)), at: None }).await;
                return ControlFlow::Break(());
            }
            Verdict::CatchUp => {
                self.by_pages = true;
                Duration::ZERO
            }
            // Nothing failed, and the plan is the one that brought us here: no wait.
            Verdict::Move => {
                self.moves = true;
                return ControlFlow::Continue(());
            }
            // The first time at once; a server that refuses what it just took is not hammered.
            Verdict::Refresh => self.delay(Some(Told::Slot(Duration::ZERO))),
            Verdict::Again(told) => self.delay(outcome.told.or(told)),
        };
        let waiting = Item::Status(Status::Waiting { why: loss.to_string(), wait });
        if self.out.put(waiting, None).await.is_err() {
            return ControlFlow::Break(());
        }
        sleep(wait).await;
        ControlFlow::Continue(())
    }

    fn delay(&mut self, told: Option<Told>) -> Duration {
        self.backoff.delay(told, &*self.client.options().jitter)
    }

    async fn attempt(&mut self) -> Outcome {
        let token = match self.client.token().await {
            Ok(token) => token,
            Err(loss) => return Outcome::unopened(loss, None),
        };
        if !std::mem::take(&mut self.moves)
            && let Err(loss) = self.ask_the_plan(token.as_deref()).await
        {
            return Outcome::unopened(loss, token);
        }
        let by_pages = std::mem::take(&mut self.by_pages);
        let rung = if by_pages { Rung::Poll } else { self.ladder.rung() };
        if self.say_where(rung, by_pages).await.is_err() {
            return Outcome::unopened(Loss::Dropped, token);
        }
        let (mut recall, watched) = (self.recall(), self.watched());
        let (walk, moves) = (&mut self.walk, self.ladder.moves());
        let mut attempt = Attempt::new(&self.client, token.clone(), walk, &self.out, rung, moves);
        attempt.watched = watched;
        let lost = match rung {
            Rung::Poll if by_pages => poll::catch_up(&mut attempt).await,
            Rung::Ws => {
                Box::pin(ws::follow(&mut attempt, &mut recall)).await.map(|never| match never {})
            }
            Rung::Poll => poll::follow(&mut attempt, &mut recall).await.map(|never| match never {}),
            Rung::Sse | Rung::Auto => {
                Box::pin(sse::follow(&mut attempt, &mut recall)).await.map(|never| match never {})
            }
        };
        if let Some(tag) = recall.tag() {
            tag.clone_into(&mut self.tag);
        }
        let (lasted, told) = (attempt.lasted(), attempt.told());
        Outcome { loss: lost.err(), lasted, told, came_through: attempt.came_through, token }
    }

    /// Says that an attempt begins, and before it, if it goes another way than the last, why.
    async fn say_where(&mut self, rung: Rung, by_pages: bool) -> Result<(), Loss> {
        if !by_pages {
            let from = self.stood_on.replace(rung).unwrap_or(rung);
            if from != rung {
                let why = self.ladder.by().sentence().to_owned();
                let moved = Status::Moved { from, to: rung, why };
                self.out.put(Item::Status(moved), None).await?;
            }
        }
        self.out.put(Item::Status(Status::Connecting { rung }), None).await
    }

    /// What may call the next connection away.
    fn recall(&self) -> Recall {
        let (client, ladder) = (&self.client, &self.ladder);
        let mut recall = Recall::default();
        if ladder.follows_the_plan() {
            let topics = self.walk.topics().to_vec();
            recall.follow_the_plan(client, topics, self.tag.clone(), ladder);
        }
        if let Some(at) = ladder.retest_at(Instant::now()) {
            recall.look_for_better(client, ladder.better().to_vec(), at);
        }
        recall
    }

    /// How the path is watched, if the next attempt may go another way.
    fn watched(&self) -> Option<Watched> {
        self.ladder.follows_the_plan().then(|| Watched {
            name: random_key(&*self.client.options().jitter).into(),
            early: !self.ladder.is_clear(),
        })
    }

    /// Follows the plan, if that was asked for. Without an answer the last plan holds, and the
    /// attempt itself will say what is wrong.
    async fn ask_the_plan(&mut self, token: Option<&str>) -> Result<(), Loss> {
        if !self.ladder.follows_the_plan() {
            return Ok(());
        }
        match plan::ask(&self.client, token).await {
            Ok(plan) => {
                self.known = true;
                self.ladder.planned(plan.rungs(self.walk.topics()));
                self.tag = plan.tag;
                Ok(())
            }
            // Who is told to stay away, or to come with another token, does not ask for more.
            Err(Loss::Refused(refusal))
                if refusal.next == Next::RefreshToken || refusal.retry_after.is_some() =>
            {
                Err(Loss::Refused(refusal))
            }
            Err(Loss::NotOpened(limit)) => {
                Err(Loss::Unreachable(format!("it did not say its plan within {limit:?}")))
            }
            Err(loss @ (Loss::Unreachable(_) | Loss::Token(_))) => Err(loss),
            Err(_) => Ok(()),
        }
    }

    fn judge(&mut self, outcome: &Outcome) -> Verdict {
        if let Some((lasted, heard)) = outcome.lasted {
            self.known = true;
            self.refreshed = false;
            self.backoff.was_open(lasted, heard);
            self.ladder.was_open(heard);
        }
        if outcome.came_through {
            self.ladder.came_through();
        }
        let went = self.judge_the_path(outcome);
        let Some(loss) = &outcome.loss else { return Verdict::Again(None) };
        let verdict = match (went, loss.verdict(self.known)) {
            (Some(Went::Elsewhere), _) => Verdict::Move,
            (Some(Went::Round), _) => Verdict::Again(None),
            (None, verdict) => verdict,
        };
        let Loss::Refused(refusal) = loss else { return verdict };
        if verdict != Verdict::Refresh {
            return verdict;
        }
        let is_hopeless = !self.client.keeper().refused(outcome.token.as_deref());
        if is_hopeless || std::mem::replace(&mut self.refreshed, true) {
            return Verdict::End(ClientError::Unauthorized(refusal.clone()));
        }
        Verdict::Refresh
    }

    /// What the loss says of this rung. Nothing, if it is a loss like any other.
    fn judge_the_path(&mut self, outcome: &Outcome) -> Option<Went> {
        let (now, ladder) = (Instant::now(), &mut self.ladder);
        let down = |is_down| Some(if is_down { Went::Elsewhere } else { Went::Round });
        match (&outcome.loss, outcome.lasted) {
            (Some(Loss::Held { by, detail }), _) => {
                return down(ladder.fell(*by, detail.clone(), now));
            }
            // A proxy passed on a handshake that is none any more, and will do so each time.
            (Some(Loss::Refused(refusal)), None)
                if ladder.follows_the_plan()
                    && ladder.rung() == Rung::Ws
                    && refusal.code == Code::UpgradeRequired.as_str() =>
            {
                return down(ladder.fell(By::Connect, None, now));
            }
            (Some(Loss::Better(rung)), _) => {
                ladder.climbed(*rung, now);
                return Some(Went::Elsewhere);
            }
            (Some(Loss::Replanned(rungs)), _) => {
                ladder.planned(rungs.clone());
                return Some(Went::Elsewhere);
            }
            (Some(Loss::Silent(_)), Some((_, false))) => ladder.was_silent(now),
            (Some(loss), None) if loss.may_be_the_path() => ladder.did_not_open(now),
            (Some(_), Some((lasted, _))) => ladder.was_lost(lasted, now),
            _ => {}
        }
        None
    }
}

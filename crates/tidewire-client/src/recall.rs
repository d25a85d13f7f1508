//! [`Recall`]: what calls a connection away although it works: a better rung lets us through again,
//! or the server has another plan.
//!
//! Runs beside a rung, at the points where the rung waits for bytes: there nothing that was heard is
//! still on its way to the subscriber.

use std::{future::Future, pin::Pin, time::Duration};

use tidewire_proto::Topic;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    client::Client,
    item::Rung,
    ladder::{Ladder, RETEST_MIN},
    loss::Loss,
    path::{CanarySays, GAP},
    plan::{self, Plan},
    wire::{Hello, PlanNamed},
    witness, ws,
};

/// A plan that could not be had is asked for again after this long.
const PLAN_AGAIN: Duration = Duration::from_secs(10);

/// Something that goes on beside a rung.
pub(crate) type Beside<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What may call a connection away.
#[derive(Default)]
pub(crate) struct Recall {
    better: Option<Beside<Rung>>,
    plan: Option<Beside<Plan>>,
    followed: Option<Followed>,
}

/// The plan that we follow.
struct Followed {
    client: Client,
    topics: Vec<Topic>,
    tag: String,
    // Another one that we were told of, and are asking for.
    named: Option<String>,
    rungs: Vec<Rung>,
    rung: Rung,
}

impl Recall {
    /// From `at` on, again and again, tries these rungs, the best first.
    pub(crate) fn look_for_better(&mut self, client: &Client, rungs: Vec<Rung>, at: Instant) {
        let client = client.clone();
        self.better = Some(Box::pin(async move {
            let every = client.options().timeouts.retest.max(RETEST_MIN);
            let mut at = at;
            loop {
                sleep_until(at).await;
                for rung in &rungs {
                    if lets_through(&client, *rung).await {
                        return *rung;
                    }
                }
                at = Instant::now() + every;
            }
        }));
    }

    /// Hears which plan the server has, and asks for it when it is not the one of this tag.
    pub(crate) fn follow_the_plan(
        &mut self,
        client: &Client,
        topics: Vec<Topic>,
        tag: String,
        ladder: &Ladder,
    ) {
        let (rungs, rung) = (ladder.rungs().to_vec(), ladder.rung());
        let (client, named) = (client.clone(), None);
        self.followed = Some(Followed { client, topics, tag, named, rungs, rung });
    }

    /// Which plan was followed at last.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.followed.as_ref().map(|followed| &*followed.tag)
    }

    /// The server greets, and names its plan.
    pub(crate) fn greeted(&mut self, hello: &Hello) {
        if let Some(tag) = hello.plan.clone() {
            self.plan_is(PlanNamed { tag, wait: Duration::ZERO });
        }
    }

    /// The server names its plan, and when we may ask for it.
    pub(crate) fn plan_is(&mut self, named: PlanNamed) {
        let Some(followed) = &mut self.followed else { return };
        if *followed.named.as_ref().unwrap_or(&followed.tag) == named.tag {
            return;
        }
        followed.named = Some(named.tag);
        let client = followed.client.clone();
        self.plan = Some(Box::pin(async move {
            let mut wait = named.wait;
            loop {
                sleep(wait).await;
                if let Ok(token) = client.token().await
                    && let Ok(plan) = plan::ask(&client, token.as_deref()).await
                {
                    return plan;
                }
                wait = PLAN_AGAIN;
            }
        }));
    }

    /// Waits until the connection is called away. Cancel-safe.
    pub(crate) async fn called(&mut self) -> Loss {
        loop {
            tokio::select! {
                biased;
                rung = ready(&mut self.better) => return Loss::Better(rung),
                plan = ready(&mut self.plan) => {
                    if let Some(rungs) = self.replanned(&plan) {
                        return Loss::Replanned(rungs);
                    }
                }
            }
        }
    }

    /// The rungs of a new plan, if it sends us elsewhere.
    fn replanned(&mut self, plan: &Plan) -> Option<Vec<Rung>> {
        let followed = self.followed.as_mut()?;
        followed.named = None;
        followed.tag.clone_from(&plan.tag);
        let rungs = plan.rungs(&followed.topics);
        if rungs == followed.rungs {
            return None;
        }
        if rungs.first() == Some(&followed.rung) {
            // What we fell to is the planned one now: nowhere is better.
            followed.rungs = rungs;
            self.better = None;
            return None;
        }
        Some(rungs)
    }

    /// Does this, unless the connection is called away before it is done.
    pub(crate) async fn or<T>(&mut self, doing: impl Future<Output = T>) -> Result<T, Loss> {
        tokio::select! {
            biased;
            done = doing => Ok(done),
            loss = self.called() => Err(loss),
        }
    }
}

/// The end of what goes on beside, which is then over; never, if nothing goes on. Cancel-safe.
pub(crate) async fn ready<T>(beside: &mut Option<Beside<T>>) -> T {
    let done = match beside {
        Some(going_on) => going_on.await,
        None => std::future::pending().await,
    };
    *beside = None;
    done
}

/// Does the path let this rung through?
async fn lets_through(client: &Client, rung: Rung) -> bool {
    let Ok(token) = client.token().await else { return false };
    if rung == Rung::Ws {
        return ws::greets(client, token.as_deref()).await;
    }
    let mut gap = GAP;
    loop {
        let canary = witness::fly(client.clone(), token.clone(), gap).await.canary;
        match canary.says() {
            CanarySays::Clear => return true,
            CanarySays::Again => gap = canary.wider(),
            CanarySays::Buffered | CanarySays::Unknown => return false,
        }
    }
}

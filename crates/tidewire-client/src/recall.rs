//! [`Recall`]: what calls a connection away although it works: a better rung lets us through again.
//!
//! Runs beside a rung, at the points where the rung waits for bytes: there nothing that was heard is
//! still on its way to the subscriber.

use std::{future::Future, pin::Pin};

use tokio::time::{Instant, sleep_until};

use crate::{
    client::Client,
    item::Rung,
    ladder::RETEST_MIN,
    loss::Loss,
    path::{CanarySays, GAP},
    witness, ws,
};

/// Something that goes on beside a rung.
pub(crate) type Beside<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What may call a connection away.
#[derive(Default)]
pub(crate) struct Recall {
    better: Option<Beside<Rung>>,
}

impl Recall {
    /// From `at` on, again and again, tries these rungs, the best first.
    pub(crate) fn to_better(client: Client, rungs: Vec<Rung>, at: Instant) -> Self {
        let better: Beside<Rung> = Box::pin(async move {
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
        });
        Self { better: Some(better) }
    }

    /// Waits until the connection is called away. Cancel-safe.
    pub(crate) async fn called(&mut self) -> Loss {
        Loss::Better(ready(&mut self.better).await)
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

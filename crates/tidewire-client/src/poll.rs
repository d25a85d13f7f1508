//! The long-poll rung, and pages of history: `/v1/events` from where the walk stands.
//!
//! Knows nothing of coming back. Invariant: the place moves to a page's cursor only after all its
//! entries were passed on.

use std::{convert::Infallible, time::Duration};

use tidewire_proto::{After, Cursor, Topic};
use tokio::time::{Instant, sleep};

use crate::{
    attempt::Attempt,
    client::Client,
    error::ClientError,
    http,
    item::{Continuity, Delivery},
    jitter::up_to,
    loss::Loss,
    recall::Recall,
    wire::{self, PageSaid, PlanNamed},
};

/// A server that answers "nothing" at once, again and again, is not asked faster than this.
const PACE: Duration = Duration::from_secs(1);

/// A page of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries, in log order.
    pub entries: Vec<Delivery>,
    /// Where the next page begins; nothing where no topic has places.
    pub cursor: Option<Cursor>,
    /// There is more to read now.
    pub more: bool,
    /// What is known of the seam before the first entry.
    pub continuity: Continuity,
}

impl Client {
    /// Reads one page of history.
    ///
    /// # Errors
    /// [`ClientError`], also for what a subscription would get over by itself: this asks once.
    pub async fn page(
        &self,
        topics: &[Topic],
        after: After,
        entries_max: usize,
    ) -> Result<Page, ClientError> {
        let ask = Ask { topics, after, wait: None, entries_max: Some(entries_max) };
        let token = self.token().await.map_err(once)?;
        let said = fetch(self, token.as_deref(), &ask).await.map_err(once)?;
        let PageSaid { entries, cursor, more, continuity, plan: _ } = said;
        Ok(Page { entries, cursor, more, continuity })
    }
}

/// A loss, for who asks once.
pub(crate) fn once(loss: Loss) -> ClientError {
    match loss {
        Loss::Refused(refusal) if refusal.next == tidewire_proto::Next::RefreshToken => {
            ClientError::Unauthorized(refusal)
        }
        Loss::Refused(refusal) => ClientError::Refused(refusal),
        Loss::Foreign { what, .. } | Loss::Garbled(what) => ClientError::Foreign(what),
        Loss::TooLarge(what) => ClientError::TooLarge(what),
        Loss::Token(why) => ClientError::Token(why),
        Loss::Stop => ClientError::Stopped,
        Loss::Unreachable(why) => ClientError::Unreachable(why),
        other => ClientError::Unreachable(other.to_string()),
    }
}

struct Ask<'a> {
    topics: &'a [Topic],
    after: After,
    wait: Option<Duration>,
    entries_max: Option<usize>,
}

async fn fetch(client: &Client, token: Option<&str>, ask: &Ask<'_>) -> Result<PageSaid, Loss> {
    let mut url = client.at("/events");
    {
        let mut query = url.query_pairs_mut();
        for topic in ask.topics {
            query.append_pair("topic", topic.as_str());
        }
        // Always said: what its absence means depends on `wait`.
        query.append_pair("after", &wire::after(ask.after));
        if let Some(wait) = ask.wait {
            query.append_pair("wait", &wait.as_secs().to_string());
        }
        if let Some(entries_max) = ask.entries_max {
            query.append_pair("limit", &entries_max.to_string());
        }
    }
    let options = client.options();
    let limit = options.timeouts.answer + ask.wait.unwrap_or_default();
    let response = http::send(client.http().get(url), token, limit).await?;
    if !http::has_type(&response, "application/json") {
        let what = "the answer is no page of entries".to_owned();
        return Err(Loss::Foreign { status: response.status().as_u16(), what });
    }
    let body = http::body(response, options.event_bytes_max, options.timeouts.answer).await?;
    wire::page(&body)
}

/// Polls until it is lost.
pub(crate) async fn follow(
    attempt: &mut Attempt<'_>,
    recall: &mut Recall,
) -> Result<Infallible, Loss> {
    catch_up(attempt).await?;
    let options = attempt.client.options();
    let wait = options.timeouts.poll_wait;
    loop {
        let asked_at = Instant::now();
        let page = recall.or(read(attempt, wait)).await??;
        if let Some(tag) = page.plan.clone() {
            // All who wait hear it in the same moment, and nobody gave us a slot.
            recall.plan_is(PlanNamed { tag, wait: up_to(&*options.jitter, PACE) });
        }
        let is_nothing = page.entries.is_empty();
        pass_on(attempt, page).await?;
        if is_nothing && asked_at.elapsed() < PACE {
            recall.or(sleep(PACE)).await?;
        }
    }
}

/// Reads what is there, page by page, without waiting for more. The first answer says continuity,
/// so nobody waits for it as long as a poll may take.
pub(crate) async fn catch_up(attempt: &mut Attempt<'_>) -> Result<(), Loss> {
    loop {
        let page = read(attempt, Duration::ZERO).await?;
        let more = page.more;
        pass_on(attempt, page).await?;
        if !more {
            return attempt.live().await;
        }
    }
}

async fn read(attempt: &mut Attempt<'_>, wait: Duration) -> Result<PageSaid, Loss> {
    let after = attempt.walk.begin_stream();
    let topics = attempt.walk.topics();
    let ask = Ask { topics, after, wait: Some(wait), entries_max: None };
    fetch(attempt.client, attempt.token.as_deref(), &ask).await
}

async fn pass_on(attempt: &mut Attempt<'_>, page: PageSaid) -> Result<(), Loss> {
    if !attempt.is_open() {
        attempt.opened(None).await?;
        attempt.continuity(page.continuity, None).await?;
    } else if let Continuity::Gap { gap, topic } = page.continuity {
        attempt.gap(gap, topic).await?;
    }
    for entry in page.entries {
        attempt.entry(entry).await?;
    }
    attempt.beat(page.cursor).await
}

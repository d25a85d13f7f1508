//! [`Session`]: one peer, its subscriptions, and what it may do. The same for an event stream, which
//! only reads, and for a WebSocket, which talks.
//!
//! Doors pull: [`Session::next`] is the one way to news, and while nobody calls it nothing piles up.
//!
//! Invariant: news of several subscriptions come in one log order once they have caught up.

use std::{collections::HashMap, sync::Arc};

use tidewire_proto::{After, Code, Cursor, Entry, Gap, Message, Sequence, Topic, WireError};
use tokio::sync::Notify;

use crate::{
    framed::Framed,
    gate::{Action, Credential, Gate, Peer, Refusal},
    hub::{HistoryPage, Hub, PublishError, Published, SubscribeError},
    log::{AppendError, Filter, PageLimit, ReadError},
    subscription::Subscription,
};

/// One peer at one door.
pub struct Session {
    hub: Hub,
    gate: Arc<dyn Gate>,
    peer: Arc<Peer>,
    signal: Arc<Notify>,
    subscriptions: Vec<Subscription>,
    // Whose turn it is to read the log, among those who must.
    turn: usize,
    // Live news were given last, so a reader of the past goes first now.
    past_first: bool,
}

/// What there is to tell a peer.
#[derive(Debug, Default)]
pub struct News {
    /// Continuity of this subscription ended here; the entries below come after it.
    pub gap: Option<(Filter, Gap)>,
    /// Entries in log order.
    pub entries: Vec<Arc<Framed>>,
    /// Subscriptions that have caught up, for the first time.
    pub live: Vec<Filter>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.gap.is_none() && self.entries.is_empty() && self.live.is_empty()
    }
}

impl Session {
    pub(crate) fn new(hub: Hub, gate: Arc<dyn Gate>, peer: Arc<Peer>) -> Self {
        Self {
            hub,
            gate,
            peer,
            signal: Arc::new(Notify::new()),
            subscriptions: Vec::new(),
            turn: 0,
            past_first: false,
        }
    }

    /// Who this is.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The subscriptions, in the order in which they began.
    #[must_use]
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// Starts to read topics, from one place in the log. Topics of features that keep nothing become
    /// a second subscription beside the first, because they have no places. The gate is asked for
    /// each topic.
    ///
    /// # Errors
    /// The gate's refusal, `unknown_feature`, `already_subscribed`, or `internal` when the past
    /// cannot be read. Nothing has changed then.
    pub async fn subscribe(
        &mut self,
        filter: &Filter,
        after: After,
    ) -> Result<&[Subscription], WireError> {
        let (mut kept, mut passing) = (Vec::new(), Vec::new());
        for topic in filter.topics() {
            self.gate.may(&self.peer, Action::Subscribe, topic).await.map_err(WireError::from)?;
            if self.subscriptions.iter().any(|have| have.filter().topics().contains(topic)) {
                let message = format!("`{topic}` is subscribed here already: unsubscribe first");
                return Err(WireError::new(Code::AlreadySubscribed, message));
            }
            let group = if self.hub.is_kept(topic).map_err(SubscribeError::from)? {
                &mut kept
            } else {
                &mut passing
            };
            group.push(topic.clone());
        }
        let mut begun = Vec::new();
        for (is_kept, topics) in [(true, kept), (false, passing)] {
            let Some(filter) = Filter::new(topics) else { continue };
            let lane = Arc::clone(self.hub.lane(is_kept));
            let signal = Arc::clone(&self.signal);
            let subscription = Subscription::begin(lane, filter, after, signal).await;
            begun.push(subscription.map_err(WireError::from)?);
        }
        let first = self.subscriptions.len();
        self.subscriptions.append(&mut begun);
        // There may be news already, and nobody will say so.
        self.signal.notify_one();
        Ok(self.subscriptions.get(first..).unwrap_or_default())
    }

    /// Stops reading what `filter` began. Says whether there was such a subscription.
    pub fn unsubscribe(&mut self, filter: &Filter) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|subscription| subscription.filter() != filter);
        self.subscriptions.len() < before
    }

    /// Reads a page of the past, if the gate allows it: see [`Hub::history`].
    ///
    /// # Errors
    /// The gate's refusal or the hub's.
    pub async fn history(
        &self,
        filter: &Filter,
        after: After,
        limit: usize,
    ) -> Result<HistoryPage, WireError> {
        for topic in filter.topics() {
            self.gate.may(&self.peer, Action::Subscribe, topic).await.map_err(WireError::from)?;
        }
        Ok(self.hub.history(filter, after, limit).await?)
    }

    /// What publishes in this peer's name.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher {
            hub: self.hub.clone(),
            gate: Arc::clone(&self.gate),
            peer: Arc::clone(&self.peer),
        }
    }

    /// Goes on with a new token. The subject must be the same; what is being read is asked again.
    ///
    /// # Errors
    /// The gate's refusal. If the new token does not cover a subscription that runs, it is
    /// `forbidden`, and the door closes.
    pub async fn renew(&mut self, credential: Credential<'_>) -> Result<(), WireError> {
        let peer = self.gate.admit(credential).await.map_err(WireError::from)?;
        if peer.subject != self.peer.subject {
            let message = "the new token is somebody else's: open another connection for them";
            return Err(WireError::new(Code::Forbidden, message));
        }
        for topic in self.subscriptions.iter().flat_map(|have| have.filter().topics()) {
            self.gate.may(&peer, Action::Subscribe, topic).await.map_err(WireError::from)?;
        }
        self.peer = peer;
        Ok(())
    }

    /// Waits for news. Cancel-safe: what was not returned is not passed over.
    ///
    /// # Errors
    /// [`ReadError`] when the past cannot be read; cursors stand where they stood.
    pub async fn next(&mut self) -> Result<News, ReadError> {
        loop {
            if let Some(news) = self.ready().await? {
                return Ok(news);
            }
            self.signal.notified().await;
        }
    }

    /// The news that are there already, if any.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn ready(&mut self) -> Result<Option<News>, ReadError> {
        loop {
            if std::mem::take(&mut self.past_first)
                && let Some(news) = self.read_past().await?
            {
                return Ok(Some(news));
            }
            let news = self.take_live();
            let is_behind = self.subscriptions.iter().any(Subscription::is_behind);
            self.past_first = is_behind;
            if !news.is_empty() {
                return Ok(Some(news));
            }
            if !is_behind {
                return Ok(None);
            }
        }
    }

    /// The place up to which every subscription that has places was told everything.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let kept = self.subscriptions.iter().filter(|subscription| subscription.is_kept());
        kept.min_by_key(|subscription| subscription.place()).and_then(Subscription::cursor)
    }

    /// One page of the log for one of those who must read it, in turn. Those who were live once and
    /// fell behind read together with the other live ones, so that their order stays the log's.
    async fn read_past(&mut self) -> Result<Option<News>, ReadError> {
        let count = self.subscriptions.len();
        let turn = (0..count)
            .map(|offset| (self.turn + offset) % count)
            .find(|&index| self.subscriptions.get(index).is_some_and(Subscription::is_behind));
        let Some(index) = turn else { return Ok(None) };
        let Some(subscription) = self.subscriptions.get(index) else { return Ok(None) };
        let together = if subscription.was_live() {
            self.read_together(subscription.is_kept()).await?
        } else {
            None
        };
        let news = match together {
            Some(news) => news,
            None => self.read_alone(index).await?,
        };
        self.turn = index + 1;
        Ok((!news.is_empty()).then_some(news))
    }

    async fn read_alone(&mut self, index: usize) -> Result<News, ReadError> {
        let Some(subscription) = self.subscriptions.get_mut(index) else {
            return Ok(News::default());
        };
        let (gap, entries) = subscription.read().await?;
        let gap = gap.map(|gap| (subscription.filter().clone(), gap));
        Ok(News { gap, entries, live: Vec::new() })
    }

    /// One page for all of a lane that were live, from the place of the last of them. Nothing when
    /// something was lost: then each has its own gap to tell.
    async fn read_together(&mut self, is_kept: bool) -> Result<Option<News>, ReadError> {
        let limits = self.hub.limits();
        let limit = PageLimit { entries: limits.page_entries_max, bytes: limits.step_bytes_max };
        let lane = Arc::clone(self.hub.lane(is_kept));
        let members = || {
            self.subscriptions.iter().filter(|have| have.was_live() && have.is_kept() == is_kept)
        };
        let topics = members().flat_map(|member| member.filter().topics()).cloned();
        let Some(filter) = Filter::new(topics) else { return Ok(None) };
        let after = members().map(Subscription::place).min().unwrap_or_default();
        let page = lane.log.read(&filter, after, limit).await?;
        if page.lost.is_some() {
            return Ok(None);
        }
        let places: HashMap<&Topic, Sequence> = members()
            .flat_map(|member| member.filter().topics().iter().map(|topic| (topic, member.place())))
            .collect();
        let is_news = |entry: &Arc<Entry>| {
            places.get(&entry.topic).is_some_and(|&place| entry.sequence > place)
        };
        let entries = lane.framed(page.entries.into_iter().filter(is_news));
        for member in &mut self.subscriptions {
            if member.was_live() && member.is_kept() == is_kept {
                member.advance(page.through);
            }
        }
        Ok(Some(News { gap: None, entries, live: Vec::new() }))
    }

    /// What the tails hold, of all subscriptions, up to one place in each lane.
    fn take_live(&mut self) -> News {
        let mut news = News::default();
        for is_kept in [true, false] {
            let position = self.hub.lane(is_kept).position();
            let first = news.entries.len();
            let places: Vec<_> = self.subscriptions.iter().map(Subscription::place).collect();
            let mut members: Vec<_> =
                self.subscriptions.iter_mut().filter(|have| have.is_kept() == is_kept).collect();
            for member in &mut members {
                member.take(position, &mut news.entries);
            }
            if members.iter().any(|member| member.was_live() && member.is_behind()) {
                // Nobody overtakes: all of them read the log together instead.
                news.entries.truncate(first);
                for (have, place) in self.subscriptions.iter_mut().zip(places) {
                    have.go_back(place);
                }
                continue;
            }
            for member in members {
                if member.has_become_live(position) {
                    news.live.push(member.filter().clone());
                }
            }
            if let Some(taken) = news.entries.get_mut(first..) {
                taken.sort_by_key(|framed| framed.entry().sequence);
            }
        }
        news
    }
}

/// Publishes in a peer's name. Apart from the session, so that a door can go on reading meanwhile.
#[derive(Clone)]
pub struct Publisher {
    hub: Hub,
    gate: Arc<dyn Gate>,
    peer: Arc<Peer>,
}

impl Publisher {
    /// Publishes, if the gate allows it.
    ///
    /// # Errors
    /// The gate's refusal or the hub's.
    pub async fn publish(&self, message: Message) -> Result<Published, WireError> {
        self.gate
            .may(&self.peer, Action::Publish, &message.topic)
            .await
            .map_err(WireError::from)?;
        self.hub.publish(message).await.map_err(|error| match error {
            // There is only one message to speak of.
            PublishError::Append(AppendError::Conflict { .. }) => {
                let message = "the idempotency key was used with another body on this topic: a \
                               retry sends the same body, another message has another key";
                WireError::new(Code::KeyConflict, message)
            }
            error => error.into(),
        })
    }

    /// Publishes a batch, if the gate allows every message of it.
    ///
    /// # Errors
    /// The gate's refusal or the hub's, for the whole batch.
    pub async fn publish_batch(&self, batch: Vec<Message>) -> Result<Vec<Published>, WireError> {
        for message in &batch {
            self.gate
                .may(&self.peer, Action::Publish, &message.topic)
                .await
                .map_err(WireError::from)?;
        }
        Ok(self.hub.publish_batch(batch).await?)
    }
}

impl From<Refusal> for WireError {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Unauthenticated { .. } => Code::TokenInvalid,
            Refusal::Expired => Code::TokenExpired,
            Refusal::Forbidden { .. } => Code::Forbidden,
            Refusal::Unavailable { .. } => Code::GateUnavailable,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<ReadError> for WireError {
    fn from(error: ReadError) -> Self {
        Self::new(Code::Internal, error.to_string())
    }
}

//! [`Session`]: one peer, its subscriptions, and what it may do. The same for an event stream, which
//! only reads, and for a WebSocket, which talks.
//!
//! Doors pull: [`Session::step`] is the one way to news, and while nobody calls it nothing piles up.
//! A door with a task of its own calls [`Session::next`], which steps, reads the past and waits; a
//! door that looks after many sockets steps by itself when a [`Board`] says that there is something.
//!
//! Invariant: news of several subscriptions come in one log order once they have caught up.

use std::{collections::HashMap, sync::Arc};

use smallvec::SmallVec;
use tidewire_proto::{
    After, Code, Continuity, Cursor, Entry, Gap, Message, Sequence, Topic, WireError,
    presence::Announcement, topic::PRESENCE,
};

use crate::{
    framed::Framed,
    gate::{Action, Credential, Gate, Peer, Refusal},
    hub::{HistoryPage, Hub, PublishError, Published, SubscribeError},
    log::{AppendError, Filter, PageLimit, ReadError},
    presence::{Announced, Connection},
    subscription::Subscription,
    tail::Tail,
    watch::{Board, Mark},
};

/// One peer at one door.
pub struct Session {
    hub: Hub,
    gate: Arc<dyn Gate>,
    peer: Arc<Peer>,
    // Nothing while nobody waits, or while somebody else watches the tails.
    mark: Option<Arc<Mark>>,
    subscriptions: SmallVec<[Subscription; 1]>,
    // Whose turn it is to read the log, among those who must. Short, as most sessions do nothing of
    // what stands here, and there are many.
    turn: u16,
    // Live news were given last, so a reader of the past goes first now.
    past_first: bool,
    // Somebody was announced on it.
    connection: Option<Connection>,
}

/// What there is to tell a peer. Reused from step to step: it keeps its room.
#[derive(Debug, Default)]
pub struct News {
    /// Continuity of this subscription ended here; the entries below come after it.
    pub gap: Option<(Filter, Gap)>,
    /// Entries in log order.
    pub entries: Vec<Arc<Framed>>,
    /// Subscriptions that have caught up, for the first time.
    pub live: Vec<Filter>,
    // Where each subscription stood before.
    places: SmallVec<[Sequence; 4]>,
}

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There are news; step again after them.
    News,
    /// Some of the past must be read from the log first: [`Session::past`].
    Past,
    /// Nothing until a watched tail has news.
    Quiet,
}

/// How a subscription began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// What is said first: `resumed`, `new`, or the gap.
    pub continuity: Continuity,
    /// Where it begins. Nothing for a feature that keeps nothing.
    pub at: Option<Cursor>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.gap.is_none() && self.entries.is_empty() && self.live.is_empty()
    }

    fn restart(&mut self, subscriptions: &[Subscription]) {
        self.gap = None;
        self.entries.clear();
        self.live.clear();
        self.places.clear();
        self.places.extend(subscriptions.iter().map(Subscription::place));
    }
}

impl Session {
    pub(crate) fn new(hub: Hub, gate: Arc<dyn Gate>, peer: Arc<Peer>) -> Self {
        let subscriptions = SmallVec::new();
        let (turn, past_first) = (0, false);
        Self { hub, gate, peer, mark: None, subscriptions, turn, past_first, connection: None }
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

    /// The tails of all topics that are read here, for somebody who watches them instead.
    pub fn tails(&self) -> impl Iterator<Item = &Arc<Tail>> {
        self.subscriptions.iter().flat_map(Subscription::tails)
    }

    /// Starts to read topics, from one place in the log. Topics of features that keep nothing become
    /// a second subscription beside the first, because they have no places. The gate is asked for
    /// each topic. Tells how each subscription began, what is kept first.
    ///
    /// # Errors
    /// The gate's refusal, `unknown_feature`, `already_subscribed`, or `internal` when the past
    /// cannot be read. Nothing has changed then.
    pub async fn subscribe(
        &mut self,
        filter: &Filter,
        after: After,
    ) -> Result<SmallVec<[Begun; 1]>, WireError> {
        self.may_read(filter).await?;
        self.subscribe_unasked(filter, after).await
    }

    /// As [`subscribe`](Self::subscribe), for the server itself: nobody is asked whether it may, and
    /// its own topics are topics like any other.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe), without the gate's refusal.
    pub async fn subscribe_unasked(
        &mut self,
        filter: &Filter,
        after: After,
    ) -> Result<SmallVec<[Begun; 1]>, WireError> {
        let (mut kept, mut passing) = (Vec::new(), Vec::new());
        for topic in filter.topics() {
            if self.subscriptions.iter().flat_map(Subscription::topics).any(|have| have == topic) {
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
        let (mut begun, mut told) = (SmallVec::<[_; 1]>::new(), SmallVec::new());
        for (is_kept, topics) in [(true, kept), (false, passing)] {
            let Some(filter) = Filter::new(topics) else { continue };
            let lane = Arc::clone(self.hub.lane(is_kept));
            let (subscription, continuity) =
                Subscription::begin(lane, &filter, after).await.map_err(WireError::from)?;
            told.push(Begun { continuity, at: subscription.cursor() });
            begun.push(subscription);
        }
        if let Some(mark) = &self.mark {
            begun.iter().for_each(|subscription| subscription.watch(mark));
            // There may be news already, and nobody will say so.
            mark.set();
        }
        self.subscriptions.extend(begun);
        Ok(told)
    }

    /// Stops reading what `filter` began. Says whether there was such a subscription.
    pub fn unsubscribe(&mut self, filter: &Filter) -> bool {
        let before = self.subscriptions.len();
        let mark = self.mark.as_ref();
        self.subscriptions.retain(|subscription| {
            let stays = !subscription.topics().eq(filter.topics());
            if let (false, Some(mark)) = (stays, mark) {
                subscription.unwatch(mark);
            }
            stays
        });
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
        self.may_read(filter).await?;
        Ok(self.hub.history(filter, after, limit).await?)
    }

    /// Reads the newest of the past, if the gate allows it: see [`Hub::history_back`].
    ///
    /// # Errors
    /// The gate's refusal or the hub's.
    pub async fn history_back(
        &self,
        filter: &Filter,
        before: Option<Cursor>,
        limit: usize,
    ) -> Result<HistoryPage, WireError> {
        self.may_read(filter).await?;
        Ok(self.hub.history_back(filter, before, limit).await?)
    }

    async fn may_read(&self, filter: &Filter) -> Result<(), WireError> {
        for topic in filter.topics() {
            may_read(&*self.gate, &self.peer, topic).await?;
        }
        Ok(())
    }

    /// Says where a member of this peer is, and where it is no more: see [`Publisher::announce`]. When
    /// the session ends, who was announced on it last has [`Limits::presence_grace`] to come back.
    ///
    /// [`Limits::presence_grace`]: crate::Limits::presence_grace
    ///
    /// # Errors
    /// As [`Publisher::announce`].
    pub async fn announce(&mut self, said: &Announcement) -> Result<Announced, WireError> {
        let hub = &self.hub;
        let connection = *self.connection.get_or_insert_with(|| hub.presence().connect());
        self.publisher().announce_via(said, Some(connection)).await
    }

    /// Where a reader begins who names no place: see [`Hub::fresh`].
    #[must_use]
    pub fn fresh(&self, filter: &Filter) -> After {
        self.hub.fresh(filter)
    }

    /// What publishes in this peer's name.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.hub.publisher(Arc::clone(&self.gate), Arc::clone(&self.peer))
    }

    /// Goes on with a new token. The subject must be the same; what is being read is asked again.
    ///
    /// # Errors
    /// The gate's refusal. If the new token does not cover a subscription that runs, it is
    /// `forbidden`, and the door closes.
    pub async fn renew(&mut self, credential: Credential<'_>) -> Result<(), WireError> {
        let mut peer = self.gate.admit(credential).await.map_err(WireError::from)?;
        if let Some(connection) = &self.peer.connection {
            // It is the same connection, whoever vouches for it.
            Arc::make_mut(&mut peer).connection = Some(connection.clone());
        }
        if peer.subject != self.peer.subject {
            let message = "the new token is somebody else's: open another connection for them";
            return Err(WireError::new(Code::Forbidden, message));
        }
        for topic in self.subscriptions.iter().flat_map(Subscription::topics) {
            may_read(&*self.gate, &peer, topic).await?;
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
            let Some(mark) = &self.mark else {
                // From now on word is left here; what came before is found by looking again.
                self.watch();
                continue;
            };
            mark.board().news().await;
            mark.board().take(&mut Vec::new());
        }
    }

    /// The news that are there already, if any.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn ready(&mut self) -> Result<Option<News>, ReadError> {
        let mut news = News::default();
        loop {
            match self.step(&mut news) {
                Step::News => return Ok(Some(news)),
                Step::Quiet => return Ok(None),
                Step::Past => self.past(&mut news).await?,
            }
            if !news.is_empty() {
                return Ok(Some(news));
            }
        }
    }

    /// Moves the cursors over what is in memory, at most about [`Limits::step_bytes_max`] of each
    /// topic, and puts it into `news`. Waits for nothing.
    ///
    /// [`Limits::step_bytes_max`]: crate::Limits::step_bytes_max
    pub fn step(&mut self, news: &mut News) -> Step {
        if std::mem::take(&mut self.past_first) && self.is_behind() {
            return Step::Past;
        }
        news.restart(&self.subscriptions);
        for is_kept in [true, false] {
            self.take_live(is_kept, news);
        }
        self.join(news);
        let is_behind = self.is_behind();
        self.past_first = is_behind && !news.is_empty();
        match (news.is_empty(), is_behind) {
            (false, _) => Step::News,
            (true, true) => Step::Past,
            (true, false) => Step::Quiet,
        }
    }

    /// After [`Step::Past`]: is it still so? Another reader may have brought into the tails what was
    /// missing there.
    #[must_use]
    pub fn needs_past(&self) -> bool {
        self.subscriptions.iter().any(|have| have.is_behind() && !have.reaches())
    }

    /// Puts one page of the log into `news`, for one of those who must read it, in turn. It may be
    /// empty. Those who were live once and fell behind read together with the other live ones, so
    /// that their order stays the log's. Cancel-safe, as [`next`](Self::next).
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn past(&mut self, news: &mut News) -> Result<(), ReadError> {
        news.restart(&self.subscriptions);
        let count = self.subscriptions.len();
        let turn = (0..count)
            .map(|offset| (self.turn as usize + offset) % count)
            .find(|&index| self.subscriptions.get(index).is_some_and(Subscription::is_behind));
        let Some(index) = turn else { return Ok(()) };
        let Some(subscription) = self.subscriptions.get(index) else { return Ok(()) };
        let (was_live, is_kept) = (subscription.was_live(), subscription.is_kept());
        if !was_live || !self.read_together(is_kept, news).await? {
            self.read_alone(index, news).await?;
        }
        self.join(news);
        self.turn = u16::try_from(index + 1).unwrap_or_default();
        Ok(())
    }

    /// Only the first `delivered` entries of these news, which were the last, got to the peer: the
    /// cursors go back to there, and what they passed will come again.
    pub fn give_back(&mut self, news: &News, delivered: usize) {
        let (given, left) = news.entries.split_at(delivered.min(news.entries.len()));
        for is_kept in [true, false] {
            let of_lane = |framed: &&Arc<Framed>| framed.id().is_some() == is_kept;
            if !left.iter().any(|framed| of_lane(&framed)) {
                continue;
            }
            let last = given.iter().rev().find(of_lane).map(|framed| framed.entry().sequence);
            for (have, &place) in self.subscriptions.iter_mut().zip(&news.places) {
                if have.is_kept() == is_kept {
                    have.go_back(last.map_or(place, |last| last.max(place)));
                }
            }
        }
        if !left.is_empty() {
            for have in &mut self.subscriptions {
                if news.live.iter().any(|live| have.topics().eq(live.topics())) {
                    have.unsay_live();
                }
            }
        }
    }

    /// The place up to which every subscription that has places was told everything.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let kept = self.subscriptions.iter().filter(|subscription| subscription.is_kept());
        kept.min_by_key(|subscription| subscription.place()).and_then(Subscription::cursor)
    }

    /// If all that this session reads is one topic, and it has caught up once: the topic's tail, and
    /// the place. Many who stand at one place may then be served together, without a step for each.
    #[must_use]
    pub fn sole(&self) -> Option<(&Arc<Tail>, Sequence)> {
        let [only] = self.subscriptions.as_slice() else { return None };
        let [tail] = only.tails() else { return None };
        (only.was_live() && !only.is_behind()).then(|| (tail, only.place()))
    }

    /// What the sole subscription's tail has above its place, into `out`, which is cleared before;
    /// the cursor stays. Tells up to where that is all, and whether that is as far as the follower
    /// has come. Nothing if the log must be asked.
    pub fn look_sole(&self, out: &mut Vec<Arc<Framed>>) -> Option<(Sequence, bool)> {
        let [only] = self.subscriptions.as_slice() else { return None };
        let [tail] = only.tails() else { return None };
        let position = self.hub.lane(only.is_kept()).position();
        out.clear();
        let bytes = self.hub.limits().step_bytes_max;
        let reached = tail.take(only.place(), position, bytes, out).ok()?;
        Some((reached, reached == position))
    }

    /// The sole subscription was given everything up to here, by somebody who had read it for
    /// another [`sole`](Self::sole) one at the same place.
    pub fn advance_sole(&mut self, through: Sequence) {
        if let [only] = self.subscriptions.as_mut_slice() {
            only.advance(through);
        }
    }

    /// Texts that came together come in one piece.
    fn join(&self, news: &mut News) {
        if news.entries.len() > 1 && self.subscriptions.iter().any(Subscription::joins) {
            self.hub.lane(true).join(&mut news.entries);
        }
    }

    fn watch(&mut self) {
        let mark = Board::new().mark(0);
        self.subscriptions.iter().for_each(|subscription| subscription.watch(&mark));
        self.mark = Some(mark);
    }

    fn is_behind(&self) -> bool {
        self.subscriptions.iter().any(Subscription::is_behind)
    }

    async fn read_alone(&mut self, index: usize, news: &mut News) -> Result<(), ReadError> {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return Ok(()) };
        let (gap, entries) = subscription.read().await?;
        news.gap = gap.map(|gap| (subscription.filter(), gap));
        news.entries = entries;
        Ok(())
    }

    /// One page for all of a lane that were live, from the place of the last of them. False when
    /// something was lost: then each has its own gap to tell.
    async fn read_together(&mut self, is_kept: bool, news: &mut News) -> Result<bool, ReadError> {
        let limits = self.hub.limits();
        let limit = PageLimit { entries: limits.page_entries_max, bytes: limits.step_bytes_max };
        let lane = Arc::clone(self.hub.lane(is_kept));
        let members = || {
            self.subscriptions.iter().filter(|have| have.was_live() && have.is_kept() == is_kept)
        };
        let topics = members().flat_map(Subscription::topics).cloned();
        let Some(filter) = Filter::new(topics) else { return Ok(false) };
        let after = members().map(Subscription::place).min().unwrap_or_default();
        let page = lane.read(&filter, after, limit).await?;
        if page.lost.is_some() {
            return Ok(false);
        }
        let places: HashMap<&Topic, Sequence> = members()
            .flat_map(|member| member.topics().map(|topic| (topic, member.place())))
            .collect();
        let is_news = |entry: &Arc<Entry>| {
            places.get(&entry.topic).is_some_and(|&place| entry.sequence > place)
        };
        news.entries = lane.framed(page.entries.into_iter().filter(is_news));
        for member in &mut self.subscriptions {
            if member.was_live() && member.is_kept() == is_kept {
                member.advance(page.through);
            }
        }
        Ok(true)
    }

    /// What the tails hold, of all subscriptions of a lane, up to one place.
    fn take_live(&mut self, is_kept: bool, news: &mut News) {
        let position = self.hub.lane(is_kept).position();
        let bytes = self.hub.limits().step_bytes_max;
        let (first, mut reached, mut overtaken) = (news.entries.len(), position, false);
        for member in self.subscriptions.iter_mut().filter(|have| have.is_kept() == is_kept) {
            match member.look(position, bytes, &mut news.entries) {
                Ok(up_to) => reached = reached.min(up_to),
                Err(_) => overtaken |= member.was_live(),
            }
        }
        if overtaken {
            // Nobody overtakes: all of them read the log together instead.
            news.entries.truncate(first);
            return;
        }
        if let Some(taken) = news.entries.get_mut(first..) {
            taken.sort_unstable_by_key(|framed| framed.entry().sequence);
            let up_to = taken.partition_point(|framed| framed.entry().sequence <= reached);
            news.entries.truncate(first + up_to);
        }
        for member in self.subscriptions.iter_mut().filter(|have| have.is_kept() == is_kept) {
            if member.is_behind() {
                continue;
            }
            member.advance(reached);
            if member.has_become_live(position) {
                news.live.push(member.filter());
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(mark) = &self.mark {
            self.subscriptions.iter().for_each(|subscription| subscription.unwatch(mark));
        }
        if let Some(connection) = self.connection {
            self.hub.presence().hang_up(connection);
        }
    }
}

/// May this peer read this topic? Who may read a topic may hear who comes and goes there; what else is
/// the server's own, nobody reads.
pub(crate) async fn may_read(gate: &dyn Gate, peer: &Peer, topic: &Topic) -> Result<(), WireError> {
    let about = topic.about(PRESENCE);
    let asked = about.as_ref().unwrap_or(topic);
    if asked.is_reserved() {
        let message = format!("`{topic}` is the server's own: nobody else reads it");
        return Err(WireError::new(Code::BadTopic, message));
    }
    gate.may(peer, Action::Subscribe, asked).await.map_err(WireError::from)
}

/// Publishes in a peer's name. Apart from the session, so that a door can go on reading meanwhile.
#[derive(Clone)]
pub struct Publisher {
    pub(crate) hub: Hub,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) peer: Arc<Peer>,
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
            Refusal::Revoked => Code::Revoked,
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

//! [`Visit`]: one peer in a room: what it says and what it hears.
//!
//! A door gives it messages and carries what comes back. It waits for nobody: what is to be stored is
//! a future of its own, and news are fetched when the door is ready for them.

use std::{fmt, future::Future, sync::Arc};

use bytes::Bytes;
use tidewire_core::{Action, Gate, Limits, Peer};
use tidewire_proto::{Code, Data, EventType, Message, Sequence, WireError};
use tokio::sync::watch;

use crate::{
    awareness::Verdict,
    document::Document,
    documents::Open,
    outline::Outline,
    room::{Admission, Room, Seen, UPDATE},
    wire::{self, Said, State},
};

/// One peer in a room.
pub struct Visit {
    open: Arc<Open>,
    gate: Arc<dyn Gate>,
    peer: Arc<Peer>,
    may_edit: bool,
    number: u64,
    changed: watch::Receiver<()>,
    // Nothing until it said what it has.
    seen: Option<Seen>,
    states_seen: u64,
    // It was told that it may not edit.
    is_told: bool,
}

/// What a message asks for.
#[derive(Debug, Default)]
pub struct Heard {
    /// Messages that are answered at once.
    pub answers: Vec<Vec<u8>>,
    /// What is to be stored: [`Visit::store`].
    pub edit: Option<Edit>,
    /// What is to be passed on: [`Visit::announce`].
    pub states: Vec<Message>,
}

/// An update that was let in. The document keeps room for it until it is there, or this is dropped
/// without having been stored.
pub struct Edit {
    update: Bytes,
    open: Arc<Open>,
    place: Option<Sequence>,
}

impl Edit {
    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.update.len()
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Edit({} bytes)", self.bytes())
    }
}

impl Drop for Edit {
    fn drop(&mut self) {
        self.open.room.answered(self.update.len(), self.place);
    }
}

impl Visit {
    pub(crate) fn new(
        open: Arc<Open>,
        gate: Arc<dyn Gate>,
        peer: Arc<Peer>,
        may_edit: bool,
    ) -> Self {
        let (number, changed) = open.room.enter();
        let (seen, states_seen, is_told) = (None, 0, false);
        Self { open, gate, peer, may_edit, number, changed, seen, states_seen, is_told }
    }

    /// Who this is.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Waits until the document is open, and gives what is said first. Cancel-safe.
    ///
    /// # Errors
    /// `internal` when the document cannot be read.
    pub async fn opened(&mut self) -> Result<Vec<Vec<u8>>, WireError> {
        while !self.room().is_open()? {
            self.changed().await;
        }
        // Who may not edit is not asked for what the server has not.
        let asked = self.may_edit.then(|| self.room().state_vector()).transpose()?;
        let mut first: Vec<_> = asked.iter().map(|have| wire::step_1(have)).collect();
        first.extend(self.states());
        Ok(first)
    }

    /// What a message asks for.
    ///
    /// # Errors
    /// `bad_request` when it is none, `too_large` when the document has no room for it, `internal`. The
    /// visit is over then.
    pub fn hear(&mut self, message: &Bytes) -> Result<Heard, WireError> {
        match wire::parse(message).ok_or_else(|| bad("this is no message of y-websocket"))? {
            Said::Step1(state_vector) => self.sync(&state_vector),
            Said::Step2(update) => self.edit(update, true),
            Said::Update(update) => self.edit(update, false),
            Said::Awareness(states) => Ok(self.judge(states)),
            Said::AskAwareness => {
                let (states, version) = self.room().states(0);
                self.states_seen = version;
                Ok(Heard { answers: vec![wire::awareness(&states)], ..Heard::default() })
            }
            Said::Other => Ok(Heard::default()),
        }
    }

    /// Stores edits that were heard, in one piece. Whoever drops it does not know whether they were.
    ///
    /// # Errors
    /// The gate's refusal or the log's.
    pub fn store(
        &self,
        mut edits: Vec<Edit>,
    ) -> impl Future<Output = Result<(), WireError>> + Send + 'static {
        let (open, gate, peer) =
            (Arc::clone(&self.open), Arc::clone(&self.gate), Arc::clone(&self.peer));
        async move {
            let room = &open.room;
            let topic = room.topic();
            gate.may(&peer, Action::Publish, topic).await.map_err(WireError::from)?;
            let event = EventType::parse(UPDATE).unwrap_or_else(|_| EventType::message());
            let message = |edit: &Edit| Message {
                topic: topic.clone(),
                event: event.clone(),
                data: Data::binary(edit.update.clone()),
                key: None,
                item: None,
            };
            let stored = room.hub().publish_own(edits.iter().map(message).collect()).await?;
            for (edit, stored) in edits.iter_mut().zip(stored) {
                edit.place = stored.id.map(|id| id.sequence);
            }
            Ok(())
        }
    }

    /// Passes states on that were heard.
    ///
    /// # Errors
    /// The log's.
    pub async fn announce(&self, states: Vec<Message>) -> Result<(), WireError> {
        self.room().hub().publish_own(states).await?;
        Ok(())
    }

    /// Waits until there may be news. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // The room holds the other half, and this holds the room.
            std::future::pending::<()>().await;
        }
    }

    /// There may be more: [`changed`](Self::changed) is ready at once.
    pub fn look_again(&mut self) {
        self.changed.mark_changed();
    }

    /// What is new, as far as it goes at once; empty when there is no more.
    ///
    /// # Errors
    /// Why the room has ended.
    pub fn news(&mut self) -> Result<Vec<Vec<u8>>, WireError> {
        let mut news = Vec::new();
        // Who has not said what it has is told nothing yet.
        if let Some(seen) = &mut self.seen {
            let updates = self.open.room.updates(seen)?;
            news.extend(updates.iter().map(|update| wire::update(update)));
        } else {
            self.room().is_open()?;
        }
        news.extend(self.states());
        Ok(news)
    }

    fn room(&self) -> &Room {
        &self.open.room
    }

    fn limits(&self) -> &Limits {
        self.room().hub().limits()
    }

    fn states(&mut self) -> Option<Vec<u8>> {
        let (states, version) = self.room().states(self.states_seen);
        self.states_seen = version;
        (!states.is_empty()).then(|| wire::awareness(&states))
    }

    fn sync(&mut self, state_vector: &[u8]) -> Result<Heard, WireError> {
        let synced = self.room().sync(state_vector)?;
        let (diff, seen) = synced.ok_or_else(|| bad("this is no state vector"))?;
        self.seen = Some(seen);
        Ok(Heard { answers: vec![wire::step_2(&diff)], ..Heard::default() })
    }

    fn edit(&mut self, update: Bytes, may_be_known: bool) -> Result<Heard, WireError> {
        let mut heard = Heard::default();
        let outline = Outline::read(&update)
            .filter(|_| Document::is_update(&update))
            .ok_or_else(|| bad("this is no update of Yjs (version 1 of its encoding)"))?;
        if outline == Outline::default() {
            return Ok(heard);
        }
        if !self.may_edit {
            if !std::mem::replace(&mut self.is_told, true) {
                let topic = self.room().topic();
                let reason = format!("you may read `{topic}`, and not edit it: nothing was stored");
                heard.answers.push(wire::denied(&reason));
            }
            return Ok(heard);
        }
        match self.room().admit(&update, &outline, may_be_known)? {
            Admission::New => {
                let (open, place) = (Arc::clone(&self.open), None);
                heard.edit = Some(Edit { update, open, place });
            }
            Admission::Known => {}
            Admission::TooLarge => {
                let message = format!(
                    "a document has at most {} bytes: make room in your copy of it, then connect \
                     again; it has what was not stored",
                    self.limits().document_bytes_max
                );
                return Err(WireError::new(Code::TooLarge, message));
            }
        }
        Ok(heard)
    }

    fn judge(&self, states: Vec<State>) -> Heard {
        let (mut heard, mut gone) = (Heard::default(), Vec::new());
        let most = self.limits().awareness_bytes_max;
        let mut is_refused = false;
        for state in states {
            // Everybody parses it, and a page would stop at what is no JSON.
            if state.json.len() > most || Data::json(state.json.clone()).is_err() {
                is_refused = true;
                continue;
            }
            match self.room().judge(self.number, &state) {
                Verdict::Newer => heard.states.extend(self.room().announcement(&state)),
                Verdict::Known => {}
                Verdict::Gone(state) => gone.push(state),
            }
        }
        if !gone.is_empty() {
            heard.answers.push(wire::awareness(&gone));
        }
        if is_refused {
            let reason = format!("a state has at most {most} bytes of JSON: it was not passed on");
            heard.answers.push(wire::denied(&reason));
        }
        heard
    }
}

impl Drop for Visit {
    /// Says of the clients that spoke here that they have gone.
    fn drop(&mut self) {
        let gone = self.room().leave(self.number);
        let hub = self.room().hub().clone();
        if !gone.is_empty() && tokio::runtime::Handle::try_current().is_ok() {
            tokio::spawn(async move {
                if let Err(error) = hub.publish_own(gone).await {
                    tracing::debug!(%error, "clients of a document have gone, and nobody hears it");
                }
            });
        }
    }
}

fn bad(message: &str) -> WireError {
    WireError::new(Code::BadRequest, message)
}

//! [`Documents`]: all open documents, each in a room of its own while somebody has it open.
//!
//! Invariant: there is one room for a document, and at most
//! [`Limits::documents_open_max`](tidewire_core::Limits) rooms.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tidewire_core::{Action, Gate, Hub, Keep, Peer, Refusal};
use tidewire_proto::{Code, Topic, WireError};
use tokio::task::JoinHandle;

use crate::{
    room::{Room, follow},
    visit::Visit,
};

/// The open documents. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Documents(Arc<Registry>);

struct Registry {
    hub: Hub,
    open: Mutex<HashMap<Topic, Weak<Open>>>,
}

/// A room and who follows the log for it, for as long as somebody holds it.
pub(crate) struct Open {
    pub(crate) room: Arc<Room>,
    follower: JoinHandle<()>,
    registry: Weak<Registry>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.follower.abort();
        let Some(registry) = self.registry.upgrade() else { return };
        let mut open = registry.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(self.room.topic()).is_some_and(|open| open.strong_count() == 0) {
            open.remove(self.room.topic());
        }
    }
}

impl Documents {
    /// The documents of a hub. None is open yet.
    #[must_use]
    pub fn new(hub: Hub) -> Self {
        Self(Arc::new(Registry { hub, open: Mutex::default() }))
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Are there documents in this topic's feature?
    ///
    /// # Errors
    /// `unknown_feature` or `no_document`.
    pub fn check(&self, topic: &Topic) -> Result<(), WireError> {
        let (features, name) = (self.0.hub.features(), topic.feature());
        if features.of(topic).is_none() {
            let message = format!(
                "no feature `{name}` is declared: add `[feature.{name}]` to the config, or check the \
                 topic"
            );
            return Err(WireError::new(Code::UnknownFeature, message));
        }
        if features.keep(topic) != Keep::Document {
            let message = format!(
                "`{topic}` is no document: add `keep = \"document\"` to `[feature.{name}]` in the \
                 config"
            );
            return Err(WireError::new(Code::NoDocument, message));
        }
        Ok(())
    }

    /// Lets a peer in who may read the document. Who may also publish to it may edit it.
    ///
    /// # Errors
    /// As [`check`](Self::check), the gate's refusal, or `busy` when too many documents are open.
    pub async fn visit(
        &self,
        gate: Arc<dyn Gate>,
        peer: Arc<Peer>,
        topic: &Topic,
    ) -> Result<Visit, WireError> {
        self.check(topic)?;
        gate.may(&peer, Action::Subscribe, topic).await.map_err(WireError::from)?;
        let may_edit = match gate.may(&peer, Action::Publish, topic).await {
            Ok(()) => true,
            Err(Refusal::Forbidden { .. }) => false,
            Err(refusal) => return Err(refusal.into()),
        };
        Ok(Visit::new(self.enter(topic)?, gate, peer, may_edit))
    }

    fn enter(&self, topic: &Topic) -> Result<Arc<Open>, WireError> {
        let Registry { hub, open: all } = &*self.0;
        // Held to the end: the last handle on a room must not go while the table is locked.
        let found;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        found = all.get(topic).and_then(Weak::upgrade);
        if let Some(open) = &found
            && !open.room.has_ended()
        {
            return Ok(Arc::clone(open));
        }
        let most = hub.limits().documents_open_max;
        if all.len() >= most && !all.contains_key(topic) {
            let message = format!("{most} documents are open, and there may be no more at a time");
            return Err(WireError::new(Code::Busy, message));
        }
        let room = Arc::new(Room::new(hub.clone(), topic.clone()));
        let follower = tokio::spawn(follow(Arc::clone(&room)));
        let open = Arc::new(Open { room, follower, registry: Arc::downgrade(&self.0) });
        all.insert(topic.clone(), Arc::downgrade(&open));
        drop(all);
        Ok(open)
    }
}

//! [`Door`]: Tidewire's gate in front of Workboard. Whoever shows a session is its person, and may do
//! what a page of Workboard does; everybody else is nameless and may do everything, as in any
//! `tidewire dev`.
//!
//! Knows no HTTP. Nothing here protects anything: dev mode is for one machine and its owner.

use std::sync::Arc;

use async_trait::async_trait;
use tidewire::{
    Action, Credential, Gate, Grant, OpenGate, Peer, Refusal, Topic, tidewire_proto::Pattern,
};

use crate::{
    failure::Failure,
    model::Person,
    store::{PEOPLE, Rows, SESSIONS, Store},
};

/// What a page of Workboard reads.
const SUBSCRIBE: [&str; 7] = [
    "notifications/{sub}",
    "board/**",
    "chat/**",
    "pointers/**",
    "docs/**",
    "answers/**",
    "stats/**",
];
/// What it publishes. `board` is not among it: that is the backend's.
const PUBLISH: [&str; 4] = ["chat/**", "pointers/**", "docs/**", "answers/**"];

/// Sessions are known by what the store says of them.
pub(crate) struct Door {
    pub(crate) store: Store,
}

#[async_trait]
impl Gate for Door {
    async fn admit(&self, credential: Credential<'_>) -> Result<Arc<Peer>, Refusal> {
        let Credential::Bearer(session) = credential else {
            return OpenGate.admit(credential).await;
        };
        let session = session.to_owned();
        match self.store.read(move |rows| person_of(rows, &session)).await {
            Ok(Some(person)) => Ok(Arc::new(peer(person.id))),
            Ok(None) => OpenGate.admit(Credential::None).await,
            Err(error) => Err(Refusal::Unavailable { why: error.to_string() }),
        }
    }

    async fn may(&self, peer: &Peer, action: Action, topic: &Topic) -> Result<(), Refusal> {
        if peer.is_granted(action, topic) {
            return Ok(());
        }
        Err(Refusal::Forbidden { action, topic: topic.clone() })
    }
}

/// Whose session this is.
pub(crate) fn person_of(rows: &impl Rows, session: &str) -> Result<Option<Person>, Failure> {
    let Some(session) = rows.row::<crate::api::Session>(SESSIONS, session)? else {
        return Ok(None);
    };
    rows.row(PEOPLE, &session.person)
}

fn peer(person: String) -> Peer {
    let patterns =
        |texts: &[&str]| texts.iter().filter_map(|text| Pattern::parse(text).ok()).collect();
    let grant = Grant { subscribe: patterns(&SUBSCRIBE), publish: patterns(&PUBLISH) };
    Peer { subject: Some(person), grant, ..Peer::anybody() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_may_what_a_page_does_and_reads_nobody_elses_notifications() {
        let ann = peer("ann".into());
        let topic = |text: &str| Topic::parse(text).unwrap();
        for (action, name, expected) in [
            (Action::Subscribe, "notifications/ann", true),
            (Action::Subscribe, "notifications/ben", false),
            (Action::Subscribe, "board/launch", true),
            (Action::Publish, "board/launch", false),
            (Action::Publish, "chat/launch", true),
            (Action::Publish, "answers/a1", true),
            (Action::Publish, "notifications/ben", false),
        ] {
            assert_eq!(ann.is_granted(action, &topic(name)), expected, "{action} {name}");
        }
        assert_eq!(ann.grant.subscribe.len(), SUBSCRIBE.len(), "each is a pattern");
        assert_eq!(ann.grant.publish.len(), PUBLISH.len(), "each is a pattern");
    }
}

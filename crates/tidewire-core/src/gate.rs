//! The gate: who is at the door, and may they read or publish here?
//!
//! A seam of two methods. The doors ask; what a token is, where its key comes from and what HTTP
//! says about it are not known here. [`OpenGate`] is the null one.
//!
//! Invariant: a [`Peer`] never gains rights: new rights are a new `Peer` from a new
//! [`Gate::admit`].

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use async_trait::async_trait;
use tidewire_proto::{Pattern, Topic};

/// What a peer wants to do with a topic. Reading a page, replaying and presence are subscribing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Hear what is and was said there.
    Subscribe,
    /// Say something there.
    Publish,
}

impl Action {
    /// The word in a token's claim and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who is at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The user or program, as the token names it; `{sub}` in a pattern stands for it.
    pub subject: Option<String>,
    /// When access ends, in milliseconds since 1970 on the wall clock. Any allowance for clocks that
    /// differ is already in it. Nothing: access does not end by itself.
    pub expires_at_ms: Option<u64>,
    /// What the peer may do.
    pub grant: Grant,
    /// What it proved itself by.
    pub proof: Proof,
    /// The connection it came by, where that can be ended by its name.
    pub connection: Option<Connection>,
}

/// What a peer proved itself by: how its access can be taken back before it ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Proof {
    /// Nothing, or nothing that this server knows of.
    #[default]
    None,
    /// An API key. It is good for as long as the config names it.
    Key,
    /// A token, or an answer of the app.
    Token {
        /// Its name (`jti`), if it has one.
        id: Option<String>,
        /// When it was issued (`iat`), in milliseconds since 1970, if it says so.
        issued_at_ms: Option<u64>,
    },
}

/// One connection of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// What it is called.
    pub name: String,
    /// How many connections had been ended by their names when it was opened: the same name may come
    /// back.
    pub opened: u64,
}

impl Peer {
    /// Somebody nameless who may do everything, for ever.
    #[must_use]
    pub fn anybody() -> Self {
        Self {
            subject: None,
            expires_at_ms: None,
            grant: Grant::everything(),
            proof: Proof::None,
            connection: None,
        }
    }

    /// Has access ended at this moment?
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|expires_at_ms| now_ms >= expires_at_ms)
    }

    /// Does the peer's grant cover this? `{sub}` stands for the subject as it is spelt in a topic:
    /// `auth0|7` is `auth0%7C7`. A subject with a `/` in it is no segment and matches nothing.
    #[must_use]
    pub fn is_granted(&self, action: Action, topic: &Topic) -> bool {
        let segment = self.subject.as_deref().map(as_segment);
        let patterns = self.grant.patterns(action);
        patterns.iter().any(|pattern| pattern.covers(topic, segment.as_deref()))
    }
}

/// A text in the spelling of one topic segment (see [`Topic`]): what the alphabet lacks is
/// percent-encoded.
fn as_segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"._~:@-/".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

/// What somebody may do: patterns of topics, for each action. No pattern: nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// Topics that may be read.
    pub subscribe: Vec<Pattern>,
    /// Topics that may be published to.
    pub publish: Vec<Pattern>,
}

impl Grant {
    /// Every topic, both ways.
    #[must_use]
    pub fn everything() -> Self {
        let every_topic = Pattern::parse("**").expect("`**` is a pattern");
        Self { subscribe: vec![every_topic.clone()], publish: vec![every_topic] }
    }

    /// The patterns for one action.
    #[must_use]
    pub fn patterns(&self, action: Action) -> &[Pattern] {
        match action {
            Action::Subscribe => &self.subscribe,
            Action::Publish => &self.publish,
        }
    }

    /// Does it grant nothing at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscribe.is_empty() && self.publish.is_empty()
    }
}

/// What a peer shows at the door.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Nothing.
    None,
    /// A token or an API key, from `Authorization: Bearer …`.
    Bearer(&'a str),
}

impl fmt::Debug for Credential<'_> {
    /// Never shows the token: it would end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bearer(token) => write!(f, "Bearer({} bytes)", token.len()),
        }
    }
}

/// Why the gate says no. Each is a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody knows who this is: no credential, or one that proves nothing.
    #[error("not authenticated: {why}")]
    Unauthenticated {
        /// What is wrong with the credential, and what to send instead.
        why: String,
    },
    /// The credential was good once.
    #[error("the token has expired: get a new one and come back with it and the same cursor")]
    Expired,
    /// The credential was taken back before its time.
    #[error("access was taken back: get a new token, if there is one, and come back with it")]
    Revoked,
    /// Known, but not granted.
    #[error(
        "no right to {action} on `{topic}`: \
         ask for a token whose `tidewire.{action}` patterns cover it"
    )]
    Forbidden {
        /// What was wanted.
        action: Action,
        /// Where.
        topic: Topic,
    },
    /// The gate itself cannot tell right now.
    #[error("the gate cannot decide now: {why}; try again in a few seconds")]
    Unavailable {
        /// What the gate is waiting for.
        why: String,
    },
}

impl Refusal {
    /// Not authenticated, because of this.
    pub fn unauthenticated(why: impl Into<String>) -> Self {
        Self::Unauthenticated { why: why.into() }
    }
}

/// May this peer read or publish here?
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Who is this?
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`], [`Refusal::Expired`], [`Refusal::Revoked`] or
    /// [`Refusal::Unavailable`]; where an app is asked, also its own no.
    async fn admit(&self, credential: Credential<'_>) -> Result<Arc<Peer>, Refusal>;

    /// May this peer do this? Asked once per subscribe or publish, and again on every resume.
    ///
    /// # Errors
    /// Any [`Refusal`]; [`Refusal::Forbidden`] is the same whether the topic exists or not.
    async fn may(&self, peer: &Peer, action: Action, topic: &Topic) -> Result<(), Refusal>;
}

/// Everybody may do everything: what `tidewire dev` has. A credential is not even looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

#[async_trait]
impl Gate for OpenGate {
    async fn admit(&self, _: Credential<'_>) -> Result<Arc<Peer>, Refusal> {
        // One for all: ten thousand connections need not hold ten thousand of them.
        static ANYBODY: LazyLock<Arc<Peer>> = LazyLock::new(|| Arc::new(Peer::anybody()));
        Ok(Arc::clone(&ANYBODY))
    }

    async fn may(&self, _: &Peer, _: Action, _: &Topic) -> Result<(), Refusal> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Topic {
        Topic::parse(text).unwrap()
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
    }

    fn alice() -> Peer {
        let subscribe = patterns(&["chat/**", "notifications/{sub}"]);
        let grant = Grant { subscribe, publish: patterns(&["chat/*"]) };
        let (subject, expires_at_ms) = (Some("alice".into()), Some(1_000));
        Peer { subject, expires_at_ms, grant, ..Peer::anybody() }
    }

    #[test]
    fn a_grant_covers_what_it_says_and_nothing_else() {
        for (action, name, expected) in [
            (Action::Subscribe, "chat/general", true),
            (Action::Subscribe, "chat/team/one", true),
            (Action::Publish, "chat/general", true),
            (Action::Publish, "chat/team/one", false),
            (Action::Subscribe, "notifications/alice", true),
            (Action::Subscribe, "notifications/bob", false),
            (Action::Publish, "notifications/alice", false),
        ] {
            assert_eq!(alice().is_granted(action, &topic(name)), expected, "{action} {name}");
        }
        let nobody = Peer { grant: Grant::default(), ..alice() };
        assert!(!nobody.is_granted(Action::Subscribe, &topic("chat/general")));
        assert!(nobody.grant.is_empty());
        assert!(Peer::anybody().is_granted(Action::Publish, &topic("a/b/c")));
    }

    #[test]
    fn a_subject_is_spelt_as_topics_are() {
        for (subject, name, expected) in [
            ("auth0|7", "notifications/auth0%7C7", true),
            ("é", "notifications/%C3%A9", true),
            ("a@b.example", "notifications/a@b.example", true),
            ("a%7Cb", "notifications/a%7Cb", false),
            ("a%7Cb", "notifications/a%257Cb", true),
            ("a/b", "notifications/a/b", false),
            ("*", "notifications/x", false),
            ("", "notifications/x", false),
        ] {
            let peer = Peer { subject: Some(subject.into()), ..alice() };
            assert_eq!(peer.is_granted(Action::Subscribe, &topic(name)), expected, "{subject}");
        }
    }

    #[test]
    fn access_ends_at_its_millisecond() {
        assert!(!alice().is_expired(999));
        assert!(alice().is_expired(1_000));
        assert!(!Peer::anybody().is_expired(u64::MAX));
    }

    #[tokio::test]
    async fn the_open_gate_lets_everybody_do_everything() {
        for credential in [Credential::None, Credential::Bearer("nonsense")] {
            let peer = OpenGate.admit(credential).await.unwrap();
            assert_eq!(OpenGate.may(&peer, Action::Publish, &topic("x")).await, Ok(()));
        }
    }

    #[test]
    fn a_credential_does_not_show_itself() {
        assert_eq!(format!("{:?}", Credential::Bearer("secret")), "Bearer(6 bytes)");
    }
}

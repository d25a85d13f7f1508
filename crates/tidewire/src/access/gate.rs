//! [`StandardGate`], the gate of `tidewire serve`: tokens and API keys, and the app where it is asked.
//! [`Guarded`]: any gate, and what was taken back.
//!
//! | | `connect` is asked | it is not |
//! |---|---|---|
//! | an API key | is never asked about | the same |
//! | a token, and `[auth]` can check it | it must be good; then the app says who it is | it must be good |
//! | a token, and `[auth]` cannot | the app alone says who it is | refused |
//! | a topic, `subscribe` or `publish` is asked | the grant must cover it, then the app must say yes; a grant that says nothing of this leaves it to the app | the same |

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use tidewire_core::{
    Action, Credential, Gate, Grant, Limits, Peer, Proof, Refusal,
    clock::{Clock, Random},
};
use tidewire_proto::{Topic, topic::PRESENCE};

use super::{
    answer::Verdict,
    app::{AskedApp, Counts, Question, Surroundings},
    revoked::Revocations,
};
use crate::{
    config::AuthSettings,
    token::{Checks, KeyError, TokenGate},
};

/// Tokens, API keys and the app.
pub(crate) struct StandardGate {
    tokens: TokenGate,
    app: ArcSwapOption<AskedApp>,
    revocations: Arc<Revocations>,
    surroundings: Surroundings,
}

/// What other settings would check with.
pub(crate) struct Prepared {
    checks: Checks,
    app: Option<Arc<AskedApp>>,
}

impl StandardGate {
    /// A gate with these settings. Asks and fetches nothing yet.
    pub(crate) fn new(
        auth: &AuthSettings,
        limits: &Limits,
        revocations: Arc<Revocations>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, KeyError> {
        let tokens = TokenGate::new(auth, limits, Arc::clone(&clock))?;
        let (counts, limits) = (Arc::default(), limits.clone());
        let surroundings = Surroundings { clock, random, counts, limits };
        let app = ArcSwapOption::new(asked(auth, None, &surroundings)?);
        Ok(Self { tokens, app, revocations, surroundings })
    }

    /// What came of questions.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.surroundings.counts)
    }

    /// See [`TokenGate::prepare`]. An app that is asked as before keeps its answers.
    pub(crate) fn prepare(&self, auth: &AuthSettings) -> Result<Prepared, KeyError> {
        let checks = self.tokens.prepare(auth)?;
        Ok(Prepared { checks, app: asked(auth, self.app.load_full(), &self.surroundings)? })
    }

    /// See [`TokenGate::put_in_force`].
    pub(crate) fn put_in_force(&self, prepared: Prepared) -> Vec<Arc<Peer>> {
        self.app.store(prepared.app);
        self.tokens.put_in_force(prepared.checks)
    }

    /// Who the app says that this is.
    async fn connect(&self, app: &Arc<AskedApp>, bearer: &str) -> Result<Arc<Peer>, Refusal> {
        let token = if self.tokens.takes_tokens() {
            Some(self.tokens.admit(Credential::Bearer(bearer)).await?)
        } else {
            None
        };
        let mut peer = self.vouched(app, bearer, token.as_deref(), false).await?;
        if token.is_none() && self.revocations.is_revoked(&peer) {
            // The answer may be older than the revocation; a new one is the app's own word.
            peer = self.vouched(app, bearer, None, true).await?;
        }
        Ok(Arc::new(peer))
    }

    async fn vouched(
        &self,
        app: &Arc<AskedApp>,
        bearer: &str,
        token: Option<&Peer>,
        is_new: bool,
    ) -> Result<Peer, Refusal> {
        let question = Question::Connect { token: bearer, alone: token.is_none() };
        match app.ask(question, is_new).await {
            Verdict::Yes(allowed) => {
                let (everything, asks) = (Grant::everything(), app.asks());
                let open = |is_asked: bool, all: Vec<_>| if is_asked { all } else { Vec::new() };
                let unsaid = Grant {
                    subscribe: open(asks.subscribe, everything.subscribe),
                    publish: open(asks.publish, everything.publish),
                };
                let peer = allowed.peer(token, unsaid);
                if peer.is_expired(self.surroundings.clock.now_ms()) {
                    return Err(Refusal::Expired);
                }
                Ok(peer)
            }
            Verdict::No(why) if why.is_empty() => {
                Err(Refusal::unauthenticated("the app does not know this token"))
            }
            Verdict::No(why) => Err(Refusal::unauthenticated(why.as_ref())),
            Verdict::Unknown(why) => Err(Refusal::Unavailable { why: why.as_ref().to_owned() }),
        }
    }
}

fn asked(
    auth: &AuthSettings,
    before: Option<Arc<AskedApp>>,
    surroundings: &Surroundings,
) -> Result<Option<Arc<AskedApp>>, KeyError> {
    let Some(settings) = &auth.authorize else { return Ok(None) };
    if let Some(before) = before.filter(|before| before.settings == *settings) {
        return Ok(Some(before));
    }
    let app = AskedApp::new(settings.clone(), surroundings);
    app.map(|app| Some(Arc::new(app))).map_err(|error| KeyError::Client(error.to_string()))
}

#[async_trait]
impl Gate for StandardGate {
    async fn admit(&self, credential: Credential<'_>) -> Result<Arc<Peer>, Refusal> {
        let app = self.app.load_full().filter(|app| app.asks().connect);
        let (Some(app), Credential::Bearer(bearer)) = (app, credential) else {
            return self.tokens.admit(credential).await;
        };
        self.tokens.check_length(bearer)?;
        match self.tokens.program(bearer) {
            Some(program) => Ok(program),
            None => self.connect(&app, bearer).await,
        }
    }

    async fn may(&self, peer: &Peer, action: Action, topic: &Topic) -> Result<(), Refusal> {
        self.tokens.may(peer, action, topic).await?;
        let is_asked = |app: &Arc<AskedApp>| match action {
            Action::Subscribe => app.asks().subscribe,
            Action::Publish => app.asks().publish,
        };
        if peer.proof == Proof::Key {
            return Ok(());
        }
        let Some(app) = self.app.load_full().filter(is_asked) else { return Ok(()) };
        // Who may hear a topic may know who is there: that is no question of its own.
        let about = topic.about(PRESENCE);
        let asked = about.as_ref().unwrap_or(topic);
        let question = Question::May { action, user: peer.subject.as_deref(), topic: asked };
        match app.ask(question, false).await {
            Verdict::Yes(_) => Ok(()),
            Verdict::No(_) => Err(Refusal::Forbidden { action, topic: topic.clone() }),
            Verdict::Unknown(why) => Err(Refusal::Unavailable { why: why.as_ref().to_owned() }),
        }
    }
}

/// A gate, and what was taken back.
pub(crate) struct Guarded {
    gate: Arc<dyn Gate>,
    revocations: Arc<Revocations>,
}

impl Guarded {
    pub(crate) fn new(gate: Arc<dyn Gate>, revocations: Arc<Revocations>) -> Self {
        Self { gate, revocations }
    }
}

#[async_trait]
impl Gate for Guarded {
    async fn admit(&self, credential: Credential<'_>) -> Result<Arc<Peer>, Refusal> {
        let peer = self.gate.admit(credential).await?;
        if self.revocations.is_revoked(&peer) { Err(Refusal::Revoked) } else { Ok(peer) }
    }

    async fn may(&self, peer: &Peer, action: Action, topic: &Topic) -> Result<(), Refusal> {
        // Whoever came by a ticket, or stands in the door while it is shut, was not asked above.
        if self.revocations.is_revoked(peer) {
            return Err(Refusal::Revoked);
        }
        self.gate.may(peer, action, topic).await
    }
}

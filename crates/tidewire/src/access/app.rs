//! [`AskedApp`]: the app that decides, asked over HTTP.
//!
//! The same question, asked by many at once, is one request; an answer is remembered for as long as
//! it says; only so many requests are under way, and only so many questions wait for one; an app that
//! does not answer is left alone for a while. A request is a task of its own, so it goes on when
//! whoever asked first is gone.
//!
//! Invariant: no answer is [`Verdict::Unknown`], which nobody takes for a yes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use blake3::Hash;
use serde_json::json;
use tidewire_core::{
    Action, Limits,
    clock::{Clock, Random},
};
use tidewire_proto::{Epoch, Topic};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use super::{
    answer::{self, Verdict},
    breaker::{Breaker, Leave},
    memo::Memos,
};
use crate::{
    config::{Asked, AuthorizeSettings},
    outbound::Outbound,
};

/// What an app can be asked.
pub(super) enum Question<'a> {
    /// Who is this? `alone`: nothing but the answer says who it is.
    Connect { token: &'a str, alone: bool },
    /// May they?
    May { action: Action, user: Option<&'a str>, topic: &'a Topic },
}

impl Question<'_> {
    fn json(&self) -> String {
        let json = match self {
            Self::Connect { token, .. } => json!({"ask": "connect", "token": token}),
            Self::May { action, user, topic } => {
                json!({"ask": action.as_str(), "user": user, "topic": topic.as_str()})
            }
        };
        json.to_string()
    }

    fn needs_expiry(&self) -> bool {
        matches!(self, Self::Connect { alone: true, .. })
    }
}

/// What came of questions, for as long as the process runs.
#[derive(Default)]
pub(crate) struct Counts {
    /// The app said yes, or no, or nothing; its answer was remembered; nobody asked.
    pub(crate) outcomes: [AtomicU64; 5],
}

impl Counts {
    /// The words for the outcomes.
    pub(crate) const WORDS: [&'static str; 5] = ["yes", "no", "failed", "remembered", "unasked"];

    fn count(&self, outcome: usize) {
        if let Some(count) = self.outcomes.get(outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The app that decides.
pub(super) struct AskedApp {
    pub(super) settings: AuthorizeSettings,
    outbound: Outbound,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    counts: Arc<Counts>,
    requests: Semaphore,
    waiting_max: usize,
    state: Mutex<State>,
}

struct State {
    memos: Memos<Verdict>,
    under_way: HashMap<Hash, watch::Receiver<Option<Verdict>>>,
    breaker: Breaker,
}

/// How a question goes on.
enum Way {
    Known(Verdict),
    Waits(watch::Receiver<Option<Verdict>>),
    Asks(watch::Sender<Option<Verdict>>, watch::Receiver<Option<Verdict>>, bool),
}

/// What all of the apps that are asked one after another share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) counts: Arc<Counts>,
    pub(super) limits: Limits,
}

impl AskedApp {
    pub(super) fn new(
        settings: AuthorizeSettings,
        surroundings: &Surroundings,
    ) -> Result<Self, reqwest::Error> {
        let Surroundings { clock, random, counts, limits } = surroundings.clone();
        Ok(Self {
            outbound: Outbound::new(&settings.url, &settings.secret, settings.timeout)?,
            settings,
            clock,
            random,
            counts,
            requests: Semaphore::new(limits.authorize_requests_max),
            waiting_max: limits.authorize_waiting_max,
            state: Mutex::new(State {
                memos: Memos::new(limits.authorize_answers_max),
                under_way: HashMap::new(),
                breaker: Breaker::default(),
            }),
        })
    }

    /// What it is asked.
    pub(super) fn asks(&self) -> Asked {
        self.settings.asks
    }

    /// Asks. `is_new`: an answer that is remembered will not do.
    pub(super) async fn ask(self: &Arc<Self>, question: Question<'_>, is_new: bool) -> Verdict {
        let (json, needs_expiry) = (question.json(), question.needs_expiry());
        let hash = blake3::hash(json.as_bytes());
        let mut answered = match self.way(hash, is_new) {
            Way::Known(verdict) => return verdict,
            Way::Waits(answered) => answered,
            Way::Asks(answer, answered, is_probe) => {
                let this = Arc::clone(self);
                tokio::spawn(async move {
                    let verdict = this.request(hash, json, needs_expiry, is_probe).await;
                    answer.send_replace(Some(verdict));
                });
                answered
            }
        };
        let answer = answered.wait_for(Option::is_some).await;
        let verdict = answer.ok().and_then(|answer| answer.clone());
        verdict.unwrap_or_else(|| Verdict::unknown("the question was given up"))
    }

    fn way(&self, hash: Hash, is_new: bool) -> Way {
        let now = Instant::now();
        let mut state = self.lock();
        let State { memos, under_way, breaker } = &mut *state;
        if is_new {
            memos.forget(&hash);
        }
        if let Some(verdict) = memos.find(&hash, now) {
            self.counts.count(3);
            return Way::Known(verdict);
        }
        // One whose task has ended without a word is as good as none.
        if let Some(waits) = under_way.get(&hash).filter(|waits| waits.has_changed().is_ok()) {
            return Way::Waits(waits.clone());
        }
        if under_way.len() >= self.waiting_max {
            under_way.retain(|_, waits| waits.has_changed().is_ok());
        }
        if under_way.len() >= self.waiting_max {
            self.counts.count(4);
            return Way::Known(Verdict::unknown("too many questions wait for the app"));
        }
        let leave = breaker.leave(now, self.settings.timeout);
        if leave == Leave::Wait {
            self.counts.count(4);
            return Way::Known(Verdict::unknown("the app that decides did not answer lately"));
        }
        let (answer, answered) = watch::channel(None);
        under_way.insert(hash, answered.clone());
        Way::Asks(answer, answered, leave == Leave::Probe)
    }

    /// One request, and what is remembered of it.
    async fn request(
        &self,
        hash: Hash,
        json: String,
        needs_expiry: bool,
        is_probe: bool,
    ) -> Verdict {
        let Ok(Ok(_place)) = timeout(self.settings.timeout, self.requests.acquire()).await else {
            // That says nothing about the app: it answers others.
            return self.unasked(&hash, "too many questions wait for the app");
        };
        if !is_probe && self.lock().breaker.is_open() {
            return self.unasked(&hash, "the app that decides did not answer lately");
        }
        let id = format!("q{}", Epoch(self.random.next_u64()));
        let answer = self.outbound.post(&id, self.clock.now_ms(), json).await;
        let read = match answer {
            Ok((status, body)) => answer::read((status, &body), needs_expiry, self.clock.now_ms()),
            Err(error) => Err(error.to_string()),
        };
        let now = Instant::now();
        let mut state = self.lock();
        state.under_way.remove(&hash);
        match read {
            Ok((verdict, age)) => {
                if state.breaker.is_open() {
                    tracing::info!(url = %self.settings.url, "the app that decides answers again");
                }
                state.breaker.succeeded();
                if !age.is_zero() {
                    state.memos.keep(hash, now + age, verdict.clone());
                }
                drop(state);
                self.counts.count(usize::from(!matches!(verdict, Verdict::Yes(_))));
                verdict
            }
            Err(error) => {
                let is_left_alone = state.breaker.failed(now);
                drop(state);
                self.counts.count(2);
                tracing::warn!(url = %self.settings.url, %error, is_left_alone, "the app that decides about access gave no answer");
                Verdict::unknown(format!("the app that decides gave no answer: {error}"))
            }
        }
    }

    fn unasked(&self, hash: &Hash, why: &str) -> Verdict {
        self.lock().under_way.remove(hash);
        self.counts.count(4);
        Verdict::unknown(why)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

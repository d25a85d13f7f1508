//! What each feature keeps: [`Feature`], and [`Features`], the table of them.
//!
//! The config makes this table; the log asks it about retention and safety, the hub about which
//! lane a topic travels in, the doors about the plan. It knows none of them. All of them hold one
//! [`CurrentFeatures`], so a new table is in force for all of them at the same moment.

use std::{collections::BTreeMap, ops::Deref, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tidewire_proto::{
    Stored, Topic,
    plan::{Answers, Decision, Transport, plan},
};

/// A kind of live thing that an app has, as the config declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// The three answers.
    pub answers: Answers,
    /// An operator's override of the transport.
    pub transport: Option<Transport>,
    /// How long it is kept.
    pub history: History,
    /// What of it counts to those who read the past.
    pub keep: Keep,
    /// How safely a publish is kept before it is acknowledged. With [`History::None`] it is
    /// [`Stored::Memory`], whatever this says.
    pub stored: Stored,
    /// Can clients say that they are in its topics?
    pub presence: bool,
}

/// How much of a feature's past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Nothing: delivered to whoever listens now, at most once, with no `id:`.
    None,
    /// Entries, until they are older than `age` or the feature holds more than `bytes`.
    /// Neither bound: kept for ever.
    Kept {
        /// Oldest entry kept, counted from when it was stored.
        age: Option<Duration>,
        /// Most bytes kept for the whole feature, on disk.
        bytes: Option<u64>,
    },
}

/// What of a feature's past counts. All entries are stored alike; this says what readers are given
/// of what is behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Every entry.
    #[default]
    All,
    /// Of each item the newest entry. Those without an item count as one item more.
    Latest,
    /// Every entry, but texts that follow each other come joined: the parts of an answer.
    Text,
    /// The updates of a document, which a library knows how to join.
    Document,
}

impl Keep {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::All, Self::Latest, Self::Text, Self::Document];

    /// The word in the config and in the plan.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Latest => "latest",
            Self::Text => "text",
            Self::Document => "document",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keep| keep.as_str() == word)
    }
}

impl Default for Feature {
    /// SSE; every entry kept for 7 days; answered after `fsync`; no presence.
    fn default() -> Self {
        let age = Some(Duration::from_secs(7 * 24 * 3600));
        Self {
            answers: Answers::default(),
            transport: None,
            history: History::Kept { age, bytes: None },
            keep: Keep::All,
            stored: Stored::Fsync,
            presence: false,
        }
    }
}

impl Feature {
    /// The transport this feature travels on, and why.
    #[must_use]
    pub fn decision(&self) -> Decision {
        plan(&self.answers, self.transport)
    }

    /// Is anything kept?
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.history != History::None
    }

    /// Does a newer entry of an item stand for the older ones, for a reader who has neither yet?
    #[must_use]
    pub fn replaces(&self, has_item: bool) -> bool {
        self.keep == Keep::Latest || (has_item && !self.is_kept())
    }
}

/// The feature of the server's own topics. It is always there, and no config can declare it.
pub const SYSTEM: &str = "~tidewire";

/// What is kept of the server's own topics: 30 days, as safely as can be.
fn system() -> Feature {
    let age = Some(Duration::from_secs(30 * 24 * 3600));
    Feature { history: History::Kept { age, bytes: None }, ..Feature::default() }
}

/// All features of an app.
#[derive(Debug, Clone)]
pub struct Features {
    declared: BTreeMap<String, Feature>,
    undeclared: Option<Feature>,
    system: Feature,
    has_latest: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self::declared(BTreeMap::new())
    }
}

impl Features {
    /// A table of declared features. A topic of any other feature is unknown.
    #[must_use]
    pub fn declared(declared: BTreeMap<String, Feature>) -> Self {
        let has_latest = declared.values().any(|feature| feature.keep == Keep::Latest);
        Self { declared, undeclared: None, system: system(), has_latest }
    }

    /// Lets every undeclared feature in, as `feature`: what `tidewire dev` does.
    #[must_use]
    pub fn with_undeclared(mut self, feature: Feature) -> Self {
        self.has_latest |= feature.keep == Keep::Latest;
        self.undeclared = Some(feature);
        self
    }

    /// The feature of a topic, or nothing if the app has no such feature.
    #[must_use]
    pub fn of(&self, topic: &Topic) -> Option<&Feature> {
        self.named(topic.feature())
    }

    /// The feature of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Feature> {
        match name.strip_prefix('~') {
            Some(_) => (name == SYSTEM).then_some(&self.system),
            None => self.declared.get(name).or(self.undeclared.as_ref()),
        }
    }

    /// Of this topic, do readers of the past get the newest of each item, texts in one piece, …?
    /// [`Keep::All`] of a topic that is unknown or the server's own.
    #[must_use]
    pub fn keep(&self, topic: &Topic) -> Keep {
        let feature = self.of(topic).filter(|feature| feature.is_kept() && !topic.is_reserved());
        feature.map_or(Keep::All, |feature| feature.keep)
    }

    /// Is there a feature of which the newest of each item counts?
    #[must_use]
    pub fn has_latest(&self) -> bool {
        self.has_latest
    }

    /// The declared features by name, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.declared.iter().map(|(name, feature)| (name.as_str(), feature))
    }

    /// The same and the server's own, which comes last: `~` is the last letter of the alphabet.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.iter().chain([(SYSTEM, &self.system)])
    }

    /// What an undeclared feature is taken for, if it is let in.
    #[must_use]
    pub fn undeclared(&self) -> Option<&Feature> {
        self.undeclared.as_ref()
    }

    /// Are undeclared features let in?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.undeclared.is_some()
    }
}

/// The table that is in force now, for everybody who holds a clone of this. Whoever decides several
/// things by it loads it once: between two loads it may be another.
#[derive(Debug, Clone, Default)]
pub struct CurrentFeatures(Arc<ArcSwap<Features>>);

impl CurrentFeatures {
    /// The table in force. Costs a few instructions and takes no lock; not to be kept for long.
    #[must_use]
    pub fn load(&self) -> impl Deref<Target = Arc<Features>> + use<> {
        self.0.load()
    }

    /// Puts another table in force. What is a matter of lanes must stay: a feature that keeps goes on
    /// keeping, and one that keeps nothing goes on so, because subscriptions are bound to their lane.
    pub fn replace(&self, features: Features) {
        self.0.store(Arc::new(features));
    }
}

impl From<Arc<Features>> for CurrentFeatures {
    fn from(features: Arc<Features>) -> Self {
        Self(Arc::new(ArcSwap::new(features)))
    }
}

impl From<Features> for CurrentFeatures {
    fn from(features: Features) -> Self {
        Self::from(Arc::new(features))
    }
}

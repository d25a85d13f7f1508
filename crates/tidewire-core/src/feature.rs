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
    /// What is kept.
    pub history: History,
    /// How safely a publish is kept before it is acknowledged. With [`History::None`] it is
    /// [`Stored::Memory`], whatever this says.
    pub stored: Stored,
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

impl Default for Feature {
    /// SSE; kept 7 days; answered after `fsync`.
    fn default() -> Self {
        let age = Some(Duration::from_secs(7 * 24 * 3600));
        Self {
            answers: Answers::default(),
            transport: None,
            history: History::Kept { age, bytes: None },
            stored: Stored::Fsync,
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
}

/// All features of an app.
#[derive(Debug, Clone, Default)]
pub struct Features {
    declared: BTreeMap<String, Feature>,
    undeclared: Option<Feature>,
}

impl Features {
    /// A table of declared features. A topic of any other feature is unknown.
    #[must_use]
    pub fn declared(declared: BTreeMap<String, Feature>) -> Self {
        Self { declared, undeclared: None }
    }

    /// Lets every undeclared feature in, as `feature`: what `tidewire dev` does.
    #[must_use]
    pub fn with_undeclared(mut self, feature: Feature) -> Self {
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
        self.declared.get(name).or(self.undeclared.as_ref())
    }

    /// The declared features by name, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.declared.iter().map(|(name, feature)| (name.as_str(), feature))
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

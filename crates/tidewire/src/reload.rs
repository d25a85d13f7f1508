//! Other settings for a server that runs: all of them are taken up, or none.
//!
//! What is decided here is put into force in the order in which a client could notice: who may come
//! in, what there is, and then the word that the plan is another. Knows no door.

use std::sync::{Arc, Mutex, PoisonError};

use tidewire_core::{Feature, Features, Hub};

use crate::{
    access::StandardGate,
    app::App,
    config::{
        Change, ConfigError, Place, Problem, Settings,
        change::{changes, fixed},
        feature::show_history,
    },
    token::ApiKeys,
    webhook::Webhooks,
};

/// What a reload has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Every key that means something else now. None: the settings say what they said.
    pub changes: Vec<Change>,
    /// Is the plan another? Then every client is told.
    pub is_plan_new: bool,
}

/// What can be changed in a server that runs, and what it runs with.
pub(crate) struct Reloads {
    app: App,
    // Nothing where everybody is let in, or where the app has a gate of its own.
    tokens: Option<Arc<StandardGate>>,
    webhooks: Arc<Webhooks>,
    in_force: Mutex<Settings>,
}

impl Reloads {
    pub(crate) fn new(
        app: App,
        tokens: Option<Arc<StandardGate>>,
        webhooks: Arc<Webhooks>,
        settings: Settings,
    ) -> Self {
        Self { app, tokens, webhooks, in_force: Mutex::new(settings) }
    }

    /// What is in force.
    pub(crate) fn in_force(&self) -> Settings {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other settings in force.
    pub(crate) fn reload(&self, settings: Settings) -> Result<Reloaded, ConfigError> {
        // One after another; nothing in here waits.
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Place::of_file(settings.file.as_ref());
        let mut problems = fixed(&in_force, &settings);
        problems.extend(lanes(&self.app.hub, &settings.features, &place));
        let auth = self.tokens.as_ref().filter(|_| in_force.auth != settings.auth);
        let checks = auth.map(|gate| gate.prepare(&settings.auth)).transpose();
        let checks = checks.map_err(|error| {
            let what = "tokens cannot be checked with it";
            problems.push(Problem::new(place, "auth", what).because(error.to_string()));
        });
        let (Ok(checks), true) = (checks, problems.is_empty()) else {
            return Err(ConfigError { problems, warnings: Vec::new() });
        };
        let changes = changes(&in_force, &settings, self.tokens.is_some());
        let retired = match (auth, checks) {
            (Some(gate), Some(checks)) => gate.put_in_force(checks),
            _ => Vec::new(),
        };
        self.app.keys.store(Arc::new(ApiKeys::new(&settings.auth.keys, None)));
        self.app.origins.store(Arc::new(settings.origins.clone()));
        self.app.hub.current_features().replace(settings.features.clone());
        self.webhooks.put_in_force(&settings.webhooks);
        let is_plan_new = self.app.reloaded(retired);
        *in_force = settings;
        Ok(Reloaded { changes, is_plan_new })
    }
}

/// Features that would go over from the log that keeps to the one that passes on, or back. Those who
/// read are bound to one of the two: they would hear nothing any more.
fn lanes(hub: &Hub, after: &Features, place: &Place) -> Vec<Problem> {
    let before = hub.features();
    let declared = before.iter().chain(after.iter()).map(|(name, _)| name);
    let names: std::collections::BTreeSet<_> = declared.collect();
    let mut problems: Vec<_> = names
        .into_iter()
        .filter_map(|name| {
            let now = after.named(name)?;
            let was = before.iter().find(|(have, _)| *have == name).map(|(_, feature)| feature);
            let is_other = match was {
                Some(was) => was.is_kept() != now.is_kept(),
                // It was undeclared: that matters only to whoever reads it meanwhile.
                None => hub.is_read(name, !now.is_kept()),
            };
            is_other.then(|| lane(&format!("feature.{name}.history"), was, now, place))
        })
        .collect();
    if let (Some(was), Some(now)) = (before.undeclared(), after.undeclared())
        && was.is_kept() != now.is_kept()
    {
        problems.push(lane("feature", Some(was), now, place));
    }
    problems
}

fn lane(key: &str, was: Option<&Feature>, now: &Feature, place: &Place) -> Problem {
    let was = was.map_or_else(
        || if now.is_kept() { "none" } else { "one that is kept" }.to_owned(),
        |was| format!("\"{}\"", show_history(was.history)),
    );
    let now = format!("\"{}\"", show_history(now.history));
    Change::new(key, was, now)
        .needs_restart(place.clone(), "those who read it are bound to the log that it had")
}

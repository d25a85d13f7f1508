//! The environment over the file: `TIDEWIRE_SERVER__LISTEN` is `listen` in `[server]`.
//!
//! Knows no key: a variable becomes an entry of the tree, and a name that nobody asks for is found
//! by the reader like any other. The process's own environment is read in one place only,
//! [`Environment::of_process`]; everything else is given an [`Environment`].

use std::collections::BTreeMap;

use super::{
    document::{Entry, Node, Table, Value},
    problem::{Place, Problem, Report},
};

/// What every variable begins with.
const PREFIX: &str = "TIDEWIRE_";
/// What stands between a section and a key.
const SEPARATOR: &str = "__";

/// Variables that may override the config. Only `TIDEWIRE_<SECTION>__<KEY>` is looked at.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// No variables.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// These variables.
    pub fn of<K: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The process's own variables; a value that is not UTF-8 is read with replacement characters.
    #[must_use]
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()));
        Self::of::<String, String>(variables)
    }
}

/// Lays the variables over the file's tree.
pub(super) fn overlay(root: &mut Table, environment: &Environment, report: &mut Report) {
    for (variable, value) in &environment.0 {
        let Some(path) = variable.strip_prefix(PREFIX) else { continue };
        if !path.contains(SEPARATOR) {
            continue; // TIDEWIRE_LOG and the like: a command's own, not a key of the config
        }
        let names = names(path, root);
        let place = Place::Variable(variable.clone());
        if names.iter().any(String::is_empty) {
            let problem = Problem::new(place, "", "this names no key of the config")
                .fix("the form is TIDEWIRE_<SECTION>__<KEY>, such as TIDEWIRE_SERVER__LISTEN");
            report.problem(problem);
        } else if let Err(problem) = insert(root, &names, &place, value) {
            report.problem(*problem);
        }
    }
}

/// `FEATURE__LIVE_CHAT__HISTORY` → `feature`, `live-chat`, `history`, if `[feature.live-chat]` is
/// declared: variables have no capitals and no `-` to tell features apart by.
fn names(path: &str, root: &Table) -> Vec<String> {
    let mut names: Vec<String> = path.split(SEPARATOR).map(str::to_ascii_lowercase).collect();
    let declared = match root.0.get("feature").map(|entry| &entry.node.value) {
        Some(Value::Table(features)) => Some(features),
        _ => None,
    };
    if let (Some("feature"), Some(features)) = (names.first().map(String::as_str), declared)
        && let Some(name) = names.get_mut(1)
        && let Some(meant) = features.0.keys().find(|declared| as_variable(declared) == *name)
    {
        name.clone_from(meant);
    }
    names
}

fn as_variable(feature: &str) -> String {
    feature.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

fn insert(
    table: &mut Table,
    names: &[String],
    place: &Place,
    value: &str,
) -> Result<(), Box<Problem>> {
    let Some((name, rest)) = names.split_first() else { return Ok(()) };
    if rest.is_empty() {
        let node = Node { place: place.clone(), value: Value::Variable(value.to_owned()) };
        table.0.insert(name.clone(), Entry { key_place: place.clone(), node });
        return Ok(());
    }
    let entry = table.0.entry(name.clone()).or_insert_with(|| Entry {
        key_place: place.clone(),
        node: Node { place: place.clone(), value: Value::Table(Table::default()) },
    });
    match &mut entry.node.value {
        Value::Table(inner) => insert(inner, rest, place, value),
        other => {
            let what =
                format!("`{name}` is {}, it has no `{}` in it", other.kind(), rest.join("."));
            let problem = Problem::new(place.clone(), name.clone(), what);
            Err(Box::new(problem.fix("unset this variable")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::document;

    fn overlaid(text: &str, variables: &[(&str, &str)]) -> (Table, Vec<String>) {
        let mut root = document::parse(text, &Arc::from("a.toml")).ok().unwrap();
        let mut report = Report::default();
        overlay(&mut root, &Environment::of(variables.iter().copied()), &mut report);
        let problems = report.into_lists().0.iter().map(ToString::to_string).collect();
        (root, problems)
    }

    fn find<'a>(table: &'a Table, path: &[&str]) -> &'a str {
        let node = &table.0[path[0]].node;
        match &node.value {
            Value::Table(inner) => find(inner, &path[1..]),
            Value::Variable(text) => text,
            _ => "from the file",
        }
    }

    #[test]
    fn a_variable_wins_over_the_file() {
        let text = "[server]\nlisten = \"a\"\ndata = \"d\"\n[feature.live-chat]\n[feature.Board]\n";
        let (root, problems) = overlaid(
            text,
            &[
                ("TIDEWIRE_SERVER__LISTEN", "b"),
                ("TIDEWIRE_SERVER__TLS__KEY", "k"),
                ("TIDEWIRE_FEATURE__LIVE_CHAT__HISTORY", "1d"),
                ("TIDEWIRE_FEATURE__BOARD__HISTORY", "2d"),
                ("TIDEWIRE_LOG", "debug"),
                ("HOME", "/x"),
            ],
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(find(&root, &["server", "listen"]), "b");
        assert_eq!(find(&root, &["server", "data"]), "from the file");
        assert_eq!(find(&root, &["server", "tls", "key"]), "k");
        assert_eq!(find(&root, &["feature", "live-chat", "history"]), "1d");
        assert_eq!(find(&root, &["feature", "Board", "history"]), "2d");
        assert_eq!(root.0.len(), 2);
    }

    #[test]
    fn a_variable_that_cannot_fit_is_a_problem() {
        let (_, problems) = overlaid(
            "[server]\nlisten = \"a\"\n",
            &[("TIDEWIRE_SERVER__", "x"), ("TIDEWIRE_SERVER__LISTEN__PORT", "1")],
        );
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("TIDEWIRE_SERVER__: this names no key"), "{problems:?}");
        assert!(problems[1].contains("`listen` is a text"), "{problems:?}");
    }
}

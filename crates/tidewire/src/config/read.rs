//! Reading the tree: ask a [`Section`] for a key of some kind, and it is checked; what nobody asked
//! for is unknown.
//!
//! The keys that are asked for *are* the schema, so it cannot differ from what is read. Knows kinds,
//! not meanings. Invariant: every problem of a section is reported, not only the first.

use std::time::Duration;

use super::{
    document::{Entry, Node, Table, Value},
    problem::{Place, Problem, Report, nearest},
    units::{self, UnitError},
};

/// A value as written, with its key and its place.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) key: String,
    pub(super) place: Place,
}

impl<T> Placed<T> {
    /// Begins a problem of this value.
    pub(super) fn problem(&self, what: impl Into<String>) -> Problem {
        Problem::new(self.place.clone(), self.key.clone(), what)
    }

    /// The same place, another value.
    pub(super) fn with<U>(&self, value: U) -> Placed<U> {
        Placed { value, key: self.key.clone(), place: self.place.clone() }
    }
}

/// A table that is being read.
pub(super) struct Section<'r> {
    path: String,
    place: Place,
    table: Table,
    asked: Vec<String>,
    report: &'r mut Report,
}

impl<'r> Section<'r> {
    /// The whole document.
    pub(super) fn root(table: Table, report: &'r mut Report) -> Self {
        Self { path: String::new(), place: Place::Command, table, asked: Vec::new(), report }
    }

    /// Where the section begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The path of the section.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn take(&mut self, name: &str) -> Option<Placed<Value>> {
        self.asked.push(name.to_owned());
        let Entry { node: Node { place, value }, .. } = self.table.0.remove(name)?;
        Some(Placed { value, key: self.key(name), place })
    }

    fn expected(&mut self, found: &Placed<Value>, wanted: &str, fix: &str) {
        let what = format!("expected {wanted}, found {}", found.value.kind());
        self.report.problem(found.problem(what).fix(fix));
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Option<Placed<String>> {
        let found = self.take(name)?;
        match &found.value {
            Value::Text(text) | Value::Variable(text) => Some(found.with(text.clone())),
            _ => {
                self.expected(&found, "a text", "put it in quotes");
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &str) -> Option<Placed<bool>> {
        let found = self.take(name)?;
        let flag = match &found.value {
            Value::Flag(flag) => Some(*flag),
            Value::Variable(text) => text.parse().ok(),
            _ => None,
        };
        if flag.is_none() {
            self.expected(&found, "true or false", "write true or false, without quotes");
        }
        flag.map(|flag| found.with(flag))
    }

    /// `true`, `false` or a text.
    pub(super) fn flag_or_text(&mut self, name: &str) -> Option<Placed<String>> {
        let found = self.take(name)?;
        match &found.value {
            Value::Flag(flag) => Some(found.with(flag.to_string())),
            Value::Text(text) | Value::Variable(text) => Some(found.with(text.clone())),
            _ => {
                self.expected(&found, "a text, true or false", "write a text in quotes");
                None
            }
        }
    }

    /// A whole number, zero or more.
    pub(super) fn count(&mut self, name: &str) -> Option<Placed<usize>> {
        let found = self.take(name)?;
        let count = match &found.value {
            Value::Integer(number) => usize::try_from(*number).ok(),
            Value::Variable(text) => text.parse().ok(),
            _ => None,
        };
        if count.is_none() {
            self.expected(&found, "a whole number, zero or more", "write it without quotes");
        }
        count.map(|count| found.with(count))
    }

    /// A size: `"256KiB"`, or a number of bytes.
    pub(super) fn bytes(&mut self, name: &str) -> Option<Placed<u64>> {
        const FIX: &str = "write a size such as \"256KiB\" or \"1GiB\", or a number of bytes";
        let found = self.take(name)?;
        let read = match &found.value {
            Value::Integer(number) => u64::try_from(*number).map_err(|_| None),
            Value::Variable(text) if text.parse::<u64>().is_ok() => text.parse().map_err(|_| None),
            Value::Text(text) | Value::Variable(text) => units::bytes(text).map_err(Some),
            _ => Err(None),
        };
        self.measured(&found, read, "a size", FIX)
    }

    /// A duration: `"30s"`.
    pub(super) fn duration(&mut self, name: &str) -> Option<Placed<Duration>> {
        const FIX: &str = "write a duration such as \"250ms\", \"30s\", \"5m\", \"12h\" or \"7d\"";
        let found = self.take(name)?;
        let read = match &found.value {
            Value::Text(text) | Value::Variable(text) => units::duration(text).map_err(Some),
            _ => Err(None),
        };
        self.measured(&found, read, "a duration", FIX)
    }

    fn measured<T>(
        &mut self,
        found: &Placed<Value>,
        read: Result<T, Option<UnitError>>,
        wanted: &str,
        fix: &str,
    ) -> Option<Placed<T>> {
        match (read, &found.value) {
            (Ok(value), _) => return Some(found.with(value)),
            (Err(Some(error)), Value::Text(text) | Value::Variable(text)) => {
                let what = format!("`{text}` is not {wanted}");
                self.report.problem(found.problem(what).because(error.to_string()).fix(fix));
            }
            _ => self.expected(found, wanted, fix),
        }
        None
    }

    /// A list of texts; in a variable they stand between commas.
    pub(super) fn texts(&mut self, name: &str) -> Option<Vec<Placed<String>>> {
        const FIX: &str = "write texts in brackets: [\"one\", \"two\"]";
        let found = self.take(name)?;
        let (key, place) = (found.key.clone(), found.place.clone());
        match found.value {
            Value::List(items) => {
                let texts = items.into_iter().enumerate().filter_map(|(index, item)| {
                    let item = Placed {
                        value: item.value,
                        key: format!("{key}[{index}]"),
                        place: item.place,
                    };
                    let Value::Text(text) = &item.value else {
                        self.expected(&item, "a text", FIX);
                        return None;
                    };
                    Some(item.with(text.clone()))
                });
                Some(texts.collect())
            }
            Value::Variable(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                let placed = |value: &str| Placed {
                    value: value.to_owned(),
                    key: key.clone(),
                    place: place.clone(),
                };
                Some(parts.map(placed).collect())
            }
            value => {
                self.expected(&Placed { value, key, place }, "a list of texts", FIX);
                None
            }
        }
    }

    /// A table inside this one.
    pub(super) fn section(&mut self, name: &str) -> Option<Section<'_>> {
        let found = self.take(name)?;
        self.enter(found, &format!("write [{}]", self.key(name)))
    }

    /// Every table inside this one, whatever its name.
    pub(super) fn each_section(&mut self, mut read: impl FnMut(&str, Section<'_>)) {
        let names: Vec<String> = self.table.0.keys().cloned().collect();
        for name in names {
            let fix = format!("write [{}]", self.key(&name));
            let Some(found) = self.take(&name) else { continue };
            if let Some(section) = self.enter(found, &fix) {
                read(&name, section);
            }
        }
    }

    /// Every table of a list of tables (`[[auth.key]]`).
    pub(super) fn each_of(&mut self, name: &str, mut read: impl FnMut(Section<'_>)) {
        let fix = format!("write [[{}]] above each", self.key(name));
        let Some(found) = self.take(name) else { return };
        let key = found.key.clone();
        let Value::List(items) = found.value else {
            self.expected(&found, "a list of tables", &fix);
            return;
        };
        for (index, item) in items.into_iter().enumerate() {
            let key = format!("{key}[{index}]");
            let item = Placed { value: item.value, key, place: item.place };
            if let Some(section) = self.enter(item, &fix) {
                read(section);
            }
        }
    }

    fn enter(&mut self, found: Placed<Value>, fix: &str) -> Option<Section<'_>> {
        if !matches!(found.value, Value::Table(_)) {
            self.expected(&found, "a table", fix);
            return None;
        }
        let Value::Table(table) = found.value else { return None };
        let (path, place) = (found.key, found.place);
        Some(Section { path, place, table, asked: Vec::new(), report: self.report })
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let known = || self.asked.iter().map(String::as_str);
        for (name, entry) in &self.table.0 {
            let what =
                if self.path.is_empty() { "there is no such section" } else { "unknown key" };
            let fix = match (nearest(name, known()), &entry.key_place) {
                (Some(near), Place::Variable(_)) => {
                    format!("did you mean {}?", as_variable(&self.key(near)))
                }
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, _) => format!("known here: {}", self.asked.join(", ")),
            };
            let problem = Problem::new(entry.key_place.clone(), self.key(name), what);
            self.report.problem(problem.fix(fix));
        }
    }
}

fn as_variable(key: &str) -> String {
    format!("TIDEWIRE_{}", key.replace('.', "__").replace('-', "_").to_ascii_uppercase())
}

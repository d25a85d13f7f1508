//! What is wrong with a config, and where: [`Problem`], [`Place`], and the list that collects them.
//!
//! Knows nothing of any key's meaning. Invariant: a problem never contains the value of a secret.

use std::{fmt, path::PathBuf, sync::Arc};

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A character of a config file.
    Text {
        /// The file, as it was named.
        file: Arc<str>,
        /// The line, counted from 1.
        line: usize,
        /// The column, in characters, counted from 1.
        column: usize,
    },
    /// A config file as a whole: something is missing from it.
    File(Arc<str>),
    /// An environment variable.
    Variable(String),
    /// No config file was given, or a command-line flag said it.
    Command,
}

impl Place {
    /// A file as a whole, or [`Place::Command`] where there is none.
    #[must_use]
    pub fn of_file(file: Option<&PathBuf>) -> Self {
        file.map_or(Self::Command, |file| Self::File(file.display().to_string().into()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::File(file) => f.write_str(file),
            Self::Variable(name) => f.write_str(name),
            Self::Command => f.write_str("settings"),
        }
    }
}

/// One thing that is wrong with a config, or (as a warning) questionable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// The path of the key: `feature.chat.history`. Empty for a problem of the whole file.
    pub key: String,
    /// What is wrong. A sentence without its full stop.
    pub what: String,
    /// Why it cannot be so, if that is not plain from `what`.
    pub why: Option<String>,
    /// What to write instead.
    pub fix: Option<String>,
}

impl Problem {
    /// A problem of one key.
    pub fn new(place: Place, key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place, key: key.into(), what: what.into(), why: None, fix: None }
    }

    /// Adds the reason.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
        }
        if let Some(fix) = &self.fix {
            write!(f, "; {fix}")?;
        }
        Ok(())
    }
}

/// Everything that one reading of a config found.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    /// Something that must be put right.
    pub(super) fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Something that works, but hardly as meant.
    pub(super) fn warning(&mut self, warning: Problem) {
        self.warnings.push(warning);
    }

    /// Problems and warnings, each in the order in which they were written.
    pub(super) fn into_lists(mut self) -> (Vec<Problem>, Vec<Problem>) {
        self.problems.sort_by(|a, b| a.place.cmp(&b.place));
        self.warnings.sort_by(|a, b| a.place.cmp(&b.place));
        (self.problems, self.warnings)
    }
}

/// The nearest of some names to one that is not among them, if one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR_ENOUGH: f64 = 0.8;
    let name = name.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= NEAR_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_where_what_why_and_what_to_do() {
        let place = Place::Text { file: "a.toml".into(), line: 3, column: 9 };
        let problem = Problem::new(place, "server.prefix", "`v1` does not begin with `/`")
            .because("it is the beginning of every path")
            .fix("write \"/v1\"");
        assert_eq!(
            problem.to_string(),
            "a.toml:3:9: server.prefix: `v1` does not begin with `/`: \
             it is the beginning of every path; write \"/v1\""
        );
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["listen", "prefix", "origins", "data"];
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("ORIGIN", known), Some("origins"));
        assert_eq!(nearest("zebra", known), None);
    }
}

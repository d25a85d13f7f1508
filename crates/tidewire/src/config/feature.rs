//! `[feature.NAME]` as meant: the answers, the history and the safety of each feature, and which
//! combinations are impossible.
//!
//! An override of the transport never contradicts the answers: a client that sends publishes over
//! HTTP where its stream cannot carry it, so changing an answer stays one line.

use std::collections::BTreeMap;

use tidewire_core::{Feature, History, Keep};
use tidewire_proto::{
    Stored, Topic,
    plan::{Answers, Proxies, Transport},
};

use super::{
    problem::{Problem, Report},
    read::Placed,
    units, written,
};

/// Why what is said about a feature cannot all be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// `stored` is written, but nothing is kept.
    #[error("with history = \"none\" nothing is stored, so it cannot be stored safely")]
    NothingStored,
    /// `stored = "memory"`, but entries are kept.
    #[error("kept entries live in the log on disk: its lowest level is \"os\"")]
    KeptInMemory,
    /// `transport = "poll"`, but nothing is kept.
    #[error("a poll needs a place to resume from: with history = \"none\" it would miss events")]
    PollWithoutHistory,
    /// `history_bytes` is written, but nothing is kept.
    #[error("with history = \"none\" there are no bytes to bound")]
    BytesWithoutHistory,
    /// `keep` is written, but nothing is kept.
    #[error("with history = \"none\" there is no past of which to keep anything")]
    KeepWithoutHistory,
    /// `keep = "document"`, but a part of it would be dropped.
    #[error("a document is all of its updates: without the oldest ones nobody can read it")]
    DocumentWithoutPast,
}

/// Judges one feature. `stored` and `is_bounded` are what was written, not what is the default.
#[must_use]
pub fn objections(
    is_kept: bool,
    stored: Option<Stored>,
    transport: Option<Transport>,
    is_bounded: bool,
    (keep, is_forever): (Option<Keep>, bool),
) -> Vec<Objection> {
    let rules = [
        (!is_kept && keep.is_some_and(|keep| keep != Keep::All), Objection::KeepWithoutHistory),
        (
            is_kept && keep == Some(Keep::Document) && (!is_forever || is_bounded),
            Objection::DocumentWithoutPast,
        ),
        (!is_kept && stored.is_some_and(|s| s != Stored::Memory), Objection::NothingStored),
        (is_kept && stored == Some(Stored::Memory), Objection::KeptInMemory),
        (!is_kept && transport == Some(Transport::Poll), Objection::PollWithoutHistory),
        (!is_kept && is_bounded, Objection::BytesWithoutHistory),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, objection)| objection).collect()
}

/// Settles every feature; one with a problem is left out, which nobody sees: the config is refused.
pub(super) fn settle(
    features: Vec<written::Feature>,
    report: &mut Report,
) -> BTreeMap<String, Feature> {
    let settled = features.into_iter().filter_map(|written| {
        let name = name(&written.name, report);
        let feature = feature(&written, report);
        Some((name?, feature))
    });
    settled.collect()
}

fn name(name: &Placed<String>, report: &mut Report) -> Option<String> {
    let why = match Topic::parse(&name.value) {
        Ok(_) if !name.value.contains('/') => return Some(name.value.clone()),
        Ok(_) => "it is the first segment of its topics, so it has no `/`".to_owned(),
        Err(error) => error.to_string(),
    };
    let problem = name
        .problem(format!("`{}` cannot name a feature", name.value))
        .because(why)
        .fix("use one segment of A-Z a-z 0-9 . _ ~ : @ -");
    report.problem(problem);
    None
}

fn feature(written: &written::Feature, report: &mut Report) -> Feature {
    let answers = Answers {
        client_sends: written.client_sends.as_ref().is_some_and(|flag| flag.value),
        binary: written.binary.as_ref().is_some_and(|flag| flag.value),
        proxies: word(
            written.proxies.as_ref(),
            report,
            Proxies::parse,
            "write proxies = \"detect\", true or false",
        )
        .unwrap_or_default(),
    };
    let transport = word(
        written.transport.as_ref(),
        report,
        Transport::parse,
        "write \"sse\", \"ws\" or \"poll\", or leave it to the plan",
    );
    let stored = word(
        written.stored.as_ref(),
        report,
        stored,
        "write \"fsync\" (survives power loss) or \"os\" (survives the process)",
    );
    let default = Feature::default();
    let keep = word(
        written.keep.as_ref(),
        report,
        Keep::parse,
        "write \"all\", \"latest\", \"text\" or \"document\"",
    );
    let history = history(written, keep, report).unwrap_or(default.history);
    let (keep, stored_as) = (keep.unwrap_or_default(), stored.unwrap_or(default.stored));
    let presence = written.presence.as_ref().is_some_and(|flag| flag.value);
    let feature = Feature { answers, transport, history, keep, stored: stored_as, presence };
    object(written, &feature, stored, report);
    if feature.is_kept() { feature } else { Feature { stored: Stored::Memory, ..feature } }
}

fn word<T>(
    written: Option<&Placed<String>>,
    report: &mut Report,
    parse: impl Fn(&str) -> Option<T>,
    fix: &str,
) -> Option<T> {
    let written = written?;
    let parsed = parse(&written.value);
    if parsed.is_none() {
        let what = format!("`{}` is not among the choices", written.value);
        report.problem(written.problem(what).fix(fix));
    }
    parsed
}

fn stored(text: &str) -> Option<Stored> {
    match text {
        "fsync" => Some(Stored::Fsync),
        "os" => Some(Stored::Os),
        "memory" => Some(Stored::Memory),
        _ => None,
    }
}

/// Shows a history as the config says it: an age, `forever` or `none`.
#[must_use]
pub fn show_history(history: History) -> String {
    match history {
        History::None => "none".to_owned(),
        History::Kept { age: Some(age), .. } => units::show_duration(age),
        History::Kept { age: None, .. } => "forever".to_owned(),
    }
}

fn history(written: &written::Feature, keep: Option<Keep>, report: &mut Report) -> Option<History> {
    let bytes = written.history_bytes.as_ref().map(|bytes| bytes.value);
    if let Some(zero) = written.history_bytes.as_ref().filter(|bytes| bytes.value == 0) {
        let problem = zero.problem("zero bytes would keep nothing");
        report.problem(problem.fix("write history = \"none\" to keep nothing"));
    }
    let Some(history) = &written.history else {
        let History::Kept { age, .. } = Feature::default().history else { return None };
        // A document is all of its updates.
        let age = age.filter(|_| keep != Some(Keep::Document));
        return Some(History::Kept { age, bytes });
    };
    match history.value.as_str() {
        "none" => Some(History::None),
        "forever" => Some(History::Kept { age: None, bytes }),
        text => match units::duration(text) {
            Ok(age) if age.is_zero() => {
                let problem = history.problem("an age of zero would keep nothing");
                report.problem(problem.fix("write history = \"none\" to keep nothing"));
                None
            }
            Ok(age) => Some(History::Kept { age: Some(age), bytes }),
            Err(error) => {
                let problem = history
                    .problem(format!("`{text}` is not a history"))
                    .because(error.to_string())
                    .fix("write an age such as \"7d\" or \"12h\", or \"none\", or \"forever\"");
                report.problem(problem);
                None
            }
        },
    }
}

fn object(
    written: &written::Feature,
    feature: &Feature,
    stored: Option<Stored>,
    report: &mut Report,
) {
    let is_bounded = written.history_bytes.is_some();
    let keep = written.keep.as_ref().map(|_| feature.keep);
    let is_forever = matches!(feature.history, History::Kept { age: None, .. });
    let keep = (keep, is_forever);
    for objection in objections(feature.is_kept(), stored, feature.transport, is_bounded, keep) {
        let place_of = |value: Option<Problem>| {
            value.unwrap_or_else(|| written.name.problem("this cannot all be"))
        };
        let text = |value: &Option<Placed<String>>, what: &str| {
            place_of(
                value
                    .as_ref()
                    .map(|value| value.problem(format!("{what} \"{}\" cannot be", value.value))),
            )
        };
        let (problem, fix) = match objection {
            Objection::NothingStored => {
                (text(&written.stored, "stored ="), "leave `stored` out, or keep a history")
            }
            Objection::KeptInMemory => (
                text(&written.stored, "stored ="),
                "write stored = \"os\", or history = \"none\" to keep nothing",
            ),
            Objection::PollWithoutHistory => (
                text(&written.transport, "transport ="),
                "keep a short history such as \"5m\", or choose another transport",
            ),
            Objection::KeepWithoutHistory => (
                text(&written.keep, "keep ="),
                "leave `keep` out (an `item` replaces the older one without it), or keep a history",
            ),
            Objection::DocumentWithoutPast => (
                text(&written.keep, "keep ="),
                "write history = \"forever\" or leave it out, and no history_bytes",
            ),
            Objection::BytesWithoutHistory => {
                let bytes = written.history_bytes.as_ref();
                (
                    place_of(bytes.map(|bytes| bytes.problem("history_bytes cannot be"))),
                    "leave `history_bytes` out, or keep a history",
                )
            }
        };
        report.problem(problem.because(objection.to_string()).fix(fix));
    }
}

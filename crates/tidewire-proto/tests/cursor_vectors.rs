//! Runs `conformance/cursor.json`: what is a cursor, and what a log's lives say about it.
//! The format is described in the file itself.

use serde::Deserialize;
use tidewire_proto::{After, Cursor, Life, Lineage, Sequence};

const VECTORS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/cursor.json"));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    #[serde(rename = "about")]
    _about: Vec<String>,
    cursors: Cursors,
    after: Vec<AfterCase>,
    lineages: Vec<LineageCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursors {
    good: Vec<Good>,
    bad: Vec<Bad>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Good {
    text: String,
    epoch: String,
    sequence: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    text: String,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AfterCase {
    text: String,
    means: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineageCase {
    name: String,
    lives: Vec<LifeText>,
    newest: String,
    cases: Vec<Case>,
    ids: Vec<Id>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LifeText {
    epoch: String,
    began: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    cursor: String,
    expect: String,
    on: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Id {
    place: String,
    id: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(VECTORS).expect("the file has its format")
}

fn cursor(text: &str) -> Cursor {
    Cursor::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn place(text: &str) -> Sequence {
    Sequence(text.parse().unwrap_or_else(|_| panic!("{text:?} is not a place")))
}

impl LineageCase {
    fn lineage(&self) -> Lineage {
        let life = |life: &LifeText| Life {
            epoch: cursor(&format!("{}.0", life.epoch)).epoch,
            began: place(&life.began),
        };
        Lineage::from_lives(self.lives.iter().map(life).collect()).expect("lives in order")
    }
}

#[test]
fn good_cursors_are_read_and_written_back() {
    for Good { text, epoch, sequence } in vectors().cursors.good {
        let parsed = cursor(&text);
        assert_eq!(parsed.epoch.0.to_string(), epoch, "{text}");
        assert_eq!(parsed.sequence.0.to_string(), sequence, "{text}");
        assert_eq!(parsed.to_string(), text);
    }
}

#[test]
fn bad_cursors_are_refused() {
    for Bad { text, why } in vectors().cursors.bad {
        assert!(Cursor::parse(&text).is_err(), "{text:?}: {why}");
    }
}

#[test]
fn where_to_begin_is_a_word_or_a_cursor() {
    for AfterCase { text, means } in vectors().after {
        let found = After::parse(&text).ok().map(|after| match after {
            After::Now => "now",
            After::Start => "start",
            After::Cursor(_) => "cursor",
        });
        assert_eq!(found, means.as_deref(), "{text:?}");
    }
}

#[test]
fn a_lineage_judges_every_cursor() {
    for log in vectors().lineages {
        let (lineage, newest) = (log.lineage(), place(&log.newest));
        for Case { cursor: text, expect, on } in &log.cases {
            let cursor = cursor(text);
            let (told, from) = match lineage.check(cursor, newest) {
                Ok(()) => ("resumed", cursor.sequence),
                Err(reason) => {
                    let ended =
                        lineage.ended(cursor.epoch).filter(|_| reason.as_str() == "diverged");
                    (reason.as_str(), ended.unwrap_or(Sequence::ZERO))
                }
            };
            assert_eq!((told, from), (expect.as_str(), place(on)), "{}: {text}", log.name);
        }
        for Id { place: sequence, id } in &log.ids {
            assert_eq!(lineage.cursor_at(place(sequence)).to_string(), *id, "{}", log.name);
        }
    }
}

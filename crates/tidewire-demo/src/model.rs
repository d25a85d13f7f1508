//! What Workboard is about: people, boards, tasks, comments, conversations; and how much of each there
//! may be.
//!
//! The same JSON is stored and sent. Knows no database and no HTTP.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Tasks on one board: what a page draws without paging.
pub(crate) const TASKS_MAX: usize = 500;
/// Characters of a title: a line.
pub(crate) const TITLE_MAX: usize = 200;
/// Characters of a description.
pub(crate) const DESCRIPTION_MAX: usize = 4_000;
/// Characters of a comment.
pub(crate) const COMMENT_MAX: usize = 2_000;
/// Comments on one task.
pub(crate) const COMMENTS_MAX: usize = 500;
/// Characters of a question to the assistant.
pub(crate) const QUESTION_MAX: usize = 500;
/// Labels of a task.
pub(crate) const LABELS_MAX: usize = 6;
/// Characters of a label.
pub(crate) const LABEL_MAX: usize = 24;

/// Somebody who works here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) initials: String,
    pub(crate) color: String,
    pub(crate) role: String,
}

/// A board with its columns, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Board {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
}

/// A column. What stands in one that is `done` is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) done: bool,
}

/// A task. `version` grows with each change; in its column it stands by `order`, then by `id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) id: u64,
    pub(crate) board: String,
    pub(crate) column: String,
    pub(crate) order: i64,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) assignee: Option<String>,
    pub(crate) due: Option<String>,
    pub(crate) labels: Vec<String>,
    pub(crate) version: u64,
    pub(crate) created_by: String,
    pub(crate) created_at: u64,
    pub(crate) updated_by: String,
    pub(crate) updated_at: u64,
    pub(crate) comments: usize,
}

/// What somebody said about a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    pub(crate) task: u64,
    pub(crate) by: String,
    pub(crate) text: String,
    pub(crate) at: u64,
}

/// A question to the assistant, and how its answer stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Conversation {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) board: String,
    pub(crate) person: String,
    pub(crate) question: String,
    pub(crate) state: State,
    /// Empty while it is being written: then it is in the topic.
    pub(crate) text: String,
    pub(crate) at: u64,
}

/// How an answer stands: the event that ended it, or none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Writing,
    End,
    Cancel,
    Fail,
}

impl Board {
    /// The column of this name.
    pub(crate) fn column(&self, id: &str) -> Result<&Column, Failure> {
        let found = self.columns.iter().find(|column| column.id == id);
        found.ok_or_else(|| {
            let ids: Vec<_> = self.columns.iter().map(|column| column.id.as_str()).collect();
            let (board, ids) = (&self.id, ids.join(", "));
            Failure::Bad(format!("board {board:?} has no column {id:?}: it has {ids}"))
        })
    }

    /// Is a task of this column done?
    pub(crate) fn is_done(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known.id == column && known.done)
    }
}

/// A text with something in it, of at most so many characters.
pub(crate) fn checked(what: &str, text: &str, max: usize) -> Result<String, Failure> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(Failure::Bad(format!("{what} is empty"))),
        count if count > max => Err(too_long(what, count, max)),
        _ => Ok(text.to_owned()),
    }
}

/// The same, and it may be empty.
pub(crate) fn checked_or_empty(what: &str, text: &str, max: usize) -> Result<String, Failure> {
    if text.trim().is_empty() { Ok(String::new()) } else { checked(what, text, max) }
}

fn too_long(what: &str, count: usize, max: usize) -> Failure {
    Failure::TooLarge(format!("{what} has at most {max} characters, this one has {count}"))
}

/// The labels of a task: few, short, each once.
pub(crate) fn checked_labels(labels: &[String]) -> Result<Vec<String>, Failure> {
    let mut known: Vec<String> = Vec::new();
    for label in labels {
        let label = checked("a label", label, LABEL_MAX)?;
        if !known.contains(&label) {
            known.push(label);
        }
    }
    if known.len() > LABELS_MAX {
        let found = known.len();
        let message = format!("a task has at most {LABELS_MAX} labels, this one has {found}");
        return Err(Failure::TooLarge(message));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_held_to_its_limit_in_characters() {
        assert_eq!(checked("a title", " é ", 1).unwrap(), "é");
        assert!(matches!(checked("a title", "éé", 1), Err(Failure::TooLarge(_))));
        assert!(matches!(checked("a title", "  ", 1), Err(Failure::Bad(_))));
        assert_eq!(checked_or_empty("a description", " ", 1).unwrap(), "");
    }

    #[test]
    fn labels_are_few_and_each_stands_once() {
        let labels = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(checked_labels(&labels(&["a", " a", "b"])).unwrap(), ["a", "b"]);
        let many = labels(&["1", "2", "3", "4", "5", "6"]);
        assert_eq!(checked_labels(&many).unwrap().len(), LABELS_MAX);
        let more = labels(&["1", "2", "3", "4", "5", "6", "7"]);
        assert!(matches!(checked_labels(&more), Err(Failure::TooLarge(_))));
        assert!(matches!(checked_labels(&["x".repeat(25)]), Err(Failure::TooLarge(_))));
    }
}

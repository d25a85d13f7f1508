//! What a new Workboard holds: six people, two boards, and work that looks like work.
//!
//! Days lie around today, so that something is always due.

use crate::{
    day::Day,
    failure::Failure,
    model::{Board, Column, Person},
    store::{BOARDS, Change, META, PEOPLE, Rows},
    tasks::{self, NewTask},
};

const PEOPLE_HERE: [[&str; 5]; 6] = [
    ["ann", "Ann Lindqvist", "AL", "#c2410c", "Product"],
    ["ben", "Ben Okafor", "BO", "#0369a1", "Backend"],
    ["chloe", "Chloe Martin", "CM", "#7c3aed", "Design"],
    ["deniz", "Deniz Yılmaz", "DY", "#15803d", "Frontend"],
    ["emeka", "Emeka Nwosu", "EN", "#b45309", "Support"],
    ["farah", "Farah Haddad", "FH", "#be185d", "Quality"],
];

const COLUMNS: [(&str, &str); 4] =
    [("todo", "To do"), ("doing", "In progress"), ("review", "In review"), ("done", "Done")];

/// Board, column, title, description, who made it, whose it is, due in so many days, labels.
struct Row(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Option<i64>,
    &'static [&'static str],
);

const WORK: [Row; 16] = [
    Row(
        "launch",
        "done",
        "Agree on the launch date",
        "The 12th, after the sales conference.",
        "ann",
        "ann",
        Some(-6),
        &["planning"],
    ),
    Row("launch", "done", "Buy the domain", "", "ann", "ben", Some(-9), &["ops"]),
    Row(
        "launch",
        "review",
        "Draw the new home page",
        "Three variants; the quiet one won.",
        "ann",
        "chloe",
        Some(-1),
        &["design"],
    ),
    Row(
        "launch",
        "review",
        "Copy for the pricing page",
        "Legal wants to see the second paragraph.",
        "chloe",
        "ann",
        Some(0),
        &["copy"],
    ),
    Row(
        "launch",
        "doing",
        "Build the pricing page",
        "Yearly and monthly, with a switch.",
        "chloe",
        "deniz",
        Some(2),
        &["frontend"],
    ),
    Row(
        "launch",
        "doing",
        "Redirects from the old site",
        "Some 400 addresses; the list is in the shared folder.",
        "ben",
        "ben",
        Some(3),
        &["ops", "seo"],
    ),
    Row(
        "launch",
        "todo",
        "Load test of the sign-up",
        "Twice what last year's campaign brought.",
        "ben",
        "farah",
        Some(4),
        &["quality"],
    ),
    Row(
        "launch",
        "todo",
        "Cookie banner that people understand",
        "",
        "ann",
        "deniz",
        Some(6),
        &["frontend", "legal"],
    ),
    Row(
        "launch",
        "todo",
        "Answers for the help desk",
        "The ten questions that always come.",
        "emeka",
        "emeka",
        Some(8),
        &["support"],
    ),
    Row("launch", "todo", "Announcement for customers", "", "ann", "", Some(10), &["copy"]),
    Row(
        "app",
        "done",
        "Crash when the camera is denied",
        "Was a race in the permission dialog.",
        "farah",
        "deniz",
        Some(-3),
        &["bug"],
    ),
    Row(
        "app",
        "review",
        "Offline mode, first part",
        "Reading only. Writing comes after.",
        "ben",
        "ben",
        Some(1),
        &["feature"],
    ),
    Row(
        "app",
        "doing",
        "Dark theme",
        "Follow the system; no switch of our own.",
        "chloe",
        "chloe",
        Some(5),
        &["design"],
    ),
    Row(
        "app",
        "doing",
        "Notifications arrive twice",
        "Two devices, one account. Steps are in the comments.",
        "emeka",
        "ben",
        Some(-2),
        &["bug", "urgent"],
    ),
    Row("app", "todo", "Ask for a rating, once", "", "ann", "deniz", Some(12), &["feature"]),
    Row(
        "app",
        "todo",
        "Shrink the download",
        "84 MB. Half of it is fonts.",
        "ben",
        "deniz",
        None,
        &["feature"],
    ),
];

const SAID: [(&str, &str, &str); 3] = [
    (
        "Notifications arrive twice",
        "emeka",
        "Sign in on a phone and a tablet, then assign a task to yourself from a third.",
    ),
    (
        "Notifications arrive twice",
        "ben",
        "Seen it. The second device never says what it has read.",
    ),
    (
        "Redirects from the old site",
        "ann",
        "The campaign pages matter most, they are on printed cards.",
    ),
];

/// Fills a new database; does nothing to another.
pub(crate) fn seed(change: &Change) -> Result<(), Failure> {
    if change.row::<bool>(META, "seeded")?.is_some() {
        return Ok(());
    }
    let people: Vec<Person> = PEOPLE_HERE.into_iter().map(person).collect();
    for person in &people {
        change.put(PEOPLE, &person.id, person)?;
    }
    let column =
        |(id, name): (&str, &str)| Column { id: id.into(), name: name.into(), done: id == "done" };
    for (id, name) in [("launch", "Website launch"), ("app", "Mobile app")] {
        let columns = COLUMNS.into_iter().map(column).collect();
        change.put(BOARDS, id, &Board { id: id.into(), name: name.into(), columns })?;
    }
    let find = |id: &str| {
        let found = people.iter().find(|person| person.id == id);
        found.ok_or_else(|| Failure::Store(format!("the seed names {id:?}, who is not in it")))
    };
    let today = Day::of(change.now_ms);
    for Row(board, column, title, description, by, assignee, due, labels) in WORK {
        let new = NewTask {
            title: title.into(),
            column: Some(column.into()),
            description: description.into(),
            assignee: (!assignee.is_empty()).then(|| assignee.to_owned()),
            due: due.map(|days| today.plus(days).to_string()),
            labels: labels.iter().map(ToString::to_string).collect(),
        };
        let task = tasks::create(change, find(by)?, board, new)?;
        for (_, by, text) in SAID.iter().filter(|(about, ..)| *about == title) {
            tasks::comment(change, find(by)?, task.id, text)?;
        }
    }
    change.put(META, "seeded", &true)
}

fn person([id, name, initials, color, role]: [&str; 5]) -> Person {
    Person {
        id: id.into(),
        name: name.into(),
        initials: initials.into(),
        color: color.into(),
        role: role.into(),
    }
}

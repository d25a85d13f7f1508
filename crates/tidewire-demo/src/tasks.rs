//! What can be done with tasks: make, change, move, delete, comment. Each is part of one transaction,
//! with the events that tell of it.
//!
//! A change names the version that it was made on; if that is not the newest, it is refused with the
//! newest, and a person decides. Knows no HTTP and no hub.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    day::Day,
    failure::Failure,
    mention::mentioned,
    model::{
        Board, COMMENT_MAX, COMMENTS_MAX, Comment, DESCRIPTION_MAX, Person, TASKS_MAX, TITLE_MAX,
        Task, checked, checked_labels, checked_or_empty,
    },
    stats,
    store::{BOARDS, COMMENTS, Change, Event, PEOPLE, Rows, TASKS, key},
};

/// Room between two neighbours: twenty tasks may go between the same two, each time in the middle.
const ORDER_STEP: i64 = 1 << 20;

/// A task to be made.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTask {
    pub(crate) title: String,
    pub(crate) column: Option<String>,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) assignee: Option<String>,
    pub(crate) due: Option<String>,
    #[serde(default)]
    pub(crate) labels: Vec<String>,
}

/// What is to be changed of a task; nothing stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    pub(crate) version: u64,
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    #[serde(default, deserialize_with = "said")]
    pub(crate) assignee: Option<Option<String>>,
    #[serde(default, deserialize_with = "said")]
    pub(crate) due: Option<Option<String>>,
    pub(crate) labels: Option<Vec<String>>,
}

/// Where a task goes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    pub(crate) version: u64,
    pub(crate) column: String,
    /// The task that it stands before; nothing: at the end.
    pub(crate) before: Option<u64>,
}

/// `null` says something, and nothing said is something else.
fn said<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// A board.
pub(crate) fn board(rows: &impl Rows, id: &str) -> Result<Board, Failure> {
    let missing = || Failure::NotFound(format!("there is no board {id:?}"));
    rows.row(BOARDS, id)?.ok_or_else(missing)
}

/// The tasks of a board, by id.
pub(crate) fn tasks_of(rows: &impl Rows, board: &str) -> Result<Vec<Task>, Failure> {
    let mut tasks: Vec<Task> = rows.rows(TASKS)?;
    tasks.retain(|task| task.board == board);
    Ok(tasks)
}

/// A task.
pub(crate) fn task(rows: &impl Rows, id: u64) -> Result<Task, Failure> {
    let missing = || Failure::NotFound(format!("there is no task {id}: it may have been deleted"));
    rows.row(TASKS, &key(id))?.ok_or_else(missing)
}

/// The comments on a task, oldest first.
pub(crate) fn comments_on(rows: &impl Rows, id: u64) -> Result<Vec<Comment>, Failure> {
    rows.rows_under(COMMENTS, &format!("{}/", key(id)))
}

/// Makes a task, at the end of its column.
pub(crate) fn create(
    change: &Change,
    by: &Person,
    board_id: &str,
    new: NewTask,
) -> Result<Task, Failure> {
    let board = board(change, board_id)?;
    let tasks = tasks_of(change, board_id)?;
    if tasks.len() >= TASKS_MAX {
        let message = format!("a board has at most {TASKS_MAX} tasks: delete what is done");
        return Err(Failure::TooLarge(message));
    }
    let first = board.columns.first().map(|column| column.id.clone()).unwrap_or_default();
    let column = new.column.unwrap_or(first);
    board.column(&column)?;
    let task = Task {
        id: change.next("task")?,
        board: board_id.to_owned(),
        order: order_before(&tasks, &column, None).unwrap_or(ORDER_STEP),
        column,
        title: checked("a title", &new.title, TITLE_MAX)?,
        description: checked_or_empty("a description", &new.description, DESCRIPTION_MAX)?,
        assignee: somebody(change, new.assignee)?,
        due: some_day(new.due)?,
        labels: checked_labels(&new.labels)?,
        version: 1,
        created_by: by.id.clone(),
        created_at: change.now_ms,
        updated_by: by.id.clone(),
        updated_at: change.now_ms,
        comments: 0,
    };
    with_counts(change, &board, || put(change, by, &task, "task.created"))?;
    tell_people(change, by, None, &task)?;
    Ok(task)
}

/// Changes what a task says.
pub(crate) fn edit(change: &Change, by: &Person, id: u64, edit: Edit) -> Result<Task, Failure> {
    let before = of_version(change, id, edit.version)?;
    let mut task = before.clone();
    if let Some(title) = edit.title {
        task.title = checked("a title", &title, TITLE_MAX)?;
    }
    if let Some(description) = edit.description {
        task.description = checked_or_empty("a description", &description, DESCRIPTION_MAX)?;
    }
    if let Some(assignee) = edit.assignee {
        task.assignee = somebody(change, assignee)?;
    }
    if let Some(due) = edit.due {
        task.due = some_day(due)?;
    }
    if let Some(labels) = edit.labels {
        task.labels = checked_labels(&labels)?;
    }
    if task == before {
        return Ok(task);
    }
    touch(&mut task, by, change);
    let board = board(change, &task.board)?;
    with_counts(change, &board, || put(change, by, &task, "task.changed"))?;
    tell_people(change, by, Some(&before), &task)?;
    Ok(task)
}

/// Moves a task to a column, before another or to the end.
pub(crate) fn relocate(change: &Change, by: &Person, id: u64, to: &Move) -> Result<Task, Failure> {
    let mut task = of_version(change, id, to.version)?;
    let board = board(change, &task.board)?;
    board.column(&to.column)?;
    if to.before == Some(id) {
        return Err(Failure::Bad("a task cannot stand before itself".into()));
    }
    let mut others = tasks_of(change, &task.board)?;
    others.retain(|other| other.id != id);
    if let Some(before) = to.before
        && !others.iter().any(|other| other.id == before && other.column == to.column)
    {
        let message = format!("task {before} is not in column {:?} (any more)", to.column);
        return Err(Failure::Bad(message));
    }
    with_counts(change, &board, || {
        task.order = match order_before(&others, &to.column, to.before) {
            Some(order) => order,
            None => {
                spread(change, by, &mut others, &to.column)?;
                order_before(&others, &to.column, to.before).unwrap_or(ORDER_STEP)
            }
        };
        task.column.clone_from(&to.column);
        touch(&mut task, by, change);
        put(change, by, &task, "task.moved")
    })?;
    Ok(task)
}

/// Deletes a task and what was said about it.
pub(crate) fn delete(change: &Change, by: &Person, id: u64, version: u64) -> Result<(), Failure> {
    let task = of_version(change, id, version)?;
    let board = board(change, &task.board)?;
    for comment in comments_on(change, id)? {
        change.remove(COMMENTS, &comment_key(id, comment.id))?;
    }
    with_counts(change, &board, || change.remove(TASKS, &key(id)))?;
    let data = json!({"id": id, "board": task.board, "by": by.id});
    change.emit(&of_board(&task.board, "task.deleted", data))
}

/// Says something about a task. That is no new version: it hinders nobody's change.
pub(crate) fn comment(
    change: &Change,
    by: &Person,
    id: u64,
    text: &str,
) -> Result<Comment, Failure> {
    let mut task = task(change, id)?;
    if task.comments >= COMMENTS_MAX {
        let message = format!("a task has at most {COMMENTS_MAX} comments");
        return Err(Failure::TooLarge(message));
    }
    let text = checked("a comment", text, COMMENT_MAX)?;
    let number = change.next("comment")?;
    let comment = Comment { id: number, task: id, by: by.id.clone(), text, at: change.now_ms };
    change.put(COMMENTS, &comment_key(id, number), &comment)?;
    task.comments += 1;
    change.put(TASKS, &key(id), &task)?;
    let data = json!({"task": id, "comment": comment, "comments": task.comments, "by": by.id});
    change.emit(&of_board(&task.board, "task.commented", data))?;
    call(change, by, &comment.text, "", &Where::of_task("comment", &task))?;
    Ok(comment)
}

/// Where somebody is called.
pub(crate) struct Where<'a> {
    kind: &'static str,
    board: &'a str,
    task: Option<&'a Task>,
}

impl<'a> Where<'a> {
    fn of_task(kind: &'static str, task: &'a Task) -> Self {
        Self { kind, board: &task.board, task: Some(task) }
    }

    /// In the chat of this board.
    pub(crate) fn chat(board: &'a str) -> Self {
        Self { kind: "chat", board, task: None }
    }
}

/// Tells those who are called in `text` and were not in `before`, but for who calls.
pub(crate) fn call(
    change: &Change,
    by: &Person,
    text: &str,
    before: &str,
    place: &Where<'_>,
) -> Result<(), Failure> {
    let people: Vec<Person> = change.rows(PEOPLE)?;
    let known = mentioned(before, &people);
    for person in mentioned(text, &people) {
        if person.id == by.id || known.contains(&person) {
            continue;
        }
        let mut data = json!({
            "by": by.id, "at": change.now_ms, "where": place.kind, "board": place.board, "text": text,
        });
        if let Some(task) = place.task {
            data["task"] = in_short(task);
        }
        notify(change, &person.id, "mentioned", data)?;
    }
    Ok(())
}

fn tell_people(
    change: &Change,
    by: &Person,
    before: Option<&Task>,
    task: &Task,
) -> Result<(), Failure> {
    let was = before.and_then(|before| before.assignee.as_ref());
    if let Some(assignee) = &task.assignee
        && Some(assignee) != was
        && *assignee != by.id
    {
        let data = json!({"task": in_short(task), "by": by.id, "at": change.now_ms});
        notify(change, assignee, "task.assigned", data)?;
    }
    let known = before.map_or("", |before| before.description.as_str());
    call(change, by, &task.description, known, &Where::of_task("task", task))
}

fn notify(change: &Change, person: &str, event: &str, data: Value) -> Result<(), Failure> {
    let topic = format!("notifications/{person}");
    change.emit(&Event { topic, event: event.into(), item: None, data })
}

fn in_short(task: &Task) -> Value {
    json!({"id": task.id, "board": task.board, "title": task.title})
}

fn of_board(board: &str, event: &str, data: Value) -> Event {
    Event { topic: format!("board/{board}"), event: event.into(), item: None, data }
}

/// Stores a task and tells the board.
fn put(change: &Change, by: &Person, task: &Task, event: &str) -> Result<(), Failure> {
    change.put(TASKS, &key(task.id), task)?;
    let mut data = serde_json::to_value(task)?;
    data["by"] = by.id.clone().into();
    change.emit(&of_board(&task.board, event, data))
}

/// Does something to a board, and tells what counts are other then.
fn with_counts(
    change: &Change,
    board: &Board,
    act: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let before = stats::counts(board, &tasks_of(change, &board.id)?);
    act()?;
    let after = stats::counts(board, &tasks_of(change, &board.id)?);
    stats::news(&board.id, &before, &after).iter().try_for_each(|event| change.emit(event))
}

fn of_version(change: &Change, id: u64, version: u64) -> Result<Task, Failure> {
    let task = task(change, id)?;
    if task.version == version { Ok(task) } else { Err(Failure::Conflict(Box::new(task))) }
}

fn touch(task: &mut Task, by: &Person, change: &Change) {
    task.version += 1;
    task.updated_by.clone_from(&by.id);
    task.updated_at = change.now_ms;
}

fn comment_key(task: u64, comment: u64) -> String {
    format!("{}/{}", key(task), key(comment))
}

fn somebody(change: &Change, id: Option<String>) -> Result<Option<String>, Failure> {
    if let Some(id) = &id
        && change.bytes(PEOPLE, id)?.is_none()
    {
        return Err(Failure::Bad(format!("nobody here is {id:?}: see `GET /app/api/people`")));
    }
    Ok(id)
}

fn some_day(text: Option<String>) -> Result<Option<String>, Failure> {
    text.as_deref().map(Day::parse).transpose()?;
    Ok(text)
}

/// The order of a task that stands before another in a column, or at its end. Nothing: there is no
/// room between the two.
fn order_before(tasks: &[Task], column: &str, before: Option<u64>) -> Option<i64> {
    let mut places: Vec<_> = tasks
        .iter()
        .filter(|task| task.column == column)
        .map(|task| (task.order, task.id))
        .collect();
    places.sort_unstable();
    let at = before.and_then(|before| places.iter().position(|&(_, id)| id == before));
    let Some(at) = at else {
        return Some(places.last().map_or(ORDER_STEP, |(order, _)| order + ORDER_STEP));
    };
    let above = places.get(at).map_or(ORDER_STEP, |(order, _)| *order);
    let below = at.checked_sub(1).and_then(|at| places.get(at)).map_or(0, |(order, _)| *order);
    let middle = i64::midpoint(below, above);
    (below < middle && middle < above).then_some(middle)
}

/// Makes room in a column: its tasks keep their order and stand apart again.
fn spread(change: &Change, by: &Person, tasks: &mut [Task], column: &str) -> Result<(), Failure> {
    let mut there: Vec<_> = tasks.iter_mut().filter(|task| task.column == column).collect();
    there.sort_by_key(|task| (task.order, task.id));
    let mut order = 0;
    for task in there {
        order += ORDER_STEP;
        task.order = order;
        touch(task, by, change);
        put(change, by, task, "task.moved")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

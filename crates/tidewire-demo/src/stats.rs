//! The live dashboard of a board: how many tasks, where and whose. Pure.
//!
//! Each count is the newest value of an item of `stats/{board}`, so a page that comes late reads the
//! newest of each and nothing else.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    model::{Board, Task},
    store::Event,
};

/// What there is to say of a board, by item.
pub(crate) fn counts(board: &Board, tasks: &[Task]) -> BTreeMap<String, Value> {
    let mut said = BTreeMap::new();
    for column in &board.columns {
        let count = tasks.iter().filter(|task| task.column == column.id).count();
        let data = json!({"kind": "column", "column": column.id, "tasks": count});
        said.insert(format!("column.{}", column.id), data);
    }
    let mut people = BTreeMap::<Option<&str>, [usize; 2]>::new();
    let mut total = [0, 0];
    for task in tasks {
        let done = usize::from(board.is_done(&task.column));
        let person = people.entry(task.assignee.as_deref()).or_default();
        for counted in [person, &mut total] {
            counted[done] += 1;
        }
    }
    for (person, [open, done]) in people {
        let data = json!({"kind": "person", "person": person, "open": open, "done": done});
        said.insert(format!("person.{}", person.unwrap_or("~nobody")), data);
    }
    let [open, done] = total;
    said.insert("total".into(), json!({"kind": "total", "open": open, "done": done}));
    said
}

/// What must be said when the counts were `before` and are `after`. Somebody who has no task any more
/// is said to have none.
pub(crate) fn news(
    board: &str,
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
) -> Vec<Event> {
    let gone = before.iter().filter(|(item, _)| !after.contains_key(*item)).map(|(item, data)| {
        let none = json!({"kind": "person", "person": data["person"], "open": 0, "done": 0});
        (item, none)
    });
    let changed = after.iter().filter(|(item, data)| before.get(*item) != Some(data));
    changed
        .map(|(item, data)| (item, data.clone()))
        .chain(gone)
        .map(|(item, data)| Event {
            topic: format!("stats/{board}"),
            event: "count".into(),
            item: Some(item.clone()),
            data,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Column;

    fn board() -> Board {
        let column = |id: &str| Column { id: id.into(), name: id.into(), done: id == "done" };
        Board { id: "b".into(), name: "B".into(), columns: ["todo", "done"].map(column).into() }
    }

    fn task(id: u64, column: &str, assignee: Option<&str>) -> Task {
        Task {
            id,
            board: "b".into(),
            column: column.into(),
            order: 0,
            title: "t".into(),
            description: String::new(),
            assignee: assignee.map(str::to_owned),
            due: None,
            labels: vec![],
            version: 1,
            created_by: "ann".into(),
            created_at: 0,
            updated_by: "ann".into(),
            updated_at: 0,
            comments: 0,
        }
    }

    #[test]
    fn only_what_has_changed_is_said() {
        let nothing = BTreeMap::new();
        let before = counts(&board(), &[task(1, "todo", Some("ann")), task(2, "todo", None)]);
        let items = |events: &[Event]| -> Vec<String> {
            events.iter().filter_map(|event| event.item.clone()).collect()
        };
        let first = news("b", &nothing, &before);
        assert_eq!(
            items(&first),
            ["column.done", "column.todo", "person.ann", "person.~nobody", "total"]
        );
        assert_eq!(first[4].data, json!({"kind": "total", "open": 2, "done": 0}));
        assert_eq!(news("b", &before, &before), vec![]);

        let after = counts(&board(), &[task(1, "todo", Some("ann")), task(2, "done", Some("ann"))]);
        let second = news("b", &before, &after);
        assert_eq!(
            items(&second),
            ["column.done", "column.todo", "person.ann", "total", "person.~nobody"]
        );
        let nobody = json!({"kind": "person", "person": null, "open": 0, "done": 0});
        assert_eq!(second[4].data, nobody);
        assert!(second.iter().all(|event| event.topic == "stats/b" && event.event == "count"));
    }
}

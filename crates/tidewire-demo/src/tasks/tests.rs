//! Tasks in a database, without a server.

use std::{path::Path, sync::Arc};

use tidewire::clock::{ManualClock, SeededRandom};

use super::*;
use crate::{
    seed::seed,
    store::{OUTBOX, Store},
};

fn open(folder: &Path) -> Store {
    let (clock, random) = (ManualClock::at(1_795_392_000_000), SeededRandom::new(1));
    let store = Store::open(&folder.join("w.redb"), Arc::new(clock), Arc::new(random)).unwrap();
    store.write_now(seed).unwrap();
    store
}

fn person(change: &Change, id: &str) -> Person {
    change.row(PEOPLE, id).unwrap().unwrap()
}

/// What a change puts into the outbox, as topic and event.
fn events<T>(
    store: &Store,
    act: impl FnOnce(&Change) -> Result<T, Failure>,
) -> (T, Vec<(String, String)>) {
    let before = store.write_now(|change| change.rows::<Event>(OUTBOX)).unwrap().len();
    let done = store.write_now(act).unwrap();
    let all: Vec<Event> = store.write_now(|change| change.rows(OUTBOX)).unwrap();
    let new = all.into_iter().skip(before).map(|event| (event.topic, event.event));
    (done, new.collect())
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(topic, event)| ((*topic).to_owned(), (*event).to_owned())).collect()
}

#[test]
fn a_new_database_has_six_people_two_boards_and_work() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.write_now(seed).unwrap();
    store
        .write_now(|change| {
            assert_eq!(change.rows::<Person>(PEOPLE)?.len(), 6);
            assert_eq!(change.rows::<Board>(BOARDS)?.len(), 2);
            assert_eq!(change.rows::<Task>(TASKS)?.len(), 16, "once, though it was asked twice");
            let comments: usize = tasks_of(change, "app")?.iter().map(|task| task.comments).sum();
            assert_eq!(comments, 2);
            Ok(())
        })
        .unwrap();
}

#[test]
fn who_gets_a_task_is_told_and_who_takes_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let new = |assignee: &str, description: &str| NewTask {
        title: "A title".into(),
        assignee: Some(assignee.into()),
        description: description.into(),
        ..NewTask::default()
    };
    let (task, told) = events(&store, |change| {
        create(change, &person(change, "ann"), "launch", new("ben", "see @chloe and @ann"))
    });
    let counts = [("stats/launch", "count"); 3];
    let mut expected = vec![("board/launch", "task.created")];
    expected.extend(counts);
    expected.extend([("notifications/ben", "task.assigned"), ("notifications/chloe", "mentioned")]);
    assert_eq!(told, pairs(&expected));

    let mine = |change: &Change| {
        let own =
            Edit { assignee: Some(Some("ann".into())), version: task.version, ..Edit::default() };
        edit(change, &person(change, "ann"), task.id, own)
    };
    let (changed, told) = events(&store, mine);
    assert_eq!(changed.version, 2);
    assert!(told.iter().all(|(topic, _)| !topic.starts_with("notifications/")), "{told:?}");
}

#[test]
fn a_change_of_an_old_version_is_refused_with_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let title =
        |version: u64, title: &str| Edit { version, title: Some(title.into()), ..Edit::default() };
    let (changed, _) =
        events(&store, |change| edit(change, &person(change, "ann"), 7, title(1, "one")));
    let late = store.write_now(|change| edit(change, &person(change, "ben"), 7, title(1, "two")));
    let Err(Failure::Conflict(current)) = late else { panic!("{late:?}") };
    assert_eq!((*current).clone(), changed);
    let to = Move { version: 1, column: "done".into(), before: None };
    let late = store.write_now(|change| relocate(change, &person(change, "ben"), 7, &to));
    assert!(matches!(late, Err(Failure::Conflict(_))));
    let late = store.write_now(|change| delete(change, &person(change, "ben"), 7, 1));
    assert!(matches!(late, Err(Failure::Conflict(_))));
    // What says nothing new is no new version.
    let (same, told) =
        events(&store, |change| edit(change, &person(change, "ben"), 7, title(2, "one")));
    assert_eq!((same, told), (changed, vec![]));
}

#[test]
fn tasks_go_between_others_as_often_as_one_likes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let column = |change: &Change| {
        let mut there = tasks_of(change, "launch")?;
        there.retain(|task| task.column == "todo");
        there.sort_by_key(|task| (task.order, task.id));
        Ok::<_, Failure>(there)
    };
    // Always the last before the second: the room between the first two is used up again and again.
    for _ in 0..60 {
        store
            .write_now(|change| {
                let before = column(change)?;
                let (second, last) = (&before[1], &before[before.len() - 1]);
                let to =
                    Move { version: last.version, column: "todo".into(), before: Some(second.id) };
                let moved = relocate(change, &person(change, "ann"), last.id, &to)?;
                let after: Vec<u64> = column(change)?.iter().map(|task| task.id).collect();
                let mut expected: Vec<u64> = before.iter().map(|task| task.id).collect();
                let last = expected.pop().unwrap();
                expected.insert(1, last);
                assert_eq!(after, expected);
                assert_eq!(task(change, moved.id)?, moved);
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn a_deleted_task_takes_its_comments_along() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (comment, told) =
        events(&store, |change| comment(change, &person(change, "ann"), 7, "@farah: when?"));
    assert_eq!(comment.task, 7);
    let expected = [("board/launch", "task.commented"), ("notifications/farah", "mentioned")];
    assert_eq!(told, pairs(&expected));
    events(&store, |change| delete(change, &person(change, "ann"), 7, 1));
    store
        .write_now(|change| {
            assert_eq!(comments_on(change, 7)?, vec![]);
            assert!(matches!(task(change, 7), Err(Failure::NotFound(_))));
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let refused = |new: NewTask| {
        let made = store.write_now(|change| create(change, &person(change, "ann"), "app", new));
        made.unwrap_err().to_string()
    };
    let title = || NewTask { title: "t".into(), ..NewTask::default() };
    for (new, why) in [
        (NewTask::default(), "title is empty"),
        (NewTask { column: Some("x".into()), ..title() }, "no column"),
        (NewTask { assignee: Some("x".into()), ..title() }, "nobody here"),
        (NewTask { due: Some("soon".into()), ..title() }, "no day"),
    ] {
        let said = refused(new);
        assert!(said.contains(why), "{said}");
    }
    let fill = |change: &Change| {
        let there = tasks_of(change, "app")?;
        (there.len()..TASKS_MAX).try_for_each(|_| {
            let task = Task { id: change.next("task")?, ..there[0].clone() };
            change.put(TASKS, &key(task.id), &task)
        })
    };
    store.write_now(fill).unwrap();
    assert!(refused(title()).contains("at most 500 tasks"));
}

//! What [`Log::append`](crate::Log::append) promises.

use futures_util::{FutureExt, future};

use super::{
    ALL, Duration, Harness, Log, Message, Sequence, Setup, append, everything, keyed, page, places,
    say, sequences, text,
};
use crate::{AppendError, clock::Clock};
use tidewire_proto::{Data, EventType};

/// Each message has the next place; a batch is contiguous.
pub async fn places_are_contiguous_and_follow_each_other(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let one = append(&log, vec![say("chat/a", 1)]).await;
    let three = append(&log, vec![say("chat/a", 2), say("feed/b", 3), say("chat/a", 4)]).await;
    assert_eq!((places(&one), places(&three)), (vec![1], vec![2, 3, 4]));
    assert!(three.iter().all(|receipt| !receipt.duplicate));
    assert_eq!(sequences(&everything(&log, &["chat/a", "feed/b"]).await), [1, 2, 3, 4]);
}

/// No message, no place, no error.
pub async fn an_empty_batch_gives_an_empty_answer(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    assert_eq!(append(&log, vec![]).await, []);
    assert_eq!(log.bounds().newest, Sequence::ZERO);
}

/// Topic, event, kind of data and data come back as they went in, with the time of storing.
pub async fn entries_are_what_was_published(harness: &impl Harness) {
    let setup = Setup::default();
    let log = harness.fresh(&setup).await;
    let kinds = [
        Data::json(&b"{\"a\": [1,  2]}"[..]).expect("json"),
        Data::text("line\nline é").expect("text"),
        Data::text("").expect("text"),
        Data::binary(&[0_u8, 255, 10][..]),
        Data::binary(vec![7; 200_000]),
    ];
    let messages: Vec<Message> = kinds
        .into_iter()
        .enumerate()
        .map(|(number, data)| Message {
            event: EventType::parse(&format!("kind.{number}")).expect("a good type"),
            data,
            ..say("chat/a", "")
        })
        .collect();
    append(&log, messages.clone()).await;
    let entries = everything(&log, &["chat/a"]).await;
    assert_eq!(entries.len(), messages.len());
    for (entry, message) in entries.iter().zip(&messages) {
        assert_eq!((&entry.topic, &entry.event), (&message.topic, &message.event));
        assert_eq!(entry.data, message.data);
        assert_eq!(entry.at_ms, setup.clock.now_ms());
    }
}

/// Batches that are appended at the same time do not run into each other.
pub async fn a_batch_is_in_one_piece_among_many(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let batch = |writer: usize| {
        (0..7).map(|step| say(&format!("chat/{writer}"), format!("{writer}.{step}"))).collect()
    };
    let all = future::join_all((0..40).map(|writer| append(&log, batch(writer)))).await;
    for receipts in &all {
        let first = receipts[0].sequence.0;
        assert_eq!(places(receipts), (first..first + 7).collect::<Vec<_>>());
    }
    let mut every: Vec<_> = all.iter().flat_map(|receipts| places(receipts)).collect();
    every.sort_unstable();
    assert_eq!(every, (1..=280).collect::<Vec<_>>(), "no place twice, none left out");
    for (writer, receipts) in all.iter().enumerate() {
        let entries = everything(&log, &[&format!("chat/{writer}")]).await;
        assert_eq!(sequences(&entries), places(receipts));
        assert!((0..7).all(|step| text(&entries[step]) == format!("{writer}.{step}")));
    }
}

/// If one was acknowledged before another was sent, it stands before it, and a read sees it.
pub async fn acknowledged_before_sent_is_before_in_the_log(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let writers = (0..8).map(|writer| {
        let log = &log;
        async move {
            let mut before = 0;
            for step in 0..25 {
                let place = append(log, vec![say("chat/a", format!("{writer}.{step}"))]).await;
                let place = place[0].sequence.0;
                assert!(place > before);
                let seen = page(log, &["chat/a"], place - 1, ALL).await;
                assert_eq!(seen.entries[0].sequence.0, place, "an answered entry is there");
                before = place;
            }
        }
    });
    future::join_all(writers).await;
}

/// `duplicate`, the first place, no new entry.
pub async fn a_repeated_key_gives_the_first_answer_and_delivers_nothing(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let first = append(&log, vec![keyed("chat/a", "k", "hi")]).await;
    append(&log, vec![say("chat/a", "between")]).await;
    let again = append(&log, vec![keyed("chat/a", "k", "hi")]).await;
    assert_eq!((again[0].sequence, again[0].duplicate), (first[0].sequence, true));
    assert_eq!(again[0].stored, first[0].stored);
    assert_eq!(log.bounds().newest, Sequence(2));
    assert_eq!(sequences(&everything(&log, &["chat/a"]).await), [1, 2]);
    let mixed = append(&log, vec![say("chat/a", "x"), keyed("chat/a", "k", "hi")]).await;
    assert_eq!(places(&mixed), [3, 1], "a duplicate takes no place in its batch");
}

/// Not one message of the batch is stored, and no key of it is remembered.
pub async fn a_key_with_another_body_is_a_conflict_that_leaves_nothing(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    append(&log, vec![keyed("chat/a", "k", "hi")]).await;
    let batch = vec![keyed("chat/a", "new", "x"), say("chat/a", "y"), keyed("chat/a", "k", "ho")];
    assert_eq!(log.append(batch).await, Err(AppendError::Conflict { index: 2 }));
    assert_eq!(log.bounds().newest, Sequence(1));
    assert_eq!(everything(&log, &["chat/a"]).await.len(), 1);
    let fresh = append(&log, vec![keyed("chat/a", "new", "other body")]).await;
    assert_eq!((fresh[0].sequence, fresh[0].duplicate), (Sequence(2), false));
    for other in [
        Message { event: EventType::parse("edit").expect("type"), ..keyed("chat/a", "k", "hi") },
        Message { data: Data::binary("hi"), ..keyed("chat/a", "k", "hi") },
    ] {
        assert_eq!(log.append(vec![other]).await, Err(AppendError::Conflict { index: 0 }));
    }
}

/// One entry, two answers.
pub async fn the_same_key_twice_in_one_batch_counts_like_a_retry(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let twice = vec![keyed("chat/a", "k", "hi"), say("chat/a", "x"), keyed("chat/a", "k", "hi")];
    let receipts = append(&log, twice).await;
    assert_eq!(places(&receipts), [1, 2, 1]);
    assert_eq!(receipts.iter().map(|r| r.duplicate).collect::<Vec<_>>(), [false, false, true]);
    let conflict = vec![keyed("chat/a", "l", "hi"), keyed("chat/a", "l", "ho")];
    assert_eq!(log.append(conflict).await, Err(AppendError::Conflict { index: 1 }));
    assert_eq!(log.bounds().newest, Sequence(2));
}

/// The same key on another topic is another key.
pub async fn a_key_belongs_to_its_topic(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    append(&log, vec![keyed("chat/a", "k", "hi")]).await;
    let other = append(&log, vec![keyed("chat/b", "k", "ho")]).await;
    assert_eq!((other[0].sequence, other[0].duplicate), (Sequence(2), false));
}

/// However many publish the same key at once, one is stored and all hear its place.
pub async fn equal_keys_at_the_same_time_store_one_entry(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let tries = (0..100).map(|_| append(&log, vec![keyed("chat/a", "k", "hi")]));
    let answers = future::join_all(tries).await;
    assert!(answers.iter().all(|answer| answer[0].sequence == Sequence(1)));
    assert_eq!(answers.iter().filter(|answer| !answer[0].duplicate).count(), 1);
    assert_eq!(everything(&log, &["chat/a"]).await.len(), 1);
}

/// After the window the same message is a new one; until then it is the old one.
pub async fn a_key_is_forgotten_after_its_window_and_not_before(harness: &impl Harness) {
    let setup = Setup::default();
    let window = setup.limits.idempotency_window;
    let log = harness.fresh(&setup).await;
    append(&log, vec![keyed("chat/a", "k", "hi")]).await;
    tokio::time::advance(window).await;
    // The wall clock has no say in this.
    setup.clock.advance(Duration::from_secs(365 * 24 * 3600));
    assert!(append(&log, vec![keyed("chat/a", "k", "hi")]).await[0].duplicate);
    setup.clock.set(0);
    tokio::time::advance(Duration::from_secs(1)).await;
    let later = append(&log, vec![keyed("chat/a", "k", "hi")]).await;
    assert_eq!((later[0].sequence, later[0].duplicate), (Sequence(2), false));
}

/// A key too many is `Busy`; what needs no new key goes on.
pub async fn too_many_keys_are_refused_and_leave_nothing(harness: &impl Harness) {
    let mut setup = Setup::default();
    setup.limits.idempotency_keys_max = 2;
    let log = harness.fresh(&setup).await;
    append(&log, vec![keyed("chat/a", "1", "x")]).await;
    let batch = vec![keyed("chat/a", "2", "x"), keyed("chat/a", "3", "x")];
    assert_eq!(log.append(batch).await, Err(AppendError::Busy));
    assert_eq!(log.bounds().newest, Sequence(1));
    append(&log, vec![keyed("chat/a", "4", "x"), say("chat/a", "y")]).await;
    assert!(append(&log, vec![keyed("chat/a", "1", "x")]).await[0].duplicate);
    assert_eq!(everything(&log, &["chat/a"]).await.len(), 3);
}

/// More than a batch may hold is refused at once, whole.
pub async fn too_large_a_batch_is_refused_and_leaves_nothing(harness: &impl Harness) {
    let mut setup = Setup::default();
    setup.limits.batch_bytes_max = 1_000;
    let log = harness.fresh(&setup).await;
    let batch = vec![say("chat/a", "x".repeat(600)), say("chat/a", "y".repeat(600))];
    assert_eq!(log.append(batch).await, Err(AppendError::Busy));
    assert_eq!(log.bounds().newest, Sequence::ZERO);
    assert_eq!(append(&log, vec![say("chat/a", "x".repeat(1_000))]).await.len(), 1);
}

/// Whoever stops waiting for an answer does not know it; everybody else goes on.
pub async fn a_dropped_append_leaves_the_log_whole(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    for step in 0..20 {
        // Asked once, and dropped if it did not answer at once.
        let _ = log.append(vec![keyed("chat/a", &format!("{step}"), "hi")]).now_or_never();
    }
    for step in 0..20 {
        append(&log, vec![keyed("chat/a", &format!("{step}"), "hi")]).await;
    }
    assert_eq!(everything(&log, &["chat/a"]).await.len(), 20);
    assert_eq!(log.bounds().newest, Sequence(20));
}

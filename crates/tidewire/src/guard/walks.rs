//! Publishers and readers on the hub, over a log in memory.

use std::sync::Arc;

use tidewire_core::{Board, Filter, News, Session, Step, Tail};
use tidewire_proto::{After, Topic};

use super::{Bed, count, message, topic};

const MANY: usize = 32;

/// One message into the log, and what the follower does until a reader's mark is set.
#[test]
#[ignore = "make guard counts it"]
fn publish_one() {
    let bed = Bed::new();
    let topic = topic("chat/general");
    let (reader, board) = (bed.reader(&topic), Board::new());
    let tail = watched(&reader, &board);
    let mut slots = Vec::new();
    let messages = || vec![message(&topic); MANY];
    count(MANY, messages, |messages| {
        bed.runtime.block_on(async {
            for message in messages {
                bed.app.hub.publish(message).await.expect("the log takes it");
                tokio::task::yield_now().await;
                slots.clear();
                board.take(&mut slots);
                assert_eq!(slots.len(), 1);
            }
        });
    });
    assert_eq!(tail.newest(), bed.newest());
}

/// For each message of a batch of 100.
#[test]
#[ignore = "make guard counts it"]
fn publish_batch() {
    const BATCH: usize = 100;
    let bed = Bed::new();
    let topic = topic("chat/general");
    let (reader, board) = (bed.reader(&topic), Board::new());
    let tail = watched(&reader, &board);
    let mut slots = Vec::new();
    let batch = || vec![message(&topic); BATCH];
    count(BATCH, batch, |batch| {
        bed.publish(batch);
        board.take(&mut slots);
        assert_eq!(tail.newest(), bed.newest());
    });
}

/// A new reader of a topic that others read, up to its first step.
#[test]
#[ignore = "make guard counts it"]
fn subscribe_now() {
    let bed = Bed::new();
    let topic = topic("chat/general");
    let _other = bed.reader(&topic);
    bed.publish(vec![message(&topic); 100]);
    subscribe(&bed, &topic, After::Now, 0, &Then::Stay);
}

/// One that comes back with a cursor 100 entries ago to a topic that others read: the storm.
#[test]
#[ignore = "make guard counts it"]
fn resume_100_of_tail() {
    let bed = Bed::new();
    let topic = topic("chat/general");
    let _other = bed.reader(&topic);
    bed.publish(vec![message(&topic)]);
    let after = After::Cursor(bed.app.hub.newest());
    bed.publish(vec![message(&topic); 100]);
    subscribe(&bed, &topic, after, 100, &Then::Stay);
}

/// The same to a topic that nobody else reads: the log is asked.
#[test]
#[ignore = "make guard counts it"]
fn resume_100_of_log() {
    let bed = Bed::new();
    let topic = topic("chat/general");
    bed.publish(vec![message(&topic)]);
    let after = After::Cursor(bed.app.hub.newest());
    bed.publish(vec![message(&topic); 100]);
    subscribe(&bed, &topic, after, 100, &Then::Leave);
}

/// A reader that has caught up takes one new entry.
#[test]
#[ignore = "make guard counts it"]
fn step_1() {
    step(1);
}

/// A reader that has caught up takes 32 new entries at once.
#[test]
#[ignore = "make guard counts it"]
fn step_32() {
    step(32);
}

fn step(entries: usize) {
    let bed = Bed::new();
    let topic = topic("chat/general");
    let (mut reader, mut news) = (bed.reader(&topic), News::default());
    let publish = || bed.publish(vec![message(&topic); entries]);
    count(1, publish, |()| {
        assert_eq!(reader.step(&mut news), Step::News);
        assert_eq!(news.entries.len(), entries);
    });
}

/// What a reader does after its first step.
#[derive(PartialEq)]
enum Then {
    Stay,
    /// Before the next comes, so that none has read the log for another.
    Leave,
}

fn subscribe(bed: &Bed, topic: &Topic, after: After, expected: usize, then: &Then) {
    let filter = Filter::from(topic.clone());
    let sessions = || std::iter::repeat_with(|| bed.session()).take(MANY).collect::<Vec<_>>();
    let come = async |session: &mut Session| {
        session.subscribe(&filter, after).await.expect("it may subscribe");
        let news = session.ready().await.expect("the log can be read").unwrap_or_default();
        assert_eq!(news.entries.len(), expected);
    };
    count(MANY, sessions, |mut sessions| {
        bed.runtime.block_on(async {
            for session in &mut sessions {
                come(session).await;
                if *then == Then::Leave {
                    assert!(session.unsubscribe(&filter));
                }
            }
        });
        sessions
    });
}

fn watched(reader: &Session, board: &Arc<Board>) -> Arc<Tail> {
    let tail = reader.tails().next().expect("it reads a topic");
    tail.watch(&board.mark(0));
    Arc::clone(tail)
}

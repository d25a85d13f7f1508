//! What [`Log::follow`](crate::Log::follow) promises.

use std::collections::BTreeSet;

use futures_util::{StreamExt, future};

use super::{
    Harness, Log, PATIENCE, Sequence, Setup, append, everything, keyed, reading::fill_short, say,
    sequences, take,
};

/// All of the past from any place, then what comes, in one order.
pub async fn following_brings_the_past_then_the_present_without_a_seam(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    for number in 0..50 {
        append(&log, vec![say("chat/a", number), say("feed/b", number)]).await;
    }
    for start in [0, 1, 49, 99, 100] {
        let mut after = start;
        let mut stream = log.follow(Sequence(start));
        let past = take(&mut stream, &mut after, 100 - start as usize).await;
        assert_eq!(sequences(&past), (start + 1..=100).collect::<Vec<_>>());
    }
    let mut after = 40;
    let mut stream = log.follow(Sequence(40));
    take(&mut stream, &mut after, 60).await;
    append(&log, vec![keyed("chat/a", "k", "live"), say("chat/a", "live")]).await;
    append(&log, vec![keyed("chat/a", "k", "live")]).await;
    append(&log, vec![say("feed/b", "live")]).await;
    let live = take(&mut stream, &mut after, 3).await;
    assert_eq!(sequences(&live), [101, 102, 103], "and a duplicate is not delivered");
}

/// Followers that begin at any moment, while many append.
pub async fn followers_see_every_entry_once_while_many_append(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let writers = (0..8).map(|writer| {
        let log = &log;
        async move {
            for step in 0..60 {
                let topic = format!("chat/{writer}");
                append(log, (0..=step % 3).map(|_| say(&topic, step)).collect()).await;
            }
        }
    });
    let total = 8 * 20 * (1 + 2 + 3);
    let followers = (0..6).map(|number| {
        let log = &log;
        async move {
            let mut start = 0;
            // Each begins when the log has come some way.
            while start < number * 100 {
                tokio::task::yield_now().await;
                start = log.bounds().newest.0;
            }
            let start = start / 2;
            let mut after = start;
            let mut stream = log.follow(Sequence(start));
            let seen = take(&mut stream, &mut after, total - start as usize).await;
            assert_eq!(sequences(&seen), (start + 1..=total as u64).collect::<Vec<_>>());
        }
    });
    future::join(future::join_all(writers), future::join_all(followers)).await;
}

/// One that does not read costs the others nothing, and later gets it all.
pub async fn a_slow_follower_delays_nobody_and_misses_nothing(harness: &impl Harness) {
    let mut setup = Setup::default();
    setup.limits.recent_bytes_max = 20_000;
    let log = harness.fresh(&setup).await;
    let mut slow = log.follow(Sequence::ZERO);
    let mut slow_after = 0;
    append(&log, vec![say("chat/a", "first")]).await;
    assert_eq!(take(&mut slow, &mut slow_after, 1).await.len(), 1);
    let mut quick = log.follow(Sequence(1));
    let mut quick_after = 1;
    for number in 0..400 {
        append(&log, vec![say("chat/a", "x".repeat(400)), say("chat/b", number)]).await;
        assert_eq!(take(&mut quick, &mut quick_after, 2).await.len(), 2);
    }
    let late = take(&mut slow, &mut slow_after, 800).await;
    assert_eq!(sequences(&late), (2..=801).collect::<Vec<_>>());
}

/// `Batch::after` beyond the end of the batch before is exactly what is not kept any more.
pub async fn a_follower_is_told_what_retention_took(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let mut sent = fill_short(harness, &log, 60).await;
    append(&log, vec![say("chat/a", "kept")]).await;
    sent.extend(fill_short(harness, &log, 30).await);
    append(&log, vec![say("chat/a", "the last")]).await;
    let mut names: Vec<_> = sent.keys().map(String::as_str).collect();
    names.push("chat/a");
    let held = sequences(&everything(&log, &names).await);
    let newest = log.bounds().newest.0;
    let mut stream = log.follow(Sequence::ZERO);
    let (mut after, mut seen, mut taken) = (0, vec![], BTreeSet::new());
    while after < newest {
        let batch = tokio::time::timeout(PATIENCE, stream.next()).await.expect("in time");
        let batch = batch.expect("the stream goes on");
        taken.extend(after + 1..=batch.after.0);
        after = batch.after.0;
        for place in sequences(&batch.entries) {
            assert_eq!(place, after + 1, "no hole within a batch that nobody is told of");
            after = place;
            seen.push(place);
        }
    }
    assert_eq!(seen, held);
    let expected: BTreeSet<_> = (1..=newest).filter(|place| !held.contains(place)).collect();
    assert!(!expected.is_empty(), "the harness' retention has dropped something");
    assert_eq!(taken, expected);
}

/// Nothing old comes, and nothing new is missed.
pub async fn following_from_the_end_brings_only_what_is_new(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    append(&log, (0..10).map(|number| say("chat/a", number)).collect()).await;
    let mut stream = log.follow(log.bounds().newest);
    append(&log, vec![say("chat/a", "new")]).await;
    let mut after = 10;
    assert_eq!(sequences(&take(&mut stream, &mut after, 1).await), [11]);
}

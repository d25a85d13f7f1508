//! What [`Log::read`](crate::Log::read) and [`Log::bounds`](crate::Log::bounds) promise.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ALL, Duration, Feature, Features, Harness, History, Log, PageLimit, Sequence, Setup, append,
    everything, filter, keyed, page, places, say, sequences,
};
use tidewire_proto::{Item, Lineage, Message};

/// Every place is a good place to begin after.
pub async fn a_page_has_what_is_after_and_nothing_else(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    for number in 1..=30 {
        append(&log, vec![say(if number % 3 == 0 { "chat/a" } else { "chat/b" }, number)]).await;
    }
    for after in 0..=31 {
        let read = page(&log, &["chat/a"], after, ALL).await;
        let expected: Vec<u64> = (1..=30).filter(|n| n % 3 == 0 && *n > after).collect();
        assert_eq!(sequences(&read.entries), expected, "after {after}");
        assert_eq!((read.through.0, read.lost), (30.max(after), None));
    }
    assert!(everything(&log, &["chat/none"]).await.is_empty());
    assert!(everything(&log, &["other/none"]).await.is_empty());
}

/// Topics of one feature and of several, named in any order.
pub async fn a_page_merges_its_topics_in_log_order(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let names = ["feed/z", "chat/a", "chat/b"];
    for number in 0..60 {
        append(&log, vec![say(names[number * 7 % 3], number), say("feed/other", number)]).await;
    }
    let read = page(&log, &names, 10, ALL).await;
    assert_eq!(sequences(&read.entries), (11..120).step_by(2).collect::<Vec<_>>());
    assert_eq!(read.through, Sequence(120));
    let two = page(&log, &["chat/b", "chat/a", "chat/a"], 0, ALL).await;
    assert_eq!(two.entries.len(), 40, "a topic named twice counts once");
}

/// The newest of some topics, before every place and before none.
pub async fn a_page_from_the_back_has_the_newest_and_nothing_else(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let body = "x".repeat(700);
    for number in 1..=90_u64 {
        let name = ["chat/a", "chat/b", "feed/a"][number as usize % 3];
        append(&log, vec![say(name, &body)]).await;
    }
    let of = |names: &[&str], before: u64| {
        let is_of =
            |number: &u64| names.contains(&["chat/a", "chat/b", "feed/a"][*number as usize % 3]);
        (1..=90).filter(is_of).filter(|number| *number < before).collect::<Vec<_>>()
    };
    for names in [&["chat/a"][..], &["feed/a", "chat/b"]] {
        for (before, count) in
            [(None, 7), (Some(91), 100), (Some(40), 5), (Some(41), 1), (Some(3), 9)]
        {
            let limit = PageLimit { entries: count, bytes: usize::MAX };
            let read =
                log.read_back(&filter(names), before.map(Sequence), limit).await.expect("read");
            let all = of(names, before.unwrap_or(u64::MAX));
            let expected = &all[all.len().saturating_sub(count)..];
            assert_eq!(sequences(&read.entries), expected, "{names:?} {before:?} {count}");
            assert_eq!(read.earlier, all.len() > count, "{names:?} {before:?} {count}");
            assert_eq!(read.newest, Sequence(90));
        }
    }
}

/// By bytes too, but for one entry, and it is the newest that stays.
pub async fn a_page_from_the_back_is_cut_and_says_whether_there_are_earlier_ones(
    harness: &impl Harness,
) {
    let log = harness.fresh(&Setup::default()).await;
    for _ in 0..4 {
        append(&log, vec![say("chat/a", "x".repeat(100))]).await;
    }
    for (bytes, expected) in [(400, &[1, 2, 3, 4][..]), (399, &[2, 3, 4]), (1, &[4])] {
        let limit = PageLimit { entries: 10, bytes };
        let read = log.read_back(&filter(&["chat/a"]), None, limit).await.expect("read");
        assert_eq!((sequences(&read.entries).as_slice(), read.earlier), (expected, bytes < 400));
    }
    let none = PageLimit { entries: 10, bytes: 1 };
    let read = log.read_back(&filter(&["chat/none"]), None, none).await.expect("read");
    assert!(read.entries.is_empty() && !read.earlier);
}

/// With a key and without, and it is part of what a key stands for.
pub async fn an_item_is_kept_with_its_entry(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let item = |name: &str| Some(Item::parse(name).expect("an item"));
    let cpu = Message { item: item("cpu"), ..keyed("chat/a", "k1", "1") };
    let long = Message { item: item(&"i".repeat(64)), ..say("chat/a", "2") };
    append(&log, vec![cpu.clone(), long, say("chat/a", "3")]).await;
    let read = everything(&log, &["chat/a"]).await;
    let items: Vec<_> = read.iter().map(|entry| entry.item.clone()).collect();
    assert_eq!(items, [item("cpu"), item(&"i".repeat(64)), None]);
    assert!(append(&log, vec![cpu.clone()]).await[0].duplicate);
    let other = Message { item: item("memory"), ..cpu };
    assert!(log.append(vec![other]).await.is_err(), "another item is another body");
}

/// Most entries, most bytes, but at least one entry; `through` is then the last one.
pub async fn a_page_is_cut_by_entries_and_bytes_and_says_how_far_it_goes(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    for number in 1..=10 {
        append(&log, vec![say("chat/a", "x".repeat(100)), say("chat/b", number)]).await;
    }
    let cut = |entries, bytes| PageLimit { entries, bytes };
    let three = page(&log, &["chat/a"], 2, cut(3, usize::MAX)).await;
    assert_eq!((sequences(&three.entries), three.through.0), (vec![3, 5, 7], 7));
    let bytes = page(&log, &["chat/a"], 0, cut(100, 250)).await;
    assert_eq!((sequences(&bytes.entries), bytes.through.0), (vec![1, 3], 3));
    let exact = page(&log, &["chat/a"], 0, cut(100, 300)).await;
    assert_eq!(sequences(&exact.entries), [1, 3, 5]);
    let first = page(&log, &["chat/a"], 0, cut(100, 1)).await;
    assert_eq!((sequences(&first.entries), first.through.0), (vec![1], 1));
    let just = page(&log, &["chat/a"], 0, cut(10, usize::MAX)).await;
    assert_eq!((just.entries.len(), just.through.0), (10, 20), "nothing is left, so not cut");
    let (mut after, mut seen) = (0, vec![]);
    while after < 20 {
        let read = page(&log, &["chat/a", "chat/b"], after, cut(3, usize::MAX)).await;
        assert!(read.through.0 > after, "a page moves on");
        seen.extend(sequences(&read.entries));
        after = read.through.0;
    }
    assert_eq!(seen, (1..=20).collect::<Vec<_>>(), "page after page: all of it, once");
}

/// The limit 0 is how continuity is checked.
pub async fn a_page_of_nothing_still_says_what_was_lost(harness: &impl Harness) {
    let none = PageLimit { entries: 0, bytes: usize::MAX };
    let log = harness.fresh(&Setup::default()).await;
    append(&log, vec![say("chat/a", 1), say("chat/b", 2)]).await;
    let read = page(&log, &["chat/a"], 0, none).await;
    assert_eq!((read.entries.len(), read.through.0, read.lost), (0, 0, None));
    assert_eq!(page(&log, &["chat/a"], 1, none).await.through, Sequence(2), "nothing is left");
    let log = harness.fresh(&Setup::default()).await;
    fill_short(harness, &log, 60).await;
    let all = page(&log, &["short/0"], 0, ALL).await;
    let read = page(&log, &["short/0"], 0, none).await;
    assert_eq!((read.entries.len(), read.lost), (0, all.lost));
    assert!(all.lost.is_some(), "the harness' retention has dropped something");
}

/// So a reader of a quiet topic does not fall behind.
pub async fn an_empty_page_moves_the_cursor_to_the_newest_place(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    assert_eq!(page(&log, &["chat/a"], 0, ALL).await.through, Sequence::ZERO);
    append(&log, (0..5).map(|number| say("chat/b", number)).collect()).await;
    let read = page(&log, &["chat/a"], 0, ALL).await;
    assert_eq!((read.entries.len(), read.through.0), (0, 5));
    assert_eq!(page(&log, &["chat/a"], 9, ALL).await.through, Sequence(9), "never back");
}

/// `lost` is the newest dropped place after the asked one, and only of the asked topics.
pub async fn a_loss_is_told_exactly_where_something_was_lost(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    append(&log, vec![say("short/early", "gone soon")]).await;
    let mut sent = fill_short(harness, &log, 60).await;
    append(&log, vec![say("chat/a", "kept")]).await;
    for (name, more) in fill_short(harness, &log, 30).await {
        sent.entry(name).or_default().extend(more);
    }
    let mut any = false;
    for (name, sent) in &sent {
        let read = page(&log, &[name], 0, ALL).await;
        let held: BTreeSet<_> = sequences(&read.entries).into_iter().collect();
        let dropped = sent.iter().filter(|place| !held.contains(place)).max().copied();
        assert_eq!(read.lost.map(|lost| lost.0), dropped, "{name}");
        let Some(dropped) = dropped else { continue };
        any = true;
        assert_eq!(page(&log, &[name], dropped, ALL).await.lost, None, "{name}: after the loss");
        let before = page(&log, &[name], dropped - 1, ALL).await;
        assert_eq!(before.lost, Some(Sequence(dropped)), "{name}: just before the loss");
    }
    assert!(any, "the harness' retention has dropped something");
    assert_eq!(page(&log, &["short/early"], 0, ALL).await.lost, Some(Sequence(1)));
    assert_eq!(page(&log, &["short/early"], 1, ALL).await.lost, None);
    assert_eq!(page(&log, &["short/never"], 0, ALL).await.lost, None, "it had nothing to lose");
    let both = page(&log, &["chat/a", "short/early"], 0, ALL).await;
    assert_eq!(both.lost, Some(Sequence(1)));
}

/// Old enough goes in time, younger stays, and a clock that goes back deletes nothing.
pub async fn an_age_drops_nothing_early_and_a_clock_that_goes_back_nothing_at_all(
    harness: &impl Harness,
) {
    let setup = Setup::default();
    let hour = Duration::from_secs(3600);
    let log = harness.fresh(&setup).await;
    append(&log, vec![say("brief/a", "old")]).await;
    harness.retain(&log).await;
    setup.clock.advance(hour);
    harness.retain(&log).await;
    assert_eq!(everything(&log, &["brief/a"]).await.len(), 1, "exactly as old as allowed");
    append(&log, vec![say("brief/a", "young")]).await;
    setup.clock.set(1_000);
    harness.retain(&log).await;
    assert_eq!(everything(&log, &["brief/a"]).await.len(), 2, "the clock went back");
    setup.clock.set(1_700_000_000_000);
    setup.clock.advance(hour + hour / 2);
    harness.retain(&log).await;
    let read = page(&log, &["brief/a"], 0, ALL).await;
    assert_eq!((sequences(&read.entries), read.lost), (vec![2], Some(Sequence(1))));
    setup.clock.advance(hour);
    harness.retain(&log).await;
    let read = page(&log, &["brief/a"], 0, ALL).await;
    assert_eq!((read.entries.len(), read.lost), (0, Some(Sequence(2))));
    let bounds = log.bounds();
    assert_eq!((bounds.oldest, bounds.newest), (Sequence(2), Sequence(2)), "it holds nothing");
}

/// Oldest, newest and the life that runs.
pub async fn the_bounds_are_the_ends_of_the_log(harness: &impl Harness) {
    let log = harness.fresh(&Setup::default()).await;
    let new = log.bounds();
    assert_eq!((new.oldest, new.newest), (Sequence::ZERO, Sequence::ZERO));
    assert_eq!(*new.lineage, Lineage::new(new.lineage.epoch()), "one life");
    append(&log, vec![say("short/0", "x"), say("short/1", "y")]).await;
    let bounds = log.bounds();
    assert_eq!((bounds.oldest, bounds.newest), (Sequence::ZERO, Sequence(2)));
    let sent = fill_short(harness, &log, 60).await;
    let names: Vec<_> = sent.keys().map(String::as_str).collect();
    let held = everything(&log, &names).await;
    assert!(held[0].sequence.0 > 1, "the harness' retention has dropped something");
    assert_eq!(log.bounds().oldest.0, held[0].sequence.0 - 1);
    assert_eq!(log.bounds().newest.0, 62);
}

/// The table is replaced while the log runs: retention goes by the new one.
pub async fn another_history_is_obeyed_from_then_on(harness: &impl Harness) {
    let setup = Setup::default();
    let log = harness.fresh(&setup).await;
    fill(harness, &log, "chat/a", 60).await;
    assert_eq!(page(&log, &["chat/a"], 0, ALL).await.lost, None, "it keeps everything");
    setup.features.replace(declared("chat", Some(4_000)));
    fill(harness, &log, "chat/a", 6).await;
    let read = page(&log, &["chat/a"], 0, ALL).await;
    let first = read.entries.first().expect("something is left").sequence.0;
    assert!(first > 1, "what is too much has gone");
    assert_eq!(read.lost, Some(Sequence(first - 1)));
    setup.features.replace(declared("chat", None));
    fill(harness, &log, "chat/a", 30).await;
    let after = everything(&log, &["chat/a"]).await;
    assert_eq!(sequences(&after), (first..=96).collect::<Vec<_>>(), "and then nothing more goes");
}

/// The same for a feature that was not declared when the log was opened.
pub async fn the_history_of_a_feature_that_comes_is_obeyed(harness: &impl Harness) {
    let setup = Setup::default();
    let log = harness.fresh(&setup).await;
    fill(harness, &log, "new/a", 12).await;
    setup.features.replace(declared("new", Some(4_000)));
    fill(harness, &log, "new/a", 60).await;
    let read = page(&log, &["new/a"], 12, ALL).await;
    assert!(read.entries.len() < 60, "what is too much has gone");
    assert!(read.lost.is_some(), "and that is told");
}

/// A feature is declared while the log runs, and taken out again: its entries of before, between and
/// after are one topic's, in order, also after a restart.
pub async fn a_feature_that_comes_or_goes_hides_no_entry(harness: &impl Harness) {
    let setup = Setup::default();
    let log = harness.fresh(&setup).await;
    let mut published = 0;
    let tables = [Features::default(), declared("new", Some(1_000_000)), Features::default()];
    for features in tables {
        setup.features.replace(features);
        for _ in 0..4 {
            append(&log, vec![say("new/a", "x".repeat(100)), say("chat/b", "y")]).await;
            published += 2;
            let expected: Vec<u64> = (1..published).step_by(2).collect();
            assert_eq!(sequences(&everything(&log, &["new/a"]).await), expected);
        }
        harness.retain(&log).await;
        assert_eq!(everything(&log, &["new/a"]).await.len(), published as usize / 2);
    }
    if let Some(log) = harness.reopen(log, &setup).await {
        assert_eq!(everything(&log, &["new/a"]).await.len(), 12, "and after a restart");
    }
}

/// One feature that keeps so many bytes.
fn declared(name: &str, bytes: Option<u64>) -> Features {
    let history = History::Kept { age: None, bytes };
    let feature = Feature { history, ..Feature::default() };
    Features::declared(BTreeMap::from([(name.to_owned(), feature)]))
}

async fn fill<H: Harness>(harness: &H, log: &H::Log, topic: &str, count: usize) {
    for number in 0..count {
        append(log, vec![say(topic, "x".repeat(300))]).await;
        if number % 6 == 5 {
            harness.retain(log).await;
        }
    }
}

/// Fills `short/0` to `short/2` until retention has dropped some of it. Answers who got what.
pub(super) async fn fill_short<H: Harness>(
    harness: &H,
    log: &H::Log,
    count: usize,
) -> BTreeMap<String, Vec<u64>> {
    let mut sent: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for number in 0..count {
        let name = format!("short/{}", number % 3);
        let receipts = append(log, vec![say(&name, "x".repeat(300))]).await;
        sent.entry(name).or_default().extend(places(&receipts));
        if number % 6 == 5 {
            harness.retain(log).await;
        }
    }
    sent
}

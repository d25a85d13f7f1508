//! Joins the texts of a `keep = "text"` topic that follow each other into one: who comes late gets the
//! answer so far in one piece. Pure.
//!
//! Invariant: an entry that came of several has the place of the last of them, so whoever goes on
//! after it has had all of them and none twice.

use std::{collections::HashMap, sync::Arc};

use bytes::BytesMut;
use tidewire_proto::{Data, Entry, Topic};

use crate::framed::Framed;

/// Texts of one topic, event type and item that nothing else of the topic stands between.
type Run = Vec<Arc<Framed>>;

/// Joins what can be joined, up to `bytes_max` of data in one. Entries stay in log order.
pub(crate) fn join(
    entries: &mut Vec<Arc<Framed>>,
    is_text: impl Fn(&Topic) -> bool,
    bytes_max: usize,
) {
    if entries.len() < 2 {
        return;
    }
    let mut runs: Vec<Run> = Vec::with_capacity(entries.len());
    // Which run of a topic is the last so far.
    let mut open: HashMap<Topic, usize> = HashMap::new();
    for framed in entries.drain(..) {
        let topic = &framed.entry().topic;
        if is_text(topic) {
            let last = open.get(topic).and_then(|&at| runs.get_mut(at));
            if let Some(run) = last.filter(|run| goes_on(run, &framed, bytes_max)) {
                run.push(framed);
                continue;
            }
            open.insert(topic.clone(), runs.len());
        }
        runs.push(vec![framed]);
    }
    entries.extend(runs.into_iter().filter_map(joined));
    entries.sort_unstable_by_key(|framed| framed.entry().sequence);
}

fn goes_on(run: &Run, next: &Framed, bytes_max: usize) -> bool {
    let Some(last) = run.last().map(|framed| framed.entry()) else { return false };
    let next = next.entry();
    let is_like = last.event == next.event && last.item == next.item;
    let are_texts = matches!((&last.data, &next.data), (Data::Text(_), Data::Text(_)));
    let bytes = || -> usize {
        run.iter().map(|framed| framed.entry().data.bytes().len()).sum::<usize>()
            + next.data.bytes().len()
    };
    is_like && are_texts && bytes() <= bytes_max
}

fn joined(mut run: Run) -> Option<Arc<Framed>> {
    let last = run.pop()?;
    if run.is_empty() {
        return Some(last);
    }
    let mut data = BytesMut::new();
    for framed in run.iter().chain([&last]) {
        data.extend_from_slice(framed.entry().data.bytes());
    }
    let entry = Entry { data: Data::Text(data.freeze()), ..last.entry().clone() };
    Some(Arc::new(Framed::new(Arc::new(entry), last.id())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_proto::{EventType, Item, Sequence};

    fn part(sequence: u64, topic: &str, event: &str, item: &str, data: Data) -> Arc<Framed> {
        let entry = Entry {
            sequence: Sequence(sequence),
            topic: Topic::parse(topic).unwrap(),
            event: EventType::parse(event).unwrap(),
            data,
            at_ms: 0,
            item: Item::parse(item).ok(),
        };
        Arc::new(Framed::new(Arc::new(entry), None))
    }

    fn text(sequence: u64, topic: &str, item: &str, text: &'static str) -> Arc<Framed> {
        part(sequence, topic, "text", item, Data::text(text).unwrap())
    }

    fn said(mut entries: Vec<Arc<Framed>>, bytes_max: usize) -> Vec<(u64, String)> {
        join(&mut entries, |topic| topic.feature() == "answers", bytes_max);
        let said = entries.iter().map(|framed| {
            let entry = framed.entry();
            (entry.sequence.0, entry.data.as_text().unwrap_or("bytes").to_owned())
        });
        said.collect()
    }

    fn pairs(pairs: &[(u64, &str)]) -> Vec<(u64, String)> {
        pairs.iter().map(|(place, text)| (*place, (*text).to_owned())).collect()
    }

    #[test]
    fn texts_that_follow_each_other_come_as_one() {
        let entries = vec![
            text(1, "answers/1", "", "Hel"),
            text(2, "answers/2", "", "other"),
            text(3, "answers/1", "", "lo"),
            text(4, "chat/a", "", "not"),
            text(5, "chat/a", "", "joined"),
            text(6, "answers/1", "", " you"),
        ];
        let expected = [(2, "other"), (4, "not"), (5, "joined"), (6, "Hello you")];
        assert_eq!(said(entries, 1_000), pairs(&expected));
    }

    #[test]
    fn what_is_different_ends_a_run_and_so_does_the_bound() {
        let json = part(3, "answers/1", "text", "", Data::json("1").unwrap());
        let entries = vec![
            text(1, "answers/1", "", "a"),
            text(2, "answers/1", "", "b"),
            json,
            text(4, "answers/1", "", "c"),
            text(5, "answers/1", "x", "d"),
            part(6, "answers/1", "other", "x", Data::text("e").unwrap()),
        ];
        let expected = [(2, "ab"), (3, "1"), (4, "c"), (5, "d"), (6, "e")];
        assert_eq!(said(entries, 1_000), pairs(&expected));
        let long: Vec<_> = (1..=5).map(|place| text(place, "answers/1", "", "ab")).collect();
        assert_eq!(said(long, 5), pairs(&[(2, "abab"), (4, "abab"), (5, "ab")]));
    }
}

//! The table against a model that keeps a plain list and looks through all of it each time.

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds {
    lease: Duration::from_millis(30),
    grace: Duration::from_millis(5),
    state_bytes_max: 8,
    topics_max: 3,
    members_max: 2,
    total_max: 5,
};
const TOPICS: [&str; 4] = ["chat/a", "chat/b", "docs/c", "docs/d"];
/// The last is too large.
const STATES: [&str; 3] = ["1", "{\"n\":2}", "\"too large\""];

fn topic(index: usize) -> Topic {
    Topic::parse(TOPICS[index]).unwrap()
}

fn state(index: usize) -> State {
    State::parse(STATES[index]).unwrap()
}

/// Two users with two tabs each, whose tabs have the same names.
fn who(index: usize) -> Who {
    let user = ["alice", "bob"][index / 2];
    let member = Member::parse(["tab-0001", "tab-0002"][index % 2]).unwrap();
    Who { user: Some(user.into()), member }
}

fn said(here: &[(usize, Option<usize>)], gone: &Option<Vec<usize>>) -> Announcement {
    let mut named: Vec<_> = here.iter().map(|&(at, value)| (topic(at), value.map(state))).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named.dedup_by(|a, b| a.0 == b.0);
    let gone = match gone {
        None => Gone::Everywhere,
        Some(topics) => Gone::From(topics.iter().map(|&at| topic(at)).collect()),
    };
    Announcement { member: who(0).member, here: named, gone }
}

#[derive(Debug, Clone)]
enum Operation {
    Announce {
        who: usize,
        here: Vec<(usize, Option<usize>)>,
        gone: Option<Vec<usize>>,
        via: Option<usize>,
    },
    HangUp(usize),
    Wait(u64),
    Expire(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let value = prop_oneof![3 => Just(None), 4 => (0..2_usize).prop_map(Some), 1 => Just(Some(2))];
    let here = prop::collection::vec((0..TOPICS.len(), value), 0..5);
    let gone = prop_oneof![
        1 => Just(None),
        3 => prop::collection::vec(0..TOPICS.len(), 0..3).prop_map(Some)
    ];
    prop_oneof![
        5 => (0..4_usize, here, gone, prop::option::of(0..2_usize))
            .prop_map(|(who, here, gone, via)| Operation::Announce { who, here, gone, via }),
        1 => (0..2_usize).prop_map(Operation::HangUp),
        3 => (1..20_u64).prop_map(Operation::Wait),
        2 => (1..4_usize).prop_map(Operation::Expire),
    ]
}

/// Who is where, in the order of entering.
#[derive(Default)]
struct Model {
    seats: Vec<(Topic, Who, State, Duration, Option<Connection>, u64)>,
    entered: u64,
    version: u64,
}

impl Model {
    fn tell(&mut self, topic: &Topic, who: &Who, what: What, changes: &mut Vec<Change>) {
        self.version += 1;
        let (topic, who) = (topic.clone(), who.clone());
        changes.push(Change { topic, who, what, version: self.version });
    }

    fn leave(&mut self, at: usize, what: What, changes: &mut Vec<Change>) {
        let (topic, who, ..) = self.seats.remove(at);
        self.tell(&topic, &who, what, changes);
    }

    fn announce(
        &mut self,
        who: &Who,
        said: &Announcement,
        via: Option<Connection>,
        now: Duration,
        changes: &mut Vec<Change>,
    ) -> Result<Vec<Topic>, Code> {
        let here = |topic: &Topic| said.here.iter().any(|(named, _)| named == topic);
        let mut after =
            Self { seats: self.seats.clone(), entered: self.entered, version: self.version };
        let (mut told, mut unknown) = (Vec::new(), Vec::new());
        while let Some(at) = after.seats.iter().position(|(topic, have, ..)| {
            let is_named = match &said.gone {
                Gone::Everywhere => true,
                Gone::From(topics) => topics.contains(topic),
            };
            have == who && is_named && !here(topic)
        }) {
            after.leave(at, What::Left, &mut told);
        }
        let mut is_over = false;
        for (topic, value) in &said.here {
            let until = now + BOUNDS.lease;
            let seat = after.seats.iter_mut().find(|seat| seat.0 == *topic && seat.1 == *who);
            if value.as_ref().is_some_and(|value| value.as_str().len() > BOUNDS.state_bytes_max) {
                return Err(Code::TooLarge);
            }
            match (seat, value) {
                (None, None) => unknown.push(topic.clone()),
                (None, Some(value)) => {
                    let room = after.seats.iter().filter(|seat| seat.0 == *topic).count();
                    if room >= BOUNDS.members_max {
                        return Err(Code::PresenceFull);
                    }
                    after.entered += 1;
                    let number = after.entered;
                    after.seats.push((
                        topic.clone(),
                        who.clone(),
                        value.clone(),
                        until,
                        via,
                        number,
                    ));
                    after.tell(topic, who, What::Join(value.clone()), &mut told);
                    is_over |= after.seats.len() > BOUNDS.total_max;
                }
                (Some(seat), value) => {
                    (seat.3, seat.4) = (until, via);
                    if let Some(value) = value.as_ref().filter(|value| **value != seat.2) {
                        seat.2 = value.clone();
                        after.tell(topic, who, What::Change(value.clone()), &mut told);
                    }
                }
            }
        }
        let held = after.seats.iter().filter(|seat| seat.1 == *who).count();
        if said.here.len() > BOUNDS.topics_max || held > BOUNDS.topics_max {
            return Err(Code::TooManyTopics);
        }
        if is_over {
            return Err(Code::PresenceFull);
        }
        *self = after;
        changes.extend(told);
        Ok(unknown)
    }

    fn hang_up(&mut self, connection: Connection, now: Duration) {
        for seat in self.seats.iter_mut().filter(|seat| seat.4 == Some(connection)) {
            seat.3 = seat.3.min(now + BOUNDS.grace);
            seat.4 = None;
        }
    }

    fn expire(&mut self, now: Duration, most: usize, changes: &mut Vec<Change>) {
        for _ in 0..most {
            let due = self.seats.iter().enumerate().filter(|(_, seat)| seat.3 <= now);
            let Some((at, _)) = due.min_by_key(|(_, seat)| (seat.3, seat.5)) else { return };
            self.leave(at, What::Lost, changes);
        }
    }
}

/// Every index tells of the seats that there are, and of no others.
fn check_indexes(table: &Table) {
    let count = table.seats.len();
    assert_eq!(table.rooms.values().map(HashMap::len).sum::<usize>(), count);
    assert_eq!(table.held.values().map(Vec::len).sum::<usize>(), count);
    assert_eq!(table.leases.len(), count);
    let carried = table.seats.values().filter(|seat| seat.via.is_some()).count();
    assert_eq!(table.carried.values().map(HashSet::len).sum::<usize>(), carried);
    assert!(table.rooms.values().all(|room| !room.is_empty()));
    assert!(table.held.values().all(|held| !held.is_empty()));
    assert!(table.carried.values().all(|seats| !seats.is_empty()));
    for (number, seat) in &table.seats {
        assert_eq!(table.seat(&seat.topic, &seat.who), Some(*number));
        assert!(table.leases.contains(&(seat.until, *number)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_table_does_what_a_plain_list_does(
        operations in prop::collection::vec(operation(), 1..40),
    ) {
        let (mut table, mut model) = (Table::new(BOUNDS), Model::default());
        let connections = [table.connect(), table.connect()];
        let mut now = Duration::ZERO;
        for operation in operations {
            let (mut told, mut expected) = (Vec::new(), Vec::new());
            match operation {
                Operation::Announce { who: index, here, gone, via } => {
                    let (who, said) = (who(index), said(&here, &gone));
                    let via = via.map(|via| connections[via]);
                    let answer = table.announce(&who, &said, via, now, &mut told);
                    let answer = answer.map_err(|refused| WireError::from(refused).code);
                    let wanted = model.announce(&who, &said, via, now, &mut expected);
                    // Which of several reasons is named does not matter.
                    prop_assert_eq!(answer.is_err(), wanted.is_err(), "{:?} {:?}", answer, wanted);
                    if wanted.is_ok() {
                        prop_assert_eq!(answer, wanted);
                    }
                }
                Operation::HangUp(index) => {
                    table.hang_up(connections[index], now);
                    model.hang_up(connections[index], now);
                }
                Operation::Wait(ms) => now += Duration::from_millis(ms),
                Operation::Expire(most) => {
                    table.expire(now, most, &mut told);
                    model.expire(now, most, &mut expected);
                }
            }
            prop_assert_eq!(told, expected);
            prop_assert_eq!(table.version(), model.version);
            prop_assert_eq!(table.total(), model.seats.len());
            prop_assert_eq!(table.next_due(), model.seats.iter().map(|seat| seat.3).min());
            for at in 0..TOPICS.len() {
                let of = model.seats.iter().filter(|seat| seat.0 == topic(at));
                let expected: Vec<_> = of.map(|seat| (seat.1.clone(), seat.2.clone())).collect();
                prop_assert_eq!(table.members(&topic(at)), expected);
            }
            check_indexes(&table);
        }
    }
}

/// One step of one member, with the changes that it makes.
fn announce(
    table: &mut Table,
    index: usize,
    here: &[(usize, Option<usize>)],
    now_ms: u64,
) -> Result<(Vec<Topic>, Vec<Change>), Refused> {
    let mut changes = Vec::new();
    let (now, nowhere) = (Duration::from_millis(now_ms), Some(Vec::new()));
    let unknown = table.announce(&who(index), &said(here, &nowhere), None, now, &mut changes)?;
    Ok((unknown, changes))
}

#[test]
fn a_lease_ends_at_its_moment_and_not_before() {
    let mut table = Table::new(BOUNDS);
    announce(&mut table, 0, &[(0, Some(0))], 0).unwrap();
    announce(&mut table, 0, &[(0, None)], 10).unwrap();
    let mut changes = Vec::new();
    table.expire(Duration::from_millis(39), 9, &mut changes);
    assert_eq!((changes.len(), table.total()), (0, 1));
    table.expire(Duration::from_millis(40), 9, &mut changes);
    assert_eq!((changes.len(), table.total()), (1, 0));
    assert_eq!(changes[0].what, What::Lost);
    let (unknown, changes) = announce(&mut table, 0, &[(0, None)], 41).unwrap();
    assert_eq!((unknown, changes.len()), (vec![topic(0)], 0));
}

#[test]
fn a_version_is_never_given_twice_even_if_nobody_was_left() {
    let mut table = Table::new(BOUNDS);
    let mut versions = Vec::new();
    for round in 0..3 {
        let (_, changes) = announce(&mut table, 0, &[(0, Some(0))], round * 100).unwrap();
        versions.extend(changes.iter().map(|change| change.version));
        let mut changes = Vec::new();
        table.expire(Duration::from_millis(round * 100 + 50), 1, &mut changes);
        versions.extend(changes.iter().map(|change| change.version));
    }
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
}

/// The old socket is found dead long after its client has come back on another.
#[test]
fn a_connection_takes_only_those_with_it_who_were_announced_on_it_last() {
    let mut table = Table::new(BOUNDS);
    let [old, new] = [table.connect(), table.connect()];
    let mut changes = Vec::new();
    let nowhere = Some(Vec::new());
    let ms = Duration::from_millis;
    let here = |value| said(&[(0, value)], &nowhere);
    table.announce(&who(0), &here(Some(0)), Some(old), ms(0), &mut changes).unwrap();
    table.announce(&who(0), &here(None), Some(new), ms(1), &mut changes).unwrap();
    table.hang_up(old, ms(2));
    assert_eq!(table.next_due(), Some(ms(31)));
    table.hang_up(new, ms(3));
    assert_eq!(table.next_due(), Some(ms(8)), "its grace");
    table.announce(&who(0), &here(None), None, ms(4), &mut changes).unwrap();
    assert_eq!(table.next_due(), Some(ms(34)), "it has come back");
    assert_eq!(changes.len(), 1, "nobody has seen anything of it");
    table.announce(&who(0), &here(None), Some(new), ms(5), &mut changes).unwrap();
    table.hang_up(new, ms(34));
    assert_eq!(table.next_due(), Some(ms(35)), "a grace makes no lease longer");
}

#[test]
fn each_bound_holds_at_its_edge_and_a_refusal_changes_nothing() {
    let mut table = Table::new(BOUNDS);
    let code = |refused: Result<_, Refused>| refused.map_err(|e| WireError::from(e).code).err();
    announce(&mut table, 0, &[(0, Some(0)), (1, Some(0)), (2, Some(0))], 0).unwrap();
    let one_more = announce(&mut table, 0, &[(3, Some(0))], 0);
    assert_eq!(code(one_more), Some(Code::TooManyTopics), "3 topics");
    announce(&mut table, 1, &[(0, Some(0))], 0).unwrap();
    let one_more = announce(&mut table, 2, &[(1, Some(0)), (0, Some(0))], 0);
    assert_eq!(code(one_more), Some(Code::PresenceFull), "2 members");
    assert_eq!(table.total(), 4);
    announce(&mut table, 2, &[(3, Some(0))], 0).unwrap();
    let one_more = announce(&mut table, 3, &[(3, Some(0))], 0);
    assert_eq!(code(one_more), Some(Code::PresenceFull), "5 in all");
    let large = announce(&mut table, 0, &[(0, Some(2))], 0);
    assert_eq!(code(large), Some(Code::TooLarge));
    assert_eq!(table.members(&topic(0))[0].1, state(0));
    // One leaves as it comes: there is room for that.
    let mut changes = Vec::new();
    let moved = said(&[(1, Some(0))], &None);
    table.announce(&who(2), &moved, None, Duration::ZERO, &mut changes).unwrap();
    assert_eq!((changes.len(), table.total()), (2, 5));
    let long = Topic::parse(&"x".repeat(250)).unwrap();
    let here = vec![(long, Some(state(0)))];
    let said = Announcement { here, ..moved };
    let refused = table.announce(&who(2), &said, None, Duration::ZERO, &mut changes);
    assert_eq!(WireError::from(refused.unwrap_err()).code, Code::BadTopic);
}

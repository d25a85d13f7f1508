//! Presence through a hub, on a clock that moves when nothing else does: leases end at their moment,
//! and what readers hear is what happened, in the order of its versions.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidewire_core::{
    Feature, Features, Filter, History, Hub, Limits, MemoryLog, OpenGate, Peer, Publisher, Session,
    clock, log::memory::MemoryBounds,
};
use tidewire_proto::{
    After, Code, Topic,
    presence::{Announcement, Gone, Member, State},
};
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything here takes, on the paused clock.
const LONG: Duration = Duration::from_secs(3_600);

fn topic(text: &str) -> Topic {
    Topic::parse(text).unwrap()
}

fn hub(limits: &Limits) -> Hub {
    let present = Feature { presence: true, ..Feature::default() };
    let passing = Feature { history: History::None, ..present.clone() };
    let features = BTreeMap::from([
        ("chat".to_owned(), present),
        ("pointers".to_owned(), passing),
        ("news".to_owned(), Feature::default()),
    ]);
    let features = Arc::new(Features::declared(features));
    let log = || {
        let (clock, random) = (Arc::new(clock::SystemClock), clock::SystemRandom);
        let bounds = MemoryBounds::default();
        Arc::new(MemoryLog::new(Arc::clone(&features), limits, bounds, clock, &random))
    };
    Hub::new(log(), log(), Arc::clone(&features), limits.clone())
}

fn session(hub: &Hub) -> Session {
    hub.session(Arc::new(OpenGate), Arc::new(Peer::anybody()))
}

fn publisher(hub: &Hub) -> Publisher {
    hub.publisher(Arc::new(OpenGate), Arc::new(Peer::anybody()))
}

fn says(member: &str, here: &[(&str, Option<&str>)], gone: Gone) -> Announcement {
    let state = |text: &str| State::parse(text).unwrap();
    Announcement {
        member: Member::parse(member).unwrap(),
        here: here.iter().map(|(name, value)| (topic(name), value.map(state))).collect(),
        gone,
    }
}

fn is_in(member: &str, name: &str, value: &str) -> Announcement {
    says(member, &[(name, Some(value))], Gone::From(Vec::new()))
}

/// Event, data and item of each change that is heard next, in one piece.
async fn heard(session: &mut Session) -> Vec<(String, String)> {
    loop {
        let news = timeout(LONG, session.next()).await.expect("news").unwrap();
        let told = |framed: &Arc<tidewire_core::Framed>| {
            let entry = framed.entry();
            assert!(framed.id().is_none(), "it passes");
            assert!(entry.item.is_some());
            (entry.event.to_string(), entry.data.as_text().unwrap().to_owned())
        };
        let told: Vec<_> = news.entries.iter().map(told).collect();
        if !told.is_empty() {
            return told;
        }
    }
}

async fn reader(hub: &Hub, name: &str) -> Session {
    let mut reader = session(hub);
    reader.subscribe(&Filter::from(topic(name)), After::Now).await.unwrap();
    // It says that it is live, and from now on waits.
    reader.ready().await.unwrap();
    reader
}

fn version(data: &str) -> u64 {
    let (_, version) = data.rsplit_once(":").unwrap();
    version.trim_end_matches('}').parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_is_heard_no_more_is_lost_when_its_lease_ends_and_not_before() {
    let hub = hub(&Limits::default());
    for name in ["chat/a", "pointers/a"] {
        let mut reader = reader(&hub, &format!("{name}/~presence")).await;
        let announced = publisher(&hub).announce(&is_in("tab-0001", name, "{}")).await.unwrap();
        assert_eq!(announced.lease, Duration::from_secs(30));
        assert_eq!(announced.renew, Duration::from_secs(10));
        let (event, data) = heard(&mut reader).await.remove(0);
        assert_eq!(event, "join");
        assert!(data.starts_with(r#"{"member":"tab-0001","user":null,"state":{},"life":""#));
        sleep(Duration::from_secs(20)).await;
        let renewal = says("tab-0001", &[(name, None)], Gone::From(Vec::new()));
        publisher(&hub).announce(&renewal).await.unwrap();
        let renewed = Instant::now();
        let (event, data) = heard(&mut reader).await.remove(0);
        assert_eq!(event, "leave");
        assert!(data.contains(r#""why":"lost""#) && !data.contains("state"), "{data}");
        let late = renewed.elapsed().checked_sub(Duration::from_secs(30)).expect("not before");
        assert!(late < Duration::from_millis(100), "{late:?}");
        let members = publisher(&hub).members(&topic(name)).await.unwrap();
        assert_eq!((members.members.len(), members.version), (0, version(&data)));
    }
    let stats = hub.presence().stats();
    assert_eq!((stats.members, stats.joins, stats.left, stats.lost), (0, 2, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_leaves_its_members_a_grace() {
    let hub = hub(&Limits::default());
    let mut reader = reader(&hub, "chat/a/~presence").await;
    let mut socket = session(&hub);
    socket.announce(&is_in("tab-0001", "chat/a", "1")).await.unwrap();
    assert_eq!(heard(&mut reader).await[0].0, "join");
    drop(socket);
    // It comes back on another within the grace: nobody sees anything.
    sleep(Duration::from_secs(4)).await;
    let mut socket = session(&hub);
    let again = socket.announce(&is_in("tab-0001", "chat/a", "1")).await.unwrap();
    assert_eq!(again.unknown, []);
    sleep(Duration::from_secs(20)).await;
    assert!(reader.ready().await.unwrap().is_none(), "nothing was seen of it");
    // It does not come back.
    drop(socket);
    let gone = Instant::now();
    let (event, data) = heard(&mut reader).await.remove(0);
    assert!(event == "leave" && data.contains(r#""why":"lost""#), "{event} {data}");
    let late = gone.elapsed().checked_sub(Duration::from_secs(5)).expect("not before");
    assert!(late < Duration::from_millis(100), "{late:?}");
}

/// Versions are given under the table's lock and entries are appended by another task: readers hear
/// the one in the order of the other, however many come and go at once.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_heard_in_the_order_of_their_versions() {
    const MEMBERS: usize = 8;
    const ROUNDS: usize = 50;
    // The tail holds one entry for each member, so a reader must keep up to hear all of them.
    let hub = hub(&Limits { batch_messages_max: 3, ..Limits::default() });
    let mut reader = reader(&hub, "chat/a/~presence").await;
    let announcing = (0..MEMBERS).map(|number| {
        let hub = hub.clone();
        tokio::spawn(async move {
            let (member, publisher) = (format!("tab-000{number}"), publisher(&hub));
            for round in 0..ROUNDS {
                let state = round.to_string();
                publisher.announce(&is_in(&member, "chat/a", &state)).await.unwrap();
                if round % 5 == 4 {
                    publisher.announce(&says(&member, &[], Gone::Everywhere)).await.unwrap();
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let announcing: Vec<_> = announcing.collect();
    let all = MEMBERS * (ROUNDS + ROUNDS / 5);
    let (mut last, mut there) = (0, BTreeMap::new());
    while last < all as u64 {
        for (event, data) in heard(&mut reader).await {
            assert!(version(&data) > last, "{} after {last}", version(&data));
            last = version(&data);
            let member = data.split('"').nth(3).unwrap().to_owned();
            match event.as_str() {
                "leave" => drop(there.remove(&member)),
                _ => drop(there.insert(member, data)),
            }
        }
    }
    for task in announcing {
        task.await.unwrap();
    }
    let members = publisher(&hub).members(&topic("chat/a")).await.unwrap();
    assert_eq!((members.version, members.members.len()), (last, there.len()));
    let stats = hub.presence().stats();
    assert_eq!((stats.joins, stats.left), (80, 80), "each came and went ten times");
}

#[tokio::test(start_paused = true)]
async fn presence_is_where_the_feature_has_it_and_nowhere_else() {
    let hub = hub(&Limits::default());
    let speaks = publisher(&hub);
    for (name, code) in [
        ("news/a", Code::NoPresence),
        ("other/a", Code::UnknownFeature),
        ("chat/a/~presence", Code::BadTopic),
        ("chat/a/~base", Code::BadTopic),
        ("~tidewire/a", Code::BadTopic),
    ] {
        let refused = speaks.announce(&is_in("tab-0001", name, "1")).await.unwrap_err();
        assert_eq!(refused.code, code, "{name}");
        assert_eq!(speaks.members(&topic(name)).await.unwrap_err().code, code, "{name}");
    }
    let mut reader = session(&hub);
    for name in ["chat/a/~base", "~tidewire/a", "chat/a/~presence/~presence", "~x/~presence"] {
        let filter = Filter::from(topic(name));
        let refused = reader.subscribe(&filter, After::Now).await.unwrap_err();
        assert_eq!(refused.code, Code::BadTopic, "{name}");
        let refused = reader.history(&filter, After::Start, 1).await.unwrap_err();
        assert_eq!(refused.code, Code::BadTopic, "{name}");
    }
    let filter = Filter::from(topic("chat/a/~presence"));
    let refused = reader.history(&filter, After::Start, 1).await.unwrap_err();
    assert_eq!(refused.code, Code::NoHistory, "it is never kept, whatever its feature does");
    let begun = reader.subscribe(&filter, After::Start).await.unwrap();
    assert_eq!((begun.len(), begun[0].at), (1, None));
    assert!(!hub.is_read("chat", false), "a feature may still be moved to another log for it");
    // All of an announcement, or nothing.
    let both = says("tab-0001", &[("chat/a", Some("1")), ("news/a", Some("1"))], Gone::Everywhere);
    assert_eq!(speaks.announce(&both).await.unwrap_err().code, Code::NoPresence);
    assert_eq!(hub.presence().stats().joins, 0);
}

/// Here the keeper gets no turn while somebody announces without a pause.
#[tokio::test]
async fn changes_that_nobody_can_be_told_of_yet_are_bounded() {
    let hub = hub(&Limits::default());
    let mut reader = reader(&hub, "chat/a/~presence").await;
    let speaks = publisher(&hub);
    let mut changes = 0;
    let refused = loop {
        match speaks.announce(&is_in("tab-0001", "chat/a", &changes.to_string())).await {
            Ok(_) => changes += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.code, changes), (Code::Busy, 10_000));
    let (_, data) = heard(&mut reader).await.pop().unwrap();
    assert!(version(&data) > 0);
    while hub.presence().stats().left == 0 {
        // There is room again once some have been told.
        if speaks.announce(&says("tab-0001", &[], Gone::Everywhere)).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

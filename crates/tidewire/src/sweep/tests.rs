//! What the tests of the sweep's parts share: a hub in memory, without a server. And what is seen
//! only from inside: one round of a shard, and its end.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    ops::Range,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use bytes::{Bytes, BytesMut};
use tidewire_core::{
    Feature, Features, Filter, Hub, Limits, MemoryLog, OpenGate, Peer, Session,
    clock::{SeededRandom, SystemClock},
    log::memory::MemoryBounds,
};
use tidewire_proto::{After, Data, EventType, Message, Topic};
use tokio::sync::watch;

use super::{Arrived, Ends, Inbox, Items, poller::Wakeup, shard::Shard};
use crate::{guard::Bed, places::Places, wire::Wire};

mod slow;
mod told;

/// A hub with memory logs.
pub(super) struct World(Hub);

impl World {
    pub(super) fn new(limits: &Limits) -> Self {
        let features = Arc::new(Features::default().with_undeclared(Feature::default()));
        let log = || {
            let (clock, random) = (Arc::new(SystemClock), SeededRandom::new(3));
            let bounds = MemoryBounds::default();
            Arc::new(MemoryLog::new(Arc::clone(&features), limits, bounds, clock, &random))
        };
        Self(Hub::new(log(), log(), Arc::clone(&features), limits.clone()))
    }

    fn topic(number: usize) -> Topic {
        Topic::parse(&format!("chat/{number}")).unwrap()
    }

    /// A session that reads these topics from now on.
    pub(super) async fn session(&self, topics: Range<usize>) -> Session {
        let mut session = self.0.session(Arc::new(OpenGate), Arc::new(Peer::anybody()));
        let filter = Filter::new(topics.map(Self::topic)).unwrap();
        session.subscribe(&filter, After::Now).await.unwrap();
        session
    }

    /// Publishes so many entries of so many bytes to a topic, in one batch.
    pub(super) async fn publish(&self, topic: usize, count: usize, bytes: usize) {
        let message = |_| Message {
            topic: Self::topic(topic),
            event: EventType::message(),
            data: Data::text("x".repeat(bytes)).unwrap(),
            key: None,
        };
        self.0.publish_batch((0..count).map(message).collect()).await.unwrap();
    }
}

/// Lets the followers deliver what was published: they are tasks of this thread.
pub(super) async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn inbox() -> Arc<Inbox> {
    Arc::new(Inbox {
        items: Mutex::new(Items::default()),
        is_stopping: AtomicBool::new(false),
        wakeup: Wakeup::new().unwrap(),
    })
}

/// A connection: the peer's end and ours.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    for end in [&near, &far] {
        end.set_nonblocking(true).unwrap();
    }
    (far, near)
}

fn arrived(bed: &Bed) -> Arrived {
    let topic = Topic::parse("chat/a").unwrap();
    let limits = bed.app.hub.limits();
    Arrived {
        wire: Wire::Socket,
        session: bed.reader(&topic),
        first: Bytes::new(),
        input: BytesMut::new(),
        told: 0,
        place: Places::enter(&Arc::default(), Ipv4Addr::LOCALHOST.into(), limits).unwrap(),
        guard: bed.app.stream_guard(),
    }
}

/// One who says a lot at once is heard a little at a time, and others in between.
#[test]
fn a_flood_of_words_has_its_turns_and_no_more() {
    const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
    const PONG_BYTES: usize = 2;
    const PINGS: usize = 2_000;
    let bed = Bed::new();
    let _inside = bed.runtime.enter();
    let (inbox, (mut far, near)) = (inbox(), pair());
    let handle = bed.runtime.handle().clone();
    let mut shard = Shard::new(bed.app.clone(), Arc::clone(&inbox), handle).unwrap();
    inbox.lock().arrivals.push((near, arrived(&bed)));
    far.write_all(&PING.repeat(PINGS)).unwrap();
    let (mut pongs, mut answer) = (0, [0; PINGS * PONG_BYTES]);
    for _ in 0..PINGS {
        shard.round();
        shard.poller.poll(&mut shard.readiness).unwrap();
        let count = far.read(&mut answer).unwrap_or(0) / PONG_BYTES;
        assert!(count <= 64, "{count} of one socket in one round");
        pongs += count;
        if pongs == PINGS {
            return;
        }
    }
    panic!("only {pongs} are answered");
}

/// Or a shutdown would wait for it for ever, and whoever came to it would wait too.
#[test]
fn a_shard_whose_thread_breaks_down_has_ended_and_lets_everybody_go() {
    let bed = Bed::new();
    let (inbox, running, (mut far, near)) = (inbox(), watch::Sender::new(1), pair());
    inbox.lock().arrivals.push((near, arrived(&bed)));
    let ends = Ends { inbox: Arc::clone(&inbox), running: running.clone() };
    let thread = std::thread::spawn(move || {
        let _ends = ends;
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    assert!(inbox.is_stopping());
    assert_eq!((*running.borrow(), bed.app.streams()), (0, 0));
    assert_eq!(far.read(&mut [0]).unwrap(), 0, "and its connection has ended");
}

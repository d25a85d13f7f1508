//! What the tests of the sweep's parts share: a hub in memory, without a server. And what is seen
//! only from inside: one round of a shard, and its end.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    ops::Range,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tidewire_core::{
    Feature, Features, Filter, Hub, Limits, MemoryLog, OpenGate, Peer, Session,
    clock::{SeededRandom, SystemClock},
    log::memory::MemoryBounds,
};
use tidewire_proto::{
    After, Data, EventType, Message, Topic, path::Written, plan::Transport, sse::Parser,
};
use tokio::sync::{oneshot, watch};

use super::{Arrived, Ends, Inbox, Items, Named, names::Asked, poller::Wakeup, shard::Shard};
use crate::{
    guard::{self, Bed},
    places::Places,
    wire::Wire,
};

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
            item: None,
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

/// A shard that a test turns round by round.
struct Turned {
    bed: Bed,
    inbox: Arc<Inbox>,
    shard: Shard,
}

impl Turned {
    fn new() -> Self {
        let bed = Bed::new();
        let inside = bed.runtime.enter();
        let (inbox, handle) = (inbox(), bed.runtime.handle().clone());
        let shard = Shard::new(bed.app.clone(), Arc::clone(&inbox), handle).unwrap();
        drop(inside);
        Self { bed, inbox, shard }
    }

    /// Time passes, and the shard does what there is to do.
    fn after(&mut self, ms: u64) {
        let Self { bed, shard, .. } = self;
        bed.runtime.block_on(async {
            tokio::time::advance(Duration::from_millis(ms)).await;
            while shard.round() {}
            shard.poller.poll(&mut shard.readiness).unwrap();
        });
    }

    /// An event stream comes; the peer's end of it.
    fn stream(&mut self, name: &str, beats_early: bool) -> TcpStream {
        let (far, near) = pair();
        let name = self.bed.app.paths.name(None, name);
        let named = Some(Named { name, frames: 1, beats_early });
        let first = Bytes::from_static(b"event: tidewire.hello\ndata: {}\n\n");
        let arrived = Arrived { wire: Wire::Stream, first, named, ..arrived(&self.bed) };
        self.inbox.lock().arrivals.push((near, arrived));
        far
    }

    fn ask(&self, asked: Asked) {
        self.inbox.lock().asked.push(asked);
    }

    /// What was written to the stream of this name.
    fn written(&mut self, name: &str) -> Option<Written> {
        let (answer, mut answered) = oneshot::channel();
        self.ask(Asked::Written(self.bed.app.paths.name(None, name), false, answer));
        self.after(0);
        answered.try_recv().unwrap()
    }
}

/// The events that have come to this end.
fn heard(far: &mut TcpStream) -> Vec<String> {
    let mut bytes = vec![0; 1 << 16];
    let count = far.read(&mut bytes).unwrap_or(0);
    let events = Parser::new(1 << 16).feed(&bytes[..count]).unwrap();
    events.into_iter().map(|event| event.event).collect()
}

fn arrived(bed: &Bed) -> Arrived {
    let topic = Topic::parse("chat/a").unwrap();
    let limits = bed.app.hub.limits();
    Arrived {
        wire: Wire::Socket,
        session: bed.reader(&topic),
        first: Bytes::new(),
        input: BytesMut::new(),
        named: None,
        told: 0,
        place: Places::enter(&Arc::default(), Ipv4Addr::LOCALHOST.into(), limits).unwrap(),
        guard: bed.app.stream_guard(Transport::Ws),
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

#[test]
fn early_beats_come_at_their_times_and_the_others_as_ever() {
    let mut turned = Turned::new();
    // What comes at a time comes with the tick that it falls into.
    let mut early = turned.stream("early", true);
    let mut plain = turned.stream("plain", false);
    turned.after(0);
    assert_eq!(heard(&mut early), ["tidewire.hello"]);
    assert_eq!(heard(&mut plain), ["tidewire.hello"]);
    let mut passed = 0;
    let topic = Topic::parse("chat/a").unwrap();
    for (ms, at) in [250, 500, 1_000, 2_000].into_iter().zip(1..) {
        turned.after(ms - passed - 10);
        assert_eq!(heard(&mut early), [""; 0], "not before {ms} ms");
        turned.after(10);
        assert_eq!(heard(&mut early), ["tidewire.beat"], "at {ms} ms");
        passed = ms;
        let written = turned.written("early").unwrap();
        let expected = Written { events: 2 * at, open_ms: ms, quiet_ms: 0, is_blocked: false };
        assert_eq!(written, expected);
        // Something else that is said changes nothing about it.
        turned.bed.publish(vec![guard::message(&topic)]);
        turned.after(0);
        assert_eq!(heard(&mut early), ["message"]);
        assert_eq!(heard(&mut plain), ["message"]);
    }
    // From then on it beats when it was silent.
    turned.after(19_990);
    assert_eq!(heard(&mut early), [""; 0]);
    turned.after(10);
    assert_eq!(heard(&mut early), ["tidewire.beat"]);
    assert_eq!(heard(&mut plain), ["tidewire.beat"]);
    let written = turned.written("plain").unwrap();
    let expected = Written { events: 6, open_ms: 22_000, quiet_ms: 0, is_blocked: false };
    assert_eq!(written, expected);
    turned.after(70);
    assert_eq!(
        turned.written("plain"),
        Some(Written { open_ms: 22_070, quiet_ms: 70, ..expected })
    );
}

/// Of many that come and go, each is found by its name while it is there, and by no other.
#[test]
fn each_of_many_streams_is_found_by_its_name() {
    const MANY: usize = 200;
    let mut turned = Turned::new();
    let name = |number: usize| format!("stream-{number}");
    let mut streams: Vec<_> = (0..MANY).map(|number| turned.stream(&name(number), false)).collect();
    turned.after(0);
    let topic = Topic::parse("chat/a").unwrap();
    turned.bed.publish(vec![guard::message(&topic)]);
    turned.after(0);
    for number in 0..MANY {
        assert_eq!(turned.written(&name(number)).unwrap().events, 2);
    }
    // Some go, some have their names taken, by a newer one or by one that is elsewhere.
    let newer: Vec<_> =
        (0..MANY / 4).map(|number| turned.stream(&name(number * 4), false)).collect();
    for number in 0..MANY / 4 {
        turned.ask(Asked::Forget(turned.bed.app.paths.name(None, &name(number * 4 + 1))));
    }
    for number in (0..MANY / 4).rev() {
        drop(streams.remove(number * 4 + 2));
    }
    turned.after(0);
    turned.after(0);
    for number in 0..MANY {
        let events = turned.written(&name(number)).map(|written| written.events);
        let expected = [Some(1), None, None, Some(2)][number % 4];
        assert_eq!(events, expected, "{number}");
    }
    // Those who have no name any more leave without taking a newer one's with them.
    drop(streams);
    turned.after(0);
    turned.after(0);
    for number in 0..MANY {
        let expected = number % 4 == 0;
        assert_eq!(turned.written(&name(number)).is_some(), expected, "{number}");
    }
    drop(newer);
    turned.after(0);
    turned.after(0);
    assert!((0..MANY).all(|number| turned.written(&name(number)).is_none()));
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

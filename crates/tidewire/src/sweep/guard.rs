//! What one shard does for its sockets: the real shard on real sockets, round by round on the
//! thread of the test. What the kernel does is not counted.

use std::{
    cell::Cell,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, atomic::AtomicBool},
};

use bytes::{Bytes, BytesMut};
use tidewire_core::Session;
use tidewire_proto::{Topic, plan::Transport};

use super::{Arrived, Inbox, Items, Named, poller::Wakeup, shard::Shard};
use crate::{
    guard::{
        Bed, DATA_BYTES, count, message, topic,
        wires::{masked_once, publish_command},
    },
    places::Places,
    wire::Wire,
};

/// More than one slice of a sweep would be a few files more than some systems allow.
const SOCKETS: usize = 256;
const FIRST: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

struct Swept {
    bed: Bed,
    listener: TcpListener,
    shard: Shard,
    inbox: Arc<Inbox>,
    places: Arc<Places>,
    // Streams that have a name so far.
    named: Cell<u32>,
}

impl Swept {
    fn new() -> Self {
        let bed = Bed::new();
        let inside = bed.runtime.enter();
        let inbox = Arc::new(Inbox {
            items: std::sync::Mutex::new(Items::default()),
            is_stopping: AtomicBool::new(false),
            wakeup: Wakeup::new().expect("an event"),
        });
        let handle = bed.runtime.handle().clone();
        let shard = Shard::new(bed.app.clone(), Arc::clone(&inbox), handle).expect("a shard");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        drop(inside);
        Self { bed, listener, shard, inbox, places: Arc::default(), named: Cell::new(0) }
    }

    /// A connection: the peer's end and ours.
    fn pair(&self) -> (TcpStream, TcpStream) {
        let address = self.listener.local_addr().expect("it is bound");
        let far = TcpStream::connect(address).expect("it listens");
        let (near, _) = self.listener.accept().expect("somebody came");
        near.set_nonblocking(true).expect("as the listener does");
        (far, near)
    }

    fn arrived(&self, wire: Wire, session: Session) -> Arrived {
        let limits = self.bed.app.hub.limits();
        let place = Places::enter(&self.places, Ipv4Addr::LOCALHOST.into(), limits);
        let number = self.named.get();
        self.named.set(number + 1);
        let name = self.bed.app.paths.name(None, &number.to_string());
        let named = Named { name, frames: 1, beats_early: false };
        Arrived {
            wire,
            session,
            first: Bytes::from_static(FIRST),
            input: BytesMut::new(),
            named: (!wire.is_socket()).then_some(named),
            told: 0,
            place: place.expect("there is room"),
            guard: self.bed.app.stream_guard(Transport::Sse),
        }
    }

    /// Readers that have caught up; their ends of the connections.
    fn readers(&mut self, wire: Wire, topics: &[Topic]) -> Vec<TcpStream> {
        let mut peers = Vec::new();
        for topic in topics {
            let (far, near) = self.pair();
            let arrived = self.arrived(wire, self.bed.reader(topic));
            self.inbox.lock().arrivals.push((near, arrived));
            peers.push(far);
        }
        self.work();
        for peer in &mut peers {
            peer.read_exact(&mut [0; FIRST.len()]).expect("the first words");
        }
        peers
    }

    /// Lets the shard do what there is to do, until it would sleep.
    fn work(&mut self) {
        let _inside = self.bed.runtime.enter();
        let Self { shard, inbox, .. } = self;
        loop {
            let is_busy = shard.round();
            shard.poller.poll(&mut shard.readiness).expect("sockets can be watched");
            let Items { arrivals, done, .. } = &*inbox.lock();
            if !is_busy && shard.readiness.is_empty() && arrivals.is_empty() && done.is_empty() {
                return shard.memos.clear();
            }
        }
    }
}

/// Publishes to these topics, and counts what the shard does for each delivery.
fn deliver(wire: Wire, topics: &[Topic], entries: usize) {
    let swept = &mut Swept::new();
    let mut peers = swept.readers(wire, topics);
    let mut published = topics.to_vec();
    published.dedup();
    let batch: Vec<_> = (0..entries).flat_map(|_| published.iter().map(message)).collect();
    let swept = std::cell::RefCell::new(swept);
    let publish = || {
        swept.borrow().bed.publish(batch.clone());
        // So that no socket is ever full.
        for peer in &mut peers {
            drain(peer);
        }
    };
    count(topics.len() * entries, publish, |()| swept.borrow_mut().work());
    for peer in &mut peers {
        assert!(drain(peer) > entries * DATA_BYTES, "each has got the last");
    }
}

/// Reads what is there, and tells how much.
fn drain(peer: &mut TcpStream) -> usize {
    let mut bytes = [0; 4 * 1024];
    peer.set_nonblocking(true).expect("it is ours");
    let mut count = 0;
    while let Ok(read @ 1..) = peer.read(&mut bytes) {
        count += read;
    }
    count
}

/// One new entry to 256 event streams.
#[test]
#[ignore = "make guard counts it"]
fn one_to_streams() {
    deliver(Wire::Chunked, &vec![topic("chat/general"); SOCKETS], 1);
}

/// One new entry to 256 WebSockets.
#[test]
#[ignore = "make guard counts it"]
fn one_to_sockets() {
    deliver(Wire::Socket, &vec![topic("chat/general"); SOCKETS], 1);
}

/// 32 new entries to 256 event streams, one write each. Of one delivery.
#[test]
#[ignore = "make guard counts it"]
fn many_to_streams() {
    deliver(Wire::Chunked, &vec![topic("chat/general"); SOCKETS], 32);
}

/// 256 event streams with a topic each, and one new entry in every topic.
#[test]
#[ignore = "make guard counts it"]
fn one_to_each() {
    let topics: Vec<_> = (0..SOCKETS).map(|user| topic(&format!("inbox/user-{user}"))).collect();
    deliver(Wire::Chunked, &topics, 1);
}

/// A socket comes, hears its first words and is watched.
#[test]
#[ignore = "make guard counts it"]
fn arrive() {
    const MANY: usize = 8;
    let swept = std::cell::RefCell::new(Swept::new());
    let topic = topic("chat/general");
    let _other = swept.borrow().bed.reader(&topic);
    let come = || {
        // Those who came before have gone.
        swept.borrow_mut().work();
        let swept = swept.borrow();
        let mut peers = Vec::new();
        for _ in 0..MANY {
            let (far, near) = swept.pair();
            let arrived = swept.arrived(Wire::Chunked, swept.bed.reader(&topic));
            swept.inbox.lock().arrivals.push((near, arrived));
            peers.push(far);
        }
        peers
    };
    count(MANY, come, |peers| {
        swept.borrow_mut().work();
        peers
    });
}

/// A WebSocket publishes to a topic that nobody reads, and hears the answer.
#[test]
#[ignore = "make guard counts it"]
fn hear_publish() {
    const MANY: usize = 16;
    let mut swept = Swept::new();
    let mut peers = swept.readers(Wire::Socket, &vec![topic("chat/general"); MANY]);
    let command = masked_once(&publish_command("chat/elsewhere"));
    let swept = std::cell::RefCell::new(swept);
    let say = || {
        // The follower has its turn, and the answers are read.
        swept.borrow().bed.publish(Vec::new());
        for peer in &mut peers {
            drain(peer);
            peer.write_all(&command).expect("there is room");
        }
    };
    let newest = || swept.borrow().bed.newest();
    let before = newest();
    count(MANY, say, |()| swept.borrow_mut().work());
    assert_eq!(newest().0 - before.0, 40 * MANY as u64);
}

//! The socket sweep: many plain sockets, no task for any of them.
//!
//! When a door has answered on a plain HTTP/1.1 connection, the socket moves here, to one of a few
//! *shards*, a thread each. A shard owns its sockets. When the log's follower brings a batch, a mark
//! for each topic is set on the shard's board, and the shard *sweeps* the topic's subscribers: each
//! gets one write with everything newer than its cursor. While it sweeps, new entries gather, so
//! under load a write carries many and at rest it carries one at once.
//!
//! A socket that takes no more keeps its cursor and the rest of one frame. It is asked again when it
//! can be written, by the same step. What cannot be done without waiting (a page of the log, a
//! command, a publish) is done by a small task that borrows the session and brings it back.
//!
//! | Part | What |
//! |---|---|
//! | `shard` | the loop of one thread |
//! | `conn` | one socket: what it keeps, and what goes out |
//! | `talk` | what a WebSocket's peer says, and how a socket ends |
//! | `reload` | telling all of them that the plan is another |
//! | `topics` | who of the shard reads which topic |
//! | `chunk` | frames one after another, and where a cut falls |
//! | `names` | which event stream has which name, and what was written to it |
//! | `memo` | what was put together for one, for the others at its place |
//! | `poller` | the shard's epoll set, in which it sleeps |
//! | `timers` | what is due at a time |
//! | `wheel` | the times, in order |
//!
//! Knows no HTTP and nothing of how a connection came to be. Invariant: nothing here waits for one
//! socket while another could go on.

use std::{
    io,
    num::NonZero,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Wake,
    thread,
};

use bytes::{Bytes, BytesMut};
use tidewire_core::Session;
use tidewire_proto::path::Written;
use tokio::{
    net::TcpStream,
    runtime::Handle,
    sync::{oneshot, watch},
};

use crate::{
    app::{App, StreamGuard, left, reloaded},
    path::StreamName,
    places::Place,
    wire::Wire,
};

mod chunk;
mod conn;
#[cfg(test)]
mod guard;
mod memo;
mod names;
mod poller;
mod reload;
mod shard;
mod talk;
#[cfg(test)]
mod tests;
mod timers;
mod topics;
mod wheel;

use names::Asked;
use poller::Wakeup;
use shard::{Done, Shard};

/// A socket that comes to be swept, with what it has heard and said so far.
pub(crate) struct Arrival {
    pub(crate) stream: TcpStream,
    pub(crate) wire: Wire,
    pub(crate) session: Session,
    /// What is written before anything else.
    pub(crate) first: Bytes,
    /// What the peer has sent already.
    pub(crate) input: BytesMut,
    /// There, if it is an event stream.
    pub(crate) named: Option<Named>,
    /// Which plan its first words named.
    pub(crate) told: u32,
    pub(crate) place: Place,
    pub(crate) guard: StreamGuard,
}

/// What an event stream has and a socket has not.
pub(crate) struct Named {
    pub(crate) name: StreamName,
    /// Frames in its first words.
    pub(crate) frames: u32,
    /// It beats a few times soon after them.
    pub(crate) beats_early: bool,
}

/// The shards. Cheap to clone; when the last clone goes, they end.
#[derive(Clone)]
pub(crate) struct Sweep(Arc<Shards>);

struct Shards {
    inboxes: Vec<Arc<Inbox>>,
    turn: AtomicUsize,
    running: watch::Sender<usize>,
}

/// What comes to one shard from outside.
struct Inbox {
    // As many as there are connections at most, and what they have under way or ask.
    items: Mutex<Items>,
    is_stopping: AtomicBool,
    wakeup: Arc<Wakeup>,
}

#[derive(Default)]
struct Items {
    arrivals: Vec<(std::net::TcpStream, Arrived)>,
    done: Vec<Done>,
    asked: Vec<Asked>,
}

/// Asks the shards about their event streams. Does not keep them alive.
pub(crate) struct Asking(Vec<Arc<Inbox>>);

/// An [`Arrival`] without its stream, which has left the runtime that accepted it.
struct Arrived {
    wire: Wire,
    session: Session,
    first: Bytes,
    input: BytesMut,
    named: Option<Named>,
    told: u32,
    place: Place,
    guard: StreamGuard,
}

impl Sweep {
    /// Starts a shard for each core that this process may use. What a shard cannot do without waiting
    /// is done on the runtime inside which this is called.
    ///
    /// # Errors
    /// When the system gives no thread or epoll set.
    pub(crate) fn start(app: &App) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        let running = watch::Sender::new(0);
        // When one cannot be started, those before it end with this.
        let mut shards = Shards { inboxes: Vec::new(), turn: AtomicUsize::new(0), running };
        for number in 0..count {
            let inbox = Arc::new(Inbox {
                items: Mutex::default(),
                is_stopping: AtomicBool::new(false),
                wakeup: Wakeup::new()?,
            });
            let shard = Shard::new(app.clone(), Arc::clone(&inbox), Handle::current())?;
            shards.running.send_modify(|running| *running += 1);
            let ends = Ends { inbox: Arc::clone(&inbox), running: shards.running.clone() };
            let run = move || {
                let _ends = ends;
                shard.run();
            };
            thread::Builder::new().name(format!("tidewire-{number}")).spawn(run)?;
            shards.inboxes.push(inbox);
        }
        let (mut leaving, mut plan) = (app.leaving.subscribe(), app.plan.subscribe());
        let wakeups: Vec<_> =
            shards.inboxes.iter().map(|inbox| Arc::clone(&inbox.wakeup)).collect();
        tokio::spawn(async move {
            // What the others hear from the runtime, the shards' threads hear so.
            loop {
                let has_left = tokio::select! {
                    () = left(&mut leaving) => true,
                    () = reloaded(&mut plan) => false,
                };
                wakeups.iter().for_each(Wake::wake_by_ref);
                if has_left {
                    return;
                }
            }
        });
        Ok(Self(Arc::new(shards)))
    }

    /// Takes a socket in.
    pub(crate) fn receive(&self, arrival: Arrival) {
        let Arrival { stream, wire, session, first, input, named, told, place, guard } = arrival;
        // It leaves the runtime that accepted it; the shard's own set watches it from now on.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a socket could not be handed over"),
        };
        // Streams of one name come to one shard, which can tell the newest.
        let turn = match &named {
            Some(named) => shard_of(named.name, self.0.inboxes.len()),
            None => self.0.turn.fetch_add(1, Ordering::Relaxed) % self.0.inboxes.len(),
        };
        let arrived = Arrived { wire, session, first, input, named, told, place, guard };
        let in_turn = self.0.inboxes.iter().cycle().skip(turn).take(self.0.inboxes.len());
        // A shard that has ended, which none should before the others, takes nobody in.
        for inbox in in_turn {
            let mut items = inbox.lock();
            if !inbox.is_stopping() {
                items.arrivals.push((stream, arrived));
                drop(items);
                return inbox.wakeup.wake_by_ref();
            }
        }
    }

    /// For who wants to know of event streams.
    pub(crate) fn asking(&self) -> Asking {
        Asking(self.0.inboxes.clone())
    }

    /// Ends the shards, and with them whatever is still open, and waits until they have ended.
    pub(crate) async fn stop(&self) {
        self.0.stop();
        // The sender is ours, so waiting does not fail.
        let _ = self.0.running.subscribe().wait_for(|running| *running == 0).await;
    }
}

/// Which of the shards has the streams of this name. By other bits than those by which it finds it.
fn shard_of(name: StreamName, count: usize) -> usize {
    (name.bits() >> 32) as usize % count.max(1)
}

impl Asking {
    /// What was written to the event stream of this name, if one is swept.
    pub(crate) async fn written(&self, name: StreamName, wants_beat: bool) -> Option<Written> {
        let (answer, answered) = oneshot::channel();
        self.ask(name, Asked::Written(name, wants_beat, answer));
        answered.await.ok().flatten()
    }

    /// A stream that is not swept has this name now.
    pub(crate) fn forget(&self, name: StreamName) {
        self.ask(name, Asked::Forget(name));
    }

    fn ask(&self, name: StreamName, asked: Asked) {
        let Some(inbox) = self.0.get(shard_of(name, self.0.len())) else { return };
        let mut items = inbox.lock();
        // A shard that has ended has no streams.
        if !inbox.is_stopping() {
            items.asked.push(asked);
            drop(items);
            inbox.wakeup.wake_by_ref();
        }
    }
}

impl Shards {
    fn stop(&self) {
        for inbox in &self.inboxes {
            inbox.is_stopping.store(true, Ordering::Release);
            inbox.wakeup.wake_by_ref();
        }
    }
}

/// Says that a shard has ended, in whatever way.
struct Ends {
    inbox: Arc<Inbox>,
    running: watch::Sender<usize>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.inbox.is_stopping.store(true, Ordering::Release);
        drop(self.inbox.take());
        self.running.send_modify(|running| *running -= 1);
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inbox {
    /// A task brings back what it has done.
    fn bring(&self, done: Done) {
        self.lock().done.push(done);
        self.wakeup.wake_by_ref();
    }

    fn take(&self) -> Items {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Items> {
        // Nothing in here panics half way through a change.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}

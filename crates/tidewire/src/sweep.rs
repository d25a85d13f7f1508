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
use tokio::{net::TcpStream, runtime::Handle, sync::watch};

use crate::{
    app::{App, StreamGuard, left, reloaded},
    places::Place,
    wire::Wire,
};

mod chunk;
mod conn;
#[cfg(test)]
mod guard;
mod memo;
mod poller;
mod reload;
mod shard;
mod talk;
#[cfg(test)]
mod tests;
mod timers;
mod topics;
mod wheel;

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
    /// Which plan its first words named.
    pub(crate) told: u32,
    pub(crate) place: Place,
    pub(crate) guard: StreamGuard,
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
    // As many as there are connections at most, and what they have under way.
    items: Mutex<Items>,
    is_stopping: AtomicBool,
    wakeup: Arc<Wakeup>,
}

#[derive(Default)]
struct Items {
    arrivals: Vec<(std::net::TcpStream, Arrived)>,
    done: Vec<Done>,
}

/// An [`Arrival`] without its stream, which has left the runtime that accepted it.
struct Arrived {
    wire: Wire,
    session: Session,
    first: Bytes,
    input: BytesMut,
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
        let Arrival { stream, wire, session, first, input, told, place, guard } = arrival;
        // It leaves the runtime that accepted it; the shard's own set watches it from now on.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!(%error, "a socket could not be handed over"),
        };
        let arrived = Arrived { wire, session, first, input, told, place, guard };
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed) % self.0.inboxes.len();
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

    /// Ends the shards, and with them whatever is still open, and waits until they have ended.
    pub(crate) async fn stop(&self) {
        self.0.stop();
        // The sender is ours, so waiting does not fail.
        let _ = self.0.running.subscribe().wait_for(|running| *running == 0).await;
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

    fn take(&self) -> (Vec<(std::net::TcpStream, Arrived)>, Vec<Done>) {
        let Items { arrivals, done } = std::mem::take(&mut *self.lock());
        (arrivals, done)
    }

    fn lock(&self) -> MutexGuard<'_, Items> {
        // Nothing in here panics half way through a change.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }
}

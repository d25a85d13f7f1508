//! [`Poller`]: a shard's epoll set, in which it also sleeps; and [`Wakeup`], what wakes it from
//! outside.
//!
//! A socket is registered once, for everything, edge-triggered; closing it takes it out. The runtime
//! knows nothing of the sockets and keeps nothing for them.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Wake,
    time::Duration,
};

use rustix::{
    event::{
        EventfdFlags, Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
        eventfd,
    },
    fd::AsFd,
    io::Errno,
};

/// Events asked of the kernel at once.
const EVENTS: usize = 256;
/// The token of the wake-up; no socket has it.
const WAKEUP: u64 = u64::MAX;

/// Wakes a shard. Costs a system call only while the shard sleeps.
#[derive(Debug)]
pub(super) struct Wakeup {
    event: OwnedFd,
    is_called: AtomicBool,
    is_asleep: AtomicBool,
}

impl Wakeup {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (is_called, is_asleep) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Arc::new(Self { event, is_called, is_asleep }))
    }
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, and the sleeper in the other: one of both sees what the other did.
        self.is_called.store(true, Ordering::SeqCst);
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            // It fails only when it has been called so often that it is awake anyway.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }
}

pub(super) struct Poller {
    epoll: OwnedFd,
    wakeup: Arc<Wakeup>,
}

/// What happened to a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readiness {
    pub(super) token: u64,
    /// There may be bytes to read, or the end.
    pub(super) can_read: bool,
    /// It may take bytes again.
    pub(super) can_write: bool,
    /// The peer has closed its half, or all of it.
    pub(super) is_hung_up: bool,
}

impl Poller {
    pub(super) fn new(wakeup: Arc<Wakeup>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &wakeup.event, EventData::new_u64(WAKEUP), flags)?;
        Ok(Self { epoll, wakeup })
    }

    pub(super) fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let all = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), all)?)
    }

    /// Appends what has happened, without waiting.
    pub(super) fn poll(&self, out: &mut Vec<Readiness>) -> io::Result<()> {
        self.wait(Some(Duration::ZERO), out)
    }

    /// Appends what has happened; if nothing has, waits for it, for a wake-up, or for so long.
    pub(super) fn sleep(
        &self,
        limit: Option<Duration>,
        out: &mut Vec<Readiness>,
    ) -> io::Result<()> {
        self.wakeup.is_asleep.store(true, Ordering::SeqCst);
        let is_called = self.wakeup.is_called.swap(false, Ordering::SeqCst);
        let slept = self.wait(if is_called { Some(Duration::ZERO) } else { limit }, out);
        self.wakeup.is_asleep.store(false, Ordering::SeqCst);
        slept
    }

    fn wait(&self, limit: Option<Duration>, out: &mut Vec<Readiness>) -> io::Result<()> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let mut space = [MaybeUninit::<Event>::uninit(); EVENTS];
        let events = match epoll::wait(&self.epoll, &mut space, limit.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let of_sockets = events.iter().filter(|event| event.data.u64() != WAKEUP);
        out.extend(of_sockets.map(|event| {
            let flags = event.flags;
            let is_hung_up =
                flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
            Readiness {
                token: event.data.u64(),
                can_read: flags.contains(EventFlags::IN) || is_hung_up,
                can_write: flags.contains(EventFlags::OUT),
                is_hung_up,
            }
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::net::UnixStream, thread};

    /// Longer than any test; a missed wake-up would take it.
    const LONG: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn a_wake_up_is_never_missed() {
        let wakeup = Wakeup::new().unwrap();
        let poller = Poller::new(Arc::clone(&wakeup)).unwrap();
        let mut out = Vec::new();
        // Before it sleeps; and it is used up.
        wakeup.wake_by_ref();
        poller.sleep(LONG, &mut out).unwrap();
        poller.sleep(Some(Duration::from_millis(1)), &mut out).unwrap();
        for _ in 0..200 {
            let other = Arc::clone(&wakeup);
            let waker = thread::spawn(move || other.wake());
            poller.sleep(LONG, &mut out).unwrap();
            waker.join().unwrap();
        }
        assert!(out.is_empty());
    }

    #[test]
    fn a_socket_says_what_happened_to_it() {
        let poller = Poller::new(Wakeup::new().unwrap()).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        poller.add(&near, 7).unwrap();
        let happened = |wait| {
            let mut out = Vec::new();
            poller.sleep(wait, &mut out).unwrap();
            out.first().map(|one| (one.token, one.can_read, one.can_write, one.is_hung_up))
        };
        assert_eq!(happened(LONG), Some((7, false, true, false)));
        far.write_all(b"x").unwrap();
        assert_eq!(happened(LONG), Some((7, true, true, false)));
        assert_eq!(happened(Some(Duration::ZERO)), None, "an edge is told once");
        drop(far);
        assert_eq!(happened(LONG), Some((7, true, true, true)));
    }
}

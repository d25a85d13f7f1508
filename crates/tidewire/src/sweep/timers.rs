//! What is due at a time: beats, the ends of access, peers that take nothing, ends that take too long.
//!
//! A socket stands in the wheel once that counts, for whatever of all this comes first.

use std::{num::NonZero, time::Duration};

use super::{
    conn::{Key, Phase},
    shard::Shard,
    talk::End,
    wheel::{TICK_MS, Tick},
};

/// A wall clock may be moved: whether access has ended is looked at so often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Shard {
    /// A timer of this socket has come.
    pub(super) fn fire(&mut self, tick: Tick, key: Key) {
        let now = self.now;
        let Some(conn) = self.conn(key).filter(|conn| conn.armed_at == tick) else { return };
        if conn.stuck_until.is_some_and(|until| until.get() <= now) && !self.is_moving(key) {
            tracing::info!("a reader accepted nothing for too long and is closed");
            return self.remove(key);
        }
        let Some(conn) = self.conn(key) else { return };
        let is_over = conn.phase_until.is_some_and(|until| until.get() <= now);
        match conn.phase {
            Phase::Open => self.fire_open(key),
            Phase::Finishing if is_over => {
                tracing::warn!("a socket ends before its publishes were answered");
                self.conclude(key);
            }
            Phase::Closing | Phase::Flushing if is_over => return self.remove(key),
            _ => {}
        }
        self.arm(key);
    }

    /// The kernel tells of room only when there is plenty. So whether a peer really takes nothing is
    /// found out by trying.
    fn is_moving(&mut self, key: Key) -> bool {
        let (now, stuck_until) = (self.now, self.now + self.stuck);
        let Some(conn) = self.conn(key) else { return true };
        if conn.out.flush(&conn.stream).is_err() {
            return false;
        }
        conn.note_write(now);
        if conn.phase == Phase::Open {
            self.step(key);
        }
        let Some(conn) = self.conn(key) else { return true };
        // Here, or a moment before.
        let is_moving = conn.wrote_at == now || conn.out.is_free();
        conn.stuck_until = NonZero::new(stuck_until).filter(|_| !conn.out.is_free());
        is_moving
    }

    fn fire_open(&mut self, key: Key) {
        let (now, interval) = (self.now, self.beat);
        let app = self.app.clone();
        let Some(conn) = self.conn(key) else { return };
        let Some(session) = &conn.session else {
            // It is read or obeyed for now, and looked at again soon.
            conn.beat_at = conn.beat_at.max(now + 1);
            return;
        };
        if app.access_left(session.peer()) == Some(Duration::ZERO) {
            let why = app.why_ended(session.peer());
            return self.end(key, End::Bye(why, app.retry()));
        }
        if conn.next_beat(interval) <= now {
            // A topic of which nothing is heard has moved on too.
            self.step(key);
            self.beat(key);
        }
    }

    /// Puts the socket into the wheel for the next moment at which something is due.
    pub(super) fn arm(&mut self, key: Key) {
        let (now, interval, app) = (self.now, self.beat, self.app.clone());
        let Some(conn) = self.conn(key) else { return };
        let is_open = conn.phase == Phase::Open;
        let access = conn.session.as_ref().filter(|_| is_open).and_then(|session| {
            // A tick more, so that it has really ended when it is looked at.
            app.access_left(session.peer()).map(|left| now + 1 + ticks(left.min(LOOK_AGAIN)))
        });
        let beat = is_open.then(|| conn.next_beat(interval));
        let [stuck, phase] = [conn.stuck_until, conn.phase_until].map(|at| at.map(NonZero::get));
        let due = [beat, stuck, phase, access].into_iter().flatten().min();
        let Some(due) = due else { return };
        let is_armed = conn.armed_at > now && conn.armed_at <= due;
        if !is_armed {
            let at = self.wheel.tick_for(due);
            self.wheel.insert(at, key);
            if let Some(conn) = self.conn(key) {
                conn.armed_at = at;
            }
        }
    }
}

/// A wait in ticks, rounded up.
pub(super) fn ticks(wait: Duration) -> Tick {
    // A configured wait is a hundred years at most: nothing here comes near the end of a tick's range.
    (wait.as_millis() as u64).div_ceil(TICK_MS)
}

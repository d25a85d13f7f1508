//! What a reload means for a shard's sockets: those whose access it ended go, and the others are told
//! when the plan is another. A walk over all of them, a slice in each round, beside whatever else
//! there is to do.
//!
//! Invariant: who takes nothing now is not told now. Each socket knows which plan it was told last,
//! and hears of another when it is served next; so no news is lost, and nothing piles up.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    conn::{Conn, Key, Phase},
    shard::{Shard, key},
    talk::End,
};
use crate::{app::App, manifest::Plan};

/// Sockets that are told in one round.
pub(super) const SLICE: usize = 64;

/// Where a shard stands with the newest reload.
pub(super) struct Reload {
    news: watch::Receiver<Arc<Plan>>,
    plan: Arc<Plan>,
    // Which place in the table of sockets comes next. Nothing when all have been visited.
    next: Option<usize>,
}

impl Reload {
    pub(super) fn new(app: &App) -> Self {
        let mut news = app.plan.subscribe();
        let plan = Arc::clone(&news.borrow_and_update());
        Self { news, plan, next: None }
    }

    /// Are there sockets that were not visited since the newest reload?
    pub(super) fn is_under_way(&self) -> bool {
        self.next.is_some()
    }
}

impl Shard {
    /// Begins a walk if there was a reload. Comes after the arrivals were taken from the inbox, so
    /// that none of them was told of a plan that is not known here yet.
    pub(super) fn notice_reload(&mut self) {
        let Reload { news, plan, next } = &mut self.reload;
        // The sender is the app's, which is ours too.
        if news.has_changed().unwrap_or(false) {
            *plan = Arc::clone(&news.borrow_and_update());
            *next = Some(0);
        }
    }

    /// A slice of the walk. Whoever comes meanwhile is told like everybody who is served.
    pub(super) fn walk_reload(&mut self) {
        let Some(first) = self.reload.next else { return };
        let end = (first + SLICE).min(self.conns.capacity());
        self.reload.next = (end < self.conns.capacity()).then_some(end);
        for index in first..end {
            if let Some(conn) = self.conns.get(index) {
                self.hear_of_reload(key(index, conn));
            }
        }
    }

    fn hear_of_reload(&mut self, key: Key) {
        let app = self.app.clone();
        let Some(conn) = self.conn(key).filter(|conn| conn.phase == Phase::Open) else { return };
        let peer = conn.session.as_ref().map(|session| session.peer());
        let ended = peer.filter(|peer| app.access_left(peer) == Some(Duration::ZERO));
        if let Some(why) = ended.map(|peer| app.why_ended(peer)) {
            return self.end(key, End::Bye(why, app.retry()));
        }
        self.tell_plan(key);
    }

    /// Tells a socket of the plan in force, if that is news for it and it takes anything now.
    pub(super) fn tell_plan(&mut self, key: Key) {
        let Self { app, conns, reload, .. } = self;
        let Some(conn) = conns.get_mut(key.index as usize) else { return };
        let Conn { told, out, wire, phase: Phase::Open, .. } = conn else { return };
        let Plan { tag, number, .. } = &*reload.plan;
        if *told == *number || !out.is_free() {
            return;
        }
        *told = *number;
        let words = wire.plan(tag, app.plan_slot());
        self.say(key, &words);
    }
}

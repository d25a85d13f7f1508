//! [`Names`]: which event stream of a shard has which name, and what was written to it.
//!
//! It keeps four bytes of each: the name itself stands with the socket.

use hashbrown::{HashTable, hash_table::Entry};
use slab::Slab;
use tidewire_proto::path::Written;
use tokio::sync::oneshot;

use super::{
    conn::{Conn, Key},
    shard::Shard,
    wheel::TICK_MS,
};
use crate::path::StreamName;

/// What somebody asks or says of an event stream that may be here.
pub(super) enum Asked {
    /// What was written to it? If so wished, it beats before it answers.
    Written(StreamName, bool, oneshot::Sender<Option<Written>>),
    /// Another has its name now.
    Forget(StreamName),
}

/// The sockets that have a name, by the name.
#[derive(Default)]
pub(super) struct Names(HashTable<u32>);

impl Names {
    /// A socket comes with a name, and has it from now on: who had it before has none.
    pub(super) fn enter(&mut self, name: StreamName, index: u32, conns: &mut Slab<Conn>) {
        let bits = |index: &u32| {
            let name = conns.get(*index as usize).and_then(|conn| conn.name);
            name.map_or(0, StreamName::bits)
        };
        match self.0.entry(name.bits(), |index| is_of(conns, *index, name), bits) {
            Entry::Vacant(free) => drop(free.insert(index)),
            Entry::Occupied(mut taken) => {
                let before = std::mem::replace(taken.get_mut(), index);
                if let Some(before) = conns.get_mut(before as usize) {
                    before.name = None;
                }
            }
        }
    }

    /// Nobody has this name any more.
    pub(super) fn leave(&mut self, name: StreamName, conns: &mut Slab<Conn>) {
        let found = self.0.find_entry(name.bits(), |index| is_of(conns, *index, name));
        let Ok(found) = found else { return };
        let (index, _) = found.remove();
        if let Some(conn) = conns.get_mut(index as usize) {
            conn.name = None;
        }
    }

    fn find(&self, name: StreamName, conns: &Slab<Conn>) -> Option<u32> {
        self.0.find(name.bits(), |index| is_of(conns, *index, name)).copied()
    }
}

fn is_of(conns: &Slab<Conn>, index: u32, name: StreamName) -> bool {
    conns.get(index as usize).is_some_and(|conn| conn.name == Some(name))
}

impl Shard {
    pub(super) fn hear_asked(&mut self, asked: Asked) {
        match asked {
            Asked::Written(name, wants_beat, answer) => {
                if wants_beat {
                    self.beat_named(name);
                }
                // Who asked may have gone.
                let _ = answer.send(self.written(name));
            }
            Asked::Forget(name) => self.names.leave(name, &mut self.conns),
        }
    }

    fn beat_named(&mut self, name: StreamName) {
        let Some(index) = self.names.find(name, &self.conns) else { return };
        if let Some(conn) = self.conns.get(index as usize) {
            let key = Key { index, generation: conn.generation };
            self.beat(key);
        }
    }

    fn written(&self, name: StreamName) -> Option<Written> {
        let conn = self.conns.get(self.names.find(name, &self.conns)? as usize)?;
        Some(Written {
            events: conn.out.begun(),
            open_ms: (self.now - conn.opened_at) * TICK_MS,
            quiet_ms: (self.now - conn.wrote_at) * TICK_MS,
            is_blocked: !conn.out.is_free(),
        })
    }

    /// The socket goes, and its name with it.
    pub(super) fn leave_name(&mut self, key: Key) {
        let Self { conns, names, .. } = self;
        if let Some(name) = conns.get(key.index as usize).and_then(|conn| conn.name) {
            names.leave(name, conns);
        }
    }
}

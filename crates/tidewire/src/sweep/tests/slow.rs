//! A shard and a reader that takes little at once.

use std::{io::Read, net::TcpStream, sync::Arc, time::Duration};

use socket2::SockRef;

use super::{arrived, inbox, pair, settle};
use crate::{
    guard::{Bed, message, topic},
    sweep::shard::Shard,
};

/// Entries of a reader that falls behind: more than the kernel takes of its connection.
pub(super) const MANY: usize = 2_000;
/// What only an entry has in it.
const ENTRY: &[u8] = b"\"topic\":\"chat/a\",";

pub(super) struct Slow {
    pub(super) bed: Bed,
    pub(super) shard: Shard,
    far: TcpStream,
}

impl Slow {
    /// With this much room on either side.
    pub(super) fn new(bytes: usize) -> Self {
        let bed = Bed::new();
        let inside = bed.runtime.enter();
        let (inbox, (far, near)) = (inbox(), pair());
        SockRef::from(&far).set_recv_buffer_size(bytes).unwrap();
        SockRef::from(&near).set_send_buffer_size(bytes).unwrap();
        far.set_nonblocking(false).unwrap();
        far.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let handle = bed.runtime.handle().clone();
        let shard = Shard::new(bed.app.clone(), Arc::clone(&inbox), handle).unwrap();
        inbox.lock().arrivals.push((near, arrived(&bed)));
        drop(inside);
        let mut slow = Self { bed, shard, far };
        slow.work();
        slow
    }

    /// Publishes many entries, and lets the shard do what it can.
    pub(super) fn fill(&mut self) {
        for _ in 0..MANY / 1_000 {
            self.bed.publish(vec![message(&topic("chat/a")); 1_000]);
        }
        self.work();
        assert!(self.shard.conns.iter().all(|(_, conn)| !conn.out.is_free()), "it is full");
    }

    /// Rounds until there is nothing more to do.
    pub(super) fn work(&mut self) {
        let Self { bed, shard, .. } = self;
        let _inside = bed.runtime.enter();
        for _ in 0..10_000 {
            let is_busy = shard.round();
            bed.runtime.block_on(settle());
            shard.poller.poll(&mut shard.readiness).unwrap();
            let is_quiet = shard.readiness.is_empty() && shard.inbox.lock().done.is_empty();
            if !is_busy && is_quiet {
                return;
            }
        }
        panic!("the shard finds no rest");
    }

    /// What waits in the shard for room.
    pub(super) fn held_bytes(&self) -> usize {
        self.shard.conns.iter().map(|(_, conn)| conn.out.held_bytes()).sum()
    }

    /// Reads until so many entries have come, and gives everything that was said.
    pub(super) fn read(&mut self, count: usize) -> String {
        let (mut said, mut entries) = (Vec::new(), 0);
        for _ in 0..4_000 {
            let mut bytes = [0; 16 * 1024];
            let Ok(read) = self.far.read(&mut bytes) else {
                if entries == count {
                    return String::from_utf8_lossy(&said).into_owned();
                }
                self.work();
                continue;
            };
            // The mark of an entry may be cut in two.
            let from = said.len().saturating_sub(ENTRY.len() - 1);
            said.extend_from_slice(&bytes[..read]);
            entries += said[from..].windows(ENTRY.len()).filter(|part| *part == ENTRY).count();
        }
        panic!("only {entries} entries came");
    }
}

/// Wherever the last write was cut, in the middle of a frame or between two, the log is read for it
/// again only when there is room.
#[test]
fn who_is_far_behind_and_takes_nothing_lets_its_shard_rest() {
    for bytes in (4 * 1024..12 * 1024).step_by(512) {
        // Works until the shard rests.
        Slow::new(bytes).fill();
    }
}

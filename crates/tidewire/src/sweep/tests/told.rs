//! Who of a shard hears of a reload, and when.

use std::{net::TcpStream, sync::Arc};

use tidewire_core::{Feature, Features};

use super::{
    arrived, inbox, pair,
    slow::{MANY, Slow},
};
use crate::{
    guard::{Bed, message, topic},
    sweep::{reload::SLICE, shard::Shard},
};

/// Puts another plan in force: this feature is declared, too.
fn reload(bed: &Bed, feature: &str) {
    let declared = [(feature.to_owned(), Feature::default())].into();
    let features = Features::declared(declared).with_undeclared(Feature::default());
    bed.app.hub.current_features().replace(features);
    assert!(bed.app.reloaded(Vec::new()));
}

/// Many hear of it a few at a time; and news of their topic go to all of them in the same round.
#[test]
fn a_reload_is_told_in_slices_and_holds_no_delivery_up() {
    const SOCKETS: usize = 2 * SLICE + 22;
    let bed = Bed::new();
    let _inside = bed.runtime.enter();
    let (inbox, handle) = (inbox(), bed.runtime.handle().clone());
    let mut shard = Shard::new(bed.app.clone(), Arc::clone(&inbox), handle).unwrap();
    let mut peers: Vec<TcpStream> = Vec::new();
    for _ in 0..SOCKETS {
        let (far, near) = pair();
        inbox.lock().arrivals.push((near, arrived(&bed)));
        peers.push(far);
    }
    while shard.round() {}
    reload(&bed, "another");
    bed.publish(vec![message(&topic("chat/a"))]);
    let newest = bed.newest();
    for told in [SLICE, 2 * SLICE, SOCKETS] {
        let is_busy = shard.round();
        let conns = || shard.conns.iter().map(|(_, conn)| conn);
        assert_eq!(conns().filter(|conn| conn.told == 1).count(), told);
        let place =
            |conn: &&crate::sweep::conn::Conn| conn.session.as_ref()?.sole().map(|(_, at)| at);
        assert_eq!(conns().filter(|conn| place(conn) == Some(newest)).count(), SOCKETS);
        assert!(is_busy || told == SOCKETS, "it comes back at once while some are left");
    }
}

/// Who takes nothing now is passed over, and costs nothing; when it is served again it hears of the
/// newest plan, and of that once.
#[test]
fn who_takes_nothing_is_told_when_it_is_served_again() {
    let mut slow = Slow::new(32 * 1024);
    slow.fill();
    let before = slow.held_bytes();
    for feature in ["one", "two", "three"] {
        reload(&slow.bed, feature);
        slow.work();
    }
    assert_eq!(slow.held_bytes(), before, "nothing piles up");
    let said = slow.read(MANY);
    assert_eq!(said.matches("{\"plan\":").count(), 1);
    assert!(said.contains(&slow.bed.app.plan().tag));
}

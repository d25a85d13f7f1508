//! [`Places`]: how many connections there are, altogether and from each address.
//!
//! Knows nothing of what a connection does. Invariant: a [`Place`] is counted until it is dropped.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tidewire_core::Limits;
use tokio::net::TcpStream;

use crate::connected::{Connected, Hold};

/// Connections beyond the limit that are told so at a time; the ones after are closed at once.
const TURNED_AWAY_MAX: usize = 64;

/// How many connections there are.
#[derive(Default)]
pub(crate) struct Places(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    inside: usize,
    turned_away: usize,
    of_address: HashMap<IpAddr, usize>,
    // Where an app may reset its connections. By a number, because it costs each place no byte.
    held: HashMap<u32, Hold>,
    held_last: u32,
}

/// One connection's place in the counts.
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    /// 0: nothing is held.
    held: u32,
    pub(crate) is_over: bool,
}

impl Places {
    /// A place inside; beyond a limit, one among those who are told so; or nothing.
    pub(crate) fn enter(places: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<Place> {
        let mut counted = places.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = counted.of_address.get(&address).copied().unwrap_or_default();
        let is_over = counted.inside >= limits.connections_max
            || of_address >= limits.connections_per_address_max;
        if is_over {
            if counted.turned_away >= TURNED_AWAY_MAX {
                return None;
            }
            counted.turned_away += 1;
        } else {
            counted.inside += 1;
            *counted.of_address.entry(address).or_default() += 1;
        }
        Some(Place { places: Arc::clone(places), address, held: 0, is_over })
    }
}

impl Place {
    /// Holds the connection's socket too, for as long as it has its place, so that it can be reset.
    pub(crate) fn hold(&mut self, stream: &TcpStream) {
        let Some(hold) = Hold::on(stream) else { return };
        let mut counted = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        // After four billion connections the numbers begin again; those of old ones are passed over.
        let mut number = counted.held_last;
        loop {
            number = number.wrapping_add(1);
            if number != 0 && !counted.held.contains_key(&number) {
                break;
            }
        }
        counted.held_last = number;
        counted.held.insert(number, hold);
        self.held = number;
    }

    /// How an app resets it, if it may.
    pub(crate) fn connected(&self) -> Option<Connected> {
        if self.held == 0 {
            return None;
        }
        let counted = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.held.get(&self.held).map(Hold::connected)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counted = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if self.held != 0 {
            counted.held.remove(&self.held);
        }
        if self.is_over {
            counted.turned_away -= 1;
            return;
        }
        counted.inside -= 1;
        if let Some(of_address) = counted.of_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                counted.of_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_connections_hold_at_their_edges() {
        let places = Arc::default();
        let limits =
            Limits { connections_max: 3, connections_per_address_max: 2, ..Limits::default() };
        let address = |last| IpAddr::from([127, 0, 0, last]);
        let enter = |last| Places::enter(&places, address(last), &limits).unwrap();
        let (first, second) = (enter(1), enter(1));
        assert!(!first.is_over && !second.is_over);
        assert!(enter(1).is_over, "a third of one address");
        let third = enter(2);
        assert!(!third.is_over);
        assert!(enter(3).is_over, "a fourth altogether");
        drop(first);
        assert!(!enter(1).is_over, "a place is free again");
        let away: Vec<_> = std::iter::from_fn(|| {
            let _full = (&second, &third);
            Some(enter(1)).filter(|place| !place.is_over)
        })
        .collect();
        assert_eq!(away.len(), 1);
        let told: Vec<_> =
            (0..100).filter_map(|_| Places::enter(&places, address(1), &limits)).collect();
        assert_eq!(told.len(), TURNED_AWAY_MAX);
    }
}

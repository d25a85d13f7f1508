//! [`Windows`]: which connections belong to which window of a browser, so that one window can be cut
//! off and no other.
//!
//! A page names its window in the query of its Tidewire URLs. Knows no door.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tidewire::Connected;

/// Windows that are remembered: more than anybody opens; beyond it the oldest names are not missed.
const WINDOWS_MAX: usize = 256;
/// Connections of one window: browsers open six to a host, and sockets beside.
const CONNECTIONS_MAX: usize = 64;

/// The connections of each window.
#[derive(Default)]
pub(crate) struct Windows(Mutex<HashMap<String, Vec<Connected>>>);

impl Windows {
    /// A request of this window came on this connection.
    pub(crate) fn saw(&self, window: &str, connected: &Connected) {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !windows.contains_key(window) && windows.len() >= WINDOWS_MAX {
            windows.retain(|_, connections| connections.iter().any(|have| !have.is_over()));
            if windows.len() >= WINDOWS_MAX {
                return;
            }
        }
        let connections = windows.entry(window.to_owned()).or_default();
        connections.retain(|have| !have.is_over());
        if connections.len() < CONNECTIONS_MAX && !connections.contains(connected) {
            connections.push(connected.clone());
        }
    }

    /// Resets the window's connections, but for the one that asks. Says how many there were.
    pub(crate) fn cut(&self, window: &str, asking: Option<&Connected>) -> usize {
        let taken = {
            let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            windows.remove(window).unwrap_or_default()
        };
        taken.iter().filter(|have| Some(*have) != asking && have.reset()).count()
    }
}

/// The window that a query names, if it names one properly.
pub(crate) fn window_of(query: Option<&str>) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query?.as_bytes());
    let (_, window) = pairs.find(|(name, _)| name == "window")?;
    is_name(&window).then(|| window.into_owned())
}

/// 8 to 32 of `A-Z a-z 0-9 _ -`.
pub(crate) fn is_name(window: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (8..=32).contains(&window.len()) && window.bytes().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_named_in_the_query() {
        for (query, expected) in [
            (Some("topic=a&window=w_1234567&x=1"), Some("w_1234567")),
            (Some("window=short"), None),
            (Some("window=has%20space"), None),
            (Some("topic=a"), None),
            (None, None),
        ] {
            assert_eq!(window_of(query).as_deref(), expected, "{query:?}");
        }
    }
}

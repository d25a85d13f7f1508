//! [`Connected`]: the TCP connection that a request came on, for an app that has to end it at once.
//!
//! Knows no door. Invariant: it keeps nothing open; what has ended stays ended, and its number is not
//! somebody else's.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Weak},
};

use tokio::net::TcpStream;

/// The TCP connection under a request: in the request's extensions where
/// [`Builder::resets`](crate::Builder::resets) asked for it.
#[derive(Debug, Clone)]
pub struct Connected(Weak<OwnedFd>);

impl Connected {
    /// Breaks the connection off as a network does: with a reset (RFC 9293 §3.5.2), and without a word
    /// to the peer. Says whether it was still there.
    ///
    /// What was asked on it goes on until it notices: an event stream or a socket at its next event.
    pub fn reset(&self) -> bool {
        let Some(socket) = self.0.upgrade() else { return false };
        // Linux: a connection that is "connected to nobody" is reset (`connect(2)`), whoever else holds
        // its socket; closing with a linger of zero would reset only when the last holder closes.
        rustix::net::connect_unspec(&*socket).is_ok()
    }

    /// Has the connection ended?
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl PartialEq for Connected {
    /// Is it the same connection?
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }
}

/// A second hold on a connection's socket, for as long as the connection has its place.
#[derive(Debug)]
pub(crate) struct Hold(Arc<OwnedFd>);

impl Hold {
    /// Nothing when there is no descriptor left: then this connection cannot be reset.
    pub(crate) fn on(stream: &TcpStream) -> Option<Self> {
        let socket = stream.as_fd().try_clone_to_owned().ok()?;
        Some(Self(Arc::new(socket)))
    }

    pub(crate) fn connected(&self) -> Connected {
        Connected(Arc::downgrade(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    #[tokio::test]
    async fn a_reset_is_a_reset_at_both_ends_and_ends_nobody_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut far = TcpStream::connect(address).await.unwrap();
        let (mut near, _) = listener.accept().await.unwrap();
        let hold = Hold::on(&near).unwrap();
        let connected = hold.connected();
        assert!(connected.reset());
        let mut byte = [0];
        for end in [&mut far, &mut near] {
            let error = end.read(&mut byte).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        drop((near, hold));
        assert!(!connected.reset(), "it is gone, whoever has its number now");
    }
}

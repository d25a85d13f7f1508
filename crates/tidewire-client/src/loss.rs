//! [`Loss`]: why an attempt ended, and the [`Verdict`]: what follows from it. Pure.
//!
//! Knows nothing of rungs. Invariant: nothing that a network can do is final; only a server that
//! says so, or that breaks a promise, ends a subscription.

use std::time::Duration;

use tidewire_proto::Next;

use crate::{
    backoff::Told,
    error::{ClientError, Disorder, Refusal},
    item::Rung,
    path::By,
};

/// Why an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Loss {
    #[error("the connection ended")]
    Ended,
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("nothing came for {0:?}, not even a beat")]
    Silent(Duration),
    #[error("it did not open within {0:?}")]
    NotOpened(Duration),
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    #[error("the server took the connection and ended it at once: it is overloaded or leaving")]
    Overloaded,
    #[error("{0}")]
    Refused(Refusal),
    #[error("{what}")]
    Foreign { status: u16, what: String },
    #[error("the server asked us to stop")]
    Stop,
    #[error("what came is not Tidewire's protocol: {0}")]
    Garbled(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("the socket's topics are too far apart: catching up by pages first")]
    Apart,
    #[error("{0}")]
    Disorder(Disorder),
    #[error("no token: {0}")]
    Token(String),
    #[error("{}", by.sentence())]
    Held { by: By, detail: Option<String> },
    #[error("the path lets {0} through again")]
    Better(Rung),
    #[error("the server's plan has changed")]
    Replanned(Vec<Rung>),
    #[error("nobody listens any more")]
    Dropped,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Again after a while.
    Again(Option<Told>),
    /// A new token, then again at once.
    Refresh,
    /// By pages until caught up, then again.
    CatchUp,
    /// On another rung, at once.
    Move,
    /// For good.
    End(ClientError),
    /// Nobody listens: quietly.
    Leave,
}

impl Loss {
    /// What follows. `is_known` says whether this server has ever answered in Tidewire's protocol:
    /// a stranger's 404 is a wrong address at first, and a proxy's bad moment later.
    pub(crate) fn verdict(&self, is_known: bool) -> Verdict {
        match self {
            Self::Dropped => Verdict::Leave,
            Self::Stop => Verdict::End(ClientError::Stopped),
            Self::TooLarge(what) => Verdict::End(ClientError::TooLarge(what.clone())),
            Self::Disorder(disorder) => Verdict::End(ClientError::Disorder(disorder.clone())),
            Self::Apart => Verdict::CatchUp,
            Self::Refused(refusal) => match refusal.next {
                Next::GiveUp => Verdict::End(ClientError::Refused(refusal.clone())),
                Next::RefreshToken => Verdict::Refresh,
                Next::Retry | Next::Resume => {
                    Verdict::Again(refusal.retry_after.map(Told::Everybody))
                }
            },
            Self::Foreign { status, what } if !is_known && !is_passing(*status) => {
                Verdict::End(ClientError::Foreign(what.clone()))
            }
            _ => Verdict::Again(None),
        }
    }

    /// For an attempt that did not open: may the path be what blocks this rung?
    pub(crate) fn may_be_the_path(&self) -> bool {
        matches!(
            self,
            Self::NotOpened(_)
                | Self::Foreign { .. }
                | Self::Garbled(_)
                | Self::Ended
                | Self::Broken(_)
        )
    }
}

/// Does a status without Tidewire's error body pass by itself?
pub(crate) fn is_passing(status: u16) -> bool {
    status >= 500 || matches!(status, 408 | 425 | 429)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(next: Next) -> Refusal {
        Refusal {
            code: "busy".to_owned(),
            message: "later".to_owned(),
            next,
            status: Some(503),
            retry_after: Some(Duration::from_secs(3)),
        }
    }

    #[test]
    fn the_server_decides_what_is_final() {
        let told = Verdict::Again(Some(Told::Everybody(Duration::from_secs(3))));
        for next in [Next::Retry, Next::Resume] {
            assert_eq!(Loss::Refused(refusal(next)).verdict(true), told);
        }
        let refresh = Loss::Refused(refusal(Next::RefreshToken));
        assert_eq!(refresh.verdict(true), Verdict::Refresh);
        let end = Loss::Refused(refusal(Next::GiveUp)).verdict(true);
        assert!(matches!(end, Verdict::End(ClientError::Refused(_))));
        assert_eq!(Loss::Stop.verdict(true), Verdict::End(ClientError::Stopped));
    }

    #[test]
    fn the_network_decides_nothing() {
        for loss in [
            Loss::Ended,
            Loss::Broken(String::new()),
            Loss::Silent(Duration::ZERO),
            Loss::NotOpened(Duration::ZERO),
            Loss::Unreachable(String::new()),
            Loss::Overloaded,
            Loss::Garbled(String::new()),
            Loss::Token(String::new()),
        ] {
            assert_eq!(loss.verdict(false), Verdict::Again(None), "{loss:?}");
        }
    }

    #[test]
    fn a_stranger_is_a_wrong_address_once_and_a_bad_moment_later() {
        let stranger = |status| Loss::Foreign { status, what: String::new() };
        assert!(matches!(stranger(404).verdict(false), Verdict::End(ClientError::Foreign(_))));
        assert_eq!(stranger(404).verdict(true), Verdict::Again(None));
        assert_eq!(stranger(502).verdict(false), Verdict::Again(None));
        assert_eq!(stranger(429).verdict(false), Verdict::Again(None));
    }
}

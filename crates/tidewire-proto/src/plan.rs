//! The plan: three answers → a transport and the reason. A pure function, read by the config, the
//! command line, `GET /v1/plan`, the inspector and the docs alike.
//!
//! Knows nothing of history, of paths or of any one client. Invariant: every answer has a decision;
//! an override always wins and always says so. No override contradicts the answers: where the
//! transport cannot carry what a client sends, the client publishes over HTTP.

/// The three answers about a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Answers {
    /// 1. Does the client send on this connection?
    pub client_sends: bool,
    /// 2. Is the data binary?
    pub binary: bool,
    /// 3. Are there proxies you don't control?
    pub proxies: Proxies,
}

/// The answer to the third question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Proxies {
    /// Find out, path by path: SSE, and clients whose path is buffered move to WebSocket.
    #[default]
    Detect,
    /// Yes: do not rely on SSE.
    Yes,
    /// No: SSE will get through.
    No,
}

impl Proxies {
    /// All answers, in the order in which the docs list them.
    pub const ALL: [Self; 3] = [Self::Detect, Self::Yes, Self::No];

    /// The word in the config and on the wire: `detect`, `true` or `false`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Yes => "true",
            Self::No => "false",
        }
    }

    /// Reads the word; nothing if it is another.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|answer| answer.as_str() == word)
    }
}

/// A transport, as an app's feature sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Server-Sent Events.
    Sse,
    /// WebSocket.
    Ws,
    /// Long-poll: the last rung for a client whose path blocks both.
    Poll,
}

impl Transport {
    /// All transports, from the first rung of the ladder to the last.
    pub const ALL: [Self; 3] = [Self::Sse, Self::Ws, Self::Poll];

    /// Reads the word; nothing if it is another.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.as_str() == word)
    }

    /// The name that a person reads.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sse => "Server-Sent Events",
            Self::Ws => "WebSocket",
            Self::Poll => "long-poll",
        }
    }

    /// The word in the config and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::Ws => "ws",
            Self::Poll => "poll",
        }
    }
}

/// What the plan chose for a feature, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The transport.
    pub transport: Transport,
    /// Which rule chose it.
    pub reason: Reason,
}

/// The rule that chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The operator said so in the config.
    Override,
    /// Question 1: the client sends.
    ClientSends,
    /// Question 2: the data is binary.
    Binary,
    /// Question 3: proxies you do not control.
    Proxies,
    /// Nothing asks for more, and paths are watched.
    ServerPushes,
    /// Nothing asks for more, and the paths are known to be clear.
    ClearPath,
}

impl Reason {
    /// The word on the wire, for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::ClientSends => "client_sends",
            Self::Binary => "binary",
            Self::Proxies => "proxies",
            Self::ServerPushes => "server_pushes",
            Self::ClearPath => "clear_path",
        }
    }

    /// The sentence that a person reads, to stand after "because". No capital, no full stop.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Override => "the operator chose it in the config, whatever the answers say",
            Self::ClientSends => "the client sends on this connection (question 1)",
            Self::Binary => "the data is binary (question 2)",
            Self::Proxies => "there are proxies you don't control (question 3)",
            Self::ServerPushes => {
                "only the server sends, and it sends text; a client whose path is found to be \
                 buffered moves to WebSocket (question 3: detect)"
            }
            Self::ClearPath => {
                "only the server sends, it sends text, and no proxy you don't control stands in \
                 between (question 3)"
            }
        }
    }
}

/// Chooses a transport. Yes to 1, 2 or 3 → WebSocket; else SSE; an override wins and says so.
#[must_use]
pub fn plan(answers: &Answers, transport: Option<Transport>) -> Decision {
    let (chosen, reason) = match answers {
        Answers { client_sends: true, .. } => (Transport::Ws, Reason::ClientSends),
        Answers { binary: true, .. } => (Transport::Ws, Reason::Binary),
        Answers { proxies: Proxies::Yes, .. } => (Transport::Ws, Reason::Proxies),
        Answers { proxies: Proxies::No, .. } => (Transport::Sse, Reason::ClearPath),
        Answers { proxies: Proxies::Detect, .. } => (Transport::Sse, Reason::ServerPushes),
    };
    match transport {
        Some(transport) => Decision { transport, reason: Reason::Override },
        None => Decision { transport: chosen, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::{Proxies::*, Reason as R, Transport::*, *};

    /// client_sends, binary, proxies → transport, reason: every combination, written out.
    const PLAN: [(bool, bool, Proxies, Transport, Reason); 12] = [
        (false, false, Detect, Sse, R::ServerPushes),
        (false, false, Yes, Ws, R::Proxies),
        (false, false, No, Sse, R::ClearPath),
        (false, true, Detect, Ws, R::Binary),
        (false, true, Yes, Ws, R::Binary),
        (false, true, No, Ws, R::Binary),
        (true, false, Detect, Ws, R::ClientSends),
        (true, false, Yes, Ws, R::ClientSends),
        (true, false, No, Ws, R::ClientSends),
        (true, true, Detect, Ws, R::ClientSends),
        (true, true, Yes, Ws, R::ClientSends),
        (true, true, No, Ws, R::ClientSends),
    ];

    #[test]
    fn every_combination_of_answers_has_its_transport_and_reason() {
        for (client_sends, binary, proxies, transport, reason) in PLAN {
            let answers = Answers { client_sends, binary, proxies };
            assert_eq!(plan(&answers, None), Decision { transport, reason }, "{answers:?}");
        }
    }

    #[test]
    fn an_override_wins_over_every_combination_and_says_so() {
        for (client_sends, binary, proxies, ..) in PLAN {
            let answers = Answers { client_sends, binary, proxies };
            for transport in [Sse, Ws, Poll] {
                let decision = Decision { transport, reason: R::Override };
                assert_eq!(plan(&answers, Some(transport)), decision, "{answers:?}");
            }
        }
    }

    #[test]
    fn the_table_has_every_combination_once() {
        let mut seen = std::collections::HashSet::new();
        for (client_sends, binary, proxies, ..) in PLAN {
            assert!(seen.insert((client_sends, binary, proxies)));
        }
        assert_eq!(seen.len(), 2 * 2 * Proxies::ALL.len());
    }

    #[test]
    fn words_are_read_back() {
        for transport in Transport::ALL {
            assert_eq!(Transport::parse(transport.as_str()), Some(transport));
        }
        for proxies in Proxies::ALL {
            assert_eq!(Proxies::parse(proxies.as_str()), Some(proxies));
        }
        assert_eq!(Transport::parse("SSE"), None);
        assert_eq!(Proxies::parse("maybe"), None);
    }

    #[test]
    fn every_reason_has_its_own_word_and_sentence() {
        let all =
            [R::Override, R::ClientSends, R::Binary, R::Proxies, R::ServerPushes, R::ClearPath];
        let words: std::collections::HashSet<_> = all.map(R::as_str).into_iter().collect();
        let sentences: std::collections::HashSet<_> = all.map(R::sentence).into_iter().collect();
        assert_eq!((words.len(), sentences.len()), (all.len(), all.len()));
        assert_eq!(R::ClientSends.sentence(), "the client sends on this connection (question 1)");
    }
}

//! The plan: three answers → a transport and the reason. A pure function, read by the config, the
//! command line, `GET /v1/plan`, the inspector and the docs alike.

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

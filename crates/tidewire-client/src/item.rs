//! What a subscriber hears: entries, continuity, and how the connection is doing.
//!
//! The same on every rung. Knows nothing of wires.

use std::{fmt, time::Duration};

use tidewire_proto::{Cursor, Data, EventType, Gap, Topic, plan::Transport};

/// Something that a [`Subscription`](crate::Subscription) yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An entry, in log order, once.
    Entry(Delivery),
    /// What is known of the seam between what was yielded before and what follows. Comes before the
    /// first entry of every connection, and whenever continuity ends.
    Continuity(Continuity),
    /// Everything that was there is yielded; what follows is new. Once per connection. An event
    /// stream says so with its first beat at the latest.
    Live,
    /// The connection changed. For people to read; nothing depends on it.
    Status(Status),
}

/// An entry as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Where it was published.
    pub topic: Topic,
    /// What happened.
    pub event: EventType,
    /// Which thing this is the newest value of, if it names one.
    pub item: Option<tidewire_proto::Item>,
    /// Its place, to resume after. Nothing for an ephemeral entry.
    pub id: Option<Cursor>,
    /// The payload, as published.
    pub data: Data,
}

/// What is known of a seam.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continuity {
    /// It begins here: no cursor was given.
    New,
    /// Nothing was missed, and the server has proved it.
    Resumed,
    /// Something may have been missed, and this is why.
    Gap {
        /// The reason and the places.
        gap: Gap,
        /// The topic it concerns; nothing when it concerns them all.
        topic: Option<Topic>,
    },
}

/// How the connection is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// An attempt begins.
    Connecting {
        /// On which rung.
        rung: Rung,
    },
    /// The server has answered; continuity follows.
    Connected {
        /// On which rung.
        rung: Rung,
        /// The connection's name at the server, where it has one.
        connection: Option<String>,
    },
    /// The next attempt goes another way: the path or the plan asks for it. The cursor goes along.
    Moved {
        /// The rung until now.
        from: Rung,
        /// The rung from now on.
        to: Rung,
        /// The reason, as a sentence.
        why: String,
    },
    /// The connection is gone or did not come about; the next attempt comes after a while.
    Waiting {
        /// What happened, as a sentence.
        why: String,
        /// How long until the next attempt.
        wait: Duration,
    },
}

/// A transport, or the wish that the server's plan chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rung {
    /// An event stream.
    Sse,
    /// A WebSocket.
    Ws,
    /// Long-poll.
    Poll,
    /// What `/v1/plan` says, and the next rung down where the path does not let that one through or
    /// holds it back: after `Sse` comes `Ws`, after `Ws` comes `Sse`, and last `Poll`, unless a topic is
    /// not kept.
    #[default]
    Auto,
}

impl Rung {
    /// The word on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::Ws => "ws",
            Self::Poll => "poll",
            Self::Auto => "auto",
        }
    }
}

impl From<Transport> for Rung {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Sse => Self::Sse,
            Transport::Ws => Self::Ws,
            Transport::Poll => Self::Poll,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! [`Talk`]: what is asked and answered on one socket, from its greeting on.
//!
//! Knows no frames and no handshake. Invariant: nothing is yielded before every topic is answered,
//! because continuity is said first and for all of them.

use tidewire_proto::{After, Cursor};

use super::Socket;
use crate::{
    attempt::Attempt,
    item::{Continuity, Delivery},
    loss::Loss,
    weave::{Apart, Weave},
    wire::{self, Said},
};

/// Most bytes of entries that wait for a topic that lags behind.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What was asked and answered on one socket.
pub(super) struct Talk {
    weave: Weave,
    asked: Vec<After>,
    answers: Vec<Option<(Continuity, Option<Cursor>)>>,
    connection: Option<String>,
}

impl Talk {
    pub(super) fn new(topics: usize) -> Self {
        Self {
            weave: Weave::new(topics, HELD_BYTES_MAX),
            asked: Vec::new(),
            answers: vec![None; topics],
            connection: None,
        }
    }

    pub(super) async fn heard(
        &mut self,
        attempt: &mut Attempt<'_>,
        socket: &mut Socket,
        said: Said,
    ) -> Result<(), Loss> {
        match said {
            Said::Hello(hello) => {
                attempt.beats_every(hello.beat);
                attempt.slot(hello.retry);
                self.connection = hello.connection;
                return self.subscribe(attempt, socket).await;
            }
            Said::Subscribed { reference, continuity, at } => {
                self.answered(attempt, reference, continuity, at).await?;
            }
            Said::Refused { reference: _, refusal } => return Err(Loss::Refused(refusal)),
            Said::Bye(refusal) => {
                attempt.slot(refusal.retry_after);
                return Err(Loss::Refused(refusal));
            }
            Said::Gap { gap, topic } => {
                if let Some(lane) = topic.as_ref().and_then(|topic| attempt.walk.index_of(topic)) {
                    self.weave.through(lane, Some(gap.oldest));
                }
                attempt.gap(gap, topic).await?;
            }
            Said::Live { topic, at } => {
                if let Some(lane) = attempt.walk.index_of(&topic) {
                    self.weave.through(lane, at);
                    self.weave.live(lane);
                }
            }
            Said::Beat { at } => {
                // Only who is live has had everything up to the newest place.
                let at = at.filter(|_| attempt.is_open() && self.weave.all_live());
                attempt.beat(at).await?;
            }
            Said::Entry(entry) => self.entry(attempt, entry).await?,
            // The socket's loop has heard it already.
            Said::Plan(_) | Said::Unknown => {}
        }
        self.pass_on(attempt).await
    }

    /// Asks for every topic; the `ref` of a command is the topic's index.
    async fn subscribe(&mut self, attempt: &Attempt<'_>, socket: &mut Socket) -> Result<(), Loss> {
        if !self.asked.is_empty() {
            return Err(Loss::Garbled("a second greeting".to_owned()));
        }
        for (index, topic) in attempt.walk.topics().iter().enumerate() {
            let after = attempt.walk.after(index);
            self.asked.push(after);
            let after = wire::after(after);
            // No alphabet here has a character that JSON would escape.
            socket
                .say(format!(
                    "{{\"do\":\"subscribe\",\"ref\":{index},\"topic\":\"{topic}\",\"after\":\"{after}\"}}"
                ))
                .await?;
        }
        Ok(())
    }

    /// One topic is answered. When all are, continuity is said, and where everything begins.
    async fn answered(
        &mut self,
        attempt: &mut Attempt<'_>,
        reference: u64,
        continuity: Continuity,
        at: Option<Cursor>,
    ) -> Result<(), Loss> {
        let lane = usize::try_from(reference).unwrap_or(usize::MAX);
        let (Some(answer), Some(asked)) = (self.answers.get_mut(lane), self.asked.get(lane)) else {
            return Err(Loss::Garbled("an answer to a question that was not asked".to_owned()));
        };
        self.weave.through(lane, at);
        if *asked == After::Now && continuity == Continuity::New {
            self.weave.live(lane);
        }
        *answer = Some((continuity, at));
        if self.answers.iter().any(Option::is_none) {
            return Ok(());
        }
        attempt.opened(self.connection.take()).await?;
        let answers: Vec<_> = self.answers.iter_mut().filter_map(Option::take).collect();
        begin(attempt, answers).await
    }

    async fn entry(&mut self, attempt: &mut Attempt<'_>, entry: Delivery) -> Result<(), Loss> {
        let Some(lane) = attempt.walk.index_of(&entry.topic) else {
            return Err(Loss::Garbled(format!("an entry of `{}`, unasked", entry.topic)));
        };
        match entry.id {
            Some(id) => self.weave.take(lane, id, entry).map_err(|Apart| Loss::Apart),
            None if attempt.is_open() => attempt.entry_of(lane, entry).await,
            // Nobody was promised an ephemeral entry that comes before continuity is said.
            None => Ok(()),
        }
    }

    /// Passes on what need not wait any longer.
    async fn pass_on(&mut self, attempt: &mut Attempt<'_>) -> Result<(), Loss> {
        if !attempt.is_open() {
            return Ok(());
        }
        while let Some((lane, entry)) = self.weave.next() {
            attempt.entry_of(lane, entry).await?;
        }
        if self.weave.all_live() { attempt.live().await } else { Ok(()) }
    }
}

/// Says what is known of the seam, once for all topics where they agree, and moves them to where
/// they begin.
async fn begin(
    attempt: &mut Attempt<'_>,
    answers: Vec<(Continuity, Option<Cursor>)>,
) -> Result<(), Loss> {
    let earliest = answers.iter().filter_map(|(_, at)| *at).min_by_key(|at| at.sequence);
    let mut whole = Some(Continuity::New);
    for (index, (continuity, at)) in answers.into_iter().enumerate() {
        match continuity {
            Continuity::Gap { gap, .. } => {
                let topic = attempt.walk.topics().get(index).cloned();
                attempt.continuity(Continuity::Gap { gap, topic }, earliest).await?;
                whole = None;
            }
            Continuity::Resumed => whole = whole.map(|_| Continuity::Resumed),
            Continuity::New => {}
        }
        if let Some(at) = at {
            attempt.walk.move_one(index, at);
        }
    }
    match whole {
        Some(continuity) => attempt.continuity(continuity, earliest).await,
        None => Ok(()),
    }
}

//! [`Producer`]: one body that streams in, until it is over, somebody cancels, or it is lost.
//!
//! Its memory is what came together and is not stored yet; while that is stored, nothing more is read.
//!
//! Invariant: parts are published in order, and none after what ended the stream. A stream whose
//! producer will not come back is ended by somebody.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tidewire_core::{OpenGate, Peer, Session, log::Filter};
use tidewire_proto::{
    After, Code, Cursor, Data, Key, Message, Next, Topic, WireError,
    parts::{Ended, Form, Part, PartReader},
};
use tokio::time::sleep;

use super::{message, place::place, retry::Skip};
use crate::{
    app::{App, access_ended, left, reloaded, restarting},
    publish::discard,
};

/// What is read of a body while something is being stored, beyond one frame of it.
const TOGETHER_BYTES_MAX: usize = 64 * 1024;
const TOGETHER_FRAMES_MAX: usize = 1_024;

/// One request.
pub(super) struct Producer {
    app: App,
    peer: Arc<Peer>,
    topic: Topic,
    watch: Session,
    form: Form,
    reader: PartReader,
    keys: Option<String>,
    skip: Option<Skip>,
    /// Of lines and events the number of the next, of text its first byte.
    next: u64,
    parts: u64,
    id: Option<Cursor>,
    /// The newest of the stream that this producer knows of.
    newest: Option<Cursor>,
}

/// What came of it.
pub(super) struct Report {
    /// So many are stored.
    pub(super) parts: u64,
    /// The last of the stream, if it has ended; else the last that is stored.
    pub(super) id: Option<Cursor>,
    pub(super) outcome: Result<Ended, WireError>,
}

/// Why no more is read, before the stream has ended.
enum Stop {
    /// The same again may help.
    Lost(WireError),
    /// It will not.
    Wrong(WireError),
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        if error.code.next() == Next::GiveUp { Self::Wrong(error) } else { Self::Lost(error) }
    }
}

/// What came together.
#[derive(Default)]
struct Heard {
    bytes: Vec<Bytes>,
    then: Option<Then>,
}

enum Then {
    Over,
    Ended(Ended, Option<Cursor>),
    Stop(Stop),
}

/// A walk from now on that hears how the stream ends. The server's own: who produces need not be
/// allowed to read.
pub(super) async fn watch(
    app: &App,
    peer: &Arc<Peer>,
    filter: &Filter,
) -> Result<Session, WireError> {
    let mut watch = app.hub.session(Arc::new(OpenGate), Arc::clone(peer));
    watch.subscribe(filter, After::Now).await?;
    Ok(watch)
}

impl Producer {
    pub(super) fn new(
        app: App,
        peer: Arc<Peer>,
        topic: Topic,
        watch: Session,
        (form, keys, skip): (Form, Option<String>, Option<Skip>),
        newest: Option<Cursor>,
    ) -> Self {
        let reader = PartReader::new(form, app.hub.limits().message_bytes_max);
        let next = skip.as_ref().map_or(0, Skip::bytes);
        Self { app, peer, topic, watch, form, reader, keys, skip, next, parts: 0, id: None, newest }
    }

    /// Reads, and says how it ended.
    pub(super) async fn run(mut self, mut body: Body) -> Report {
        let mut heard = self.hear(&mut body).await;
        let outcome = loop {
            let (taken, meanwhile) = self.take_while_reading(heard, &mut body).await;
            match taken {
                Ok(None) => {}
                Ok(Some(ended)) => break Ok(ended),
                Err(stop) => break Err(self.stop(stop).await),
            }
            heard = if meanwhile.is_empty() {
                self.hear(&mut body).await
            } else {
                // Somebody who cancels need not wait for a pause.
                ended(&mut self.watch).now_or_never().map_or(meanwhile, Heard::only)
            };
        };
        discard(&self.app, body);
        Report { parts: self.parts, id: self.id, outcome }
    }

    /// Waits for what comes next.
    async fn hear(&mut self, body: &mut Body) -> Heard {
        let silence = self.app.hub.limits().producer_timeout;
        let (mut leaving, mut plan) = (self.app.leaving.subscribe(), self.app.plan.subscribe());
        let mut heard = Heard::default();
        tokio::select! {
            biased;
            ended = ended(&mut self.watch) => return Heard::only(ended),
            frame = body.frame() => heard.add(frame),
            () = access_ended(&self.app, &self.peer) => {
                return Heard::lost(self.app.why_ended(&self.peer));
            }
            // An API key may be gone; then the next look says so.
            () = reloaded(&mut plan) => {}
            () = left(&mut leaving) => return Heard::lost(restarting()),
            () = sleep(silence) => {
                let message = format!("no part came for {} s", silence.as_secs());
                return Heard::lost(WireError::new(Code::Timeout, message));
            }
        }
        heard
    }

    /// Publishes what was heard, and hears what comes while that is being stored: it is stored together.
    async fn take_while_reading(
        &mut self,
        heard: Heard,
        body: &mut Body,
    ) -> (Result<Option<Ended>, Stop>, Heard) {
        let mut meanwhile = Heard::default();
        let mut taken = std::pin::pin!(self.take(heard));
        loop {
            tokio::select! {
                biased;
                taken = &mut taken => return (taken, meanwhile),
                frame = body.frame(), if meanwhile.has_room() => meanwhile.add(frame),
            }
        }
    }

    /// Publishes what was heard; says how the stream ended, if it did.
    async fn take(&mut self, Heard { bytes, then }: Heard) -> Result<Option<Ended>, Stop> {
        let (mut parts, mut read) = (Vec::new(), Ok(()));
        for bytes in &bytes {
            let new = self.skip.as_mut().map_or(Ok(&bytes[..]), |skip| skip.pass(bytes));
            read = new.and_then(|new| self.reader.feed(new, &mut parts));
            if read.is_err() {
                break;
            }
        }
        let is_over = read.is_ok() && matches!(then, Some(Then::Over));
        if is_over {
            read = self.skip.as_ref().map_or(Ok(()), Skip::finish);
            let empty = PartReader::new(self.form, 0);
            let reader = std::mem::replace(&mut self.reader, empty);
            read = read.and_then(|()| reader.finish(&mut parts));
        }
        if let Some(ended) = self.publish(parts).await? {
            return Ok(Some(ended));
        }
        read?;
        match then {
            None => Ok(None),
            Some(Then::Stop(stop)) => Err(stop),
            Some(Then::Ended(ended, id)) => {
                self.id = id;
                Ok(Some(ended))
            }
            Some(Then::Over) => self.end().await.map(Some),
        }
    }

    /// Publishes parts, up to one that ends the stream.
    async fn publish(&mut self, mut parts: Vec<Part>) -> Result<Option<Ended>, Stop> {
        let last = parts.iter().position(|part| Ended::of(&part.event).is_some());
        let ended = last.and_then(|last| Ended::of(&parts.get(last)?.event));
        parts.truncate(last.map_or(parts.len(), |last| last + 1));
        let limits = self.app.hub.limits();
        let (messages_max, bytes_max) = (limits.batch_messages_max, limits.batch_bytes_max);
        let mut parts = parts.into_iter().peekable();
        while parts.peek().is_some() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some(part) = parts.next_if(|part| {
                bytes += part.data.bytes().len();
                batch.is_empty() || (batch.len() < messages_max && bytes <= bytes_max)
            }) {
                batch.push(self.message_of(part)?);
            }
            self.store(batch).await?;
        }
        Ok(ended)
    }

    fn message_of(&mut self, Part { event, data, item }: Part) -> Result<Message, WireError> {
        let key = self.key(&self.next.to_string())?;
        self.next += if self.form == Form::Text { data.bytes().len() as u64 } else { 1 };
        Ok(Message { topic: self.topic.clone(), event, data, key, item })
    }

    fn key(&self, of: &str) -> Result<Option<Key>, WireError> {
        let key = self.keys.as_ref().map(|prefix| Key::parse(&format!("{prefix}.{of}")));
        key.transpose().map_err(|error| WireError::new(Code::BadKey, error.to_string()))
    }

    async fn store(&mut self, batch: Vec<Message>) -> Result<(), WireError> {
        let published = self.app.hub.publish_batch(batch).await?;
        self.parts += published.len() as u64;
        self.id = published.last().and_then(|last| last.id);
        let ids = published.iter().filter_map(|one| one.id);
        self.newest = ids.chain(self.newest).max_by_key(|id| id.sequence);
        Ok(())
    }

    /// The body is over, and so is the stream, unless somebody was faster.
    async fn end(&mut self) -> Result<Ended, Stop> {
        if let Some(Then::Ended(ended, id)) = ended(&mut self.watch).now_or_never() {
            self.id = id;
            return Ok(ended);
        }
        let key = self.key("end")?;
        let end = message(&self.topic, Ended::End, Data::Json(Bytes::from_static(b"{}")), key)?;
        self.store(vec![end]).await?;
        Ok(Ended::End)
    }

    /// Readers are told that there will be no more: at once, or when a producer that may come back did
    /// not.
    async fn stop(&mut self, stop: Stop) -> WireError {
        let (error, may_return, why) = match stop {
            Stop::Lost(error) => (error, self.keys.is_some(), "the producer was lost"),
            Stop::Wrong(error) => (error, false, "the producer sent what is no part"),
        };
        // Somebody else's stream, maybe.
        if error.code == Code::KeyConflict {
            return error;
        }
        let fail =
            Fail { app: self.app.clone(), topic: self.topic.clone(), newest: self.newest, why };
        let permit = Arc::clone(&self.app.lingering.0).try_acquire_owned();
        match permit {
            Ok(permit) if may_return => {
                tokio::spawn(async move {
                    fail.later().await;
                    drop(permit);
                });
            }
            _ => fail.now().await,
        }
        error
    }
}

impl Heard {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.then.is_none()
    }

    fn has_room(&self) -> bool {
        let bytes: usize = self.bytes.iter().map(Bytes::len).sum();
        self.then.is_none() && bytes < TOGETHER_BYTES_MAX && self.bytes.len() < TOGETHER_FRAMES_MAX
    }

    fn add(&mut self, frame: Option<Result<Frame<Bytes>, axum::Error>>) {
        match frame {
            None => self.then = Some(Then::Over),
            Some(Err(error)) => {
                let message = format!("the body broke off: {error}");
                let lost = Stop::Lost(WireError::new(Code::BadRequest, message));
                self.then = Some(Then::Stop(lost));
            }
            // Trailers say nothing here.
            Some(Ok(frame)) => self.bytes.extend(frame.into_data().ok()),
        }
    }

    fn only(then: Then) -> Self {
        Self { bytes: Vec::new(), then: Some(then) }
    }

    fn lost(error: WireError) -> Self {
        Self::only(Then::Stop(Stop::Lost(error)))
    }
}

/// Waits until somebody ends the stream. Cancel-safe.
async fn ended(watch: &mut Session) -> Then {
    loop {
        let news = match watch.next().await {
            Ok(news) => news,
            Err(error) => return Then::Stop(Stop::from(WireError::from(error))),
        };
        let ends = |framed: &Arc<_>| {
            let framed: &tidewire_core::Framed = framed;
            Ended::of(&framed.entry().event).map(|ended| (ended, framed.id()))
        };
        if let Some((ended, id)) = news.entries.iter().find_map(ends) {
            return Then::Ended(ended, id);
        }
    }
}

/// What a lost producer leaves to be said.
struct Fail {
    app: App,
    topic: Topic,
    newest: Option<Cursor>,
    why: &'static str,
}

impl Fail {
    async fn later(self) {
        let mut leaving = self.app.leaving.subscribe();
        tokio::select! {
            () = sleep(self.app.hub.limits().producer_timeout) => self.now().await,
            () = left(&mut leaving) => {}
        }
    }

    /// Unless somebody has gone on with the stream, or has ended it.
    async fn now(&self) {
        let Ok(place) = place(&self.app, &Filter::from(self.topic.clone())).await else { return };
        if place.ended.is_some() || place.newest != self.newest {
            return;
        }
        let data = Data::Json(format!("{{\"message\":\"{}\"}}", self.why).into());
        let Ok(message) = message(&self.topic, Ended::Fail, data, None) else { return };
        if let Err(error) = self.app.hub.publish(message).await {
            tracing::warn!(topic = %self.topic, %error, "a stream whose producer was lost has no end");
        }
    }
}

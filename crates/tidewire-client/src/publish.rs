//! Publishing over HTTP: every message has a key, so every attempt can be repeated.
//!
//! Invariant: the same message goes out with the same key on every attempt, so it is stored once
//! however often it is sent; and an error says whether it may be stored.

use bytes::Bytes;
use reqwest::{
    RequestBuilder,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use tidewire_proto::{Cursor, Data, EventType, Key, Topic};
use tokio::time::{Instant, sleep};

use crate::{
    backoff::{Backoff, Told},
    client::Client,
    error::{PublishError, Refusal},
    http,
    jitter::random_key,
    loss::{Loss, Verdict},
    wire,
};

/// What to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Where it goes.
    pub topic: Topic,
    /// What happened.
    pub event: EventType,
    /// The payload.
    pub data: Data,
    /// The idempotency key; a random one if there is none.
    pub key: Option<Key>,
}

impl Publish {
    /// A message of the type `message`, without a key.
    #[must_use]
    pub fn new(topic: Topic, data: Data) -> Self {
        Self { topic, event: EventType::message(), data, key: None }
    }

    /// The same with another event type.
    #[must_use]
    pub fn event(self, event: EventType) -> Self {
        Self { event, ..self }
    }

    /// The same with a key.
    #[must_use]
    pub fn key(self, key: Key) -> Self {
        Self { key: Some(key), ..self }
    }
}

/// The log's acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its place. Nothing for an ephemeral message.
    pub id: Option<Cursor>,
    /// How safely it is kept: `fsync`, `replicas:3`, `os` or `memory`.
    pub stored: String,
    /// The key was known: this is the first answer again, and nothing was delivered twice.
    pub duplicate: bool,
}

#[derive(Deserialize)]
struct PublishedText {
    id: Option<String>,
    stored: String,
    #[serde(default)]
    duplicate: bool,
}

#[derive(Deserialize)]
struct BatchText {
    results: Vec<PublishedText>,
}

impl Client {
    /// Publishes a message, and insists for [`Timeouts::publish`](crate::Timeouts::publish).
    ///
    /// # Errors
    /// [`PublishError`]: its variants say whether the message may be stored.
    pub async fn publish(&self, message: Publish) -> Result<Published, PublishError> {
        let Publish { topic, event, data, key } = message;
        let url = self.at(&format!("/topics/{topic}"));
        let key = self.key(key);
        let request = || {
            let request = self.http().post(url.clone()).body(data.bytes().clone());
            let request = request.header(CONTENT_TYPE, content_type(&data));
            request.header("tidewire-event", event.as_str()).header("idempotency-key", &key)
        };
        let read = |body: &[u8]| published(parse(body)?);
        self.insist(request, read, &key).await
    }

    /// Publishes messages in one piece: all are stored, in this order, or none.
    ///
    /// # Errors
    /// [`PublishError`], for the whole batch.
    pub async fn publish_batch(
        &self,
        messages: Vec<Publish>,
    ) -> Result<Vec<Published>, PublishError> {
        let mut keys = Vec::with_capacity(messages.len());
        let mut body = String::from("[");
        for message in &messages {
            let key = self.key(message.key.clone());
            if !keys.is_empty() {
                body.push(',');
            }
            push_message(&mut body, message, &key);
            keys.push(key);
        }
        body.push(']');
        let Some(first_key) = keys.first() else { return Ok(Vec::new()) };
        let (url, body) = (self.at("/publish"), Bytes::from(body));
        let request = || {
            let request = self.http().post(url.clone()).body(body.clone());
            request.header(CONTENT_TYPE, "application/json")
        };
        let read = |answer: &[u8]| {
            let batch: BatchText = parse(answer)?;
            if batch.results.len() != keys.len() {
                return Err(Loss::Garbled("a batch with another number of results".to_owned()));
            }
            batch.results.into_iter().map(published).collect()
        };
        self.insist(request, read, first_key).await
    }

    fn key(&self, key: Option<Key>) -> String {
        key.map_or_else(|| random_key(&*self.options().jitter), |key| key.to_string())
    }

    /// Sends the same request until it is acknowledged, refused for good, or time is up.
    async fn insist<T>(
        &self,
        request: impl Fn() -> RequestBuilder,
        read: impl Fn(&[u8]) -> Result<T, Loss>,
        key: &str,
    ) -> Result<T, PublishError> {
        let deadline = Instant::now() + self.options().timeouts.publish;
        let mut tries = Tries::new(self, key);
        loop {
            let token = match self.token().await {
                Ok(token) => token,
                Err(loss) => return Err(PublishError::Token(loss.to_string())),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = self.options().timeouts.answer.min(left);
            let answer = async {
                let response = http::send(request(), token.as_deref(), limit).await?;
                let bytes_max = self.options().event_bytes_max;
                read(&http::body(response, bytes_max, limit).await?)
            };
            let loss = match answer.await {
                Ok(acknowledged) => return Ok(acknowledged),
                Err(loss) => loss,
            };
            let wait = tries.after(&loss, token.as_deref())?;
            if Instant::now() + wait >= deadline {
                return Err(tries.give_up(&loss));
            }
            sleep(wait).await;
        }
    }
}

/// What is known after some attempts.
struct Tries<'a> {
    client: &'a Client,
    key: &'a str,
    backoff: Backoff,
    refreshed: bool,
    // A request may have arrived whose answer did not.
    maybe_stored: bool,
}

impl<'a> Tries<'a> {
    fn new(client: &'a Client, key: &'a str) -> Self {
        let backoff = Backoff::new(client.options().backoff.clone());
        Self { client, key, backoff, refreshed: false, maybe_stored: false }
    }

    /// How long to wait before the next attempt.
    fn after(
        &mut self,
        loss: &Loss,
        token: Option<&str>,
    ) -> Result<std::time::Duration, PublishError> {
        self.maybe_stored |= may_be_stored(loss);
        let told = match loss.verdict(false) {
            Verdict::Refresh => {
                let again = self.client.keeper().refused(token);
                if !again || std::mem::replace(&mut self.refreshed, true) {
                    return Err(self.give_up(loss));
                }
                Some(Told::Slot(std::time::Duration::ZERO))
            }
            Verdict::Again(told) => told,
            Verdict::End(_) | Verdict::CatchUp | Verdict::Move | Verdict::Leave => {
                return Err(self.give_up(loss));
            }
        };
        Ok(self.backoff.delay(told, &*self.client.options().jitter))
    }

    /// The error to end with. Once a request may have been stored, nothing that a later one met can
    /// take that back.
    fn give_up(&self, loss: &Loss) -> PublishError {
        if self.maybe_stored {
            return PublishError::Unknown { why: loss.to_string(), key: self.key.to_owned() };
        }
        match loss {
            Loss::Refused(refusal) => refused(refusal.clone()),
            Loss::Foreign { what, .. } => PublishError::Foreign(what.clone()),
            Loss::Stop => PublishError::Foreign("the answer was status 204".to_owned()),
            Loss::Token(why) => PublishError::Token(why.clone()),
            Loss::Unreachable(why) => PublishError::Unreachable(why.clone()),
            other => PublishError::Unreachable(other.to_string()),
        }
    }
}

fn refused(refusal: Refusal) -> PublishError {
    match refusal.next {
        tidewire_proto::Next::GiveUp => PublishError::Refused(refusal),
        tidewire_proto::Next::RefreshToken => PublishError::Unauthorized(refusal),
        _ => PublishError::Busy(refusal),
    }
}

/// Could the request have been carried out? A server that says "later" has not; one that breaks, or
/// a proxy that speaks for it, may have.
fn may_be_stored(loss: &Loss) -> bool {
    match loss {
        Loss::Refused(refusal) => matches!(refusal.status, Some(500 | 502 | 504)),
        Loss::Foreign { status, .. } => *status >= 500 && *status != 503,
        Loss::Unreachable(_) | Loss::Token(_) | Loss::Stop => false,
        _ => true,
    }
}

fn content_type(data: &Data) -> HeaderValue {
    HeaderValue::from_static(match data {
        Data::Json(_) => "application/json",
        Data::Text(_) => "text/plain; charset=utf-8",
        Data::Binary(_) => "application/octet-stream",
    })
}

/// Appends `{"topic","event","key","data","encoding"?}`.
fn push_message(out: &mut String, message: &Publish, key: &str) {
    use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let (topic, event) = (&message.topic, &message.event);
    out.push_str(&format!("{{\"topic\":\"{topic}\",\"event\":\"{event}\",\"key\":{}", quoted(key)));
    let text = message.data.as_text().unwrap_or_default();
    match &message.data {
        Data::Json(_) => out.push_str(&format!(",\"data\":{text}}}")),
        Data::Text(_) => {
            out.push_str(&format!(",\"encoding\":\"text\",\"data\":{}}}", quoted(text)));
        }
        Data::Binary(bytes) => {
            let text = BASE64.encode(bytes);
            out.push_str(&format!(",\"encoding\":\"base64\",\"data\":\"{text}\"}}"));
        }
    }
}

fn published(text: PublishedText) -> Result<Published, Loss> {
    let id = text.id.as_deref().map(wire::cursor).transpose()?;
    Ok(Published { id, stored: text.stored, duplicate: text.duplicate })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Loss> {
    serde_json::from_slice(body).map_err(|error| Loss::Garbled(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_proto::json;

    #[test]
    fn a_batch_is_read_back_as_it_was_meant() {
        for data in [
            Data::json(&b"{\n\"a\": 1}"[..]).unwrap(),
            Data::text("say \"hi\"\n").unwrap(),
            Data::binary(&[0_u8, 255][..]),
        ] {
            let event = EventType::parse("said").unwrap();
            let message = Publish::new(Topic::parse("chat/a").unwrap(), data).event(event);
            let mut out = String::new();
            push_message(&mut out, &message, "k\"1\\");
            let read = json::parse_message(&out).unwrap();
            assert_eq!(
                (read.topic, read.event, read.data),
                (message.topic, message.event, message.data)
            );
            assert_eq!(read.key, Some(Key::parse("k\"1\\").unwrap()));
        }
    }

    #[test]
    fn only_a_definite_no_is_nothing_stored() {
        assert!(!may_be_stored(&Loss::Unreachable(String::new())));
        assert!(!may_be_stored(&wire::refusal(503, None, b"")));
        assert!(may_be_stored(&wire::refusal(502, None, b"")));
        assert!(may_be_stored(&Loss::Broken(String::new())));
        assert!(may_be_stored(&Loss::NotOpened(std::time::Duration::ZERO)));
        let busy = br#"{"error":{"code":"busy","message":"","next":"retry"}}"#;
        assert!(!may_be_stored(&wire::refusal(503, None, busy)));
        let defect = br#"{"error":{"code":"internal","message":"","next":"retry"}}"#;
        assert!(may_be_stored(&wire::refusal(500, None, defect)));
    }
}

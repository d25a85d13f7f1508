//! Entries, messages and results as JSON: the shape that WebSocket frames, pages and batches share.
//!
//! JSON payloads travel inside as they are, byte for byte; text as a string with
//! `"encoding":"text"`; binary as base64 with `"encoding":"base64"`.
//!
//! Invariant: what is written here says nothing about who receives it.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    code::{Code, WireError},
    cursor::{Cursor, Gap},
    message::{Data, Entry, EventType, Item, Key, Message},
    stored::Stored,
    topic::{PRESENCE, Topic},
};

/// Appends `"key":"value"`'s value: a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    // Writing a string into a string cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Appends `{"topic","event","item","id","data"}`. `id` is left out for an ephemeral entry, `item`
/// for one that has none.
pub fn push_entry(out: &mut String, entry: &Entry, id: Option<Cursor>) {
    push_head(out, entry, id);
    match &entry.data {
        Data::Json(_) => {
            out.push_str(",\"data\":");
            out.push_str(entry.data.as_text().unwrap_or("null"));
        }
        Data::Text(_) => {
            out.push_str(",\"encoding\":\"text\",\"data\":");
            push_string(out, entry.data.as_text().unwrap_or_default());
        }
        Data::Binary(bytes) => {
            out.push_str(",\"encoding\":\"base64\",\"data\":\"");
            BASE64.encode_string(bytes, out);
            out.push('"');
        }
    }
    out.push('}');
}

/// Appends the same without data and without the closing brace.
pub(crate) fn push_head(out: &mut String, entry: &Entry, id: Option<Cursor>) {
    out.push_str("{\"topic\":\"");
    out.push_str(entry.topic.as_str());
    out.push_str("\",\"event\":\"");
    // Neither alphabet has a character that JSON would escape.
    out.push_str(entry.event.as_str());
    out.push('"');
    if let Some(item) = &entry.item {
        out.push_str(",\"item\":");
        push_string(out, item.as_str());
    }
    if let Some(id) = id {
        out.push_str(",\"id\":\"");
        out.push_str(&id.to_string());
        out.push('"');
    }
}

/// Appends `{"reason","oldest","newest"}`, with the topic where one is meant.
pub fn push_gap(out: &mut String, gap: &Gap, topic: Option<&Topic>) {
    out.push('{');
    if let Some(topic) = topic {
        out.push_str("\"topic\":\"");
        out.push_str(topic.as_str());
        out.push_str("\",");
    }
    out.push_str("\"reason\":\"");
    out.push_str(gap.reason.as_str());
    out.push_str("\",\"oldest\":\"");
    out.push_str(&gap.oldest.to_string());
    out.push_str("\",\"newest\":\"");
    out.push_str(&gap.newest.to_string());
    out.push_str("\"}");
}

/// Appends `{"code","message","next"}`.
pub fn push_error(out: &mut String, error: &WireError) {
    out.push_str("{\"code\":\"");
    out.push_str(error.code.as_str());
    out.push_str("\",\"message\":");
    push_string(out, &error.message);
    out.push_str(",\"next\":\"");
    out.push_str(error.code.next().as_str());
    out.push_str("\"}");
}

/// Appends `{"id","stored"}`, with `"duplicate":true` for a retry. An ephemeral entry has no id.
pub fn push_published(out: &mut String, id: Option<Cursor>, stored: Stored, duplicate: bool) {
    out.push_str("{\"id\":");
    match id {
        Some(id) => push_string(out, &id.to_string()),
        None => out.push_str("null"),
    }
    out.push_str(",\"stored\":\"");
    out.push_str(&stored.to_string());
    out.push('"');
    if duplicate {
        out.push_str(",\"duplicate\":true");
    }
    out.push('}');
}

/// What a subscriber is told about the seam between what it has and what will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// No cursor was given: it begins here.
    New,
    /// Nothing was missed, and that is proved.
    Resumed,
    /// It cannot be proved, and this is why.
    Gap(Gap),
}

/// Appends `"continuity":"…"`, with `"gap":{…}` where there is one.
pub fn push_continuity(out: &mut String, continuity: &Continuity) {
    out.push_str("\"continuity\":");
    match continuity {
        Continuity::New => out.push_str("\"new\""),
        Continuity::Resumed => out.push_str("\"resumed\""),
        Continuity::Gap(gap) => {
            out.push_str("\"gap\",\"gap\":");
            push_gap(out, gap, None);
        }
    }
}

/// A message as JSON says it: `{"topic","event","data","key","item","encoding"}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageText<'a> {
    /// Where it goes.
    pub topic: String,
    /// `message` if left out.
    pub event: Option<String>,
    /// Any JSON value; a string with an `encoding`.
    #[serde(borrow, default, deserialize_with = "present")]
    pub data: Option<&'a RawValue>,
    /// `json` if left out; `text` or `base64`.
    pub encoding: Option<String>,
    /// Idempotency key.
    pub key: Option<String>,
    /// Which thing this is the newest value of.
    pub item: Option<String>,
}

/// A field that is there, be it `null`: serde would make nothing of a `null` otherwise.
pub(crate) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl MessageText<'_> {
    /// The message, checked.
    ///
    /// # Errors
    /// `bad_topic`, `bad_event`, `bad_key`, `bad_item`, `bad_json` or `bad_request`.
    pub fn settle(self) -> Result<Message, WireError> {
        let data = self.data.ok_or_else(|| {
            WireError::new(
                Code::BadRequest,
                "a message has `data`: any JSON value, `null` included",
            )
        })?;
        let data = data_of(data.get(), self.encoding.as_deref())?;
        let (key, item) = (self.key.as_deref(), self.item.as_deref());
        message_of(&self.topic, self.event.as_deref(), data, key, item)
    }
}

/// Parses one JSON object as a message.
///
/// # Errors
/// As [`MessageText::settle`], and `bad_json` for anything that is not such an object.
pub fn parse_message(text: &str) -> Result<Message, WireError> {
    serde_json::from_str::<MessageText<'_>>(text).map_err(|error| bad_json(&error))?.settle()
}

/// Parses a JSON array of messages, or one message a line (NDJSON, blank lines passed over).
///
/// # Errors
/// As [`parse_message`]; the sentence names the message, from 0. More than `messages_max` messages
/// are `too_large`.
pub fn parse_batch(text: &str, messages_max: usize) -> Result<Vec<Message>, WireError> {
    let parts: Vec<&str> = if text.trim_start().starts_with('[') {
        let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| bad_json(&error))?;
        parts.into_iter().map(RawValue::get).collect()
    } else {
        text.lines().filter(|line| !line.trim().is_empty()).collect()
    };
    if parts.len() > messages_max {
        let message =
            format!("a batch has at most {messages_max} messages, this one has {}", parts.len());
        return Err(WireError::new(Code::TooLarge, message));
    }
    let located = |(index, part): (usize, &&str)| {
        parse_message(part).map_err(|error| {
            WireError::new(error.code, format!("message {index}: {}", error.message))
        })
    };
    parts.iter().enumerate().map(located).collect()
}

/// A message from its checked parts.
///
/// # Errors
/// `bad_topic` (also for one of the server's own), `bad_event` (also for a reserved type), `bad_key` or `bad_item`.
pub fn message_of(
    topic: &str,
    event: Option<&str>,
    data: Data,
    key: Option<&str>,
    item: Option<&str>,
) -> Result<Message, WireError> {
    let bad_event = |message: String| WireError::new(Code::BadEvent, message);
    let event = match event {
        None => EventType::message(),
        Some(text) => EventType::parse(text).map_err(|error| bad_event(error.to_string()))?,
    };
    if event.is_reserved() {
        let message =
            "event types `tidewire.*`, `open` and `error` are not for publishers: choose another";
        return Err(bad_event(message.to_owned()));
    }
    let key = key
        .map(Key::parse)
        .transpose()
        .map_err(|error| WireError::new(Code::BadKey, error.to_string()))?;
    let item = item
        .map(Item::parse)
        .transpose()
        .map_err(|error| WireError::new(Code::BadItem, error.to_string()))?;
    let topic = topic_of(topic)?;
    if topic.is_reserved() {
        let message = format!("`{topic}` is the server's own: nobody else publishes there");
        return Err(WireError::new(Code::BadTopic, message));
    }
    Ok(Message { topic, event, data, key, item })
}

/// A topic from text.
///
/// # Errors
/// `bad_topic`, with the rule that it breaks.
pub fn topic_of(text: &str) -> Result<Topic, WireError> {
    Topic::parse(text).map_err(|error| WireError::new(Code::BadTopic, error.to_string()))
}

/// A topic that a peer wants to read, from text.
///
/// # Errors
/// `bad_topic`, also for one of the server's own: of those, only where members come and go may be read.
pub fn read_topic_of(text: &str) -> Result<Topic, WireError> {
    let topic = topic_of(text)?;
    if topic.is_reserved() && topic.about(PRESENCE).is_none() {
        let message = format!("`{topic}` is the server's own: nobody else reads it");
        return Err(WireError::new(Code::BadTopic, message));
    }
    Ok(topic)
}

fn data_of(raw: &str, encoding: Option<&str>) -> Result<Data, WireError> {
    let bad_json = |message: &str| WireError::new(Code::BadJson, message);
    let string = || {
        serde_json::from_str::<String>(raw)
            .map_err(|_| bad_json("with an `encoding`, `data` is a string"))
    };
    match encoding {
        None | Some("json") => {
            let data = Data::json(raw.to_owned());
            data.map_err(|error| WireError::new(Code::BadJson, error.to_string()))
        }
        Some("text") => Ok(Data::Text(string()?.into())),
        Some("base64") => {
            let bytes = BASE64
                .decode(string()?)
                .map_err(|_| bad_json("`data` is not base64 (RFC 4648 §4)"))?;
            Ok(Data::binary(bytes))
        }
        Some(_) => Err(bad_json("`encoding` is json, text or base64")),
    }
}

pub(crate) fn bad_json(error: &serde_json::Error) -> WireError {
    WireError::new(Code::BadJson, error.to_string())
}

/// Decodes the payload of a received object: the inverse of what [`push_entry`] wrote.
///
/// # Errors
/// `bad_json` when the encoding is unknown or the data does not fit it.
pub fn parse_data(raw: &str, encoding: Option<&str>) -> Result<Data, WireError> {
    data_of(raw, encoding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::{Epoch, Sequence};

    fn entry(data: Data) -> Entry {
        Entry {
            sequence: Sequence(1),
            topic: Topic::parse("chat/general").unwrap(),
            event: EventType::message(),
            data,
            at_ms: 0,
            item: None,
        }
    }

    #[test]
    fn an_entry_is_an_object_whatever_its_data() {
        let id = Some(Cursor { epoch: Epoch(5), sequence: Sequence(1) });
        for (data, expected) in [
            (
                Data::json(&b"{ \"a\":\n1 }"[..]).unwrap(),
                "{\"topic\":\"chat/general\",\"event\":\"message\",\"id\":\"5.1\",\"data\":{ \"a\":\n1 }}",
            ),
            (
                Data::text("say \"hi\"\n").unwrap(),
                r#"{"topic":"chat/general","event":"message","id":"5.1","encoding":"text","data":"say \"hi\"\n"}"#,
            ),
            (
                Data::binary(&[0_u8, 255][..]),
                r#"{"topic":"chat/general","event":"message","id":"5.1","encoding":"base64","data":"AP8="}"#,
            ),
        ] {
            let mut out = String::new();
            push_entry(&mut out, &entry(data), id);
            assert_eq!(out, expected);
            assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
        }
    }

    #[test]
    fn messages_are_checked_part_by_part() {
        for (text, code) in [
            ("{", Code::BadJson),
            ("[]", Code::BadJson),
            (r#"{"topic":"a"}"#, Code::BadRequest),
            (r#"{"topic":"a b","data":1}"#, Code::BadTopic),
            (r#"{"topic":"a","data":1,"event":"x\ny"}"#, Code::BadEvent),
            (r#"{"topic":"a","data":1,"event":"tidewire.gap"}"#, Code::BadEvent),
            (r#"{"topic":"a","data":1,"key":""}"#, Code::BadKey),
            (r#"{"topic":"a","data":1,"encoding":"base64"}"#, Code::BadJson),
            (r#"{"topic":"a","data":"!","encoding":"base64"}"#, Code::BadJson),
            (r#"{"topic":"a","data":1,"surprise":2}"#, Code::BadJson),
        ] {
            assert_eq!(parse_message(text).map_err(|error| error.code), Err(code), "{text}");
        }
        let message =
            parse_message(r#"{"topic":"a","data":[1, 2],"event":"e","key":"k"}"#).unwrap();
        assert_eq!(message.data, Data::Json("[1, 2]".into()));
        let message = parse_message(r#"{"topic":"a","data":null}"#).unwrap();
        assert_eq!(message.data, Data::Json("null".into()), "null is a value");
        let message = parse_message(r#"{"topic":"a","data":"AP8=","encoding":"base64"}"#).unwrap();
        assert_eq!(message.data, Data::binary(&[0_u8, 255][..]));
    }

    #[test]
    fn a_batch_is_an_array_or_lines() {
        let one = r#"{"topic":"a","data":1}"#;
        assert_eq!(parse_batch(&format!("[{one},{one}]"), 2).unwrap().len(), 2);
        assert_eq!(parse_batch(&format!("{one}\n\n{one}\r\n"), 2).unwrap().len(), 2);
        assert_eq!(parse_batch("", 2).unwrap().len(), 0);
        assert_eq!(parse_batch(&format!("[{one},{one}]"), 1).unwrap_err().code, Code::TooLarge);
        let error = parse_batch(&format!("{one}\n{{\"topic\":\"\",\"data\":1}}"), 9).unwrap_err();
        assert!(error.message.starts_with("message 1:"), "{error}");
    }
}

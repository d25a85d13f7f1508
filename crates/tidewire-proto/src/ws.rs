//! The WebSocket wire (`tidewire.v1`): what a client may say, what the server says, as messages.
//!
//! Text messages are JSON. A binary message is a two-byte big-endian header length, a JSON header
//! and the bytes. RFC 6455 framing is [`frame`](crate::frame)'s business, not this module's.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    code::{Code, WireError},
    cursor::{After, Cursor, Gap},
    json::{self, Continuity, MessageText},
    message::{Data, Entry, Message},
    presence::{Announcement, AnnouncementText},
    topic::Topic,
};

/// The subprotocol that a client asks for.
pub const SUBPROTOCOL: &str = "tidewire.v1";

/// A command and the client's name for it; the answer carries the same `ref`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The client's `ref`, as JSON text: `null` if it gave none.
    pub reference: String,
    /// What it wants.
    pub command: Command,
}

/// What a client may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start reading a topic.
    Subscribe {
        /// Which.
        topic: Topic,
        /// From where, if it says so.
        after: Option<After>,
    },
    /// Stop reading a topic.
    Unsubscribe {
        /// Which.
        topic: Topic,
    },
    /// Publish a message.
    Publish(Box<Message>),
    /// Go on with a new token.
    Token {
        /// The token.
        token: String,
    },
    /// Say who is here.
    Members {
        /// In which topic.
        topic: Topic,
    },
    /// Say where a member is, and where it is no more.
    Announce(Box<Announcement>),
    /// Is the server there? A page can not send the pings of RFC 6455.
    Ping,
}

#[derive(Deserialize)]
struct CommandText<'a> {
    #[serde(rename = "do")]
    verb: Option<String>,
    #[serde(rename = "ref", borrow)]
    reference: Option<&'a RawValue>,
    topic: Option<String>,
    after: Option<String>,
    event: Option<String>,
    #[serde(borrow, default, deserialize_with = "json::present")]
    data: Option<&'a RawValue>,
    encoding: Option<String>,
    key: Option<String>,
    item: Option<String>,
    token: Option<String>,
    member: Option<String>,
    // Looked at by the command that has them: another's may be anything.
    #[serde(borrow)]
    here: Option<&'a RawValue>,
    #[serde(borrow)]
    gone: Option<&'a RawValue>,
}

/// A command that could not be understood, with the `ref` to answer under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    /// The client's `ref`, `null` if it could not be read.
    pub reference: String,
    /// What is wrong.
    pub error: WireError,
}

/// Parses a text message.
///
/// # Errors
/// [`RequestError`]; the socket stays open.
pub fn parse_text(text: &str) -> Result<Request, RequestError> {
    parse_command(text, None)
}

/// Parses a binary message: a `publish` whose data are the bytes after the header.
///
/// # Errors
/// [`RequestError`]; the socket stays open.
pub fn parse_binary(message: &Bytes) -> Result<Request, RequestError> {
    let short = || RequestError {
        reference: "null".to_owned(),
        error: WireError::new(
            Code::BadRequest,
            "a binary message is a two-byte header length, a JSON header and the bytes",
        ),
    };
    let (length, _) = message.split_first_chunk::<2>().ok_or_else(short)?;
    let end = 2 + usize::from(u16::from_be_bytes(*length));
    let header = message.get(2..end).ok_or_else(short)?;
    let header = std::str::from_utf8(header).map_err(|_| RequestError {
        reference: "null".to_owned(),
        error: WireError::new(Code::BadUtf8, "the header of a binary message is JSON in UTF-8"),
    })?;
    parse_command(header, Some(message.slice(end..)))
}

fn parse_command(text: &str, binary: Option<Bytes>) -> Result<Request, RequestError> {
    let parts: CommandText<'_> = serde_json::from_str(text).map_err(|error| RequestError {
        reference: reference_of(text),
        error: json::bad_json(&error),
    })?;
    let reference = parts.reference.map_or("null", RawValue::get).to_owned();
    match command_of(parts, binary) {
        Ok(command) => Ok(Request { reference, command }),
        Err(error) => Err(RequestError { reference, error }),
    }
}

/// The `ref` of a command whose other fields are not of their form.
fn reference_of(text: &str) -> String {
    #[derive(Deserialize)]
    struct OnlyReference<'a> {
        #[serde(rename = "ref", borrow)]
        reference: Option<&'a RawValue>,
    }
    let parsed = serde_json::from_str::<OnlyReference<'_>>(text);
    parsed.ok().and_then(|only| only.reference).map_or("null", RawValue::get).to_owned()
}

fn command_of(parts: CommandText<'_>, binary: Option<Bytes>) -> Result<Command, WireError> {
    let verb = parts.verb.as_deref().unwrap_or_default();
    if binary.is_some() && verb != "publish" {
        return Err(WireError::new(Code::BadRequest, "a binary message can only `publish`"));
    }
    let topic = || match &parts.topic {
        Some(topic) => json::read_topic_of(topic),
        None => Err(WireError::new(Code::BadRequest, "the command needs a `topic`")),
    };
    match verb {
        "subscribe" => {
            let after = parts.after.as_deref().map(After::parse).transpose();
            let after =
                after.map_err(|error| WireError::new(Code::BadCursor, error.to_string()))?;
            Ok(Command::Subscribe { topic: topic()?, after })
        }
        "unsubscribe" => Ok(Command::Unsubscribe { topic: topic()? }),
        "publish" => {
            let message = match binary {
                Some(bytes) => json::message_of(
                    topic()?.as_str(),
                    parts.event.as_deref(),
                    Data::Binary(bytes),
                    parts.key.as_deref(),
                    parts.item.as_deref(),
                )?,
                None => {
                    let topic = topic()?.to_string();
                    let CommandText { event, data, encoding, key, item, .. } = parts;
                    MessageText { topic, event, data, encoding, key, item }.settle()?
                }
            };
            Ok(Command::Publish(Box::new(message)))
        }
        "token" => match parts.token {
            Some(token) => Ok(Command::Token { token }),
            None => Err(WireError::new(Code::BadRequest, "the command needs a `token`")),
        },
        "presence" => match (&parts.topic, &parts.member) {
            (Some(_), None) => Ok(Command::Members { topic: topic()? }),
            (None, _) => announcement(parts).map(|said| Command::Announce(Box::new(said))),
            (Some(_), Some(_)) => {
                let message = "`presence` has a `topic`, to ask who is here, or a `member`, to say \
                               where it is: topics stand in `here` and `gone` then";
                Err(WireError::new(Code::BadRequest, message))
            }
        },
        "ping" => Ok(Command::Ping),
        "" => Err(WireError::new(Code::BadRequest, "a command has a `do`")),
        _ => Err(WireError::new(
            Code::UnknownCommand,
            "the socket knows `subscribe`, `unsubscribe`, `publish`, `presence`, `token` and `ping`",
        )),
    }
}

fn announcement(parts: CommandText<'_>) -> Result<Announcement, WireError> {
    fn part<'a, T: Deserialize<'a> + Default>(text: Option<&'a RawValue>) -> Result<T, WireError> {
        let parsed = text.map(|text| serde_json::from_str(text.get())).transpose();
        Ok(parsed.map_err(|error| json::bad_json(&error))?.unwrap_or_default())
    }
    let (here, gone) = (part(parts.here)?, part(parts.gone)?);
    AnnouncementText { member: parts.member, here, gone }.settle()
}

/// An entry as one message: JSON text, or for binary data the binary form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
}

/// An entry as a message. Says nothing about who receives it.
#[must_use]
pub fn entry_message(entry: &Entry, id: Option<Cursor>) -> Delivery {
    let mut out = String::with_capacity(entry.data.bytes().len() + 128);
    let Data::Binary(bytes) = &entry.data else {
        json::push_entry(&mut out, entry, id);
        return Delivery::Text(out);
    };
    json::push_head(&mut out, entry, id);
    out.push('}');
    Delivery::Binary(with_header(&out, bytes))
}

/// The binary form: header length, header, bytes. The header is at most 64 KiB − 1.
#[must_use]
pub fn with_header(header: &str, bytes: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(2 + header.len() + bytes.len());
    // Topic, event, id and key are all bounded far below 64 KiB.
    message.put_u16(u16::try_from(header.len()).unwrap_or(u16::MAX));
    message.put_slice(header.as_bytes());
    message.put_slice(bytes);
    message.freeze()
}

/// `{"ref":…,"ok":{…}}`: the answer to a command; `body` is the JSON inside.
#[must_use]
pub fn ok(reference: &str, body: &str) -> String {
    format!("{{\"ref\":{reference},\"ok\":{body}}}")
}

/// `{"ref":…,"error":{…}}`.
#[must_use]
pub fn error(reference: &str, error: &WireError) -> String {
    let mut out = format!("{{\"ref\":{reference},\"error\":");
    json::push_error(&mut out, error);
    out.push('}');
    out
}

/// The answer to `subscribe`: continuity first.
#[must_use]
pub fn subscribed(topic: &Topic, continuity: &Continuity, at: Option<Cursor>) -> String {
    let mut out = format!("{{\"topic\":\"{topic}\",");
    json::push_continuity(&mut out, continuity);
    if let Some(at) = at {
        out.push_str(&format!(",\"at\":\"{at}\""));
    }
    out.push('}');
    out
}

/// `{"hello":{…}}`: the first message on a socket.
#[must_use]
pub fn hello(connection: &str, beat_ms: u64, retry_ms: u64, plan: &str) -> String {
    let mut out = String::from("{\"hello\":{\"connection\":");
    json::push_string(&mut out, connection);
    out.push_str(&format!(
        ",\"protocol\":{},\"beat_ms\":{beat_ms},\"retry_ms\":{retry_ms},\"plan\":",
        crate::sse::PROTOCOL
    ));
    json::push_string(&mut out, plan);
    out.push_str("}}");
    out
}

/// `{"plan":{…}}`: another plan is in force. Who wants to know asks for it after `wait_ms`.
#[must_use]
pub fn plan(tag: &str, wait_ms: u64) -> String {
    let mut out = String::from("{\"plan\":{\"tag\":");
    json::push_string(&mut out, tag);
    out.push_str(&format!(",\"wait_ms\":{wait_ms}}}}}"));
    out
}

/// `{"gap":{…}}`: continuity of this topic ended here.
#[must_use]
pub fn gap(gap: &Gap, topic: &Topic) -> String {
    let mut out = String::from("{\"gap\":");
    json::push_gap(&mut out, gap, Some(topic));
    out.push('}');
    out
}

/// `{"live":{…}}`: this topic's subscription has caught up.
#[must_use]
pub fn live(topic: &Topic, at: Option<Cursor>) -> String {
    let at = at.map(|at| format!(",\"at\":\"{at}\"")).unwrap_or_default();
    format!("{{\"live\":{{\"topic\":\"{topic}\"{at}}}}}")
}

/// `{"beat":{…}}`: the server is there.
#[must_use]
pub fn beat(at: Option<Cursor>) -> String {
    let at = at.map(|at| format!("\"at\":\"{at}\"")).unwrap_or_default();
    format!("{{\"beat\":{{{at}}}}}")
}

/// `{"bye":{…}}`: the server closes; come back after `retry_ms`.
#[must_use]
pub fn bye(error: &WireError, retry_ms: u64) -> String {
    let mut out = String::from("{\"bye\":{\"code\":");
    json::push_string(&mut out, error.code.as_str());
    out.push_str(",\"message\":");
    json::push_string(&mut out, &error.message);
    out.push_str(&format!(
        ",\"next\":\"{}\",\"retry_ms\":{retry_ms}}}}}",
        error.code.next().as_str()
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cursor::{Epoch, Sequence},
        message::EventType,
    };

    fn code_of(text: &str) -> (String, Code) {
        let refused = parse_text(text).unwrap_err();
        (refused.reference, refused.error.code)
    }

    #[test]
    fn the_tag_of_the_plan_is_said_at_first_and_when_it_changes() {
        assert_eq!(
            hello("c1", 20_000, 1_500, "8f14e45fceea167a"),
            r#"{"hello":{"connection":"c1","protocol":1,"beat_ms":20000,"retry_ms":1500,"plan":"8f14e45fceea167a"}}"#
        );
        assert_eq!(
            plan("45c48cce2e2d7fbd", 7),
            r#"{"plan":{"tag":"45c48cce2e2d7fbd","wait_ms":7}}"#
        );
    }

    #[test]
    fn commands_are_understood() {
        let request =
            parse_text(r#"{"do":"subscribe","ref":1,"topic":"chat/general","after":"k3f9.12"}"#)
                .unwrap();
        assert_eq!(request.reference, "1");
        let after = After::Cursor(Cursor::parse("k3f9.12").unwrap());
        let topic = Topic::parse("chat/general").unwrap();
        assert_eq!(request.command, Command::Subscribe { topic, after: Some(after) });
        let request =
            parse_text(r#"{"do":"publish","ref":"a","topic":"t","data":{"x": 1}}"#).unwrap();
        assert_eq!(request.reference, "\"a\"");
        assert!(
            matches!(request.command, Command::Publish(message) if message.data == Data::Json(r#"{"x": 1}"#.into()))
        );
    }

    #[test]
    fn presence_is_asked_for_and_announced() {
        let request = parse_text(r#"{"do":"presence","ref":1,"topic":"chat/a"}"#).unwrap();
        let topic = Topic::parse("chat/a").unwrap();
        assert_eq!(request.command, Command::Members { topic });
        let body = r#""member":"abcdefgh","here":{"chat/a":{"x": 1},"chat/b":null},"gone":["*"]"#;
        let request = parse_text(&format!(r#"{{"do":"presence","ref":2,{body}}}"#)).unwrap();
        let said = crate::presence::parse(&format!("{{{body}}}")).unwrap();
        assert_eq!(request.command, Command::Announce(Box::new(said)), "as over HTTP");
        for (text, code) in [
            (r#"{"ref":3,"do":"presence"}"#, Code::BadRequest),
            (r#"{"ref":3,"do":"presence","topic":"a","member":"abcdefgh"}"#, Code::BadRequest),
            (r#"{"ref":3,"do":"presence","member":"abcdefgh","here":[]}"#, Code::BadJson),
        ] {
            assert_eq!(code_of(text), ("3".to_owned(), code), "{text}");
        }
        let other = r#"{"do":"publish","topic":"a","data":1,"here":7,"gone":"x"}"#;
        assert!(parse_text(other).is_ok(), "fields of other commands are passed over");
    }

    #[test]
    fn null_is_data_too() {
        let request = parse_text(r#"{"do":"publish","topic":"t","data":null}"#).unwrap();
        assert!(
            matches!(request.command, Command::Publish(m) if m.data == Data::Json("null".into()))
        );
    }

    #[test]
    fn nonsense_is_answered_under_its_ref() {
        for (text, reference, code) in [
            ("nonsense", "null", Code::BadJson),
            (r#"{"ref":3,"do":"subscribe","topic":5}"#, "3", Code::BadJson),
            (r#"{"ref":3}"#, "3", Code::BadRequest),
            (r#"{"ref":3,"do":"dance"}"#, "3", Code::UnknownCommand),
            (r#"{"ref":3,"do":"subscribe"}"#, "3", Code::BadRequest),
            (r#"{"ref":3,"do":"subscribe","topic":"a//b"}"#, "3", Code::BadTopic),
            (r#"{"ref":3,"do":"subscribe","topic":"a","after":"x"}"#, "3", Code::BadCursor),
            (r#"{"ref":3,"do":"publish","topic":"a"}"#, "3", Code::BadRequest),
            (r#"{"ref":3,"do":"token"}"#, "3", Code::BadRequest),
        ] {
            assert_eq!(code_of(text), (reference.to_owned(), code), "{text}");
        }
    }

    #[test]
    fn binary_messages_are_header_and_bytes() {
        let entry = Entry {
            sequence: Sequence(1),
            topic: Topic::parse("pointers/1").unwrap(),
            event: EventType::message(),
            data: Data::binary(&[1_u8, 2][..]),
            at_ms: 0,
            item: None,
        };
        let id = Some(Cursor { epoch: Epoch(5), sequence: Sequence(1) });
        let Delivery::Binary(message) = entry_message(&entry, id) else { panic!("binary") };
        let header = r#"{"topic":"pointers/1","event":"message","id":"5.1"}"#;
        assert_eq!(&message[..2], (header.len() as u16).to_be_bytes());
        assert_eq!(&message[2..2 + header.len()], header.as_bytes());
        assert_eq!(&message[2 + header.len()..], [1, 2]);

        let publish = with_header(r#"{"do":"publish","ref":9,"topic":"pointers/1"}"#, &[7, 8]);
        let request = parse_binary(&publish).unwrap();
        assert!(
            matches!(request.command, Command::Publish(m) if m.data == Data::binary(&[7_u8, 8][..]))
        );
        for broken in [&b""[..], b"\x00", b"\x00\x05{}", b"\x00\x01\xff"] {
            assert!(parse_binary(&Bytes::copy_from_slice(broken)).is_err(), "{broken:?}");
        }
    }
}

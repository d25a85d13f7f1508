//! What the server says, from bytes to words: the same words for all rungs.
//!
//! Pure. Unknown fields and unknown signals are passed over, so that a newer server can be
//! understood; a known one that makes no sense is [`Loss::Garbled`].

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tidewire_proto::{
    After, Code, Cursor, Data, EventType, Gap, GapReason, Item, Next, Topic, json,
};

use crate::{
    error::Refusal,
    item::{Continuity, Delivery},
    loss::{Loss, is_passing},
};

/// The greeting of a stream or a socket. On a socket, continuity comes later, topic by topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) connection: Option<String>,
    pub(crate) beat: Duration,
    pub(crate) retry: Option<Duration>,
    pub(crate) continuity: Continuity,
    pub(crate) at: Option<Cursor>,
    pub(crate) plan: Option<String>,
}

/// The plan has changed, or is named: which one it is, and when to ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlanNamed {
    pub(crate) tag: String,
    pub(crate) wait: Duration,
}

#[derive(Deserialize)]
struct PlanNamedText {
    tag: String,
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
struct GapText {
    reason: String,
    oldest: String,
    newest: String,
    topic: Option<String>,
}

#[derive(Deserialize)]
struct HelloText {
    connection: Option<String>,
    beat_ms: u64,
    retry_ms: Option<u64>,
    continuity: Option<String>,
    gap: Option<GapText>,
    at: Option<String>,
    plan: Option<String>,
}

#[derive(Deserialize)]
struct RefusalText {
    code: String,
    #[serde(default)]
    message: String,
    next: Option<String>,
    retry_ms: Option<u64>,
}

#[derive(Deserialize)]
struct EntryText<'a> {
    topic: String,
    event: Option<String>,
    id: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    encoding: Option<String>,
    item: Option<String>,
}

#[derive(Deserialize)]
struct PlaceText {
    topic: Option<String>,
    at: Option<String>,
}

#[derive(Deserialize)]
struct SubscribedText {
    continuity: Option<String>,
    gap: Option<GapText>,
    at: Option<String>,
}

#[derive(Deserialize)]
struct SocketText<'a> {
    #[serde(rename = "ref")]
    reference: Option<u64>,
    hello: Option<HelloText>,
    ok: Option<SubscribedText>,
    error: Option<RefusalText>,
    gap: Option<GapText>,
    live: Option<PlaceText>,
    beat: Option<PlaceText>,
    bye: Option<RefusalText>,
    plan: Option<PlanNamedText>,
    topic: Option<String>,
    event: Option<String>,
    id: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    encoding: Option<String>,
    item: Option<String>,
}

#[derive(Deserialize)]
struct PageText<'a> {
    #[serde(borrow)]
    entries: Vec<EntryText<'a>>,
    cursor: Option<String>,
    #[serde(default)]
    more: bool,
    continuity: Option<String>,
    gap: Option<GapText>,
    plan: Option<String>,
}

#[derive(Deserialize)]
struct ErrorText {
    error: RefusalText,
}

/// What a socket said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Hello(Hello),
    Subscribed { reference: u64, continuity: Continuity, at: Option<Cursor> },
    Refused { reference: Option<u64>, refusal: Refusal },
    Gap { gap: Gap, topic: Option<Topic> },
    Live { topic: Topic, at: Option<Cursor> },
    Beat { at: Option<Cursor> },
    Bye(Refusal),
    Plan(PlanNamed),
    Entry(Delivery),
    Unknown,
}

/// What a page holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageSaid {
    pub(crate) entries: Vec<Delivery>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) more: bool,
    pub(crate) continuity: Continuity,
    pub(crate) plan: Option<String>,
}

/// The data of `tidewire.hello`.
pub(crate) fn hello(text: &str) -> Result<Hello, Loss> {
    hello_of(parse(text)?)
}

/// The data of `tidewire.gap`.
pub(crate) fn gap(text: &str) -> Result<Gap, Loss> {
    gap_of(&parse(text)?)
}

/// The data of `tidewire.bye`.
pub(crate) fn bye(text: &str) -> Result<Refusal, Loss> {
    Ok(refusal_of(parse(text)?, None))
}

/// The data of `tidewire.plan`.
pub(crate) fn plan(text: &str) -> Result<PlanNamed, Loss> {
    Ok(plan_of(parse(text)?))
}

/// A place to begin, as a query or a command says it.
pub(crate) fn after(after: After) -> String {
    match after {
        After::Now => "now".to_owned(),
        After::Start => "start".to_owned(),
        After::Cursor(cursor) => cursor.to_string(),
    }
}

/// An `id`.
pub(crate) fn cursor(text: &str) -> Result<Cursor, Loss> {
    Cursor::parse(text).map_err(|_| garbled(format!("`{text}` as a cursor")))
}

/// A topic.
pub(crate) fn topic(text: &str) -> Result<Topic, Loss> {
    Topic::parse(text).map_err(|error| garbled(format!("`{text}` as a topic: {error}")))
}

/// An event type.
pub(crate) fn event(text: &str) -> Result<EventType, Loss> {
    EventType::parse(text).map_err(|error| garbled(format!("`{text}` as an event: {error}")))
}

/// An error answer over HTTP; `Foreign` if it is not in Tidewire's form.
pub(crate) fn refusal(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Loss {
    if let Ok(ErrorText { error }) = serde_json::from_slice(body) {
        let mut refusal = refusal_of(error, Some(status));
        refusal.retry_after = retry_after.or(refusal.retry_after);
        return Loss::Refused(refusal);
    }
    // Whoever answers these two understood what was asked, even if it is a proxy.
    let next = match status {
        401 => Next::RefreshToken,
        _ if retry_after.is_some() && is_passing(status) => Next::Retry,
        _ => {
            let what = format!("the answer was status {status}, not in Tidewire's form");
            return Loss::Foreign { status, what };
        }
    };
    let (code, message) = (format!("status_{status}"), "no reason was given".to_owned());
    Loss::Refused(Refusal { code, message, next, status: Some(status), retry_after })
}

/// A close code of a socket that came without `bye`: nothing unless it is one of our own.
pub(crate) fn closed(close_code: u16, reason: &str) -> Option<Refusal> {
    if !(4_400..4_600).contains(&close_code) {
        return None;
    }
    let code = Code::ALL.iter().find(|code| code.close_code() == close_code)?;
    Some(Refusal {
        code: code.as_str().to_owned(),
        message: reason.to_owned(),
        next: code.next(),
        status: None,
        retry_after: None,
    })
}

/// A text message of a socket.
pub(crate) fn said(text: &str) -> Result<Said, Loss> {
    let parts: SocketText<'_> = parse(text)?;
    if let Some(topic) = parts.topic {
        let SocketText { event, id, data, encoding, item, .. } = parts;
        let entry = EntryText { topic, event, id, data, encoding, item };
        return Ok(Said::Entry(delivery(&entry, None)?));
    }
    if let Some(hello) = parts.hello {
        return Ok(Said::Hello(hello_of(hello)?));
    }
    if let (Some(reference), Some(ok)) = (parts.reference, parts.ok) {
        let continuity = continuity(ok.continuity.as_deref(), ok.gap.as_ref())?;
        return Ok(Said::Subscribed { reference, continuity, at: place(ok.at.as_deref())? });
    }
    if let Some(error) = parts.error {
        return Ok(Said::Refused { reference: parts.reference, refusal: refusal_of(error, None) });
    }
    if let Some(text) = parts.gap {
        let topic = text.topic.as_deref().map(topic).transpose()?;
        return Ok(Said::Gap { gap: gap_of(&text)?, topic });
    }
    if let Some(PlaceText { topic: Some(name), at }) = parts.live {
        return Ok(Said::Live { topic: topic(&name)?, at: place(at.as_deref())? });
    }
    if let Some(beat) = parts.beat {
        return Ok(Said::Beat { at: place(beat.at.as_deref())? });
    }
    if let Some(plan) = parts.plan {
        return Ok(Said::Plan(plan_of(plan)));
    }
    Ok(parts.bye.map_or(Said::Unknown, |bye| Said::Bye(refusal_of(bye, None))))
}

/// A binary message of a socket: header length, header, bytes.
pub(crate) fn said_binary(message: &Bytes) -> Result<Said, Loss> {
    let short = || garbled("a binary message without its header".to_owned());
    let (length, _) = message.split_first_chunk::<2>().ok_or_else(short)?;
    let end = 2 + usize::from(u16::from_be_bytes(*length));
    let header = std::str::from_utf8(message.get(2..end).ok_or_else(short)?);
    let entry: EntryText<'_> = parse(header.map_err(|_| short())?)?;
    Ok(Said::Entry(delivery(&entry, Some(message.slice(end..)))?))
}

/// A page of history or of a long-poll.
pub(crate) fn page(body: &[u8]) -> Result<PageSaid, Loss> {
    let text = std::str::from_utf8(body).map_err(|_| garbled("a page in UTF-8".to_owned()))?;
    let parts: PageText<'_> = parse(text)?;
    let entries = parts.entries.iter().map(|entry| delivery(entry, None));
    Ok(PageSaid {
        entries: entries.collect::<Result<_, _>>()?,
        cursor: place(parts.cursor.as_deref())?,
        more: parts.more,
        continuity: continuity(parts.continuity.as_deref(), parts.gap.as_ref())?,
        plan: parts.plan,
    })
}

/// `null` is data like any other; only a field that is not there is none.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(text: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(text).map(Some)
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Loss> {
    serde_json::from_str(text).map_err(|error| garbled(error.to_string()))
}

fn garbled(what: String) -> Loss {
    Loss::Garbled(what)
}

fn place(text: Option<&str>) -> Result<Option<Cursor>, Loss> {
    text.map(cursor).transpose()
}

fn hello_of(text: HelloText) -> Result<Hello, Loss> {
    Ok(Hello {
        beat: Duration::from_millis(text.beat_ms),
        retry: text.retry_ms.map(Duration::from_millis),
        continuity: continuity(text.continuity.as_deref(), text.gap.as_ref())?,
        at: place(text.at.as_deref())?,
        connection: text.connection,
        plan: text.plan,
    })
}

fn plan_of(text: PlanNamedText) -> PlanNamed {
    PlanNamed { tag: text.tag, wait: Duration::from_millis(text.wait_ms) }
}

fn gap_of(text: &GapText) -> Result<Gap, Loss> {
    let reason = GapReason::ALL.into_iter().find(|reason| reason.as_str() == text.reason);
    let reason = reason.ok_or_else(|| garbled(format!("`{}` as a gap's reason", text.reason)))?;
    Ok(Gap { reason, oldest: cursor(&text.oldest)?, newest: cursor(&text.newest)? })
}

/// The name of an item.
pub(crate) fn item(text: &str) -> Result<Item, Loss> {
    Item::parse(text).map_err(|error| garbled(error.to_string()))
}

fn continuity(word: Option<&str>, gap: Option<&GapText>) -> Result<Continuity, Loss> {
    match (word, gap) {
        (Some("gap"), Some(gap)) => Ok(Continuity::Gap { gap: gap_of(gap)?, topic: None }),
        (Some("resumed"), _) => Ok(Continuity::Resumed),
        (Some("new") | None, _) => Ok(Continuity::New),
        (Some(word), _) => Err(garbled(format!("`{word}` as continuity"))),
    }
}

fn refusal_of(text: RefusalText, status: Option<u16>) -> Refusal {
    let known = Code::ALL.iter().find(|code| code.as_str() == text.code).map(|code| code.next());
    let next = match text.next.as_deref() {
        Some("retry") => Next::Retry,
        Some("resume") => Next::Resume,
        Some("refresh_token") => Next::RefreshToken,
        Some("give_up") => Next::GiveUp,
        _ => known.unwrap_or(Next::Retry),
    };
    let retry_after = text.retry_ms.map(Duration::from_millis);
    Refusal { code: text.code, message: text.message, next, status, retry_after }
}

fn delivery(text: &EntryText<'_>, bytes: Option<Bytes>) -> Result<Delivery, Loss> {
    let data = match (bytes, text.data) {
        (Some(bytes), _) => Data::Binary(bytes),
        (None, Some(raw)) => json::parse_data(raw.get(), text.encoding.as_deref())
            .map_err(|error| garbled(error.to_string()))?,
        (None, None) => return Err(garbled("an entry without data".to_owned())),
    };
    Ok(Delivery {
        topic: topic(&text.topic)?,
        event: text.event.as_deref().map_or_else(|| Ok(EventType::message()), event)?,
        id: place(text.id.as_deref())?,
        item: text.item.as_deref().map(item).transpose()?,
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_proto::{Entry, Epoch, Sequence, WireError, ws};

    fn at(sequence: u64) -> Cursor {
        Cursor { epoch: Epoch(5), sequence: Sequence(sequence) }
    }

    fn entry(data: Data) -> Entry {
        Entry {
            sequence: Sequence(7),
            topic: Topic::parse("chat/general").unwrap(),
            event: EventType::parse("said").unwrap(),
            data,
            at_ms: 0,
            item: None,
        }
    }

    #[test]
    fn every_kind_of_entry_comes_back_as_it_was_published() {
        for data in [
            Data::json(&b"{ \"a\":\n 1.0e2 }"[..]).unwrap(),
            Data::json(&b"null"[..]).unwrap(),
            Data::text("say \"hi\"\n").unwrap(),
            Data::binary(&[0_u8, 255, 10][..]),
        ] {
            let said = match ws::entry_message(&entry(data.clone()), Some(at(7))) {
                ws::Delivery::Text(text) => said(&text).unwrap(),
                ws::Delivery::Binary(bytes) => said_binary(&bytes).unwrap(),
            };
            let Said::Entry(delivery) = said else { panic!("{said:?}") };
            assert_eq!(delivery.data, data);
            assert_eq!(delivery.id, Some(at(7)));
            assert_eq!(delivery.event.as_str(), "said");
        }
    }

    #[test]
    fn what_the_proto_writes_is_what_we_read() {
        let topic = Topic::parse("a").unwrap();
        let gap = Gap { reason: GapReason::Trimmed, oldest: at(3), newest: at(9) };
        let error = WireError::new(Code::Restarting, "back soon");
        let subscribed = ws::subscribed(&topic, &json::Continuity::Gap(gap), Some(at(3)));
        for (text, expected) in [
            (
                ws::ok("2", &subscribed),
                Said::Subscribed {
                    reference: 2,
                    continuity: Continuity::Gap { gap, topic: None },
                    at: Some(at(3)),
                },
            ),
            (ws::gap(&gap, &topic), Said::Gap { gap, topic: Some(topic.clone()) }),
            (ws::live(&topic, Some(at(9))), Said::Live { topic: topic.clone(), at: Some(at(9)) }),
            (ws::beat(None), Said::Beat { at: None }),
            (
                ws::bye(&error, 700),
                Said::Bye(Refusal {
                    code: "restarting".to_owned(),
                    message: "back soon".to_owned(),
                    next: Next::Resume,
                    status: None,
                    retry_after: Some(Duration::from_millis(700)),
                }),
            ),
            (
                r#"{"plan":{"tag":"0123456789abcdef","wait_ms":1234}}"#.to_owned(),
                Said::Plan(PlanNamed {
                    tag: "0123456789abcdef".to_owned(),
                    wait: Duration::from_millis(1_234),
                }),
            ),
            (r#"{"something":{"new":1}}"#.to_owned(), Said::Unknown),
        ] {
            assert_eq!(said(&text).unwrap(), expected, "{text}");
        }
        let hello = ws::hello("c1", 20_000, 1_500, "8f14e45fceea167a");
        let Said::Hello(hello) = said(&hello).unwrap() else { panic!() };
        assert_eq!(hello.connection.as_deref(), Some("c1"));
        assert_eq!((hello.beat.as_secs(), hello.retry), (20, Some(Duration::from_millis(1_500))));
    }

    #[test]
    fn refusals_are_told_from_strangers() {
        let body = br#"{"error":{"code":"forbidden","message":"no","next":"give_up"}}"#;
        let Loss::Refused(ours) = refusal(403, None, body) else { panic!("ours") };
        assert_eq!(
            (ours.code.as_str(), ours.next, ours.status),
            ("forbidden", Next::GiveUp, Some(403))
        );
        assert!(matches!(refusal(404, None, b"<html>"), Loss::Foreign { status: 404, .. }));
        let Loss::Refused(proxy) = refusal(401, None, b"") else { panic!("401") };
        assert_eq!(proxy.next, Next::RefreshToken);
        let wait = Some(Duration::from_secs(4));
        let Loss::Refused(proxy) = refusal(503, wait, b"") else { panic!("503") };
        assert_eq!((proxy.next, proxy.retry_after), (Next::Retry, wait));
        let unknown = br#"{"error":{"code":"brand_new","message":"?"}}"#;
        let Loss::Refused(unknown) = refusal(503, None, unknown) else { panic!("unknown") };
        assert_eq!(unknown.next, Next::Retry);
    }

    #[test]
    fn close_codes_of_our_own_say_what_to_do() {
        assert_eq!(closed(4_401, "expired").unwrap().next, Next::RefreshToken);
        assert_eq!(closed(4_403, "").unwrap().next, Next::GiveUp);
        assert_eq!(closed(1_006, ""), None);
        assert_eq!(closed(1_009, ""), None, "a proxy may say that too");
        assert_eq!(closed(4_999, ""), None);
    }

    #[test]
    fn nonsense_is_garbled() {
        for text in ["", "[]", r#"{"topic":"a b","data":1}"#, r#"{"topic":"a","data":1,"id":"x"}"#]
        {
            assert!(matches!(said(text), Err(Loss::Garbled(_))), "{text}");
        }
        for message in [&b""[..], b"\x00\x09{}", b"\x00\x02{}"] {
            assert!(said_binary(&Bytes::copy_from_slice(message)).is_err());
        }
    }
}

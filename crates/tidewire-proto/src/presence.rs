//! Presence on the wire: what a member says of itself, what it is answered, and who is there.
//!
//! The same JSON over HTTP and on a WebSocket. Knows no table of members and no lease.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    code::{Code, WireError},
    cursor::Epoch,
    json,
    message::{Data, Item},
    topic::Topic,
};

/// Shortest name of a member, in bytes: enough for chance to keep two of one user apart.
pub const MEMBER_BYTES_MIN: usize = 8;
/// Longest name of a member, in bytes.
pub const MEMBER_BYTES_MAX: usize = 32;
/// In `gone`: everywhere that `here` does not name.
const EVERYWHERE: &str = "*";

/// One client instance (a tab), by the name that it has chosen for itself: 8 to 32 of
/// `A-Z a-z 0-9 _ -`. Two users may have chosen the same.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member(Arc<str>);

impl Member {
    /// Parses a name.
    ///
    /// # Errors
    /// `bad_request`, with the rule.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let is_good = (MEMBER_BYTES_MIN..=MEMBER_BYTES_MAX).contains(&text.len());
        if is_good && text.bytes().all(is_known) {
            return Ok(Self(text.into()));
        }
        let message = format!(
            "`member` is a name that the client chooses for itself, {MEMBER_BYTES_MIN} to \
             {MEMBER_BYTES_MAX} characters of A-Z a-z 0-9 _ -"
        );
        Err(WireError::new(Code::BadRequest, message))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the item of a change: a newer change of a member stands for the older ones.
    #[must_use]
    pub fn item(&self) -> Option<Item> {
        Item::parse(&self.0).ok()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What a member tells of itself in one topic: one JSON value, byte for byte, that is not `null`.
#[derive(Clone, PartialEq, Eq)]
pub struct State(Bytes);

impl State {
    /// A state, checked.
    ///
    /// # Errors
    /// `bad_json` when it is no JSON value or nested too deep; `bad_request` for `null`, which is a
    /// renewal and no state.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        let bytes = Bytes::copy_from_slice(text.trim().as_bytes());
        Data::json(bytes.clone())
            .map_err(|error| WireError::new(Code::BadJson, format!("the state: {error}")))?;
        if bytes == "null" {
            let message = "a state is not `null`: `null` renews the one that is there";
            return Err(WireError::new(Code::BadRequest, message));
        }
        Ok(Self(bytes))
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // It was text when it came.
        std::str::from_utf8(&self.0).unwrap_or("null")
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a member says of itself, all at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Who.
    pub member: Member,
    /// Where it is, each topic once: with its whole new state, or with none to renew its lease.
    pub here: Vec<(Topic, Option<State>)>,
    /// Where it is no more. A topic that is also in `here` does not stand in it.
    pub gone: Gone,
}

/// Where a member is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// In these topics.
    From(Vec<Topic>),
    /// Everywhere that it does not say to be.
    Everywhere,
}

/// The JSON of an [`Announcement`], its parts not yet looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct AnnouncementText<'a> {
    pub(crate) member: Option<String>,
    #[serde(borrow, default)]
    pub(crate) here: BTreeMap<String, &'a RawValue>,
    #[serde(default)]
    pub(crate) gone: Vec<String>,
}

impl AnnouncementText<'_> {
    pub(crate) fn settle(self) -> Result<Announcement, WireError> {
        let Some(member) = self.member else {
            let message = "an announcement has a `member`: the name that this client instance \
                           chose for itself";
            return Err(WireError::new(Code::BadRequest, message));
        };
        let member = Member::parse(&member)?;
        let mut here = Vec::with_capacity(self.here.len());
        for (topic, state) in self.here {
            let state = match state.get() {
                "null" => None,
                text => Some(State::parse(text)?),
            };
            here.push((json::topic_of(&topic)?, state));
        }
        let gone = if self.gone.iter().any(|text| text == EVERYWHERE) {
            Gone::Everywhere
        } else {
            let mut topics =
                self.gone.iter().map(|text| json::topic_of(text)).collect::<Result<Vec<_>, _>>()?;
            topics.sort();
            topics.dedup();
            // They stand in the order of their bytes.
            let is_here =
                |topic: &Topic| here.binary_search_by(|(named, _)| named.cmp(topic)).is_ok();
            topics.retain(|topic| !is_here(topic));
            Gone::From(topics)
        };
        Ok(Announcement { member, here, gone })
    }
}

/// Parses `{"member","here","gone"}`. Unknown fields are passed over.
///
/// # Errors
/// `bad_json`, `bad_request` or `bad_topic`.
pub fn parse(text: &str) -> Result<Announcement, WireError> {
    serde_json::from_str::<AnnouncementText<'_>>(text)
        .map_err(|error| json::bad_json(&error))?
        .settle()
}

/// `{"lease_ms","renew_ms","unknown"}`: the answer to an announcement.
#[must_use]
pub fn announced(lease_ms: u64, renew_ms: u64, unknown: &[Topic]) -> String {
    let mut out = format!("{{\"lease_ms\":{lease_ms},\"renew_ms\":{renew_ms},\"unknown\":[");
    for (index, topic) in unknown.iter().enumerate() {
        out.push_str(if index > 0 { ",\"" } else { "\"" });
        out.push_str(topic.as_str());
        out.push('"');
    }
    out.push_str("]}");
    out
}

/// `{"topic","life","version","members":[{"member","user","state"}]}`: who is there.
pub fn members<'a>(
    topic: &Topic,
    life: Epoch,
    version: u64,
    members: impl Iterator<Item = (&'a Member, Option<&'a str>, &'a State)>,
) -> String {
    let mut out =
        format!("{{\"topic\":\"{topic}\",\"life\":\"{life}\",\"version\":{version},\"members\":[");
    for (index, (member, user, state)) in members.enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_who(&mut out, member, user);
        push_state(&mut out, state);
        out.push('}');
    }
    out.push_str("]}");
    out
}

/// What a change of presence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// The member's state from now on.
    State(&'a State),
    /// It is gone, in this way.
    Why(&'a str),
}

/// `{"member","user","state","life","version"}`, or `why` instead of `state`: the data of a change.
#[must_use]
pub fn change(
    member: &Member,
    user: Option<&str>,
    told: Told<'_>,
    life: Epoch,
    version: u64,
) -> Data {
    let mut out = String::new();
    push_who(&mut out, member, user);
    match told {
        Told::State(state) => push_state(&mut out, state),
        Told::Why(why) => {
            out.push_str(",\"why\":");
            json::push_string(&mut out, why);
        }
    }
    out.push_str(&format!(",\"life\":\"{life}\",\"version\":{version}}}"));
    Data::Json(out.into())
}

fn push_who(out: &mut String, member: &Member, user: Option<&str>) {
    // Its alphabet has no character that JSON would escape.
    out.push_str("{\"member\":\"");
    out.push_str(member.as_str());
    out.push_str("\",\"user\":");
    match user {
        Some(user) => json::push_string(out, user),
        None => out.push_str("null"),
    }
}

fn push_state(out: &mut String, state: &State) {
    out.push_str(",\"state\":");
    out.push_str(state.as_str());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Topic {
        Topic::parse(text).unwrap()
    }

    fn state(text: &str) -> State {
        State::parse(text).unwrap()
    }

    #[test]
    fn a_member_says_where_it_is_and_where_it_is_no_more() {
        let said = parse(
            r#"{"member":"m_8charsxx","here":{"chat/b":{"name": "Ann"},"chat/a":null},
                "gone":["chat/b","chat/c","chat/c"],"surprise":1}"#,
        )
        .unwrap();
        assert_eq!(said.member.as_str(), "m_8charsxx");
        let expected =
            vec![(topic("chat/a"), None), (topic("chat/b"), Some(state(r#"{"name": "Ann"}"#)))];
        assert_eq!(said.here, expected);
        assert_eq!(said.gone, Gone::From(vec![topic("chat/c")]), "who is here is not gone");
        let said = parse(r#"{"member":"m_8charsxx","gone":["chat/a","*"]}"#).unwrap();
        assert_eq!((said.here, said.gone), (vec![], Gone::Everywhere));
        let said = parse(r#"{"member":"m_8charsxx"}"#).unwrap();
        assert_eq!((said.here, said.gone), (vec![], Gone::From(vec![])));
    }

    #[test]
    fn what_is_not_of_its_form_is_refused_with_its_code() {
        let deep = "[".repeat(129) + &"]".repeat(129);
        let deep = format!(r#"{{"member":"abcdefgh","here":{{"a":{deep}}}}}"#);
        for (text, code) in [
            ("", Code::BadJson),
            ("[]", Code::BadJson),
            (r#"{"member":7}"#, Code::BadJson),
            (r#"{"member":"abcdefgh","here":["a"]}"#, Code::BadJson),
            (r#"{"member":"abcdefgh","gone":"*"}"#, Code::BadJson),
            (r#"{"here":{}}"#, Code::BadRequest),
            (r#"{"member":"short77"}"#, Code::BadRequest),
            (r#"{"member":"abcdefgh.","here":{}}"#, Code::BadRequest),
            (r#"{"member":"abcdefgh","here":{"a b":1}}"#, Code::BadTopic),
            (r#"{"member":"abcdefgh","gone":["a//b"]}"#, Code::BadTopic),
            (&deep, Code::BadJson),
        ] {
            assert_eq!(parse(text).map_err(|error| error.code), Err(code), "{text}");
        }
        assert!(Member::parse(&"m".repeat(32)).is_ok());
        assert!(Member::parse(&"m".repeat(33)).is_err());
        assert_eq!(State::parse(" null ").unwrap_err().code, Code::BadRequest);
    }

    #[test]
    fn what_is_said_is_json_whatever_a_user_is_called() {
        let member = Member::parse("m_8charsxx").unwrap();
        let state = state(r#"{"name":"Ann"}"#);
        let (life, user) = (Epoch(5), Some("a\"b"));
        assert_eq!(
            announced(30_000, 10_000, &[topic("chat/a"), topic("chat/b")]),
            r#"{"lease_ms":30000,"renew_ms":10000,"unknown":["chat/a","chat/b"]}"#
        );
        let all = [(&member, user, &state), (&member, None, &state)];
        assert_eq!(
            members(&topic("chat/a"), life, 17, all.into_iter()),
            r#"{"topic":"chat/a","life":"5","version":17,"members":[{"member":"m_8charsxx","user":"a\"b","state":{"name":"Ann"}},{"member":"m_8charsxx","user":null,"state":{"name":"Ann"}}]}"#
        );
        for (told, expected) in [
            (
                Told::State(&state),
                r#"{"member":"m_8charsxx","user":"a\"b","state":{"name":"Ann"},"life":"5","version":3}"#,
            ),
            (
                Told::Why("lost"),
                r#"{"member":"m_8charsxx","user":"a\"b","why":"lost","life":"5","version":3}"#,
            ),
        ] {
            let data = change(&member, user, told, life, 3);
            assert_eq!(data.as_text(), Some(expected));
            assert!(Data::json(data.bytes().clone()).is_ok());
        }
        assert_eq!(member.item().unwrap().as_str(), "m_8charsxx");
    }
}

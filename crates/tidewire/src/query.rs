//! What a reader's URL says: topics, the place to begin after, and how much.

use std::{ops::RangeInclusive, time::Duration};

use http::HeaderMap;
use tidewire_core::{Filter, Limits};
use tidewire_proto::{After, Code, Cursor, WireError, json::read_topic_of};

/// A reader's query, checked. Unknown parameters are passed over: caches and proxies add some.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) filter: Filter,
    pub(crate) after: Option<After>,
    pub(crate) limit: usize,
    /// So many from the back.
    pub(crate) last: Option<usize>,
    pub(crate) before: Option<Cursor>,
    pub(crate) wait: Option<Duration>,
    pub(crate) ticket: Option<String>,
    // What only an event stream is asked for, and looked at there.
    connection: Option<String>,
    beats: Option<String>,
}

/// Entries in a page that asks for no number.
const LIMIT_DEFAULT: usize = 100;
/// Characters of a name that a client gives its stream: enough for chance to keep names apart, and
/// few enough to be spelt in a path and a log.
const CONNECTION_CHARACTERS: RangeInclusive<usize> = 8..=32;

impl Query {
    /// Parses a query string. `Last-Event-ID` wins over `after`: a browser sends the one it saw
    /// last, while the URL keeps the one it began with.
    pub(crate) fn parse(
        query: Option<&str>,
        headers: &HeaderMap,
        limits: &Limits,
    ) -> Result<Self, WireError> {
        let (mut topics, mut after, mut ticket) = (Vec::new(), None, None);
        let (mut limit, mut wait) = (LIMIT_DEFAULT.min(limits.page_entries_max), None);
        let (mut connection, mut beats) = (None, None);
        let (mut last, mut before) = (None, None);
        let most = limits.page_entries_max as u64;
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "topic" => topics.push(read_topic_of(&value)?),
                "after" => after = Some(cursor(&value)?),
                "ticket" => ticket = Some(value.into_owned()),
                "limit" => limit = number("limit", &value, 1, most)? as usize,
                "last" => last = Some(number("last", &value, 1, most)? as usize),
                "before" => before = Some(place(&value)?),
                "wait" => {
                    let seconds = number("wait", &value, 0, limits.wait_max.as_secs())?;
                    wait = Some(Duration::from_secs(seconds));
                }
                "connection" => connection = Some(value.into_owned()),
                "beats" => beats = Some(value.into_owned()),
                _ => {}
            }
        }
        if let Some(last) = headers.get("last-event-id").filter(|last| !last.is_empty()) {
            after = Some(cursor(&String::from_utf8_lossy(last.as_bytes()))?);
        }
        let most_topics = limits.topics_per_stream_max;
        if topics.len() > most_topics {
            let message = format!(
                "one stream has at most {most_topics} topics, this one asks for {}",
                topics.len()
            );
            return Err(WireError::new(Code::TooManyTopics, message));
        }
        let filter = Filter::new(topics).ok_or_else(|| {
            WireError::new(Code::BadRequest, "name at least one topic: `?topic=chat/general`")
        })?;
        check_back(last, before, after, wait)?;
        Ok(Self { filter, after, limit, last, before, wait, ticket, connection, beats })
    }

    /// The name that the client gives its event stream, if it does.
    pub(crate) fn connection(&self) -> Result<Option<&str>, WireError> {
        let Some(name) = self.connection.as_deref() else { return Ok(None) };
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if CONNECTION_CHARACTERS.contains(&name.len()) && name.bytes().all(is_known) {
            return Ok(Some(name));
        }
        let (least, most) = CONNECTION_CHARACTERS.into_inner();
        let message = format!(
            "`connection` is a name of your own, {least} to {most} characters of A-Z a-z 0-9 _ -"
        );
        Err(WireError::new(Code::BadRequest, message))
    }

    /// Does the event stream begin with beats that come early?
    pub(crate) fn has_early_beats(&self) -> Result<bool, WireError> {
        match self.beats.as_deref() {
            None => Ok(false),
            Some("early") => Ok(true),
            Some(_) => {
                let message = "`beats` is `early`, or left out";
                Err(WireError::new(Code::BadRequest, message))
            }
        }
    }
}

/// A page from the back is not one from the front.
fn check_back(
    last: Option<usize>,
    before: Option<Cursor>,
    after: Option<After>,
    wait: Option<Duration>,
) -> Result<(), WireError> {
    let message = match (last, before) {
        (Some(_), _) if after.is_some() || wait.is_some() => {
            "`last` reads from the back: leave `after` and `wait` out"
        }
        (None, Some(_)) => "`before` says where `last` begins: say how many with `last`",
        _ => return Ok(()),
    };
    Err(WireError::new(Code::BadRequest, message))
}

fn place(text: &str) -> Result<Cursor, WireError> {
    match cursor(text)? {
        After::Cursor(cursor) => Ok(cursor),
        After::Now | After::Start => {
            let message = "`before` is a cursor: the `id` of an entry";
            Err(WireError::new(Code::BadCursor, message))
        }
    }
}

fn cursor(text: &str) -> Result<After, WireError> {
    After::parse(text).map_err(|error| WireError::new(Code::BadCursor, error.to_string()))
}

/// A whole number of a query, within its bounds.
pub(crate) fn number(name: &str, text: &str, least: u64, most: u64) -> Result<u64, WireError> {
    text.parse().ok().filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        let message = format!("`{name}` is a whole number from {least} to {most}");
        WireError::new(Code::BadRequest, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn parse(query: &str) -> Result<Query, WireError> {
        Query::parse(Some(query), &HeaderMap::new(), &Limits::default())
    }

    #[test]
    fn a_query_is_checked_part_by_part() {
        let query = parse("topic=a&topic=chat%2Fb&after=k3f9.1&limit=1000&wait=60&x=y").unwrap();
        assert_eq!(query.filter.topics().len(), 2);
        assert_eq!((query.limit, query.wait), (1_000, Some(Duration::from_secs(60))));
        for (text, code) in [
            ("", Code::BadRequest),
            ("topic=", Code::BadTopic),
            ("topic=a&after=5", Code::BadCursor),
            ("topic=a&limit=0", Code::BadRequest),
            ("topic=a&limit=1001", Code::BadRequest),
            ("topic=a&last=0", Code::BadRequest),
            ("topic=a&last=1001", Code::BadRequest),
            ("topic=a&before=k3f9.1", Code::BadRequest),
            ("topic=a&last=5&before=now", Code::BadCursor),
            ("topic=a&last=5&after=k3f9.1", Code::BadRequest),
            ("topic=a&last=5&wait=1", Code::BadRequest),
            ("topic=a/~base", Code::BadTopic),
            ("topic=~tidewire/x", Code::BadTopic),
            ("topic=a&wait=61", Code::BadRequest),
            ("topic=a&wait=-1", Code::BadRequest),
        ] {
            assert_eq!(parse(text).map_err(|error| error.code).err(), Some(code), "{text}");
        }
        let topics =
            |count: usize| (0..count).map(|n| format!("topic=t/{n}")).collect::<Vec<_>>().join("&");
        assert!(parse(&topics(64)).is_ok());
        assert_eq!(parse(&topics(65)).unwrap_err().code, Code::TooManyTopics);
    }

    #[test]
    fn a_streams_name_and_its_beats_are_checked_where_they_are_used() {
        let (shortest, longest) = ("x".repeat(8), "Az09_-xx".repeat(4));
        for name in [&shortest, &longest] {
            let query = parse(&format!("topic=a&connection={name}&beats=early")).unwrap();
            assert_eq!(query.connection(), Ok(Some(name.as_str())));
            assert_eq!(query.has_early_beats(), Ok(true));
        }
        let bad = ["", "x2345+7", "x23456.8", "x23456%C3%A9", "x2345678%0A", "x234567%20"];
        let (short, long) = ("x".repeat(7), "x".repeat(33));
        for name in bad.into_iter().chain([short.as_str(), &long]) {
            // A page has no name, so nobody looks at it.
            let query = parse(&format!("topic=a&connection={name}")).unwrap();
            let error = query.connection().unwrap_err();
            assert_eq!(error.code, Code::BadRequest, "{name}");
        }
        for beats in ["", "late", "Early", "early,", "250"] {
            let query = parse(&format!("topic=a&beats={beats}")).unwrap();
            let error = query.has_early_beats().unwrap_err();
            assert_eq!(error.code, Code::BadRequest, "{beats}");
        }
        let query = parse("topic=a").unwrap();
        assert_eq!((query.connection(), query.has_early_beats()), (Ok(None), Ok(false)));
    }

    #[test]
    fn the_last_event_id_wins() {
        let mut headers = HeaderMap::new();
        let limits = Limits::default();
        headers.insert("last-event-id", HeaderValue::from_static("k3f9.9"));
        let query = Query::parse(Some("topic=a&after=k3f9.1"), &headers, &limits).unwrap();
        assert_eq!(query.after, Some(After::parse("k3f9.9").unwrap()));
        headers.insert("last-event-id", HeaderValue::from_static("other server's"));
        let error = Query::parse(Some("topic=a"), &headers, &limits).unwrap_err();
        assert_eq!(error.code, Code::BadCursor);
        headers.insert("last-event-id", HeaderValue::from_static(""));
        assert!(Query::parse(Some("topic=a"), &headers, &limits).unwrap().after.is_none());
    }
}

//! Names: [`Topic`], one stream inside a feature, and [`Pattern`], a set of topics that a grant covers.
//!
//! A `Topic` can only exist valid, so nothing past the doors checks a name again. This module knows
//! nothing of features' settings or of who may read what.
//!
//! Invariant: the text of a topic is its one normal form; two topics are equal exactly when their
//! bytes are. There is no case folding, no percent-decoding and no `.` or `..` traversal meaning.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// Longest topic, in bytes.
pub const TOPIC_BYTES_MAX: usize = 255;
/// The last segment of the topic on which a topic's members come and go.
pub const PRESENCE: &str = "~presence";
/// The last segment of the topic on which the clients of a document say where they are in it.
pub const AWARENESS: &str = "~awareness";
/// The last segment of the topic that holds another's bases: what stands for its past.
pub const BASE: &str = "~base";
/// Most segments in a topic.
pub const TOPIC_SEGMENTS_MAX: usize = 8;

/// The name of one stream inside a feature: `chat/general`, `notifications/alice`.
///
/// 1 to 255 bytes; 1 to 8 segments separated by `/`; a segment is one or more of
/// `A-Z a-z 0-9 . _ ~ : @ -`; any other byte stands percent-encoded, as `%` and two capital hex
/// digits (RFC 3986 §2.1). The first segment names the feature.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a text is not a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The text has no bytes.
    #[error("a topic has at least one character")]
    Empty,
    /// The text is longer than [`TOPIC_BYTES_MAX`].
    #[error("a topic has at most {TOPIC_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// More than [`TOPIC_SEGMENTS_MAX`] segments.
    #[error("a topic has at most {TOPIC_SEGMENTS_MAX} segments, this one has {0}")]
    TooManySegments(usize),
    /// A segment is empty: the text begins or ends with `/`, or has `//`.
    #[error("a topic has no empty segment: no leading, trailing or double slash")]
    EmptySegment,
    /// A character outside the alphabet.
    #[error(
        "a topic has no {found:?} (at byte {at}): percent-encode what is not A-Z a-z 0-9 . _ ~ : @ -"
    )]
    Character {
        /// The first character that is not allowed.
        found: char,
        /// Its byte offset.
        at: usize,
    },
    /// A `%` that is not followed by two capital hex digits, or encodes what needs no encoding:
    /// a name has one spelling.
    #[error(
        "in a topic `%` stands for what the alphabet lacks, with two capital hex digits (at byte {0})"
    )]
    Percent(usize),
    /// `.` or `..` stands alone as a segment; proxies and URL parsers would rewrite it.
    #[error("a topic has no segment that is just dots")]
    Dots,
}

impl Topic {
    /// Parses a topic.
    ///
    /// # Errors
    /// [`TopicError`] names the first rule of the alphabet or the bounds that the text breaks.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_segments(text, |c| is_topic_character(c) || c == '%')?;
        check_percents(text)?;
        Ok(Self(text.into()))
    }

    /// Parses a topic from a URL's path, where clients may have encoded more than they had to:
    /// what needs no encoding is decoded first (RFC 3986 §6.2.2).
    ///
    /// # Errors
    /// As [`parse`](Self::parse), of the text in its normal form.
    pub fn parse_path(path: &str) -> Result<Self, TopicError> {
        Self::parse(&normal_form(path))
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first segment: the feature this topic belongs to.
    #[must_use]
    pub fn feature(&self) -> &str {
        let end = self.0.bytes().position(|byte| byte == b'/');
        end.and_then(|end| self.0.get(..end)).unwrap_or(&self.0)
    }

    /// Is this one of the server's own, where nobody else publishes? Those whose feature begins with
    /// `~`, and those that end in [`PRESENCE`], [`AWARENESS`] or [`BASE`].
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        let is_about = |reserved| self.about(reserved).is_some();
        self.0.contains('~')
            && (self.0.starts_with('~') || [PRESENCE, AWARENESS, BASE].into_iter().any(is_about))
    }

    /// Are the topic's entries passed on and never kept, whatever its feature keeps?
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.0.contains('~') && (self.about(PRESENCE).is_some() || self.about(AWARENESS).is_some())
    }

    /// The topic of this one's bases; nothing if its name would be too long.
    #[must_use]
    pub fn base(&self) -> Option<Self> {
        Self::parse(&format!("{self}/{BASE}")).ok()
    }

    /// The topic on which this one's members come and go; nothing if its name would be too long.
    #[must_use]
    pub fn presence(&self) -> Option<Self> {
        Self::parse(&format!("{self}/{PRESENCE}")).ok()
    }

    /// The topic on which the clients of this document say where they are in it; nothing if its name
    /// would be too long.
    #[must_use]
    pub fn awareness(&self) -> Option<Self> {
        Self::parse(&format!("{self}/{AWARENESS}")).ok()
    }

    /// The topic that this one is about, if it ends in that reserved segment.
    #[must_use]
    pub fn about(&self, reserved: &str) -> Option<Self> {
        let about = self.0.strip_suffix(reserved)?.strip_suffix('/')?;
        (!about.is_empty()).then(|| Self(about.into()))
    }
}

fn is_topic_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | ':' | '@' | '-')
}

fn check_segments(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong(text.len()));
    }
    if let Some((at, found)) = text.char_indices().find(|&(_, c)| c != '/' && !allowed(c)) {
        return Err(TopicError::Character { found, at });
    }
    let segments = text.split('/').count();
    if segments > TOPIC_SEGMENTS_MAX {
        return Err(TopicError::TooManySegments(segments));
    }
    for segment in text.split('/') {
        match segment {
            "" => return Err(TopicError::EmptySegment),
            "." | ".." => return Err(TopicError::Dots),
            _ => {}
        }
    }
    Ok(())
}

/// The byte that a percent triplet at the start of `text` encodes.
fn percent_byte(text: &str) -> Option<u8> {
    let digits = text.get(1..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

fn check_percents(text: &str) -> Result<(), TopicError> {
    for (at, _) in text.match_indices('%') {
        let triplet = text.get(at..).unwrap_or_default();
        let is_capital = !triplet.bytes().take(3).any(|byte| byte.is_ascii_lowercase());
        match percent_byte(triplet) {
            Some(byte) if is_capital && !is_plain(byte) => {}
            _ => return Err(TopicError::Percent(at)),
        }
    }
    Ok(())
}

/// Does this byte stand in a topic as it is?
fn is_plain(byte: u8) -> bool {
    byte == b'/' || is_topic_character(char::from(byte))
}

fn normal_form(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (plain, triplet) = rest.split_at(at);
        out.push_str(plain);
        match percent_byte(triplet) {
            Some(byte) if is_plain(byte) => out.push(char::from(byte)),
            Some(byte) => out.push_str(&format!("%{byte:02X}")),
            // Not a triplet: left as it is, for the parser to refuse.
            None => out.push_str(triplet.get(..1).unwrap_or_default()),
        }
        let length = if percent_byte(triplet).is_some() { 3 } else { 1 };
        rest = triplet.get(length..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::parse(text)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A set of topics in a grant: `chat/*`, `notifications/{sub}`, `**`.
///
/// The same bounds as a topic. `*` stands for exactly one segment, `**` (last segment only) for one
/// or more, `{sub}` for the subject of the token. There is nothing else: no regular expressions, no
/// partial-segment wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A rule that holds for topics too.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// `*` beside other characters, or `**` before the last segment, or an unknown `{name}`.
    #[error(
        "in a pattern `*` is one whole segment, `**` only the last one, and `{{sub}}` the only name"
    )]
    Wildcard,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`PatternError`] when a segment is neither a topic segment nor `*`, `**` or `{sub}`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check_segments(text, |c| is_topic_character(c) || matches!(c, '%' | '*' | '{' | '}'))?;
        check_percents(text)?;
        let mut segments = text.split('/').peekable();
        while let Some(segment) = segments.next() {
            let good = match segment {
                "*" | "{sub}" => true,
                "**" => segments.peek().is_none(),
                plain => !plain.contains(['*', '{', '}']),
            };
            if !good {
                return Err(PatternError::Wildcard);
            }
        }
        Ok(Self { text: text.to_owned() })
    }

    /// Does the pattern cover this topic, for the peer whose subject is `subject`?
    /// `{sub}` matches nothing when there is no subject.
    #[must_use]
    pub fn covers(&self, topic: &Topic, subject: Option<&str>) -> bool {
        let mut names = topic.as_str().split('/');
        for segment in self.text.split('/') {
            let Some(name) = names.next() else { return false };
            let good = match segment {
                "**" => return true,
                "*" => true,
                "{sub}" => subject == Some(name),
                plain => plain == name,
            };
            if !good {
                return false;
            }
        }
        names.next().is_none()
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Topic {
        Topic::parse(text).unwrap()
    }

    #[test]
    fn the_bounds_hold_at_their_edges() {
        assert!(Topic::parse(&"a".repeat(255)).is_ok());
        assert_eq!(Topic::parse(&"a".repeat(256)), Err(TopicError::TooLong(256)));
        assert!(Topic::parse("a/b/c/d/e/f/g/h").is_ok());
        assert_eq!(Topic::parse("a/b/c/d/e/f/g/h/i"), Err(TopicError::TooManySegments(9)));
        assert_eq!(Topic::parse(""), Err(TopicError::Empty));
    }

    #[test]
    fn tricks_are_refused() {
        for (text, error) in [
            ("/a", TopicError::EmptySegment),
            ("a/", TopicError::EmptySegment),
            ("a//b", TopicError::EmptySegment),
            ("a/../b", TopicError::Dots),
            ("./b", TopicError::Dots),
            ("a b", TopicError::Character { found: ' ', at: 1 }),
            ("a\nb", TopicError::Character { found: '\n', at: 1 }),
            ("a%2Fb", TopicError::Percent(1)),
            ("a%c3", TopicError::Percent(1)),
            ("a%C", TopicError::Percent(1)),
            ("a%", TopicError::Percent(1)),
            ("a%é", TopicError::Character { found: 'é', at: 2 }),
            ("é", TopicError::Character { found: 'é', at: 0 }),
            ("a*", TopicError::Character { found: '*', at: 1 }),
        ] {
            assert_eq!(Topic::parse(text), Err(error), "{text:?}");
        }
        assert!(Topic::parse("a...b/user:1@x_y~z-").is_ok());
    }

    #[test]
    fn a_name_has_one_spelling_and_paths_come_to_it() {
        assert!(Topic::parse("notifications/%C3%A9").is_ok());
        for (path, expected) in [
            ("chat%2Fgeneral", Some("chat/general")),
            ("chat/user%3aa%40b", Some("chat/user:a@b")),
            ("chat/%c3%a9", Some("chat/%C3%A9")),
            ("chat/%2E%2E/x", None),
            ("chat/100%", None),
            ("chat/%zz", None),
        ] {
            let parsed = Topic::parse_path(path).ok();
            assert_eq!(parsed.as_ref().map(Topic::as_str), expected, "{path}");
        }
    }

    #[test]
    fn the_first_segment_is_the_feature() {
        assert_eq!(topic("chat/general").feature(), "chat");
        assert_eq!(topic("chat").feature(), "chat");
    }

    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, name, subject, expected) in [
            ("chat/*", "chat/general", None, true),
            ("chat/*", "chat", None, false),
            ("chat/*", "chat/a/b", None, false),
            ("chat/**", "chat/a/b", None, true),
            ("chat/**", "chat", None, false),
            ("**", "anything/at/all", None, true),
            ("notifications/{sub}", "notifications/alice", Some("alice"), true),
            ("notifications/{sub}", "notifications/alice", Some("bob"), false),
            ("notifications/{sub}", "notifications/alice", None, false),
            ("chat/general", "chat/general", None, true),
            ("chat/general", "chat/General", None, false),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.covers(&topic(name), subject), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn some_topics_are_the_servers_own() {
        let topic = |text: &str| Topic::parse(text).unwrap();
        for (text, is_reserved) in [
            ("chat/general", false),
            ("chat/~presence/x", false),
            ("chat~presence", false),
            ("chat/~presence", true),
            ("chat/general/~base", true),
            ("~presence", true),
            ("~tidewire/x", true),
        ] {
            assert_eq!(topic(text).is_reserved(), is_reserved, "{text}");
        }
        assert_eq!(topic("a/b").base(), Some(topic("a/b/~base")));
        assert_eq!(topic("a/b/~presence").about(PRESENCE), Some(topic("a/b")));
        assert_eq!(topic("a/b/~presence").about(BASE), None);
        assert_eq!(topic("1/2/3/4/5/6/7/8").base(), None);
        assert_eq!(topic("~base").about(BASE), None);
    }

    #[test]
    fn patterns_that_would_surprise_are_refused() {
        for text in ["chat*", "**/chat", "a/{user}", "{sub", "a/b*c"] {
            assert_eq!(Pattern::parse(text), Err(PatternError::Wildcard), "{text}");
        }
    }
}

//! [`Verdict`]: what a client found out about its path, and what it did.

use serde::Deserialize;
use tidewire_proto::{Code, WireError, plan::Transport};

/// What a path can be found to be.
const VERDICTS: [&str; 3] = ["clear", "buffered", "blocked"];
/// What it can be judged by.
const GROUNDS: [&str; 5] = ["canary", "probe", "silence", "connect", "retest"];
/// Longest remark, in characters: it goes into a line of the log.
const DETAIL_CHARACTERS_MAX: usize = 200;

/// A client's report on its path. All its words are ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    words: [&'static str; 4],
    detail: Option<String>,
}

#[derive(Deserialize)]
struct Written {
    verdict: String,
    from: String,
    to: String,
    by: String,
    detail: Option<String>,
}

impl Verdict {
    /// Reads the JSON of a report. Unknown fields are passed over: a later client may have some.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let Written { verdict, from, to, by, detail } =
            serde_json::from_slice(bytes).map_err(|error| {
                let message = format!(
                    "a verdict is a JSON object with the texts `verdict`, `from`, `to` and `by`: {error}"
                );
                WireError::new(Code::BadJson, message)
            })?;
        let transports = Transport::ALL.map(Transport::as_str);
        let words = [
            word("verdict", &verdict, &VERDICTS)?,
            word("from", &from, &transports)?,
            word("to", &to, &transports)?,
            word("by", &by, &GROUNDS)?,
        ];
        let characters = detail.as_ref().map_or(0, |detail| detail.chars().count());
        if characters > DETAIL_CHARACTERS_MAX {
            let message = format!(
                "`detail` has {characters} characters, at most {DETAIL_CHARACTERS_MAX} are taken"
            );
            return Err(WireError::new(Code::BadRequest, message));
        }
        Ok(Self { words, detail })
    }

    /// The verdict, the transport before, the transport now, and what it was judged by.
    pub(crate) fn words(&self) -> [&'static str; 4] {
        self.words
    }

    /// What the client adds, in its own words.
    pub(crate) fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

fn word(field: &str, text: &str, known: &[&'static str]) -> Result<&'static str, WireError> {
    known.iter().find(|word| **word == text).copied().ok_or_else(|| {
        let message = format!("`{field}` is one of {}, not {text:?}", known.join(", "));
        WireError::new(Code::BadRequest, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn good() -> Value {
        json!({"verdict": "buffered", "from": "sse", "to": "ws", "by": "probe", "new": 1})
    }

    fn code(value: &Value) -> Option<Code> {
        Verdict::parse(value.to_string().as_bytes()).err().map(|error| error.code)
    }

    #[test]
    fn every_word_is_known_and_every_other_refused() {
        for (field, words) in [
            ("verdict", &["clear", "buffered", "blocked"][..]),
            ("from", &["sse", "ws", "poll"]),
            ("to", &["sse", "ws", "poll"]),
            ("by", &["canary", "probe", "silence", "connect", "retest"]),
        ] {
            for word in words {
                let mut value = good();
                value[field] = json!(word);
                let verdict = Verdict::parse(value.to_string().as_bytes()).unwrap();
                assert!(verdict.words().contains(word), "{value}");
            }
            for word in ["", "unknown", "SSE", "clear\n", "sse\"} 1"] {
                let mut value = good();
                value[field] = json!(word);
                assert_eq!(code(&value), Some(Code::BadRequest), "{value}");
            }
            for wrong in [json!(null), json!(7), json!(["sse"])] {
                let mut value = good();
                value[field] = wrong;
                assert_eq!(code(&value), Some(Code::BadJson), "{value}");
            }
            let mut value = good();
            value.as_object_mut().unwrap().remove(field);
            assert_eq!(code(&value), Some(Code::BadJson), "{value}");
        }
        for text in ["", "[]", "buffered", "{", "\u{e9}"] {
            assert_eq!(Verdict::parse(text.as_bytes()).unwrap_err().code, Code::BadJson, "{text}");
        }
        assert_eq!(Verdict::parse(&[0xff]).unwrap_err().code, Code::BadJson);
    }

    #[test]
    fn a_remark_has_200_characters_at_most() {
        for (characters, expected) in [(0, None), (200, None), (201, Some(Code::BadRequest))] {
            let mut value = good();
            value["detail"] = json!("é".repeat(characters));
            assert_eq!(code(&value), expected, "{characters}");
        }
        let mut value = good();
        assert_eq!(Verdict::parse(value.to_string().as_bytes()).unwrap().detail(), None);
        value["detail"] = json!("Via: 1.1 proxy");
        let verdict = Verdict::parse(value.to_string().as_bytes()).unwrap();
        assert_eq!(verdict.detail(), Some("Via: 1.1 proxy"));
        value["detail"] = json!(7);
        assert_eq!(code(&value), Some(Code::BadJson));
    }
}

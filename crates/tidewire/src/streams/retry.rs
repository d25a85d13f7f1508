//! A producer that comes back with the same text: what the log has of it is passed over.
//!
//! Lines and events have a number each, so their keys say which of them are stored. Plain text is cut
//! where the network cuts it, each time elsewhere, so it is the text itself that says how far it came.
//!
//! Invariant: nothing is passed over that is not, byte for byte, what the log has.

use tidewire_core::log::Filter;
use tidewire_proto::{After, Code, Data, WireError, parts::TEXT};

use crate::app::App;

/// The text that is stored already.
pub(super) struct Skip {
    left: u64,
    bytes: u64,
    stored: blake3::Hash,
    heard: blake3::Hasher,
}

/// All pieces of text of a stream, if it has any.
pub(super) async fn stored_text(app: &App, filter: &Filter) -> Result<Option<Skip>, WireError> {
    let (mut hasher, mut after) = (blake3::Hasher::new(), After::Start);
    loop {
        let page = app.hub.history(filter, after, app.hub.limits().page_entries_max).await?;
        for framed in &page.entries {
            let entry = framed.entry();
            if let (TEXT, None, Data::Text(text)) = (entry.event.as_str(), &entry.item, &entry.data)
            {
                hasher.update(text);
            }
        }
        if !page.more {
            break;
        }
        after = After::Cursor(page.cursor);
    }
    let bytes = hasher.count();
    let skip = Skip { left: bytes, bytes, stored: hasher.finalize(), heard: blake3::Hasher::new() };
    Ok((bytes > 0).then_some(skip))
}

impl Skip {
    /// How long the stored text is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is new in the next bytes of the body.
    ///
    /// # Errors
    /// `key_conflict` where the body begins otherwise than the stream.
    pub(super) fn pass<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], WireError> {
        if self.left == 0 {
            return Ok(bytes);
        }
        let known = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (known, new) = bytes.split_at(known);
        self.heard.update(known);
        self.left -= known.len() as u64;
        if self.left == 0 && self.heard.finalize() != self.stored {
            Err(other_text())
        } else {
            Ok(new)
        }
    }

    /// # Errors
    /// As [`pass`](Self::pass), where the body was over before.
    pub(super) fn finish(&self) -> Result<(), WireError> {
        if self.left == 0 { Ok(()) } else { Err(other_text()) }
    }
}

fn other_text() -> WireError {
    let message = "the stream has text already, and this body does not begin with it: send the same \
                   again, or use another topic";
    WireError::new(Code::KeyConflict, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(stored: &[u8]) -> Skip {
        let bytes = stored.len() as u64;
        Skip { left: bytes, bytes, stored: blake3::hash(stored), heard: blake3::Hasher::new() }
    }

    #[test]
    fn what_is_stored_is_passed_over_wherever_the_body_is_cut() {
        let body = b"Once upon a time";
        for stored in 1..=body.len() {
            for at in 0..=body.len() {
                let mut skip = skip(&body[..stored]);
                let (head, tail) = body.split_at(at);
                let mut new = skip.pass(head).unwrap().to_vec();
                new.extend_from_slice(skip.pass(tail).unwrap());
                assert_eq!(new, &body[stored..]);
                assert!(skip.finish().is_ok());
            }
        }
    }

    #[test]
    fn another_text_is_refused_before_any_of_it_is_new() {
        assert_eq!(skip(b"Once").pass(b"Only this").unwrap_err().code, Code::KeyConflict);
        let mut skip = skip(b"Once");
        assert_eq!(skip.pass(b"On").unwrap(), b"");
        assert_eq!(skip.finish().unwrap_err().code, Code::KeyConflict, "and a shorter one");
    }
}

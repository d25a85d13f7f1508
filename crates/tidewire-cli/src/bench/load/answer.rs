//! HTTP answers, as far as a publisher needs them: where one ends, its status, its body.
//!
//! It must not know sockets or what was asked.

/// One whole answer at the beginning of what was received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Bytes that it took.
    pub(crate) taken: usize,
}

/// The answer that `bytes` begin with; `None` while it is not whole.
pub(crate) fn parse(bytes: &[u8]) -> Option<Answer> {
    let head_bytes = head_end(bytes)?;
    let head = String::from_utf8_lossy(&bytes[..head_bytes]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let rest = &bytes[head_bytes..];
    if field("transfer-encoding:").is_some_and(|value| value.contains("chunked")) {
        let (body, taken) = chunked(rest)?;
        return Some(Answer { status, body, taken: head_bytes + taken });
    }
    let length = field("content-length:").and_then(|value| value.parse().ok()).unwrap_or(0);
    let body = rest.get(..length)?.to_vec();
    Some(Answer { status, body, taken: head_bytes + length })
}

/// Where a head ends: after its empty line.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = memchr::memmem::find(&bytes[at..], b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..at + line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        let start = at + line + 2;
        body.extend_from_slice(bytes.get(start..start.checked_add(size)?)?);
        at = start + size + 2;
        if bytes.len() < at {
            return None;
        }
        if size == 0 {
            return Some((body, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_where_they_end() {
        let plain = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nokHTTP/1.1";
        for at in 0..plain.len() - 8 {
            assert_eq!(parse(&plain[..at]), None, "{at}");
        }
        let answer = parse(plain).unwrap();
        assert_eq!(
            (answer.status, &answer.body[..], answer.taken),
            (201, &b"ok"[..], plain.len() - 8)
        );
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n";
        for at in 0..chunks.len() {
            assert_eq!(parse(&chunks[..at]), None, "{at}");
        }
        assert_eq!(parse(chunks).unwrap().body, b"abc");
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().status, 204);
    }
}

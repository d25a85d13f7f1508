//! RFC 6455 against the real server, with frames written by hand. The codec's own tests and vectors
//! are in `tidewire-proto`; here is what a peer on the network sees.

use serde_json::json;

use crate::support::{
    Server,
    raw::{ACCEPT, Frame, KEY, Raw, handshake, head_of, masked},
};

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

async fn echo(server: &Server) -> Raw {
    Raw::upgraded(server, "/v1/echo").await
}

/// Sends one thing over a fresh connection; gives the code with which it is closed for it.
async fn closed_for(server: &Server, bytes: &[u8]) -> u16 {
    let mut codes = Vec::new();
    for path in ["/v1/echo", "/v1/socket"] {
        let mut raw = Raw::upgraded(server, path).await;
        raw.send(bytes).await;
        codes.push(raw.closed().await);
    }
    assert_eq!(codes[0], codes[1], "one codec");
    codes[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_is_checked_line_by_line() {
    let server = Server::dev().await;
    let good = handshake("/v1/socket");
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from));
        good.replace(from, to)
    };
    for (request, status, code) in [
        (changed("Connection: Upgrade\r\n", ""), 426, "upgrade_required"),
        (changed("Connection: Upgrade", "Connection: keep-alive"), 426, "upgrade_required"),
        (changed("Upgrade: websocket\r\n", ""), 426, "upgrade_required"),
        (changed("Upgrade: websocket", "Upgrade: h2c"), 426, "upgrade_required"),
        (changed("Version: 13", "Version: 8"), 426, "upgrade_required"),
        (changed("Sec-WebSocket-Version: 13\r\n", ""), 426, "upgrade_required"),
        (changed("HTTP/1.1", "HTTP/1.0"), 426, "upgrade_required"),
        (changed("GET", "HEAD"), 426, "upgrade_required"),
        (changed("GET", "POST"), 405, "method_not_allowed"),
        (changed(KEY, "c2hvcnQ="), 400, "bad_request"),
        (changed(KEY, "not base64, but 24 long!"), 400, "bad_request"),
        (changed(&format!("Sec-WebSocket-Key: {KEY}\r\n"), ""), 400, "bad_request"),
    ] {
        let mut raw = Raw::open(&server).await;
        raw.send(&request).await;
        let head = raw.head().await;
        assert_eq!(head.status, status, "{request}");
        if status == 426 {
            assert_eq!(head.header("upgrade"), Some("websocket"), "{request}");
            assert_eq!(head.header("sec-websocket-version"), Some("13"));
        }
        if !request.starts_with("HEAD") {
            assert!(raw.until("}}").await.contains(code), "{request}");
        }
    }
    for (from, to, protocol) in [
        ("Upgrade: websocket", "Upgrade: WebSocket", None),
        ("Connection: Upgrade", "Connection: keep-alive, upgrade", None),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat, tidewire.v1\r\n\r\n", Some("tidewire.v1")),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n", None),
        ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", None),
    ] {
        let mut raw = Raw::open(&server).await;
        raw.send(changed(from, to)).await;
        let head = raw.head().await;
        assert_eq!((head.status, head.header("sec-websocket-accept")), (101, Some(ACCEPT)));
        assert_eq!(head.header("sec-websocket-protocol"), protocol);
        assert_eq!(head.header("sec-websocket-extensions"), None);
        assert!(raw.frame().await.unwrap().json()["hello"].is_object());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_length_come_back() {
    let server = Server::dev().await;
    let mut raw = echo(&server).await;
    for bytes in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
        for first in [TEXT, BINARY] {
            let payload = vec![b'x'; bytes];
            raw.send_frame(first, &payload).await;
            assert!(raw.frame().await == Some(Frame::new(first, payload)), "{bytes} bytes");
        }
    }
    let bytes: Vec<u8> = (0..=255).collect();
    raw.send_frame(BINARY, &bytes).await;
    assert_eq!(raw.frame().await, Some(Frame::new(BINARY, bytes)));
    raw.send_frame(TEXT, "κόσμε 𝄞 \0").await;
    assert_eq!(raw.frame().await, Some(Frame::new(TEXT, "κόσμε 𝄞 \0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_with_its_payload_and_a_pong_with_nothing() {
    let server = Server::dev().await;
    for path in ["/v1/echo", "/v1/socket"] {
        let mut raw = Raw::upgraded(&server, path).await;
        if path == "/v1/socket" {
            raw.frame().await.unwrap().json();
        }
        raw.send_frame(PONG, "nobody asked").await;
        for payload in [&b""[..], b"\x00\xff", &[7; 125]] {
            raw.send_frame(PING, payload).await;
            assert_eq!(raw.frame().await, Some(Frame::new(PONG, payload)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_are_one_message_and_control_frames_go_between() {
    let server = Server::dev().await;
    let mut raw = echo(&server).await;
    let text = "κόσμε 𝄞".as_bytes();
    for chunk_bytes in [1, 3] {
        // Cut inside characters, in frames of their own; and some of them with nothing in them.
        let mut first = 0x01;
        for chunk in text.chunks(chunk_bytes) {
            raw.send_frame(first, chunk).await;
            raw.send_frame(PING, "between").await;
            raw.send_frame(0x00, "").await;
            first = 0x00;
        }
        raw.send_frame(0x80, "").await;
        for _ in text.chunks(chunk_bytes) {
            assert_eq!(raw.frame().await, Some(Frame::new(PONG, "between")));
        }
        assert_eq!(raw.frame().await, Some(Frame::new(TEXT, text)));
    }
    // And cut by the network, byte for byte.
    for byte in masked(BINARY, b"slow") {
        raw.send([byte]).await;
    }
    assert_eq!(raw.frame().await, Some(Frame::new(BINARY, "slow")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_breaks_the_framing_is_closed_with_1002() {
    let server = Server::dev().await;
    let unmasked = b"\x81\x05Hello";
    let cases: [(&str, Vec<u8>); 12] = [
        ("not masked", unmasked.to_vec()),
        ("reserved bit 1", masked(0xc1, b"x")),
        ("reserved bit 2", masked(0xa1, b"x")),
        ("reserved bit 3", masked(0x91, b"x")),
        ("opcode 3", masked(0x83, b"x")),
        ("opcode 11", masked(0x8b, b"x")),
        ("a ping in fragments", masked(0x09, b"x")),
        ("a long ping", masked(PING, &[0; 126])),
        ("nothing to continue", masked(0x80, b"x")),
        ("a message inside another", [masked(0x01, b"x"), masked(TEXT, b"y")].concat()),
        ("a length that could be shorter", vec![TEXT, 0xfe, 0, 5]),
        ("a length beyond 63 bits", vec![BINARY, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
    ];
    for (what, bytes) in cases {
        assert_eq!(closed_for(&server, &bytes).await, 1002, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8_is_closed_before_it_ends() {
    let server = Server::dev().await;
    assert_eq!(closed_for(&server, &masked(TEXT, b"\xff")).await, 1007);
    assert_eq!(closed_for(&server, &masked(TEXT, b"cut \xce")).await, 1007);
    // A surrogate; an overlong form; beyond the last code point.
    for bad in [&b"\xed\xa0\x80"[..], b"\xc0\xaf", b"\xf4\x90\x80\x80"] {
        assert_eq!(closed_for(&server, &masked(0x01, bad)).await, 1007, "{bad:?}");
    }
    // The frame announces 1,000 bytes; two of them are enough to see it.
    let mut begun = head_of(TEXT, 1_000);
    begun.extend([0, 0, 0, 0, b'a', 0xff]);
    assert_eq!(closed_for(&server, &begun).await, 1007);
    // Bytes are not text.
    let mut raw = echo(&server).await;
    raw.send_frame(BINARY, [0xff]).await;
    assert_eq!(raw.frame().await, Some(Frame::new(BINARY, [0xff])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_refused_before_it_arrives() {
    let server = Server::dev_with(|s| s.limits.message_bytes_max = 3_000).await;
    // Four thirds, because bytes may come as base64; and room for a command's words.
    let most = 4_000 + 2_048;
    let mut raw = echo(&server).await;
    raw.send_frame(BINARY, vec![1; most]).await;
    assert_eq!(raw.frame().await.unwrap().payload.len(), most);
    for announced in [most + 1, 1 << 20, 1 << 40] {
        // The header alone.
        let mut header = head_of(BINARY, announced);
        header.extend([1, 2, 3, 4]);
        assert_eq!(closed_for(&server, &header).await, 1009, "{announced}");
    }
    let whole = masked(BINARY, &vec![1; 1 << 20]);
    assert_eq!(closed_for(&server, &whole).await, 1009, "and when all of it is sent");
    let mut pieces = masked(0x02, &vec![1; most]);
    pieces.extend(masked(0x80, b"x"));
    assert_eq!(closed_for(&server, &pieces).await, 1009, "all fragments count");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_answered_with_its_own_code_and_ends_the_connection() {
    let server = Server::dev().await;
    for path in ["/v1/echo", "/v1/socket"] {
        for code in [1000_u16, 1001, 1011, 3000, 4999] {
            let mut raw = Raw::upgraded(&server, path).await;
            let payload = [&code.to_be_bytes()[..], "good-bye".as_bytes()].concat();
            raw.send_frame(CLOSE, payload).await;
            assert_eq!(raw.closed().await, code);
        }
        let mut raw = Raw::upgraded(&server, path).await;
        raw.send_frame(CLOSE, "").await;
        let answer = loop {
            let frame = raw.frame().await.unwrap();
            if frame.first != TEXT {
                break frame;
            }
        };
        assert_eq!((answer, raw.frame().await), (Frame::new(CLOSE, ""), None));
        // What comes after a close means nothing any more.
        let mut raw = Raw::upgraded(&server, path).await;
        let command = br#"{"do":"publish","topic":"chat/late","data":1}"#;
        let bytes = [masked(CLOSE, &1000_u16.to_be_bytes()), masked(TEXT, command)].concat();
        raw.send(bytes).await;
        assert_eq!(raw.closed().await, 1000);
    }
    assert_eq!(server.history("chat/late", "start").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_may_not_travel_breaks_the_protocol() {
    let server = Server::dev().await;
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(closed_for(&server, &masked(CLOSE, &code.to_be_bytes())).await, 1002, "{code}");
    }
    assert_eq!(closed_for(&server, &masked(CLOSE, b"\x03")).await, 1002, "half a code");
    assert_eq!(closed_for(&server, &masked(CLOSE, b"\x03\xe8\xff")).await, 1007);
    assert_eq!(closed_for(&server, &masked(CLOSE, &[3; 126])).await, 1002, "too long");
}

/// The peer's half of a close is seen also when it was in the same piece as other words.
#[tokio::test(flavor = "multi_thread")]
async fn the_peers_half_of_a_close_is_seen_behind_other_words() {
    let mut server = Server::dev_with(|s| {
        s.limits.close_timeout = std::time::Duration::from_secs(15);
        s.limits.drain_timeout = std::time::Duration::from_secs(15);
    })
    .await;
    let mut raw = Raw::upgraded(&server, "/v1/socket").await;
    raw.frame().await.unwrap();
    let started = tokio::time::Instant::now();
    let talk = async {
        assert!(raw.frame().await.unwrap().json()["bye"].is_object());
        assert_eq!(raw.frame().await.unwrap().close_code(), 1012);
        let late = [masked(TEXT, b"{}"), masked(PING, b""), masked(CLOSE, &[0x03, 0xf4])].concat();
        raw.send(late).await;
        assert_eq!(raw.frame().await, None);
    };
    tokio::join!(server.stop(), talk);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_hangs_up_is_gone_and_nobody_else_notices() {
    let server = Server::dev().await;
    let mut other = echo(&server).await;
    for half in [&b""[..], b"\x81", &masked(0x01, b"half a message"), &head_of(BINARY, 900)] {
        let mut raw = echo(&server).await;
        raw.send(half).await;
        tokio::io::AsyncWriteExt::shutdown(&mut raw.io).await.unwrap();
        assert_eq!(raw.frame().await, None);
    }
    let gone = async || crate::support::streams(&server).await == 1;
    crate::support::until("they are gone", gone).await;
    other.send_frame(TEXT, "still here").await;
    assert_eq!(other.frame().await, Some(Frame::new(TEXT, "still here")));
}

/// Header length, header, bytes: in one frame, or in many.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_published_and_delivered_as_a_binary_message() {
    let server = Server::dev().await;
    let mut raw = Raw::upgraded(&server, "/v1/socket").await;
    raw.frame().await.unwrap();
    raw.send_frame(TEXT, r#"{"do":"subscribe","ref":1,"topic":"pointers/1"}"#).await;
    assert!(raw.frame().await.unwrap().json()["ok"].is_object());
    assert!(raw.frame().await.unwrap().json()["live"].is_object());
    let header = r#"{"do":"publish","ref":4,"topic":"pointers/1"}"#;
    let message = [&[0, header.len() as u8], header.as_bytes(), &[0, 255, 10]].concat();
    for pieces in [1, 2, message.len()] {
        let mut first = 0x02;
        for piece in message.chunks(message.len().div_ceil(pieces)) {
            raw.send_frame(first, piece).await;
            first = 0x00;
        }
        raw.send_frame(0x80, "").await;
        let (mut answered, mut delivered) = (false, false);
        while !(answered && delivered) {
            let frame = raw.frame().await.unwrap();
            if frame.first == TEXT {
                assert_eq!(frame.json()["ref"], json!(4));
                answered = true;
            } else {
                assert_eq!(
                    (frame.first, &frame.payload[frame.payload.len() - 3..]),
                    (BINARY, &[0, 255, 10][..])
                );
                delivered = true;
            }
        }
    }
}

/// A page can not send the protocol's pings, so a command asks for a sign of life.
#[tokio::test(flavor = "multi_thread")]
async fn a_ping_of_a_page_is_answered() {
    let server = Server::dev().await;
    let mut raw = Raw::upgraded(&server, "/v1/socket").await;
    assert!(raw.frame().await.unwrap().json()["hello"].is_object());
    raw.send(masked(TEXT, br#"{"do":"ping","ref":"p"}"#)).await;
    assert_eq!(raw.frame().await.unwrap().json(), json!({"ref": "p", "ok": {}}));
}

//! Where subscribers knock and what they say: a URL template, made into the bytes of a request.
//!
//! It must not know sockets. Any server that speaks event streams or WebSocket can be a target;
//! Tidewire is only the one whose template is built in.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, bail};
use http::Uri;

use super::frames;

/// How deliveries travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// Server-Sent Events
    Sse,
    /// WebSocket
    Ws,
}

impl Transport {
    /// As it is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::Ws => "ws",
        }
    }
}

/// A URL with `{topic}` and `{after}` in it.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// What `Host` says.
    pub(crate) host: String,
    /// Path and query, not yet filled in.
    path: String,
    /// The scheme asked for a WebSocket.
    pub(crate) socket: bool,
}

impl Template {
    /// Reads a template and looks its host up.
    ///
    /// # Errors
    /// When it is no URL, when TLS is asked for, or when the host is not this machine.
    pub(crate) fn parse(text: &str, any_host: bool) -> anyhow::Result<Self> {
        let (scheme, rest) =
            text.split_once("://").context("a URL begins with http:// or ws://")?;
        let socket = match scheme {
            "http" => false,
            "ws" => true,
            "https" | "wss" => {
                bail!("{text}: the load tool speaks plain HTTP; `idle --tls` measures TLS")
            }
            _ => bail!("{text}: the scheme is http or ws"),
        };
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) if rest.as_bytes()[at] == b'/' => (&rest[..at], rest[at..].to_owned()),
            Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
            None => (rest, "/".to_owned()),
        };
        let uri: Uri =
            format!("http://{host}/").parse().with_context(|| format!("{text} is no URL"))?;
        let name = uri.host().context("a URL names a host")?.trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(80);
        let mut found =
            (name, port).to_socket_addrs().with_context(|| format!("{name} has no address"))?;
        let address = found.next().with_context(|| format!("{name} has no address"))?;
        if !address.ip().is_loopback() && !any_host {
            bail!(
                "{address} is not this machine: tens of thousands of connections are an attack where \
                 they are not expected. If the host is yours, say so with --i-own-this-host"
            );
        }
        Ok(Self { address, host: host.to_owned(), path, socket })
    }

    /// The template as it was read.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", if self.socket { "ws" } else { "http" }, self.host, self.path)
    }

    /// Path and query for a topic and a place.
    pub(crate) fn path(&self, topic: &str, after: &str) -> String {
        fill(&self.path, topic, after)
    }
}

/// Replaces `{topic}` and `{after}`. Other braces stay: JSON has many.
pub(crate) fn fill(text: &str, topic: &str, after: &str) -> String {
    text.replace("{topic}", topic).replace("{after}", after)
}

/// Where subscribers connect, and what is said until a subscription stands.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) template: Template,
    pub(crate) transport: Transport,
    /// Further header lines, `Name: value`.
    pub(crate) headers: Vec<String>,
    /// The subprotocol a WebSocket offers.
    pub(crate) subprotocol: Option<String>,
    /// Text frames said after a WebSocket's handshake.
    pub(crate) says: Vec<String>,
    /// Bytes that tell that the subscription stands; else the response head does.
    pub(crate) wait_for: Option<String>,
}

/// Any 16 bytes do: nothing here is secret, and the answer is not compared.
const KEY: &str = "dGlkZXdpcmUgYmVuY2ghIQ==";

impl Door {
    /// The request of one subscriber.
    pub(crate) fn request(&self, topic: &str, after: &str) -> Vec<u8> {
        let path = self.template.path(topic, after);
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.template.host);
        match self.transport {
            Transport::Sse => head.push_str("Accept: text/event-stream\r\n"),
            Transport::Ws => {
                head.push_str(
                    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                );
                head.push_str(&format!("Sec-WebSocket-Key: {KEY}\r\n"));
                if let Some(name) = &self.subprotocol {
                    head.push_str(&format!("Sec-WebSocket-Protocol: {name}\r\n"));
                }
            }
        }
        for line in &self.headers {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// What one subscriber says after a WebSocket's handshake: masked text frames.
    pub(crate) fn says(&self, topic: &str, after: &str) -> Vec<u8> {
        self.says.iter().flat_map(|text| frames::text(&fill(text, topic, after))).collect()
    }

    /// The status that a subscription's answer has.
    pub(crate) fn status(&self) -> &'static [u8] {
        match self.transport {
            Transport::Sse => b"200",
            Transport::Ws => b"101",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> anyhow::Result<Template> {
        Template::parse(text, false)
    }

    #[test]
    fn templates_are_filled() {
        let url = "http://127.0.0.1:4000/v1/sse?topic={topic}&after={after}&x={y}";
        let read = template(url).unwrap();
        assert_eq!(read.address, "127.0.0.1:4000".parse().unwrap());
        assert_eq!(read.path("bench/0", "k.1"), "/v1/sse?topic=bench/0&after=k.1&x={y}");
        assert!(!read.socket);
        let read = template("ws://localhost:81").unwrap();
        assert_eq!((read.host.as_str(), read.path("a", "b")), ("localhost:81", "/".to_owned()));
        assert!(read.socket);
        assert_eq!(template("http://[::1]:9?t={topic}").unwrap().path("a", ""), "/?t=a");
    }

    #[test]
    fn load_goes_to_this_machine_only() {
        let foreign = template("http://192.0.2.1:80/").unwrap_err().to_string();
        assert!(foreign.contains("--i-own-this-host"), "{foreign}");
        assert!(Template::parse("http://192.0.2.1:80/", true).is_ok());
        for bad in
            ["127.0.0.1:1", "https://127.0.0.1/", "ftp://127.0.0.1/", "http:///x", "http://a b/"]
        {
            assert!(template(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_has_what_was_asked_for() {
        let door = Door {
            template: template("ws://127.0.0.1:1/s?t={topic}").unwrap(),
            transport: Transport::Ws,
            headers: vec!["X-A: b".to_owned()],
            subprotocol: Some("p".to_owned()),
            says: Vec::new(),
            wait_for: None,
        };
        let text = String::from_utf8(door.request("q/1", "now")).unwrap();
        assert!(text.starts_with("GET /s?t=q/1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"), "{text}");
        assert!(text.contains("Sec-WebSocket-Protocol: p\r\n") && text.ends_with("X-A: b\r\n\r\n"));
        assert_eq!(door.status(), b"101");
    }
}

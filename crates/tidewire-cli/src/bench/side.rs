//! The two sides of a comparison: the target and the floor, each ready to be loaded.
//!
//! It must not know what is measured on them. The floor sends what the target sends, byte for byte
//! where the target is ours: the same framing around the same payload.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use tidewire::{
    Cursor, Data, Entry, EventType, Topic,
    tidewire_proto::{
        Sequence,
        frame::{Opcode, write_header},
        sse, ws,
    },
};

use super::{
    child::{self, Child, Setup},
    door::{Door, Template, Transport},
    load::{Way, topic_name},
    marker::{self, Marker},
    probe::Probe,
};

/// Which server, and how to talk to it. Without any of it, the bench starts a server of its own.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Another server")]
pub(crate) struct TargetArgs {
    /// URL template of a subscription: http://… is an event stream, ws://… a WebSocket;
    /// {topic} and {after} are filled in
    #[arg(long, value_name = "URL", requires = "publish")]
    pub(crate) subscribe: Option<String>,
    /// URL template for publishing: the payload is POSTed, {topic} is filled in
    #[arg(long, value_name = "URL", requires = "subscribe")]
    pub(crate) publish: Option<String>,
    /// Text frame to send after a WebSocket's handshake; {topic} is filled in. May be repeated
    #[arg(long, value_name = "TEXT")]
    pub(crate) say: Vec<String>,
    /// Bytes that tell that a subscription stands [default: the response head does]
    #[arg(long, value_name = "TEXT")]
    pub(crate) wait_for: Option<String>,
    /// Subprotocol that a WebSocket offers
    #[arg(long, value_name = "NAME")]
    pub(crate) subprotocol: Option<String>,
    /// Header line for every request, `Name: value`. May be repeated
    #[arg(long, value_name = "LINE")]
    pub(crate) header: Vec<String>,
    /// Process of that server, with its children: whose processor time and memory to read
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
    /// Load a host other than this machine. Ten thousand connections are an attack where nobody
    /// expects them: only your own
    #[arg(long)]
    pub(crate) i_own_this_host: bool,
    /// Where the bench's own server keeps its log [default: the folder for temporary files]
    #[arg(long, value_name = "DIR", help_heading = "Its own server")]
    pub(crate) data: Option<PathBuf>,
    /// Topics that keep nothing (`history = "none"`): no disk between publish and delivery
    #[arg(long, help_heading = "Its own server")]
    pub(crate) ephemeral: bool,
}

impl TargetArgs {
    /// The bench's own server, with every default.
    pub(crate) fn own() -> Self {
        Self {
            subscribe: None,
            publish: None,
            say: Vec::new(),
            wait_for: None,
            subprotocol: None,
            header: Vec::new(),
            pid: None,
            i_own_this_host: false,
            data: None,
            ephemeral: false,
        }
    }

    /// First segment of the topics.
    pub(crate) fn feature(&self) -> &'static str {
        if self.ephemeral { "benchmem" } else { "bench" }
    }

    /// What the run's transport is: the URL's scheme decides for another server.
    pub(crate) fn transport(&self, asked: Transport) -> Transport {
        match &self.subscribe {
            Some(url) if url.starts_with("ws") => Transport::Ws,
            Some(_) => Transport::Sse,
            None => asked,
        }
    }
}

/// One side, running.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) door: Door,
    pub(crate) way: Way,
    pub(crate) feature: String,
    pub(crate) probe: Probe,
    /// Where else the server can be asked, if it is ours.
    pub(crate) url: Option<String>,
    _child: Option<Child>,
}

impl Side {
    /// The server that is measured: a new one of ours, or the one that the arguments name.
    ///
    /// # Errors
    /// When it does not start, or the URLs are not good.
    pub(crate) fn target(args: &TargetArgs, transport: Transport) -> anyhow::Result<Self> {
        match (&args.subscribe, &args.publish) {
            (Some(subscribe), Some(publish)) => Self::foreign(args, subscribe, publish),
            _ => Self::own(args, transport),
        }
    }

    fn foreign(args: &TargetArgs, subscribe: &str, publish: &str) -> anyhow::Result<Self> {
        let template = Template::parse(subscribe, args.i_own_this_host)?;
        let url = Template::parse(publish, args.i_own_this_host)?;
        if url.socket {
            bail!("--publish is an http:// URL");
        }
        if args.header.iter().any(|line| !line.contains(':') || line.contains(['\r', '\n'])) {
            bail!("--header is one line, `Name: value`");
        }
        let transport = if template.socket { Transport::Ws } else { Transport::Sse };
        let door = Door {
            template,
            transport,
            headers: args.header.clone(),
            subprotocol: args.subprotocol.clone(),
            says: args.say.clone(),
            wait_for: args.wait_for.clone(),
        };
        Ok(Self {
            name: "target",
            door,
            way: Way::Each { url, headers: args.header.clone() },
            feature: args.feature().to_owned(),
            probe: args.pid.map_or_else(Probe::default, |pid| Probe::new(pid, true)),
            url: None,
            _child: None,
        })
    }

    fn own(args: &TargetArgs, transport: Transport) -> anyhow::Result<Self> {
        let child = child::server(&Setup { data: args.data.clone(), tls: None })?;
        let base = child.url.trim_end_matches('/').to_owned();
        Ok(Self {
            name: "target",
            door: own_door(&base, transport)?,
            way: Way::Batch {
                url: Template::parse(&format!("{base}/v1/publish"), false)?,
                headers: Vec::new(),
            },
            feature: args.feature().to_owned(),
            probe: child.probe(),
            url: Some(base),
            _child: Some(child),
        })
    }

    /// The floor, which sends what the target would send.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn floor(
        args: &TargetArgs,
        transport: Transport,
        bytes: usize,
    ) -> anyhow::Result<Self> {
        let child = child::floor()?;
        let base = child.url.trim_end_matches('/').to_owned();
        let template = Template::parse(&format!("{base}/{{topic}}"), false)?;
        let (before, after) = framing(args, transport, bytes)?;
        Ok(Self {
            name: "floor",
            door: Door {
                template: template.clone(),
                transport,
                headers: Vec::new(),
                subprotocol: None,
                says: Vec::new(),
                wait_for: None,
            },
            way: Way::Floor { url: template, before, after },
            feature: args.feature().to_owned(),
            probe: child.probe(),
            url: None,
            _child: Some(child),
        })
    }
}

/// How a Tidewire server is subscribed to.
pub(crate) fn own_door(base: &str, transport: Transport) -> anyhow::Result<Door> {
    let host = base.strip_prefix("http://").context("a server of ours speaks HTTP")?;
    let door = match transport {
        Transport::Sse => Door {
            template: Template::parse(
                &format!("{base}/v1/sse?topic={{topic}}&after={{after}}"),
                false,
            )?,
            transport,
            headers: Vec::new(),
            subprotocol: None,
            says: Vec::new(),
            wait_for: Some("tidewire.hello".to_owned()),
        },
        Transport::Ws => Door {
            template: Template::parse(&format!("ws://{host}/v1/socket"), false)?,
            transport,
            headers: Vec::new(),
            subprotocol: Some("tidewire.v1".to_owned()),
            says: vec![
                r#"{"do":"subscribe","ref":1,"topic":"{topic}","after":"{after}"}"#.to_owned(),
            ],
            wait_for: Some(r#""ok""#.to_owned()),
        },
    };
    Ok(door)
}

/// What stands before and after the payload of a delivery.
fn framing(
    args: &TargetArgs,
    transport: Transport,
    bytes: usize,
) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let marker = Marker { sequence: 0, sent_ns: 0 };
    let payload = marker::payload(bytes, marker);
    let frame = if args.subscribe.is_some() {
        let payload = String::from_utf8_lossy(&payload).into_owned();
        match transport {
            Transport::Sse => chunk(&format!("data: {payload}\n\n")),
            Transport::Ws => text_frame(&payload),
        }
    } else {
        own_frame(args, transport, &payload)?
    };
    let at = memchr::memmem::find(&frame, &payload).context("a frame holds its payload")?;
    Ok((frame[..at].to_vec(), frame[at + payload.len()..].to_vec()))
}

fn own_frame(args: &TargetArgs, transport: Transport, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let entry = Entry {
        sequence: Sequence(1_000),
        topic: Topic::parse(&topic_name(args.feature(), 0))?,
        event: EventType::message(),
        data: Data::json(payload.to_vec())?,
        at_ms: 0,
        item: None,
    };
    let id = if args.ephemeral { None } else { Some(Cursor::parse("keclfp14evtv.1000")?) };
    Ok(match transport {
        Transport::Sse => chunk(&sse::entry_frame(&entry, id)),
        Transport::Ws => match ws::entry_message(&entry, id) {
            ws::Delivery::Text(text) => text_frame(&text),
            ws::Delivery::Binary(_) => bail!("JSON travels as text"),
        },
    })
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:X}\r\n{text}\r\n", text.len()).into_bytes()
}

fn text_frame(text: &str) -> Vec<u8> {
    let mut out = bytes::BytesMut::new();
    write_header(&mut out, Opcode::Text, text.len());
    out.extend_from_slice(text.as_bytes());
    out.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_sends_what_the_target_sends() {
        let mut args = TargetArgs::own();
        let (before, after) = framing(&args, Transport::Sse, 200).unwrap();
        assert_eq!(before, b"F5\r\ndata: ".to_vec());
        assert_eq!(after, b"\ntopic: bench/0\nid: keclfp14evtv.1000\n\n\r\n".to_vec());
        let (before, _) = framing(&args, Transport::Ws, 200).unwrap();
        assert_eq!(before[0], 0x81);
        args.subscribe = Some("http://x/".to_owned());
        let (before, after) = framing(&args, Transport::Sse, 200).unwrap();
        assert_eq!((&before[..], &after[..]), (&b"D0\r\ndata: "[..], &b"\n\n\r\n"[..]));
    }
}

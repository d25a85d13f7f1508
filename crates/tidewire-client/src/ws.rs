//! The WebSocket rung: open `/v1/socket`, subscribe each topic from its own place, yield what comes.
//!
//! Knows nothing of coming back. Several topics are several subscriptions on one socket; the
//! [`Weave`] makes one stream of them while they catch up.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use reqwest::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tidewire_proto::{After, ws::SUBPROTOCOL};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        protocol::{CloseFrame, WebSocketConfig},
    },
};
use url::{Host, Url};

use crate::{
    attempt::Attempt,
    http,
    item::{Continuity, Delivery},
    loss::Loss,
    retry_after::retry_after,
    weave::{Apart, Weave},
    wire::{self, Said},
};

/// Most bytes of entries that wait for a topic that lags behind.
const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long the server may take to accept our goodbye.
const CLOSE_TIME: Duration = Duration::from_secs(1);

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// Follows the socket until it is lost.
pub(crate) async fn follow(attempt: &mut Attempt<'_>) -> Result<Infallible, Loss> {
    let limit = attempt.client.options().timeouts.connect;
    let deadline = Instant::now() + limit;
    let opened = timeout_at(deadline, open(attempt)).await;
    let mut socket = opened.unwrap_or(Err(Loss::NotOpened(limit)))?;
    let mut talk = Talk::new(attempt.walk.topics().len());
    loop {
        let silence = attempt.silence_max();
        let (until, lost) = match attempt.is_open() {
            true => (Instant::now() + silence, Loss::Silent(silence)),
            false => (deadline, Loss::NotOpened(limit)),
        };
        let said = match timeout_at(until, socket.hear()).await {
            Err(_) => Err(lost),
            Ok(said) => said,
        };
        let done = match said {
            Ok(Some(said)) => talk.heard(attempt, &mut socket, said).await,
            Ok(None) => Ok(()),
            Err(loss) => Err(loss),
        };
        if let Err(loss) = done {
            socket.leave(&loss).await;
            return Err(loss);
        }
    }
}

impl Socket {
    /// The next message; nothing for a ping or a pong, which are signs of life.
    async fn hear(&mut self) -> Result<Option<Said>, Loss> {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => wire::said(text.as_str()).map(Some),
            Some(Ok(Message::Binary(bytes))) => wire::said_binary(&bytes).map(Some),
            Some(Ok(Message::Close(frame))) => Err(closed(frame)),
            Some(Ok(_)) => Ok(None),
            Some(Err(tungstenite::Error::Capacity(error))) => {
                Err(Loss::TooLarge(error.to_string()))
            }
            Some(Err(tungstenite::Error::ConnectionClosed)) | None => Err(Loss::Ended),
            Some(Err(error)) => Err(Loss::Broken(http::chain(&error))),
        }
    }

    async fn say(&mut self, text: String) -> Result<(), Loss> {
        let sent = self.0.send(Message::text(text)).await;
        sent.map_err(|error| Loss::Broken(http::chain(&error)))
    }

    /// Says goodbye where somebody may still listen.
    async fn leave(&mut self, loss: &Loss) {
        if matches!(loss, Loss::Apart | Loss::Disorder(_) | Loss::Garbled(_) | Loss::Refused(_)) {
            let _unheard = timeout(CLOSE_TIME, self.0.close(None)).await;
        }
    }
}

fn closed(frame: Option<CloseFrame>) -> Loss {
    let refusal = frame.and_then(|frame| wire::closed(frame.code.into(), frame.reason.as_str()));
    refusal.map_or(Loss::Ended, Loss::Refused)
}

async fn open(attempt: &Attempt<'_>) -> Result<Socket, Loss> {
    let client = attempt.client;
    let mut url = client.at("/socket");
    let is_secure = url.scheme() == "https";
    // Between special schemes this cannot fail.
    let _same_kind = url.set_scheme(if is_secure { "wss" } else { "ws" });
    let stream = connect(&url).await.map_err(|error| Loss::Unreachable(error.to_string()))?;
    let bytes_max = Some(client.options().event_bytes_max);
    let config = WebSocketConfig::default().max_message_size(bytes_max).max_frame_size(bytes_max);
    let request = request(&url, attempt.token.as_deref())?;
    let connector = connector(is_secure, client.options().tls.as_ref());
    let opened = client_async_tls_with_config(request, stream, Some(config), connector).await;
    opened.map(|(socket, _)| Socket(socket)).map_err(unopened)
}

async fn connect(url: &Url) -> std::io::Result<TcpStream> {
    let port = url.port_or_known_default().unwrap_or(80);
    let stream = match url.host() {
        Some(Host::Ipv4(address)) => TcpStream::connect((address, port)).await?,
        Some(Host::Ipv6(address)) => TcpStream::connect((address, port)).await?,
        Some(Host::Domain(name)) => TcpStream::connect((name, port)).await?,
        None => return Err(std::io::ErrorKind::InvalidInput.into()),
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn request(
    url: &Url,
    token: Option<&str>,
) -> Result<tungstenite::handshake::client::Request, Loss> {
    let request = url.as_str().into_client_request();
    let mut request = request.map_err(|error| Loss::Garbled(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value.map_err(|_| Loss::Token("it cannot stand in a header".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(request)
}

fn connector(is_secure: bool, tls: Option<&Arc<rustls::ClientConfig>>) -> Option<Connector> {
    if !is_secure {
        return Some(Connector::Plain);
    }
    let Some(tls) = tls else {
        // The default connector asks for the process's provider, which the app may not have chosen.
        // If it has, this changes nothing.
        let _chosen_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
        return None;
    };
    let mut tls = rustls::ClientConfig::clone(tls);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Some(Connector::Rustls(Arc::new(tls)))
}

fn unopened(error: tungstenite::Error) -> Loss {
    match error {
        tungstenite::Error::Http(response) => {
            let status = response.status().as_u16();
            let body = response.body().as_deref().unwrap_or_default();
            wire::refusal(status, retry_after(response.headers()), body)
        }
        tungstenite::Error::Protocol(error) => {
            let what = format!("the answer is no `{SUBPROTOCOL}` socket ({error})");
            Loss::Foreign { status: 101, what }
        }
        error => Loss::Broken(http::chain(&error)),
    }
}

/// What was asked and answered on one socket.
struct Talk {
    weave: Weave,
    asked: Vec<After>,
    answers: Vec<Option<(Continuity, Option<tidewire_proto::Cursor>)>>,
    connection: Option<String>,
}

impl Talk {
    fn new(topics: usize) -> Self {
        Self {
            weave: Weave::new(topics, HELD_BYTES_MAX),
            asked: Vec::new(),
            answers: vec![None; topics],
            connection: None,
        }
    }

    async fn heard(
        &mut self,
        attempt: &mut Attempt<'_>,
        socket: &mut Socket,
        said: Said,
    ) -> Result<(), Loss> {
        match said {
            Said::Hello(hello) => {
                attempt.beats_every(hello.beat);
                attempt.slot(hello.retry);
                self.connection = hello.connection;
                return self.subscribe(attempt, socket).await;
            }
            Said::Subscribed { reference, continuity, at } => {
                self.answered(attempt, reference, continuity, at).await?;
            }
            Said::Refused { reference: _, refusal } => return Err(Loss::Refused(refusal)),
            Said::Bye(refusal) => {
                attempt.slot(refusal.retry_after);
                return Err(Loss::Refused(refusal));
            }
            Said::Gap { gap, topic } => {
                if let Some(lane) = topic.as_ref().and_then(|topic| attempt.walk.index_of(topic)) {
                    self.weave.through(lane, Some(gap.oldest));
                }
                attempt.gap(gap, topic).await?;
            }
            Said::Live { topic, at } => {
                if let Some(lane) = attempt.walk.index_of(&topic) {
                    self.weave.through(lane, at);
                    self.weave.live(lane);
                }
            }
            Said::Beat { at } => {
                // Only who is live has had everything up to the newest place.
                let at = at.filter(|_| attempt.is_open() && self.weave.all_live());
                attempt.beat(at).await?;
            }
            Said::Entry(entry) => self.entry(attempt, entry).await?,
            Said::Unknown => {}
        }
        self.pass_on(attempt).await
    }

    /// Asks for every topic; the `ref` of a command is the topic's index.
    async fn subscribe(&mut self, attempt: &Attempt<'_>, socket: &mut Socket) -> Result<(), Loss> {
        if !self.asked.is_empty() {
            return Err(Loss::Garbled("a second greeting".to_owned()));
        }
        for (index, topic) in attempt.walk.topics().iter().enumerate() {
            let after = attempt.walk.after(index);
            self.asked.push(after);
            let after = wire::after(after);
            // No alphabet here has a character that JSON would escape.
            socket
                .say(format!(
                    "{{\"do\":\"subscribe\",\"ref\":{index},\"topic\":\"{topic}\",\"after\":\"{after}\"}}"
                ))
                .await?;
        }
        Ok(())
    }

    /// One topic is answered. When all are, continuity is said, and where everything begins.
    async fn answered(
        &mut self,
        attempt: &mut Attempt<'_>,
        reference: u64,
        continuity: Continuity,
        at: Option<tidewire_proto::Cursor>,
    ) -> Result<(), Loss> {
        let lane = usize::try_from(reference).unwrap_or(usize::MAX);
        let (Some(answer), Some(asked)) = (self.answers.get_mut(lane), self.asked.get(lane)) else {
            return Err(Loss::Garbled("an answer to a question that was not asked".to_owned()));
        };
        self.weave.through(lane, at);
        if *asked == After::Now && continuity == Continuity::New {
            self.weave.live(lane);
        }
        *answer = Some((continuity, at));
        if self.answers.iter().any(Option::is_none) {
            return Ok(());
        }
        attempt.opened(self.connection.take()).await?;
        let answers: Vec<_> = self.answers.iter_mut().filter_map(Option::take).collect();
        begin(attempt, answers).await
    }

    async fn entry(&mut self, attempt: &mut Attempt<'_>, entry: Delivery) -> Result<(), Loss> {
        let Some(lane) = attempt.walk.index_of(&entry.topic) else {
            return Err(Loss::Garbled(format!("an entry of `{}`, unasked", entry.topic)));
        };
        match entry.id {
            Some(id) => self.weave.take(lane, id, entry).map_err(|Apart| Loss::Apart),
            None if attempt.is_open() => attempt.entry_of(lane, entry).await,
            // Nobody was promised an ephemeral entry that comes before continuity is said.
            None => Ok(()),
        }
    }

    /// Passes on what need not wait any longer.
    async fn pass_on(&mut self, attempt: &mut Attempt<'_>) -> Result<(), Loss> {
        if !attempt.is_open() {
            return Ok(());
        }
        while let Some((lane, entry)) = self.weave.next() {
            attempt.entry_of(lane, entry).await?;
        }
        if self.weave.all_live() { attempt.live().await } else { Ok(()) }
    }
}

/// Says what is known of the seam, once for all topics where they agree, and moves them to where
/// they begin.
async fn begin(
    attempt: &mut Attempt<'_>,
    answers: Vec<(Continuity, Option<tidewire_proto::Cursor>)>,
) -> Result<(), Loss> {
    let earliest = answers.iter().filter_map(|(_, at)| *at).min_by_key(|at| at.sequence);
    let mut whole = Some(Continuity::New);
    for (index, (continuity, at)) in answers.into_iter().enumerate() {
        match continuity {
            Continuity::Gap { gap, .. } => {
                let topic = attempt.walk.topics().get(index).cloned();
                attempt.continuity(Continuity::Gap { gap, topic }, earliest).await?;
                whole = None;
            }
            Continuity::Resumed => whole = whole.map(|_| Continuity::Resumed),
            Continuity::New => {}
        }
        if let Some(at) = at {
            attempt.walk.move_one(index, at);
        }
    }
    match whole {
        Some(continuity) => attempt.continuity(continuity, earliest).await,
        None => Ok(()),
    }
}

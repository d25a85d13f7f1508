//! The WebSocket rung: open `/v1/socket`, subscribe each topic from its own place, yield what comes.
//!
//! Knows nothing of coming back. Several topics are several subscriptions on one socket; the
//! [`Weave`](crate::weave::Weave) makes one stream of them while they catch up.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use reqwest::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tidewire_proto::ws::SUBPROTOCOL;
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
    client::Client,
    http,
    loss::Loss,
    recall::Recall,
    retry_after::retry_after,
    wire::{self, Said},
};

/// How long the server may take to accept our goodbye.
const CLOSE_TIME: Duration = Duration::from_secs(1);

mod talk;

use talk::Talk;

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// Follows the socket until it is lost.
pub(crate) async fn follow(
    attempt: &mut Attempt<'_>,
    recall: &mut Recall,
) -> Result<Infallible, Loss> {
    let limit = attempt.client.options().timeouts.connect;
    let deadline = Instant::now() + limit;
    let opened = timeout_at(deadline, open(attempt.client, attempt.token.as_deref())).await;
    let mut socket = opened.unwrap_or(Err(Loss::NotOpened(limit)))?;
    let mut talk = Talk::new(attempt.walk.topics().len());
    loop {
        let silence = attempt.silence_max();
        let (until, lost) = match attempt.is_open() {
            true => (Instant::now() + silence, Loss::Silent(silence)),
            false => (deadline, Loss::NotOpened(limit)),
        };
        let said = match recall.or(timeout_at(until, socket.hear())).await {
            Err(loss) => Err(loss),
            Ok(Err(_)) => Err(lost),
            Ok(Ok(said)) => said,
        };
        match &said {
            Ok(Some(Said::Plan(named))) => recall.plan_is(named.clone()),
            Ok(Some(Said::Hello(hello))) => recall.greeted(hello),
            _ => {}
        }
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

/// Does a socket open here, and does anything come through it?
pub(crate) async fn greets(client: &Client, token: Option<&str>) -> bool {
    let greeting = async {
        let mut socket = open(client, token).await.ok()?;
        loop {
            match socket.hear().await.ok()? {
                Some(Said::Hello(_)) => break,
                Some(_) => return None,
                None => {}
            }
        }
        let _unheard = socket.0.close(None).await;
        Some(())
    };
    matches!(timeout(client.options().timeouts.connect, greeting).await, Ok(Some(())))
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
        let is_there = matches!(
            loss,
            Loss::Apart
                | Loss::Better(_)
                | Loss::Disorder(_)
                | Loss::Garbled(_)
                | Loss::Refused(_)
                | Loss::Replanned(_)
        );
        if is_there {
            let _unheard = timeout(CLOSE_TIME, self.0.close(None)).await;
        }
    }
}

fn closed(frame: Option<CloseFrame>) -> Loss {
    let refusal = frame.and_then(|frame| wire::closed(frame.code.into(), frame.reason.as_str()));
    refusal.map_or(Loss::Ended, Loss::Refused)
}

async fn open(client: &Client, token: Option<&str>) -> Result<Socket, Loss> {
    let mut url = client.at("/socket");
    let is_secure = url.scheme() == "https";
    // Between special schemes this cannot fail.
    let _same_kind = url.set_scheme(if is_secure { "wss" } else { "ws" });
    let stream = connect(&url).await.map_err(|error| Loss::Unreachable(error.to_string()))?;
    let bytes_max = Some(client.options().event_bytes_max);
    let config = WebSocketConfig::default().max_message_size(bytes_max).max_frame_size(bytes_max);
    let request = request(&url, token)?;
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

//! The listener: connections in, each with its limits; and the way out.
//!
//! hyper parses and routes (HTTP/1.1 and HTTP/2, in the clear by prior knowledge or over TLS by
//! ALPN). A door may take an HTTP/1.1 connection over. Knows nothing of what the doors do.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use tidewire_core::Limits;
use tidewire_proto::{Code, WireError};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    activity::Activity,
    answer::Refused,
    app::{App, left},
    cors,
    handover::{Handover, Stream, Taken},
    io::Deadlines,
    places::{Place, Places},
    sse,
    sweep::Sweep,
};

/// Streams that one HTTP/2 connection may have open.
const H2_STREAMS_MAX: u32 = 250;
/// Rest after a failed accept: descriptors ran out, say.
const ACCEPT_REST: Duration = Duration::from_millis(20);
/// What an HTTP/2 connection begins with (RFC 9113 §3.4), and nothing else does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of one connection that the kernel takes and cannot send yet.
const UNSENT_BYTES: u32 = 32 * 1024;
/// Bytes asked of a connection at first: a request head, usually.
const FIRST_BYTES: usize = 1_024;

/// What is served, and how.
pub(crate) struct Serving {
    pub(crate) app: App,
    pub(crate) router: Router,
    pub(crate) tls: Option<TlsAcceptor>,
    /// Does each request carry its [`Connected`](crate::Connected)?
    pub(crate) resets: bool,
    pub(crate) sweep: Option<Sweep>,
}

/// Serves until `shutdown`, then sends everybody away, each with a slot, and waits a while.
pub(crate) async fn serve(
    serving: Serving,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) {
    let Serving { app, router, tls, resets, sweep } = serving;
    set_options(&listener, app.hub.limits());
    let http = Http::new(app.hub.limits());
    let shared = Arc::new(Shared { app, router, tls, resets, http, sweep });
    let (places, mut tasks) = (Arc::default(), JoinSet::new());
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => accept(&shared, &places, stream, peer, &mut tasks),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_REST).await;
                }
            },
            Some(_) = tasks.join_next() => {}
            () = &mut shutdown => break,
        }
    }
    drop(listener);
    leave(&shared.app, tasks).await;
    if let Some(sweep) = &shared.sweep {
        sweep.stop().await;
    }
}

/// Sends everybody away, each with a slot, and waits a while for them and for these connections.
pub(crate) async fn leave(app: &App, mut tasks: JoinSet<()>) {
    let streams = app.streams();
    tracing::info!(streams, connections = tasks.len(), "going down: everybody gets a slot");
    app.leave();
    let all_gone = async {
        while tasks.join_next().await.is_some() {}
        // Streams and sockets are elsewhere once hyper has let go of them.
        while app.streams() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(app.hub.limits().drain_timeout, all_gone).await.is_err() {
        tracing::warn!(left = app.streams(), "some connections did not leave in time");
    }
}

/// What is so for every connection. Set on the listener, whose connections inherit it (`tcp(7)`),
/// because each option is a system call.
fn set_options(listener: &TcpListener, limits: &Limits) {
    let listener = SockRef::from(listener);
    // An event must not wait for the one before it to be acknowledged.
    let nodelay = listener.set_tcp_nodelay(true);
    // A peer that vanished acknowledges nothing, and beats alone never fill the kernel's buffer.
    let timeout = listener.set_tcp_user_timeout(Some(limits.slow_reader_timeout));
    // What a peer that takes nothing costs the kernel.
    let unsent = listener.set_tcp_notsent_lowat(UNSENT_BYTES);
    if let Err(error) = nodelay.and(timeout).and(unsent) {
        tracing::warn!(%error, "the listener's socket refuses an option: readers may be slower");
    }
}

/// What all connections share.
struct Shared {
    app: App,
    router: Router,
    tls: Option<TlsAcceptor>,
    resets: bool,
    http: Http,
    sweep: Option<Sweep>,
}

/// hyper's two servers, with their limits.
struct Http {
    one: http1::Builder,
    two: http2::Builder<TokioExecutor>,
}

impl Http {
    fn new(limits: &Limits) -> Self {
        const HYPER_LEAST: usize = 8 * 1024;
        let mut one = http1::Builder::new();
        one.timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(limits.head_bytes_max.max(HYPER_LEAST))
            .max_headers(limits.header_fields_max);
        let mut two = http2::Builder::new(TokioExecutor::new());
        two.timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS_MAX)
            .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.beat_interval)
            .keep_alive_timeout(limits.head_timeout);
        Self { one, two }
    }
}

fn accept(
    shared: &Arc<Shared>,
    places: &Arc<Places>,
    stream: TcpStream,
    peer: SocketAddr,
    tasks: &mut JoinSet<()>,
) {
    let limits = shared.app.hub.limits();
    let Some(mut place) = Places::enter(places, peer.ip(), limits) else { return };
    if shared.resets {
        place.hold(&stream);
    }
    let connection = Connection { shared: Arc::clone(shared), place };
    tasks.spawn(async move {
        let Some(tls) = &connection.shared.tls else { return connection.serve(stream).await };
        let limit = connection.shared.app.hub.limits().handshake_timeout;
        let mut leaving = connection.shared.app.leaving.subscribe();
        let accepted = tokio::select! {
            accepted = timeout(limit, tls.accept(stream)) => accepted,
            () = left(&mut leaving) => return,
        };
        match accepted {
            // Boxed: the handshake's room is needed no more, and this task's is what it needs most.
            Ok(Ok(stream)) => Box::pin(connection.serve(stream)).await,
            Ok(Err(error)) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
        }
    });
}

/// Reads until it is clear which HTTP this is; what was read goes first.
async fn sniff(io: &mut (impl AsyncRead + Unpin)) -> io::Result<(bool, BytesMut)> {
    let mut first = BytesMut::with_capacity(FIRST_BYTES);
    loop {
        if io.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let both = first.len().min(PREFACE.len());
        if first.get(..both) != PREFACE.get(..both) {
            return Ok((false, first));
        }
        if both == PREFACE.len() {
            return Ok((true, first));
        }
    }
}

struct Connection {
    shared: Arc<Shared>,
    place: Place,
}

impl Connection {
    async fn serve<Io>(self, mut io: Io)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static + Into<Stream>,
    {
        let limits = self.shared.app.hub.limits();
        let mut leaving = self.shared.app.leaving.subscribe();
        let sniffed = tokio::select! {
            sniffed = timeout(limits.head_timeout, sniff(&mut io)) => sniffed,
            () = left(&mut leaving) => return,
        };
        let Ok(Ok((is_h2, first))) = sniffed else { return };
        let io = Deadlines::new(io, first, limits.slow_reader_timeout);
        let ended = match (self.place.is_over, is_h2) {
            (true, _) => self.turn_away(io, is_h2).await,
            (false, true) => self.serve_h2(io).await,
            (false, false) => self.serve_h1(io).await,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// HTTP/1.1, until it ends or a door takes the connection over.
    async fn serve_h1<Io>(self, io: Deadlines<Io>) -> Result<(), hyper::Error>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static + Into<Stream>,
    {
        let Self { shared, place } = self;
        let handover = Handover::new(io.stuck_flag());
        let (router, requests) =
            (TowerToHyperService::new(shared.router.clone()), Arc::clone(&handover));
        let connected = place.connected();
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(connected) = &connected {
                request.extensions_mut().insert(connected.clone());
            }
            let (handover, version) = (Arc::clone(&requests), request.version());
            if request.body().is_end_stream() {
                request.extensions_mut().insert(Arc::clone(&handover));
            }
            let answer = router.call(request);
            async move {
                let response = answer.await?;
                if handover.complete(&response, version) {
                    // The connection is no longer hyper's, and this is dropped with the rest.
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(response)
            }
        });
        let mut connection = shared.http.one.serve_connection(TokioIo::new(io), service);
        let mut leaving = shared.app.leaving.subscribe();
        let (taker, head) = tokio::select! {
            biased;
            ended = &mut connection => return ended,
            taken = handover.taken() => taken,
            () = left(&mut leaving) => {
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = &mut connection => return ended,
                    taken = handover.taken() => taken,
                }
            }
        };
        let parts = connection.into_parts();
        let (io, first) = parts.io.into_inner().into_parts();
        let mut input = BytesMut::from(&*parts.read_buf);
        input.extend_from_slice(&first);
        let sweep = shared.sweep.clone();
        taker(Taken { stream: io.into(), head, input, place, sweep });
        Ok(())
    }

    async fn serve_h2<Io>(self, io: Deadlines<Io>) -> Result<(), hyper::Error>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { shared, place } = self;
        let activity = Activity::new();
        let connected = place.connected();
        let (router, requests) =
            (TowerToHyperService::new(shared.router.clone()), activity.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(connected) = &connected {
                request.extensions_mut().insert(connected.clone());
            }
            let (busy, answer) = (requests.begin(), router.call(request));
            async move { answer.await.map(|response| busy.until_sent(response)) }
        });
        let connection = shared.http.two.serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let is_idle = || activity.ended_for(shared.app.hub.limits().head_timeout);
        let mut leaving = shared.app.leaving.subscribe();
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = left(&mut leaving) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = is_idle() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    // A peer that answers no goodbye is not waited for.
                    () = is_idle() => Ok(()),
                }
            }
        }
    }

    /// One answer to one beyond the limit. For a while only: over HTTP/2 a peer could stay, and keep
    /// others from being told.
    async fn turn_away<Io>(self, io: Deadlines<Io>, is_h2: bool) -> Result<(), hyper::Error>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { shared, place: _place } = self;
        let app = shared.app.clone();
        let answer = service_fn(move |request: Request<Incoming>| {
            let answer = turned_away(&app, &request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let (limit, io) = (shared.app.hub.limits().head_timeout, TokioIo::new(io));
        let ended = if is_h2 {
            timeout(limit, shared.http.two.serve_connection(io, answer)).await
        } else {
            timeout(limit, shared.http.one.serve_connection(io, answer)).await
        };
        ended.unwrap_or(Ok(()))
    }
}

/// What a connection beyond the limit hears: to an event stream `200` and a slot, because a native
/// `EventSource` gives up for ever on any other status; to all others `503`.
fn turned_away(app: &App, request: &Request<Incoming>) -> Response {
    let origin = match cors::origin(app, request.headers()) {
        Ok(origin) => origin,
        Err(refused) => return refused.into_response(),
    };
    let message = "there are as many connections as this server, or your address, may have";
    let error = WireError::new(Code::TooManyConnections, message);
    let mut response = if request.uri().path() == format!("{}/sse", app.prefix) {
        sse::farewell(app, &error)
    } else {
        Refused(error).into_response()
    };
    if request.version() < http::Version::HTTP_2 {
        let close = http::HeaderValue::from_static("close");
        response.headers_mut().insert(http::header::CONNECTION, close);
    }
    match origin {
        Some(origin) => cors::allowed(response, origin),
        None => response,
    }
}

/// Handshakes that the kernel completes ahead of us (it cuts this to its own maximum). When ten
/// thousand clients come back at once, each that finds no room waits a second or more to try again.
const BACKLOG: u32 = 65_535;

/// Binds the listener, with an error that says what to do.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    listen(address).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "something else listens there: stop it, or choose another with --listen"
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose another",
            io::ErrorKind::AddrNotAvailable => "this machine has no such address",
            _ => "see --listen",
        };
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; {advice}"))
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait until the connections of the server before are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_inherits_the_listeners_options() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let limits = Limits { slow_reader_timeout: Duration::from_secs(7), ..Limits::default() };
        set_options(&listener, &limits);
        let address = listener.local_addr().unwrap();
        let (accepted, connected) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let (accepted, _) = accepted.unwrap();
        let _connected = connected.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_BYTES);
    }

    #[tokio::test]
    async fn the_first_bytes_tell_which_http_it_is() {
        for (said, is_h2) in [
            ("GET / HTTP/1.1\r\n", Some(false)),
            ("P", None),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", Some(true)),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r!", Some(false)),
            ("PUT", Some(false)),
            ("", None),
        ] {
            // At once, and byte by byte.
            for size in [said.len().max(1), 1] {
                let mut io = said.as_bytes().chunks(size).fold(Pieces::none(), Pieces::then);
                match (sniff(&mut io).await, is_h2) {
                    (Ok((found, first)), Some(is_h2)) => {
                        assert_eq!(found, is_h2, "{said:?}");
                        assert!(said.as_bytes().starts_with(&first), "{said:?}");
                    }
                    (Err(error), None) => {
                        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{said:?}");
                    }
                    (found, _) => panic!("{said:?}: {found:?}"),
                }
            }
        }
    }

    /// Bytes that come in pieces, and then the end.
    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    impl Pieces {
        fn none() -> Self {
            Self(std::collections::VecDeque::new())
        }

        fn then(mut self, piece: &[u8]) -> Self {
            self.0.push_back(piece.to_vec());
            self
        }
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            if let Some(piece) = self.0.pop_front() {
                buf.put_slice(&piece);
            }
            std::task::Poll::Ready(Ok(()))
        }
    }
}

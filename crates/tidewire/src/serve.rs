//! The listener: connections in, each with its limits; and the way out.
//!
//! hyper parses and routes (HTTP/1.1 and HTTP/2, in the clear by prior knowledge or over TLS by
//! ALPN). Knows nothing of what the doors do.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use socket2::SockRef;
use tidewire_core::Limits;
use tidewire_proto::{Code, WireError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
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
    io::Deadlines,
    sse,
};

/// Connections beyond the limit that are told so at a time; the ones after are closed at once.
const TURNED_AWAY_MAX: usize = 64;
/// Streams that one HTTP/2 connection may have open.
const H2_STREAMS_MAX: u32 = 250;
/// Rest after a failed accept: descriptors ran out, say.
const ACCEPT_REST: Duration = Duration::from_millis(20);

/// Serves until `shutdown`, then sends everybody away, each with a slot, and waits a while.
pub(crate) async fn serve(
    app: App,
    router: Router,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let http = Arc::new(builder(app.hub.limits()));
    let server = Server { app, router, tls, http, counts: Arc::default() };
    let mut tasks = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => server.accept(stream, peer, &mut tasks),
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
    leave(&server.app, tasks).await;
}

/// Sends everybody away, each with a slot, and waits a while for them and for these connections.
pub(crate) async fn leave(app: &App, mut tasks: JoinSet<()>) {
    let streams = app.streams();
    tracing::info!(streams, connections = tasks.len(), "going down: everybody gets a slot");
    app.leave();
    let all_gone = async {
        while tasks.join_next().await.is_some() {}
        // Sockets run in tasks of their own once hyper has let go of them.
        while app.streams() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(app.hub.limits().drain_timeout, all_gone).await.is_err() {
        tracing::warn!(left = app.streams(), "some connections did not leave in time");
    }
}

struct Server {
    app: App,
    router: Router,
    tls: Option<TlsAcceptor>,
    http: Arc<auto::Builder<TokioExecutor>>,
    counts: Arc<Counts>,
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    const HYPER_LEAST: usize = 8 * 1024;
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes_max.max(HYPER_LEAST))
        .max_headers(limits.header_fields_max);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.beat_interval)
        .keep_alive_timeout(limits.head_timeout);
    http
}

impl Server {
    fn accept(&self, stream: TcpStream, peer: SocketAddr, tasks: &mut JoinSet<()>) {
        // An event must not wait for the one before it to be acknowledged.
        let _ = stream.set_nodelay(true);
        // A peer that vanished acknowledges nothing, and beats alone never fill the kernel's buffer.
        let silence = self.app.hub.limits().slow_reader_timeout;
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(silence));
        let place = match Counts::enter(&self.counts, peer.ip(), self.app.hub.limits()) {
            Some(place) => place,
            None => return,
        };
        let Self { app, router, tls, http, .. } = self;
        let (app, router, tls, http) = (app.clone(), router.clone(), tls.clone(), Arc::clone(http));
        tasks.spawn(async move {
            let connection = Connection { app, router, http, place };
            let Some(tls) = tls else { return connection.serve(stream).await };
            let limit = connection.app.hub.limits().handshake_timeout;
            let mut leaving = connection.app.leaving.subscribe();
            let accepted = tokio::select! {
                accepted = timeout(limit, tls.accept(stream)) => accepted,
                () = left(&mut leaving) => return,
            };
            match accepted {
                Ok(Ok(stream)) => connection.serve(stream).await,
                Ok(Err(error)) => tracing::debug!(%error, %peer, "a TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        });
    }
}

struct Connection {
    app: App,
    router: Router,
    http: Arc<auto::Builder<TokioExecutor>>,
    place: Place,
}

impl Connection {
    async fn serve<Io>(self, io: Io)
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { app, router, http, place } = self;
        let limits = app.hub.limits();
        let is_over = place.is_over;
        let io = Deadlines::new(io, place, limits.head_timeout, limits.slow_reader_timeout);
        let io = TokioIo::new(io);
        if is_over {
            let limit = limits.head_timeout;
            let turn_away = hyper::service::service_fn(move |request| {
                let answer = turned_away(&app, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            // Over HTTP/2 a peer could stay, and keep others from being told.
            let _ = timeout(limit, http.serve_connection(io, turn_away)).await;
            return;
        }
        let mut leaving = app.leaving.subscribe();
        let activity = Activity::new();
        let (router, requests) = (TowerToHyperService::new(router), activity.clone());
        let service = hyper::service::service_fn(move |request| {
            let (busy, answer) = (requests.begin(), router.call(request));
            async move { answer.await.map(|response| busy.until_sent(response)) }
        });
        let connection = http.serve_connection_with_upgrades(io, service);
        tokio::pin!(connection);
        let is_idle = || activity.ended_for(limits.head_timeout);
        let ended = tokio::select! {
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
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a connection ended early");
        }
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

/// How many connections there are.
#[derive(Default)]
struct Counts(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    inside: usize,
    turned_away: usize,
    of_address: HashMap<IpAddr, usize>,
}

/// One connection's place in the counts.
struct Place {
    counts: Arc<Counts>,
    address: IpAddr,
    is_over: bool,
}

impl Counts {
    /// A place inside; beyond a limit, one among those who are told so; or nothing.
    fn enter(counts: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<Place> {
        let mut counted = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = counted.of_address.get(&address).copied().unwrap_or_default();
        let is_over = counted.inside >= limits.connections_max
            || of_address >= limits.connections_per_address_max;
        if is_over {
            if counted.turned_away >= TURNED_AWAY_MAX {
                return None;
            }
            counted.turned_away += 1;
        } else {
            counted.inside += 1;
            *counted.of_address.entry(address).or_default() += 1;
        }
        Some(Place { counts: Arc::clone(counts), address, is_over })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counted = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_over {
            counted.turned_away -= 1;
            return;
        }
        counted.inside -= 1;
        if let Some(of_address) = counted.of_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                counted.of_address.remove(&self.address);
            }
        }
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

    #[test]
    fn the_limits_of_connections_hold_at_their_edges() {
        let counts = Arc::default();
        let limits =
            Limits { connections_max: 3, connections_per_address_max: 2, ..Limits::default() };
        let address = |last| IpAddr::from([127, 0, 0, last]);
        let enter = |last| Counts::enter(&counts, address(last), &limits).unwrap();
        let (first, second) = (enter(1), enter(1));
        assert!(!first.is_over && !second.is_over);
        assert!(enter(1).is_over, "a third of one address");
        let third = enter(2);
        assert!(!third.is_over);
        assert!(enter(3).is_over, "a fourth altogether");
        drop(first);
        assert!(!enter(1).is_over, "a place is free again");
        let away: Vec<_> = std::iter::from_fn(|| {
            let _full = (&second, &third);
            Some(enter(1)).filter(|place| !place.is_over)
        })
        .collect();
        assert_eq!(away.len(), 1);
        let told: Vec<_> =
            (0..100).filter_map(|_| Counts::enter(&counts, address(1), &limits)).collect();
        assert_eq!(told.len(), TURNED_AWAY_MAX);
    }
}

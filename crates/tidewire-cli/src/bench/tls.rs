//! Subscribers over TLS, for `idle --tls`: a certificate made for the occasion, and a load process
//! with one task for each connection.
//!
//! It must not know what is measured. A TLS client cannot share one read buffer, so this load is
//! heavier than the other and takes fewer connections; the server is measured, not the load.

use std::{io::BufRead, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    child::{self, Child, Setup, Worker},
    clock,
    door::{Door, Transport},
    side::own_door,
};

/// Handshakes at a time.
const OPENING_MAX: usize = 64;
/// Connections from one source address.
const PER_ADDRESS: u32 = 2_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that speaks TLS, and the load that will connect to it.
///
/// # Errors
/// When one of them does not start.
pub(crate) fn start(data: Option<std::path::PathBuf>) -> anyhow::Result<(Child, Worker, String)> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("no certificate")?;
    let certificate = made.cert.pem();
    let tls = Some((certificate.clone(), made.signing_key.serialize_pem()));
    let server = child::server(&Setup { data, tls })?;
    Ok((server, Worker::start("tls-load")?, certificate))
}

/// Connects subscribers; returns how many a second.
///
/// # Errors
/// When not all of them stand.
pub(crate) fn connect(
    worker: &mut Worker,
    url: &str,
    certificate: &str,
    transport: Transport,
    subscribers: u32,
) -> anyhow::Result<f64> {
    worker
        .tell(&json!({"url": url, "certificate": certificate, "ws": transport == Transport::Ws,
                        "subscribers": subscribers}))?;
    let answer = worker.hear()?;
    Ok(f64::from(subscribers)
        / answer["seconds"].as_f64().context("a load process said nothing")?)
}

/// `tidewire bench tls-load`: reads what to do from a line, connects, and waits for the end of its
/// input.
///
/// # Errors
/// When the runtime does not start.
pub(crate) fn work() -> anyhow::Result<ExitCode> {
    child::end_with_parent()?;
    child::raise_descriptors();
    let mut lines = std::io::stdin().lock().lines();
    let line = lines.next().context("nothing to do")??;
    let order: Value = serde_json::from_str(&line)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(open_all(&order)) {
        Ok((standing, seconds)) => {
            println!("{}", json!({"seconds": seconds}));
            // The connections stay open, and are served, until the parent ends this process.
            runtime.block_on(hold(standing));
        }
        Err(error) => println!("{}", json!({"error": format!("{error:#}")})),
    }
    Ok(ExitCode::SUCCESS)
}

type Standing = Vec<TlsStream<TcpStream>>;

async fn open_all(order: &Value) -> anyhow::Result<(Standing, f64)> {
    let base = order["url"].as_str().unwrap_or_default().trim_end_matches('/');
    let host = base.strip_prefix("https://").context("no https URL")?;
    let address: SocketAddr = host.parse().context("no address")?;
    let transport = if order["ws"] == true { Transport::Ws } else { Transport::Sse };
    let door = Arc::new(own_door(&format!("http://{host}"), transport)?);
    let connector = connector(order["certificate"].as_str().unwrap_or_default())?;
    let count =
        order["subscribers"].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let room = Arc::new(Semaphore::new(OPENING_MAX));
    let began = clock::now_ns();
    let tasks: Vec<_> = (0..count)
        .map(|who| {
            let (door, connector, room) = (Arc::clone(&door), connector.clone(), Arc::clone(&room));
            tokio::spawn(async move {
                let _place = room.acquire_owned().await?;
                let opening = open(who, address, &door, &connector);
                tokio::time::timeout(PATIENCE, opening)
                    .await
                    .context("a handshake took too long")?
            })
        })
        .collect();
    let mut standing = Vec::new();
    let mut first_error = None;
    for task in tasks {
        match task.await? {
            Ok(stream) => standing.push(stream),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    match first_error {
        Some(error) => {
            bail!("only {} of {count} subscribers are connected: {error:#}", standing.len())
        }
        None => Ok((standing, clock::seconds(clock::now_ns() - began))),
    }
}

fn connector(certificate: &str) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn open(
    who: u32,
    address: SocketAddr,
    door: &Door,
    connector: &TlsConnector,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    let source = u8::try_from(who / PER_ADDRESS + 2).unwrap_or(2);
    socket.bind(SocketAddr::from(([127, 0, 0, source], 0)))?;
    let stream = socket.connect(address).await?;
    let mut stream = connector.connect(ServerName::from(address.ip()), stream).await?;
    let mut message = door.request("bench/0", "now");
    if door.transport == Transport::Ws {
        stream.write_all(&message).await?;
        read_until(&mut stream, b"\r\n\r\n").await?;
        message = door.says("bench/0", "now");
    }
    stream.write_all(&message).await?;
    read_until(&mut stream, door.wait_for.as_deref().unwrap_or_default().as_bytes()).await?;
    Ok(stream)
}

async fn read_until(stream: &mut TlsStream<TcpStream>, sign: &[u8]) -> anyhow::Result<()> {
    let mut heard = Vec::new();
    while memchr::memmem::find(&heard, sign).is_none() {
        if stream.read_buf(&mut heard).await? == 0 {
            bail!(
                "closed before the subscription stood, after {:?}",
                String::from_utf8_lossy(&heard)
            );
        }
    }
    Ok(())
}

/// Reads whatever comes, for ever.
async fn hold(standing: Standing) {
    for mut stream in standing {
        tokio::spawn(async move {
            let mut bytes = [0; 256];
            while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
        });
    }
    std::future::pending::<()>().await;
}

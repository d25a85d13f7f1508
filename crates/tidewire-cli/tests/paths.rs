//! A path that holds event streams back, between the Rust client and the finished binary: the client
//! leaves the stream with its cursor, tells the server, and comes back when the path is clear.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use support::{PATIENCE, Process};
use tidewire_client::{
    After, Client, ClientOptions, Continuity, Data, Item, Options, Publish, Rung, Status,
    Subscription, Timeouts, Topic,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::timeout,
};

mod support;

/// A proxy that holds event streams to their end, or does not.
struct Proxy {
    url: String,
    holds: Arc<AtomicBool>,
}

impl Proxy {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let holds = Arc::new(AtomicBool::new(true));
        let holding = Arc::clone(&holds);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let holding = Arc::clone(&holding);
                // A connection that breaks is the peers' business.
                tokio::spawn(async move { pass(client, server, &holding).await });
            }
        });
        Self { url, holds }
    }
}

/// One request and its answer; one connection for each, so that each is seen.
async fn pass(mut client: TcpStream, server: SocketAddr, holds: &AtomicBool) -> Option<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if client.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let is_stream = ["GET /v1/sse", "GET /v1/canary"].iter().any(|line| text.starts_with(line));
    let mut upstream = TcpStream::connect(server).await.ok()?;
    if text.to_ascii_lowercase().contains("\r\nupgrade:") {
        upstream.write_all(&head).await.ok()?;
    } else {
        let (line, rest) = text.split_once("\r\n")?;
        let head = format!("{line}\r\nConnection: close\r\n{rest}");
        upstream.write_all(head.as_bytes()).await.ok()?;
    }
    if is_stream && holds.load(Ordering::Relaxed) {
        let mut answer = Vec::new();
        tokio::select! {
            read = upstream.read_to_end(&mut answer) => read.ok()?,
            // The client has left.
            _ = client.read_u8() => return None,
        };
        return client.write_all(&answer).await.ok();
    }
    copy_bidirectional(&mut client, &mut upstream).await.ok().map(|_| ())
}

fn topic() -> Topic {
    Topic::parse("notifications/a").expect("a topic")
}

async fn next(live: &mut Subscription) -> Item {
    timeout(PATIENCE, live.next()).await.expect("an item in time").expect("it goes on")
}

/// The next change of rung. Nothing is waited for before it, and no entry is passed over.
async fn moved(live: &mut Subscription) -> (Rung, Rung) {
    loop {
        match next(live).await {
            Item::Status(Status::Moved { from, to, .. }) => return (from, to),
            Item::Status(Status::Waiting { why, .. }) => panic!("nothing was lost: {why}"),
            Item::Entry(entry) => panic!("unasked: {entry:?}"),
            _ => {}
        }
    }
}

async fn continuity(live: &mut Subscription) -> Continuity {
    loop {
        if let Item::Continuity(continuity) = next(live).await {
            return continuity;
        }
    }
}

/// Publishes past the proxy, and the subscription hears exactly that.
async fn passes(direct: &Client, live: &mut Subscription, text: &'static str) {
    let published = direct.publish(Publish::new(topic(), Data::text(text).expect("a text"))).await;
    let id = published.expect("it is stored").id;
    loop {
        match next(live).await {
            Item::Entry(entry) => {
                return assert_eq!((entry.id, entry.data.as_text()), (id, Some(text)));
            }
            Item::Continuity(continuity) => panic!("a seam in between: {continuity:?}"),
            _ => {}
        }
    }
}

/// Waits until the server has counted this verdict.
async fn counted(url: &str, line: &str) {
    let counting = async {
        loop {
            let metrics = reqwest::get(format!("{url}metrics")).await.expect("an answer");
            let text = metrics.text().await.expect("a text");
            if text.contains(line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, counting).await.unwrap_or_else(|_| panic!("it counts {line}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_holds_streams_is_left_and_taken_again_without_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Process::dev(folder.path());
    let address = server.url.trim_start_matches("http://").trim_end_matches('/');
    let proxy = Proxy::start(address.parse().expect("an address")).await;
    let direct = Client::new(&server.url, ClientOptions::default()).expect("a client");
    let timeouts = Timeouts { retest: Duration::from_secs(1), ..Timeouts::default() };
    let options = ClientOptions { timeouts, ..ClientOptions::default() };
    let client = Client::new(&proxy.url, options).expect("a client");
    let mut live = client.subscribe([topic()], Options { after: After::Now, rung: Rung::Auto });
    assert_eq!(moved(&mut live).await, (Rung::Sse, Rung::Ws));
    assert_eq!(continuity(&mut live).await, Continuity::New);
    passes(&direct, &mut live, "by the socket").await;
    counted(&server.url, r#"_verdicts_total{verdict="buffered",from="sse",to="ws""#).await;
    proxy.holds.store(false, Ordering::Relaxed);
    assert_eq!(moved(&mut live).await, (Rung::Ws, Rung::Sse));
    assert_eq!(continuity(&mut live).await, Continuity::Resumed);
    passes(&direct, &mut live, "by the stream").await;
    counted(&server.url, r#"_verdicts_total{verdict="clear",from="ws",to="sse",by="retest"} 1"#)
        .await;
}

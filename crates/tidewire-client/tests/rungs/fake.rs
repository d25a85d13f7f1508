//! A scripted server: a test takes each request as it comes and answers it by hand.

use std::{cell::RefCell, collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tidewire_client::{
    After, Client, ClientError, ClientOptions, Continuity, Cursor, Delivery, Item, Options, Rung,
    SeededJitter, Status, Subscription, Topic,
};
use tidewire_proto::frame::accept_key;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role},
    },
};

/// Longer than anything that a test waits for; on a paused clock it costs nothing.
const PATIENCE: Duration = Duration::from_secs(3_600);

pub(crate) struct Fake {
    listener: TcpListener,
    // Requests that came while the test waited for another.
    aside: RefCell<VecDeque<Call>>,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, aside: RefCell::default() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/app", self.listener.local_addr().unwrap())
    }

    pub(crate) fn options() -> ClientOptions {
        ClientOptions { jitter: Arc::new(SeededJitter::new(7)), ..ClientOptions::default() }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url(), Self::options()).unwrap()
    }

    /// The next request, head and body.
    pub(crate) async fn request(&self) -> Call {
        let aside = self.aside.borrow_mut().pop_front();
        match aside {
            Some(call) => call,
            None => self.accept().await,
        }
    }

    /// The next request of this method and path, as `GET /sse`, which means the one below the prefix;
    /// others wait until they are asked for.
    pub(crate) async fn call(&self, what: &str) -> Call {
        let wanted = if what.contains(" /app/") {
            what.to_owned()
        } else {
            what.replacen(" /", " /app/v1/", 1)
        };
        let found = self.aside.borrow().iter().position(|call| call.is(&wanted));
        if let Some(found) = found {
            return self.aside.borrow_mut().remove(found).unwrap();
        }
        loop {
            let call = self.accept().await;
            if call.is(&wanted) {
                return call;
            }
            self.aside.borrow_mut().push_back(call);
        }
    }

    /// Which requests came that nobody asked for.
    pub(crate) fn unasked(&self) -> Vec<String> {
        self.aside.borrow().iter().map(|call| call.line().to_owned()).collect()
    }

    async fn accept(&self) -> Call {
        let accepted = timeout(PATIENCE, self.listener.accept()).await;
        let (mut stream, _) = accepted.expect("a request comes").unwrap();
        // The clock is paused: a write that the kernel holds back would be a wait of seconds.
        stream.set_nodelay(true).unwrap();
        let mut bytes = Vec::new();
        let head_end = loop {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a whole request");
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
        };
        let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
        let mut call = Call { head, body: bytes[head_end + 4..].to_vec(), stream };
        let length = call.header("content-length").map_or(0, |length| length.parse().unwrap());
        while call.body.len() < length {
            assert!(call.stream.read_buf(&mut call.body).await.unwrap() > 0, "a whole body");
        }
        call
    }
}

/// A request that waits for its answer.
pub(crate) struct Call {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    stream: TcpStream,
}

impl Call {
    /// Is it this method and path, whatever the query?
    fn is(&self, wanted: &str) -> bool {
        let rest = self.line().strip_prefix(wanted);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['?', '/']))
    }

    /// Method and target.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap().trim_end_matches(" HTTP/1.1")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (have, value) = line.split_once(':')?;
            have.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// One parameter of the query.
    pub(crate) fn query(&self, name: &str) -> Option<String> {
        let target = self.line().split(' ').nth(1)?;
        let query = target.split_once('?')?.1;
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.into_iter().find(|(have, _)| have == name).map(|(_, value)| value.into_owned())
    }

    pub(crate) async fn answer(mut self, status: u16, headers: &str, body: &str) {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        self.stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }

    /// These bytes, and then nothing any more.
    pub(crate) async fn cut(mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    pub(crate) async fn json(self, status: u16, body: &str) {
        self.answer(status, "content-type: application/json\r\n", body).await;
    }

    pub(crate) async fn refuse(self, status: u16, code: &str, next: &str) {
        let error = format!(r#"{{"code":"{code}","message":"because","next":"{next}"}}"#);
        self.json(status, &format!(r#"{{"error":{error}}}"#)).await;
    }

    /// The head of an event stream; it ends when the value is dropped.
    pub(crate) async fn stream(mut self) -> Stream {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    cache-control: no-store\r\nconnection: close\r\n\r\n";
        self.stream.write_all(head.as_bytes()).await.unwrap();
        Stream(self.stream)
    }

    /// The server's half of a WebSocket handshake.
    pub(crate) async fn socket(mut self) -> Socket {
        let accept = accept_key(self.header("sec-websocket-key").unwrap()).unwrap();
        let head = format!(
            "HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {accept}\r\nsec-websocket-protocol: tidewire.v1\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).await.unwrap();
        Socket(WebSocketStream::from_raw_socket(self.stream, Role::Server, None).await)
    }
}

pub(crate) struct Stream(TcpStream);

impl Stream {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// A greeting with a beat of 20 s and a slot of 1.5 s.
    pub(crate) async fn hello(&mut self, continuity: &str, at: &str) {
        let data = format!(
            r#"{{"connection":"c1","protocol":1,"beat_ms":20000,"retry_ms":1500,"continuity":{continuity},"at":"{at}"}}"#
        );
        self.send(&format!("retry: 1500\nevent: tidewire.hello\ndata: {data}\nid: {at}\n\n")).await;
    }

    pub(crate) async fn entry(&mut self, topic: &str, id: &str, data: &str) {
        self.send(&format!("data: {data}\ntopic: {topic}\nid: {id}\n\n")).await;
    }

    pub(crate) async fn beat(&mut self, at: &str) {
        let data = format!(r#"{{"beat":true,"at":"{at}"}}"#);
        self.send(&format!("event: tidewire.beat\ndata: {data}\nid: {at}\n\n")).await;
    }

    pub(crate) async fn canary(&mut self, number: u32) {
        self.send(&format!("event: tidewire.canary\ndata: {{\"n\":{number}}}\n\n")).await;
    }
}

pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn send_binary(&mut self, bytes: Vec<u8>) {
        self.0.send(Message::binary(bytes)).await.unwrap();
    }

    pub(crate) async fn hello(&mut self) {
        self.send(r#"{"hello":{"connection":"c2","protocol":1,"beat_ms":20000,"retry_ms":1500}}"#)
            .await;
    }

    pub(crate) async fn entry(&mut self, topic: &str, id: &str, data: &str) {
        self.send(&format!(r#"{{"topic":"{topic}","event":"message","id":"{id}","data":{data}}}"#))
            .await;
    }

    /// Bytes that need not be a whole frame.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    pub(crate) async fn close(&mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "bye".into() };
        self.0.close(Some(frame)).await.unwrap();
    }

    /// The next command, as JSON.
    pub(crate) async fn command(&mut self) -> serde_json::Value {
        loop {
            let heard = timeout(PATIENCE, self.0.next()).await.expect("a command comes");
            if let Message::Text(text) = heard.unwrap().unwrap() {
                return serde_json::from_str(text.as_str()).unwrap();
            }
        }
    }
}

pub(crate) fn topic(name: &str) -> Topic {
    Topic::parse(name).unwrap()
}

pub(crate) fn at(text: &str) -> Cursor {
    Cursor::parse(text).unwrap()
}

pub(crate) fn subscribe(client: &Client, names: &[&str], after: After, rung: Rung) -> Subscription {
    client.subscribe(names.iter().map(|name| topic(name)), Options { after, rung })
}

/// The next item that is no status.
pub(crate) async fn next(subscription: &mut Subscription) -> Result<Item, ClientError> {
    let next = async {
        loop {
            match subscription.next().await {
                Ok(Item::Status(_)) => {}
                item => return item,
            }
        }
    };
    timeout(PATIENCE, next).await.expect("an item comes")
}

pub(crate) async fn entry(subscription: &mut Subscription) -> Delivery {
    loop {
        match next(subscription).await.unwrap() {
            Item::Entry(entry) => return entry,
            Item::Live => {}
            item => panic!("an entry, not {item:?}"),
        }
    }
}

/// The id of the next entry.
pub(crate) async fn id(subscription: &mut Subscription) -> String {
    entry(subscription).await.id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

pub(crate) async fn continuity(subscription: &mut Subscription) -> Continuity {
    loop {
        match next(subscription).await.unwrap() {
            Item::Continuity(continuity) => return continuity,
            Item::Live => {}
            item => panic!("continuity, not {item:?}"),
        }
    }
}

/// The next wait: why, and how long.
pub(crate) async fn waiting(subscription: &mut Subscription) -> (String, Duration) {
    loop {
        let item = timeout(PATIENCE, subscription.next()).await.expect("a status comes");
        if let Item::Status(Status::Waiting { why, wait }) = item.unwrap() {
            return (why, wait);
        }
    }
}

/// How long something takes, on the paused clock.
pub(crate) async fn time_of<T>(doing: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let done = doing.await;
    (done, begun.elapsed())
}

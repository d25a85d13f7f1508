//! A WebSocket as a client uses it, through a library that we did not write.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::{PATIENCE, Server};

pub(crate) struct Socket {
    pub(crate) inner: WebSocketStream<MaybeTlsStream<TcpStream>>,
    reference: u64,
    // Entries and signals that came while an answer was awaited.
    early: std::collections::VecDeque<Value>,
}

impl Socket {
    /// Opens a socket and takes its hello.
    pub(crate) async fn open(server: &Server) -> Self {
        Self::open_with(server, "", &[]).await.expect("a handshake")
    }

    /// The same, with a query and headers; the refusal's status and body otherwise.
    pub(crate) async fn open_with(
        server: &Server,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, Value)> {
        Self::connect(&(server.at("/socket") + query), headers).await
    }

    /// The same, of any server.
    pub(crate) async fn connect(
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, Value)> {
        let url = url.replacen("http", "ws", 1);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "tidewire.v1".parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let inner = match connect_async(request).await {
            Ok((inner, response)) => {
                assert_eq!(response.headers()["sec-websocket-protocol"], "tidewire.v1");
                inner
            }
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                return Err((response.status().as_u16(), body));
            }
            Err(error) => panic!("{error}"),
        };
        let mut socket = Self { inner, reference: 0, early: Default::default() };
        let hello = socket.hear().await.expect("a hello");
        assert!(hello["hello"]["connection"].is_string(), "{hello}");
        Ok(socket)
    }

    /// Sends a command and gives its answer.
    pub(crate) async fn ask(&mut self, mut command: Value) -> Value {
        self.reference += 1;
        command["ref"] = json!(self.reference);
        self.say(&command.to_string()).await;
        self.answer(self.reference).await
    }

    /// Waits for the answer to a command; what else comes is kept for later.
    pub(crate) async fn answer(&mut self, reference: u64) -> Value {
        loop {
            let heard = self.hear_now().await.expect("an answer, not the end");
            if heard["ref"] == json!(reference) {
                return heard;
            }
            self.early.push_back(heard);
        }
    }

    /// Subscribes; panics unless it is granted; gives what is said of continuity.
    pub(crate) async fn subscribe(&mut self, topic: &str, after: Option<&str>) -> Value {
        let mut command = json!({"do": "subscribe", "topic": topic});
        if let Some(after) = after {
            command["after"] = json!(after);
        }
        let answer = self.ask(command).await;
        assert!(answer["ok"].is_object(), "{answer}");
        answer["ok"].clone()
    }

    /// Sends text as it is.
    pub(crate) async fn say(&mut self, text: &str) {
        self.inner.send(Message::text(text)).await.unwrap();
    }

    /// The next message as JSON; a binary one as its header with its bytes under `bytes`.
    pub(crate) async fn hear(&mut self) -> Option<Value> {
        match self.early.pop_front() {
            Some(early) => Some(early),
            None => self.hear_now().await,
        }
    }

    async fn hear_now(&mut self) -> Option<Value> {
        loop {
            let message = timeout(PATIENCE, self.inner.next()).await.expect("a message in time");
            match message?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                Message::Binary(bytes) => {
                    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
                    let mut header: Value = serde_json::from_slice(&bytes[2..2 + length]).unwrap();
                    header["bytes"] = json!(bytes[2 + length..].to_vec());
                    return Some(header);
                }
                Message::Close(close) => {
                    let (code, reason) = close
                        .map_or((1005, String::new()), |c| (c.code.into(), c.reason.to_string()));
                    return Some(json!({"closed": code, "reason": reason}));
                }
                _ => {}
            }
        }
    }

    /// The next entry; beats and `live` are passed over.
    pub(crate) async fn entry(&mut self) -> Value {
        loop {
            let heard = self.hear().await.expect("an entry, not the end");
            if heard["topic"].is_string() {
                return heard;
            }
            assert!(heard["beat"].is_object() || heard["live"].is_object(), "{heard}");
        }
    }

    /// The data of the next `count` entries.
    pub(crate) async fn data(&mut self, count: usize) -> Vec<Value> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(self.entry().await["data"].clone());
        }
        all
    }

    /// Closes politely.
    pub(crate) async fn close(mut self) {
        let _ = self.inner.close(None).await;
        while let Some(Ok(_)) = self.inner.next().await {}
    }
}

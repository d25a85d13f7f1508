//! Over TLS: the same trust for HTTP and for WebSocket.

use std::sync::Arc;

use tidewire_client::{After, Client, ClientError, ClientOptions, Continuity, Rung};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer,
    },
    server::TlsStream,
};

use crate::fake::{Fake, continuity, next, subscribe, waiting};

/// A server with a certificate of its own, and the client that trusts it.
async fn server() -> (TcpListener, TlsAcceptor, Client) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let trust = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ClientOptions { tls: Some(Arc::new(trust)), ..Fake::options() };
    let url = format!("https://{}", listener.local_addr().unwrap());
    (listener, TlsAcceptor::from(Arc::new(config)), Client::new(&url, options).unwrap())
}

/// The next connection, with its request read.
async fn request(listener: &TcpListener, acceptor: &TlsAcceptor) -> (String, TlsStream<TcpStream>) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = acceptor.accept(stream).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(head).unwrap(), stream)
}

#[tokio::test]
async fn every_rung_trusts_the_same_certificates() {
    let (listener, acceptor, client) = server().await;
    let mut live = subscribe(&client, &["a"], After::Now, Rung::Sse);
    let (_, mut stream) = request(&listener, &acceptor).await;
    let hello =
        r#"{"connection":"c","protocol":1,"beat_ms":20000,"retry_ms":1,"continuity":"new"}"#;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let frame = format!("{head}event: tidewire.hello\ndata: {hello}\n\n");
    stream.write_all(frame.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(continuity(&mut live).await, Continuity::New);
    let mut live = subscribe(&client, &["a"], After::Now, Rung::Ws);
    let (head, mut stream) = request(&listener, &acceptor).await;
    assert!(head.starts_with("GET /v1/socket"), "{head}");
    stream.write_all(b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    assert!(matches!(next(&mut live).await, Err(ClientError::Foreign(_))));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_no_server() {
    let (listener, acceptor, client) = server().await;
    let url = format!("https://{}", listener.local_addr().unwrap());
    drop(client);
    let stranger = Client::new(&url, Fake::options()).unwrap();
    for rung in [Rung::Sse, Rung::Ws] {
        let mut live = subscribe(&stranger, &["a"], After::Now, rung);
        let refused = async {
            let (stream, _) = listener.accept().await.unwrap();
            assert!(acceptor.accept(stream).await.is_err());
        };
        let ((why, _), ()) = tokio::join!(waiting(&mut live), refused);
        assert!(why.contains("certificate"), "{why}");
    }
}

//! [`Client`]: where the server is, how it is asked, and every wait and bound of this side.
//!
//! Knows nothing of rungs; they ask it for addresses and tokens. Cheap to clone: clones share
//! connections and the token.

use std::{fmt, sync::Arc, time::Duration};

use tidewire_proto::Topic;
use url::Url;

use crate::{
    backoff::BackoffPolicy,
    error::SetupError,
    jitter::{Jitter, SystemJitter},
    loss::Loss,
    subscription::{Options, Subscription},
    token::{Keeper, TokenSource},
};

/// Every wait, on the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first packet to the server's greeting; also the longest silence of a probe or canary.
    pub connect: Duration,
    /// How much later than two beats a sign of life may be.
    pub grace: Duration,
    /// The answer to one request that does not wait on purpose.
    pub answer: Duration,
    /// All attempts of one publish together.
    pub publish: Duration,
    /// How long a long-poll asks the server to wait. Proxies cut at 30 s.
    pub poll_wait: Duration,
    /// How long a lower rung is kept before the path is looked at again, at least 1 s.
    pub retest: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            grace: Duration::from_secs(3),
            answer: Duration::from_secs(10),
            publish: Duration::from_secs(30),
            poll_wait: Duration::from_secs(25),
            retest: Duration::from_secs(600),
        }
    }
}

/// How a client behaves.
#[derive(Clone)]
pub struct ClientOptions {
    /// Where tokens come from; none for a server that asks for none.
    pub token: Option<TokenSource>,
    /// The server's path prefix, below the base URL.
    pub prefix: String,
    /// Every wait.
    pub timeouts: Timeouts,
    /// When to come back.
    pub backoff: BackoffPolicy,
    /// Where chance comes from.
    pub jitter: Arc<dyn Jitter>,
    /// Whom to trust over TLS; the machine's certificates if none is given.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Largest event, message or page that is taken in, in bytes.
    pub event_bytes_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            token: None,
            prefix: "/v1".to_owned(),
            timeouts: Timeouts::default(),
            backoff: BackoffPolicy::default(),
            jitter: Arc::new(SystemJitter),
            tls: None,
            event_bytes_max: 16 * 1024 * 1024,
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("token", &self.token)
            .field("prefix", &self.prefix)
            .field("timeouts", &self.timeouts)
            .field("backoff", &self.backoff)
            .field("event_bytes_max", &self.event_bytes_max)
            .finish_non_exhaustive()
    }
}

/// A Tidewire server, seen from here.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    // With the prefix: `https://rt.example.com/app/v1`.
    base: Url,
    keeper: Keeper,
    options: ClientOptions,
}

impl Client {
    /// A client of the server at `base_url`, which may have a path. Connects to nothing yet.
    ///
    /// # Errors
    /// [`SetupError`] when the URL is not `http` or `https`, or when TLS cannot be set up.
    pub fn new(base_url: &str, options: ClientOptions) -> Result<Self, SetupError> {
        let base = base_of(base_url, &options.prefix)
            .map_err(|why| SetupError::BadUrl { url: base_url.to_owned(), why })?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("tidewire-client/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(options.timeouts.connect)
            .tcp_nodelay(true);
        if let Some(tls) = &options.tls {
            let mut tls = rustls::ClientConfig::clone(tls);
            tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            http = http.tls_backend_preconfigured(tls);
        }
        let http = http.build().map_err(|error| SetupError::Http(crate::http::chain(&error)))?;
        let keeper = Keeper::new(options.token.clone());
        Ok(Self { inner: Arc::new(Inner { http, base, keeper, options }) })
    }

    /// Subscribes to topics, as one stream with one order. It connects, and connects again for ever,
    /// in a task of the tokio runtime that this is called in.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn subscribe(
        &self,
        topics: impl IntoIterator<Item = Topic>,
        options: Options,
    ) -> Subscription {
        Subscription::begin(self.clone(), topics.into_iter().collect(), options)
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.inner.http
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.inner.keeper
    }

    /// The address of a path below the prefix; `path` begins with a slash and needs no escaping.
    pub(crate) fn at(&self, path: &str) -> Url {
        let mut url = self.inner.base.clone();
        url.set_path(&format!("{}{path}", self.inner.base.path().trim_end_matches('/')));
        url
    }

    /// The current token, within the time that an answer may take.
    pub(crate) async fn token(&self) -> Result<Option<Arc<str>>, Loss> {
        let limit = self.options().timeouts.answer;
        match tokio::time::timeout(limit, self.keeper().token()).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(error)) => Err(Loss::Token(error.to_string())),
            Err(_) => Err(Loss::Token(format!("the token source did not answer in {limit:?}"))),
        }
    }
}

fn base_of(base_url: &str, prefix: &str) -> Result<Url, String> {
    let mut base = Url::parse(base_url).map_err(|error| error.to_string())?;
    if !matches!(base.scheme(), "http" | "https") {
        return Err("it begins with http:// or https://".to_owned());
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err("it has no ?query and no #fragment".to_owned());
    }
    let prefix = prefix.trim_matches('/');
    let mut path = base.path().trim_end_matches('/').to_owned();
    if !prefix.is_empty() {
        path.push('/');
        path.push_str(prefix);
    }
    base.set_path(&path);
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(base: &str, prefix: &str) -> String {
        let options = ClientOptions { prefix: prefix.to_owned(), ..ClientOptions::default() };
        Client::new(base, options).unwrap().at("/topics/chat/user:1@x").to_string()
    }

    #[test]
    fn a_base_may_have_a_path_and_any_prefix() {
        for (base, prefix, expected) in [
            ("http://h:4000", "/v1", "http://h:4000/v1/topics/chat/user:1@x"),
            ("http://h:4000/", "v1/", "http://h:4000/v1/topics/chat/user:1@x"),
            ("https://h/app/live/", "/v1", "https://h/app/live/v1/topics/chat/user:1@x"),
            ("https://h/app", "/", "https://h/app/topics/chat/user:1@x"),
            ("https://h", "", "https://h/topics/chat/user:1@x"),
        ] {
            assert_eq!(address(base, prefix), expected, "{base} {prefix}");
        }
    }

    #[test]
    fn what_is_no_base_is_refused_with_the_reason() {
        for base in ["", "localhost:4000", "ws://h", "http://h/?x=1", "http://h/#x", "file:///x"] {
            let refused = Client::new(base, ClientOptions::default());
            assert!(matches!(refused, Err(SetupError::BadUrl { .. })), "{base}");
        }
    }
}

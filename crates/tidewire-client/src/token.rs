//! [`TokenSource`]: where tokens come from, and the keeper that holds the current one.
//!
//! Knows nothing of what a token says. Invariant: a token that was refused is fetched anew once for
//! all subscriptions that share a client, and no lock is held while a token is fetched.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

/// Why no token could be had.
#[derive(Debug)]
pub struct TokenError(Box<dyn std::error::Error + Send + Sync>);

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for TokenError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A token on its way.
struct TokenFuture(Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send>>);

/// Where tokens come from.
#[derive(Clone)]
pub struct TokenSource(Source);

#[derive(Clone)]
enum Source {
    Fixed(Arc<str>),
    Fetched(Arc<dyn Fn() -> TokenFuture + Send + Sync>),
}

impl TokenSource {
    /// Always this one. When the server refuses it, there is no other.
    #[must_use]
    pub fn fixed(token: &str) -> Self {
        Self(Source::Fixed(token.trim().into()))
    }

    /// Fetched when it is needed first, and again when the server refuses the last one.
    pub fn fetched<Fetch, Fetching>(fetch: Fetch) -> Self
    where
        Fetch: Fn() -> Fetching + Send + Sync + 'static,
        Fetching: Future<Output = Result<String, TokenError>> + Send + 'static,
    {
        Self(Source::Fetched(Arc::new(move || TokenFuture(Box::pin(fetch())))))
    }
}

impl fmt::Debug for TokenSource {
    // A token is a secret: it has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::Fixed(_) => "TokenSource::fixed(…)",
            Source::Fetched(_) => "TokenSource::fetched(…)",
        })
    }
}

/// Holds the current token.
#[derive(Debug)]
pub(crate) struct Keeper {
    source: Option<TokenSource>,
    current: Mutex<Option<Arc<str>>>,
}

impl Keeper {
    pub(crate) fn new(source: Option<TokenSource>) -> Self {
        Self { source, current: Mutex::new(None) }
    }

    /// The current token, fetched if there is none. Nothing where the client has no source.
    pub(crate) async fn token(&self) -> Result<Option<Arc<str>>, TokenError> {
        let fetch = match &self.source {
            None => return Ok(None),
            Some(TokenSource(Source::Fixed(token))) => return Ok(Some(Arc::clone(token))),
            Some(TokenSource(Source::Fetched(fetch))) => fetch,
        };
        if let Some(token) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Some(Arc::clone(token)));
        }
        let token: Arc<str> = fetch().0.await?.trim().into();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&token));
        Ok(Some(token))
    }

    /// The server refused `token`: the next one will be fetched. Says whether there can be another.
    pub(crate) fn refused(&self, token: Option<&str>) -> bool {
        if !matches!(self.source, Some(TokenSource(Source::Fetched(_)))) {
            return false;
        }
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have fetched a new one meanwhile: that one was not refused.
        if current.as_deref() == token {
            *current = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_token_is_fetched_once_until_it_is_refused() {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let keeper = Keeper::new(Some(TokenSource::fetched(move || {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            async move { Ok(format!("t{number}\n")) }
        })));
        assert_eq!(keeper.token().await.unwrap().as_deref(), Some("t0"));
        assert_eq!(keeper.token().await.unwrap().as_deref(), Some("t0"));
        assert!(keeper.refused(Some("t0")));
        assert_eq!(keeper.token().await.unwrap().as_deref(), Some("t1"));
        assert!(keeper.refused(Some("t0")), "late news of an old token");
        assert_eq!(keeper.token().await.unwrap().as_deref(), Some("t1"));
    }

    #[tokio::test]
    async fn a_fixed_token_has_no_successor() {
        let keeper = Keeper::new(Some(TokenSource::fixed("secret")));
        assert_eq!(keeper.token().await.unwrap().as_deref(), Some("secret"));
        assert!(!keeper.refused(Some("secret")));
        assert!(!format!("{keeper:?}").contains("secret"));
        assert!(!Keeper::new(None).refused(None));
    }
}

//! Tidewire in an axum application of somebody else's.

use std::{future::IntoFuture, sync::Arc};

use axum::Router;
use tidewire::{Settings, Tidewire};
use tokio::task::JoinHandle;

/// A running app. It ends when this is dropped.
pub(crate) struct Embedded {
    pub(crate) url: String,
    pub(crate) tidewire: Arc<Tidewire>,
    served: JoinHandle<std::io::Result<()>>,
    _folder: tempfile::TempDir,
}

impl Embedded {
    /// As `tidewire dev`, in an app that has nothing else.
    pub(crate) async fn dev() -> Self {
        Self::dev_with(|_| {}).await
    }

    /// The same, with other settings.
    pub(crate) async fn dev_with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::for_dev("127.0.0.1:0".parse().unwrap(), folder.path().into());
        change(&mut settings);
        let tidewire = Arc::new(Tidewire::builder(settings).dev().open().await.unwrap());
        let app = Router::new().merge(tidewire.router());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let served = tokio::spawn(axum::serve(listener, app).into_future());
        Self { url, tidewire, served, _folder: folder }
    }

    /// The URL of a path under the prefix.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}v1{path}", self.url)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.served.abort();
    }
}

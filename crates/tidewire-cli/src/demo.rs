//! Workboard, where this binary was built with it and `dev` is not told to go without.
//!
//! The one place that knows of the feature `demo`: everything else talks to [`Demo`], which may be
//! nothing.

#[cfg(feature = "demo")]
pub(crate) use there::{Demo, features};

#[cfg(not(feature = "demo"))]
pub(crate) use nothing::{Demo, features};

#[cfg(feature = "demo")]
mod there {
    use std::{net::SocketAddr, path::Path, sync::Arc};

    use axum::Router;
    use tidewire::{Builder, Settings, Tidewire};
    use tidewire_demo::{App, Workboard};

    use crate::source::Source;

    /// The settings, with the features of Workboard that they do not declare.
    pub(crate) fn features(settings: Settings) -> Settings {
        Workboard::features(settings)
    }

    /// Workboard's database, open, or nothing.
    pub(crate) struct Demo(Option<Workboard>);

    /// Workboard beside a server, or nothing.
    pub(crate) struct Started(Option<App>);

    impl Demo {
        /// # Errors
        /// When its file in the folder cannot be used.
        pub(crate) async fn open(source: &Source, data: &Path) -> anyhow::Result<Self> {
            if !source.demo {
                return Ok(Self(None));
            }
            Ok(Self(Some(Workboard::open(data).await?)))
        }

        /// What it needs of the server.
        pub(crate) fn before(&self, builder: Builder) -> Builder {
            match &self.0 {
                Some(workboard) => builder.gate(workboard.gate()).resets(),
                None => builder,
            }
        }

        pub(crate) async fn start(self, server: &Arc<Tidewire>, address: SocketAddr) -> Started {
            match self.0 {
                Some(workboard) => {
                    Started(Some(workboard.start(Arc::clone(server), address).await))
                }
                None => Started(None),
            }
        }
    }

    impl Started {
        pub(crate) fn is_there(&self) -> bool {
            self.0.is_some()
        }

        pub(crate) fn around(&self, own: Router) -> Router {
            match &self.0 {
                Some(app) => app.around(own),
                None => own,
            }
        }

        /// Waits until somebody presses that button.
        pub(crate) async fn restart_wanted(&self) {
            match &self.0 {
                Some(app) => app.restart_wanted().await,
                None => std::future::pending().await,
            }
        }

        pub(crate) async fn stop(&self) {
            if let Some(app) = &self.0 {
                app.stop().await;
            }
        }
    }
}

#[cfg(not(feature = "demo"))]
mod nothing {
    use std::{net::SocketAddr, path::Path, sync::Arc};

    use axum::Router;
    use tidewire::{Builder, Settings, Tidewire};

    use crate::source::Source;

    pub(crate) fn features(settings: Settings) -> Settings {
        settings
    }

    pub(crate) struct Demo;
    pub(crate) struct Started;

    #[allow(clippy::unused_async, clippy::unused_self)]
    impl Demo {
        pub(crate) async fn open(_: &Source, _: &Path) -> anyhow::Result<Self> {
            Ok(Self)
        }

        pub(crate) fn before(&self, builder: Builder) -> Builder {
            builder
        }

        pub(crate) async fn start(self, _: &Arc<Tidewire>, _: SocketAddr) -> Started {
            Started
        }
    }

    #[allow(clippy::unused_async, clippy::unused_self)]
    impl Started {
        pub(crate) fn is_there(&self) -> bool {
            false
        }

        pub(crate) fn around(&self, own: Router) -> Router {
            own
        }

        pub(crate) async fn restart_wanted(&self) {
            std::future::pending::<()>().await;
        }

        pub(crate) async fn stop(&self) {}
    }
}

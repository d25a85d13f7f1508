//! [`Tidewire`]: an open server, to be served or to be mounted in an app's own router.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use axum::Router;
use tidewire_core::{
    CurrentFeatures, Gate, Hub, Log, MemoryLog, OpenGate,
    clock::{Clock, Random, SystemClock, SystemRandom},
    log::memory::MemoryBounds,
};
use tidewire_disk::{DiskLog, DiskSettings, OpenError};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    access::{Following, Guarded, Revocations, StandardGate},
    app::{App, Counted, Parts},
    config::{ConfigError, Settings},
    reload::{Reloaded, Reloads},
    routes,
    serve::{self, Serving},
    sweep::Sweep,
    tls::{self, TlsError},
    token::{ApiKeys, KeyError},
    webhook::Webhooks,
};

/// An open Tidewire: a log, a hub on it, and the doors.
pub struct Tidewire {
    app: App,
    // What it was started with.
    settings: Settings,
    reloads: Reloads,
    // Both end when this is dropped.
    webhooks: Arc<Webhooks>,
    _following: Option<Following>,
    disk: Option<Arc<DiskLog>>,
    sweep: bool,
    resets: bool,
}

/// Why it could not be opened or served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of the log.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The keys that check tokens.
    #[error(transparent)]
    Gate(#[from] KeyError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listener.
    #[error(transparent)]
    Listen(#[from] io::Error),
}

/// Opens a [`Tidewire`]. Without other words: the embedded log in the settings' folder, and the
/// settings' tokens.
pub struct Builder {
    settings: Settings,
    dev: bool,
    log: Option<Arc<dyn Log>>,
    gate: Option<Arc<dyn Gate>>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    sweep: bool,
    resets: bool,
}

impl Builder {
    /// As `tidewire dev` does: nobody needs a token, the live page and the echo socket are there,
    /// and only requests to this machine's own names are answered.
    #[must_use]
    pub fn dev(mut self) -> Self {
        self.dev = true;
        self
    }

    /// Keeps entries in this log instead.
    #[must_use]
    pub fn log(mut self, log: Arc<dyn Log>) -> Self {
        self.log = Some(log);
        self
    }

    /// Asks this gate instead.
    #[must_use]
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Takes the time of day from here instead.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes randomness from here instead.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    /// Gives each connection a task of its own, also those that could be swept: for comparing the
    /// two, which say the same.
    #[must_use]
    pub fn without_sweep(mut self) -> Self {
        self.sweep = false;
        self
    }

    /// Puts a [`Connected`](crate::Connected) into the extensions of each request, so that routes of the
    /// app's own can break connections off. Costs a second descriptor for each connection.
    #[must_use]
    pub fn resets(mut self) -> Self {
        self.resets = true;
        self
    }

    /// Opens the log and the hub. Reads the disk, so it may take a moment.
    ///
    /// # Errors
    /// [`StartError`] says what cannot be used, and what to do about it.
    pub async fn open(self) -> Result<Tidewire, StartError> {
        let Self { settings, dev, log, gate, clock, random, sweep, resets } = self;
        let gates = Gates::new(gate, &settings, dev, (&clock, &random))?;
        let Gates { gate, standard, revocations } = gates;
        let features = CurrentFeatures::from(settings.features.clone());
        let limits = settings.limits.clone();
        let (log, disk): (Arc<dyn Log>, _) = match log {
            Some(log) => (log, None),
            None => {
                let disk = DiskSettings {
                    features: features.clone(),
                    limits: limits.clone(),
                    ..DiskSettings::default()
                };
                let (folder, clock, random) =
                    (settings.data.clone(), Arc::clone(&clock), Arc::clone(&random));
                let opening = move || DiskLog::open(&folder, disk, clock, &*random);
                let opened = tokio::task::spawn_blocking(opening).await;
                let disk = Arc::new(opened.map_err(|error| io::Error::other(error.to_string()))??);
                (Arc::clone(&disk) as Arc<dyn Log>, Some(disk))
            }
        };
        let bounds = MemoryBounds::default();
        let passing =
            MemoryLog::new(features.clone(), &limits, bounds, Arc::clone(&clock), &*random);
        let hub = Hub::new(log, Arc::new(passing), features, limits);
        let webhooks =
            Arc::new(Webhooks::new(hub.clone(), Arc::clone(&clock), Arc::clone(&random)));
        let app = App::new(Parts {
            hub,
            gate,
            origins: ArcSwap::from_pointee(settings.origins.clone()),
            prefix: settings.prefix.clone(),
            dev,
            keys: ArcSwap::from_pointee(ApiKeys::new(&settings.auth.keys, None)),
            revocations,
            counted: Counted {
                asked: standard.as_ref().map(|gate| gate.counts()),
                webhooks: webhooks.counts(),
            },
            clock,
            random,
        });
        // Before anybody is let in.
        let following = Following::begin(&app)
            .await
            .map_err(|error| io::Error::other(format!("revocations cannot be read: {error}")))?;
        webhooks.put_in_force(&settings.webhooks);
        let reloads = Reloads::new(app.clone(), standard, Arc::clone(&webhooks), settings.clone());
        let _following = following;
        Ok(Tidewire { app, settings, reloads, webhooks, _following, disk, sweep, resets })
    }
}

/// Who is asked about access.
struct Gates {
    gate: Arc<dyn Gate>,
    // Nothing where everybody is let in, or where the app has a gate of its own.
    standard: Option<Arc<StandardGate>>,
    // Nothing where everybody may do everything: there is nothing to take back.
    revocations: Option<Arc<Revocations>>,
}

impl Gates {
    fn new(
        own: Option<Arc<dyn Gate>>,
        settings: &Settings,
        dev: bool,
        (clock, random): (&Arc<dyn Clock>, &Arc<dyn Random>),
    ) -> Result<Self, KeyError> {
        if own.is_none() && dev {
            return Ok(Self { gate: Arc::new(OpenGate), standard: None, revocations: None });
        }
        let limits = &settings.limits;
        let revocations = Arc::new(Revocations::new(limits.revocations_max, Arc::clone(clock)));
        let (inner, standard): (Arc<dyn Gate>, _) = match own {
            Some(own) => (own, None),
            None => {
                let revoked = Arc::clone(&revocations);
                let (clock, random) = (Arc::clone(clock), Arc::clone(random));
                let standard = StandardGate::new(&settings.auth, limits, revoked, clock, random)?;
                let standard = Arc::new(standard);
                (Arc::clone(&standard) as Arc<dyn Gate>, Some(standard))
            }
        };
        let gate = Arc::new(Guarded::new(inner, Arc::clone(&revocations)));
        Ok(Self { gate, standard, revocations: Some(revocations) })
    }
}

impl Tidewire {
    /// Begins to describe a server.
    #[must_use]
    pub fn builder(settings: Settings) -> Builder {
        Builder {
            settings,
            dev: false,
            log: None,
            gate: None,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            sweep: true,
            resets: false,
        }
    }

    /// The middle: publish and subscribe from your own code.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.app.hub
    }

    /// The doors, for an app's own router: paths under the prefix, and no others. The app's server
    /// then has to bound connections, headers and slow readers itself, and to call
    /// [`leave`](Self::leave) and [`close`](Self::close); [`serve`](Self::serve) does all that.
    pub fn router(&self) -> Router {
        routes::doors(self.app.clone())
    }

    /// Goes on with other settings: features, origins, webhooks and `[auth]`. All of it is in force at once, or
    /// nothing is. Clients hear of a new plan by themselves. Who is connected by a token stays until
    /// it ends, whatever checks tokens now; who came with an API key that is good no longer, or has
    /// other rights now, is sent away.
    ///
    /// A gate or a log that was given to the [`Builder`] stays as it is, and so do the retention and
    /// the safety of that log.
    ///
    /// # Errors
    /// One problem for each key whose change needs a restart: the listener, the prefix, the folder,
    /// TLS, limits, and a feature that would begin or cease to keep a history. Nothing has changed
    /// then.
    pub fn reload(&self, settings: Settings) -> Result<Reloaded, ConfigError> {
        self.reloads.reload(settings)
    }

    /// The settings in force: what it was opened with, or what a [`reload`](Self::reload) has put in
    /// their place.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.reloads.in_force()
    }

    /// Sends every open stream and socket away, each with a slot to come back in, and waits until
    /// they are gone, at most [`Limits::drain_timeout`](crate::Limits::drain_timeout). For an app's
    /// own server: call it where a graceful shutdown begins.
    pub async fn leave(&self) {
        serve::leave(&self.app, JoinSet::new()).await;
    }

    /// Ends the webhooks, stores what was accepted and lets go of the log's folder. Publishes are refused
    /// from here on.
    pub async fn close(&self) {
        self.webhooks.stop().await;
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }

    /// Binds the settings' address. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When it cannot be bound; the message says why and what to do.
    pub fn bind(&self) -> io::Result<TcpListener> {
        serve::bind(self.settings.listen)
    }

    /// The URL at which a listener of this server is reached.
    #[must_use]
    pub fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.settings.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}/")
    }

    /// Serves until `shutdown` is done; then everybody is sent away with a slot, and the log is
    /// closed.
    ///
    /// # Errors
    /// [`StartError::Tls`] when the certificate cannot be used; [`StartError::Listen`] when the system
    /// gives no thread.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), StartError> {
        self.serve_with(listener, |own| own, shutdown).await
    }

    /// The same, with an app around it: `app` is given everything that this server answers, for paths
    /// of its own beside it and layers over it. Event streams and sockets keep their plain sockets,
    /// which in another server's router they would not.
    ///
    /// ```no_run
    /// # async fn run(server: tidewire::Tidewire, stop: impl Future<Output = ()> + Send) -> Result<(), Box<dyn std::error::Error>> {
    /// use axum::{Router, routing::get};
    ///
    /// let app = Router::new().route("/hello", get(async || "hello"));
    /// server.serve_with(server.bind()?, |own| app.fallback_service(own), stop).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_with(
        &self,
        listener: TcpListener,
        app: impl FnOnce(Router) -> Router,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), StartError> {
        let tls = self.settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let router = routes::around(&self.app, app);
        let sweep = self.sweep.then(|| Sweep::start(&self.app)).transpose()?;
        if let Some(sweep) = &sweep {
            self.app.paths.are_swept(sweep.asking());
        }
        let (app, resets) = (self.app.clone(), self.resets);
        let serving = Serving { app, router, tls, resets, sweep };
        serve::serve(serving, listener, shutdown).await;
        self.close().await;
        Ok(())
    }
}

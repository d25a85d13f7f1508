//! [`Workboard`]: the app, opened on a folder; and [`Running`], the app beside a Tidewire that runs.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::Request, middleware};
use tidewire::{
    Connected, Gate, Settings, Tidewire,
    clock::{Clock, Random, SystemClock, SystemRandom},
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use crate::{
    answering::{self, Answer},
    api, ears,
    failure::Failure,
    features,
    gate::Door,
    outbox, pages,
    relay::Relay,
    seed::seed,
    store::{Change, META, Rows, Store},
    windows::{self, Windows},
};

/// The file in the data folder.
const FILE: &str = "workboard.redb";
/// A piece of an answer every so often: some thirty in a second, as fast as a person reads along.
const PACE: Duration = Duration::from_millis(33);
/// Answers that are being said at a time.
const ANSWERS_AT_ONCE_MAX: usize = 16;

/// Why Workboard does not start.
#[derive(Debug, thiserror::Error)]
#[error("Workboard cannot use {file}: {why}; end what else uses it, or move it away to begin anew")]
pub struct OpenError {
    file: String,
    why: String,
}

/// Workboard's database, open. What it needs of a Tidewire is known before there is one.
pub struct Workboard {
    store: Store,
    starts: u64,
    pace: Duration,
}

impl Workboard {
    /// Opens its database in the folder of the log, and fills it if it is new.
    ///
    /// # Errors
    /// [`OpenError`] when the file cannot be used.
    pub async fn open(folder: &Path) -> Result<Self, OpenError> {
        Self::open_with(folder, Arc::new(SystemClock), Arc::new(SystemRandom), PACE).await
    }

    /// The same with another clock, other chance, and another time between two words of an answer.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(
        folder: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        pace: Duration,
    ) -> Result<Self, OpenError> {
        let file = folder.join(FILE);
        let folder = folder.to_owned();
        let name = file.display().to_string();
        let opening = move || {
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            let store = Store::open(&file, clock, random).map_err(|error| error.to_string())?;
            let starts = store.write_now(|change| start(change, &store));
            Ok((store.clone(), starts.map_err(|error| error.to_string())?))
        };
        let opened = tokio::task::spawn_blocking(opening).await;
        let opened = opened.unwrap_or_else(|error| Err(error.to_string()));
        let (store, starts) = opened.map_err(|why| OpenError { file: name, why })?;
        Ok(Self { store, starts, pace })
    }

    /// The settings, with the features that Workboard needs and they do not declare.
    #[must_use]
    pub fn features(settings: Settings) -> Settings {
        features::added(settings)
    }

    /// Who may: people by their session, and anybody as in any `tidewire dev`.
    #[must_use]
    pub fn gate(&self) -> Arc<dyn Gate> {
        Arc::new(Door { store: self.store.clone() })
    }

    /// Begins to publish what waits and to hear the chat. Tidewire should have been opened with this
    /// app's [`gate`](Self::gate) and [`resets`](tidewire::Builder::resets); `address` is where it
    /// listens. Must be called inside a tokio runtime.
    pub async fn start(self, tidewire: Arc<Tidewire>, address: SocketAddr) -> App {
        let Self { store, starts, pace } = self;
        let mut tasks = JoinSet::new();
        tasks.spawn(outbox::drain(store.clone(), tidewire.hub().clone()));
        tasks.spawn(ears::listen(store.clone(), tidewire.hub().clone()));
        let running = Running {
            started_at_ms: store.now_ms(),
            store,
            tidewire,
            starts,
            pace,
            address,
            restart: Notify::new(),
            windows: Windows::default(),
            relay: tokio::sync::Mutex::default(),
            answers: Arc::new(Semaphore::new(ANSWERS_AT_ONCE_MAX)),
            tasks: Mutex::new(tasks),
        };
        if let Err(error) = running.relay_as_before().await {
            tracing::warn!(%error, "the relay that holds event streams back does not start again");
        }
        App(Arc::new(running))
    }
}

/// What is done at each start, in one transaction. Says how many starts there were.
fn start(change: &Change, store: &Store) -> Result<u64, Failure> {
    if change.bytes(META, "name")?.is_none() {
        // A database that begins anew counts its events anew, beside a log that may know the numbers.
        let name = store.secret();
        change.put(META, "name", &format!("wb-{}", name.get(..12).unwrap_or_default()))?;
    }
    seed(change)?;
    answering::fail_unfinished(change)?;
    change.next("starts")
}

/// Workboard beside a Tidewire that runs. Dropped, it publishes and says nothing more.
pub struct App(Arc<Running>);

impl App {
    /// The app around all that the server answers by itself: for
    /// [`Tidewire::serve_with`].
    pub fn around(&self, own: Router) -> Router {
        let own = own.layer(middleware::from_fn(pages::or_first_page));
        let app = pages::routes().merge(api::routes(Arc::clone(&self.0))).fallback_service(own);
        let running = Arc::clone(&self.0);
        app.layer(middleware::map_request(move |request: Request| {
            running.saw(&request);
            std::future::ready(request)
        }))
    }

    /// Waits until somebody asks for a restart.
    pub async fn restart_wanted(&self) {
        self.0.restart.notified().await;
    }

    /// Stops what it does in the background. What waits in the outbox waits for the next start.
    pub async fn stop(&self) {
        let mut tasks = {
            let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        tasks.shutdown().await;
        *self.0.relay.lock().await = None;
    }
}

/// What the API works with.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) tidewire: Arc<Tidewire>,
    pub(crate) starts: u64,
    pub(crate) started_at_ms: u64,
    pub(crate) restart: Notify,
    pub(crate) windows: Windows,
    pace: Duration,
    address: SocketAddr,
    // Held while it starts: two who ask at once get one relay.
    relay: tokio::sync::Mutex<Option<Relay>>,
    answers: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
}

impl Running {
    fn saw(&self, request: &Request) {
        let window = windows::window_of(request.uri().query());
        if let (Some(window), Some(connected)) = (window, request.extensions().get::<Connected>()) {
            self.windows.saw(&window, connected);
        }
    }

    /// A place among those who are answered.
    pub(crate) fn answering_place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let place = Arc::clone(&self.answers).try_acquire_owned();
        place.map_err(|_| Failure::Busy("the assistant says too much at once: ask again".into()))
    }

    /// Says an answer, beside everything else.
    pub(crate) fn say(&self, answer: Answer, place: OwnedSemaphorePermit) {
        let (store, hub, pace) = (self.store.clone(), self.tidewire.hub().clone(), self.pace);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let _place = place;
            answering::say(store, hub, answer, pace).await;
        });
    }

    /// The relay's address; it starts when it is first asked for, and after that with each start of
    /// the server, on the port that it had: those who use it come back to it.
    pub(crate) async fn relay(&self) -> Result<SocketAddr, Failure> {
        let mut relay = self.relay.lock().await;
        if let Some(relay) = &*relay {
            return Ok(relay.address);
        }
        let port = self.store.read(|rows| rows.row(META, "relay")).await?;
        let started = Relay::start(port, self.address).await;
        let started = started.map_err(|error| Failure::Store(format!("no relay: {error}")))?;
        let address = started.address;
        *relay = Some(started);
        self.store.write(move |change| change.put(META, "relay", &address.port())).await?;
        Ok(address)
    }

    async fn relay_as_before(&self) -> Result<(), Failure> {
        let port: Option<u16> = self.store.read(|rows| rows.row(META, "relay")).await?;
        if port.is_some() {
            self.relay().await?;
        }
        Ok(())
    }
}

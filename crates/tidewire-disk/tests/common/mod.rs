//! A disk in memory that can do what disks do to people, and the small words of the tests.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    any::Any,
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use tidewire_core::{
    Feature, Features, Filter, History, Log, Page, PageLimit, Receipt,
    clock::{ManualClock, Random, SeededRandom, SystemRandom},
};
use tidewire_disk::{
    DiskLog, DiskSettings, OpenError,
    disk::{Disk, DiskFile, Opening},
};
use tidewire_proto::{Data, Entry, EventType, Key, Message, Sequence, Stored, Topic};

/// What a crash leaves of what was not synced.
#[derive(Debug, Clone, Copy)]
pub enum Crash {
    /// All of it: the process died, the machine did not.
    Kill,
    /// None of it.
    PowerCut,
    /// Any part of it, in any order of pages; the seed says which.
    Torn(u64),
}

/// A directory in memory. Clones are the same directory.
#[derive(Clone, Default)]
pub struct SimDisk {
    sim: Arc<Sim>,
}

#[derive(Default)]
struct Sim {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, Arc<Mutex<Node>>>,
    names_durable: BTreeMap<String, Arc<Mutex<Node>>>,
    locked: bool,
    faults: Faults,
}

/// What goes wrong from now on.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Bytes that still fit, counted by what is written.
    pub room: Option<usize>,
    /// Writes fail after half of them.
    pub write: bool,
    /// Files cannot be cut.
    pub truncate: bool,
    /// Files cannot be synced.
    pub sync: bool,
    /// Syncs wait until this is taken back.
    pub hold_sync: bool,
    /// How many syncs have begun.
    pub syncs: usize,
}

#[derive(Default, Clone)]
struct Node {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Cut(length) => bytes.resize(*length, 0),
            Self::Write(at, news) => {
                bytes.resize(bytes.len().max(at + news.len()), 0);
                bytes[*at..at + news.len()].copy_from_slice(news);
            }
        }
    }
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.sim.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what goes wrong.
    pub fn fault(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state().faults);
        self.sim.opened.notify_all();
    }

    pub fn faults(&self) -> Faults {
        self.state().faults.clone()
    }

    /// Another disk, as this one would be found after a crash at this moment.
    pub fn crash(&self, crash: Crash) -> SimDisk {
        let state = self.state();
        let names = match crash {
            Crash::Kill => &state.names,
            Crash::PowerCut => &state.names_durable,
            Crash::Torn(seed) if seed.is_multiple_of(2) => &state.names,
            Crash::Torn(_) => &state.names_durable,
        };
        let left = SimDisk::default();
        for (name, node) in names {
            let node = node.lock().unwrap();
            let bytes = match crash {
                Crash::Kill => node.now.clone(),
                Crash::PowerCut => node.durable.clone(),
                Crash::Torn(seed) => node.torn(&SeededRandom::new(seed)),
            };
            left.put(name, bytes);
        }
        left
    }

    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// The name of the only file that ends so.
    pub fn only(&self, ending: &str) -> String {
        let names: Vec<_> =
            self.names().into_iter().filter(|name| name.ends_with(ending)).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        names[0].clone()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.state().names[name].lock().unwrap().now.clone()
    }

    /// Puts a file there, durable.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        let node = Node { now: bytes.clone(), durable: bytes, unsynced: vec![] };
        let node = Arc::new(Mutex::new(node));
        let mut state = self.state();
        state.names.insert(name.to_owned(), Arc::clone(&node));
        state.names_durable.insert(name.to_owned(), node);
    }
}

impl Node {
    /// What is durable, and pieces of what is not.
    fn torn(&self, random: &SeededRandom) -> Vec<u8> {
        const PAGE: usize = 64;
        let mut bytes = self.durable.clone();
        for change in &self.unsynced {
            match change {
                Change::Cut(_) if random.next_u64().is_multiple_of(2) => change.apply(&mut bytes),
                Change::Cut(_) => {}
                Change::Write(at, news) => {
                    for (number, page) in news.chunks(PAGE).enumerate() {
                        let cut = match random.next_u64() % 4 {
                            0 => 0,
                            1 => random.next_u64() as usize % page.len(),
                            _ => page.len(),
                        };
                        Change::Write(at + number * PAGE, page[..cut].to_vec()).apply(&mut bytes);
                    }
                }
            }
        }
        bytes
    }
}

impl Disk for SimDisk {
    fn lock(&self) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        struct Guard(SimDisk);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.state().locked = false;
            }
        }
        let was_locked = std::mem::replace(&mut self.state().locked, true);
        Ok((!was_locked).then(|| Box::new(Guard(self.clone())) as Box<dyn Any + Send + Sync>))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&self, name: &str, how: Opening) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let node = match how {
            Opening::Create => {
                if state.faults.room == Some(0) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let node = Arc::clone(state.names.entry(name.to_owned()).or_default());
                drop(state);
                let mut held = node.lock().unwrap();
                held.now.clear();
                held.unsynced.push(Change::Cut(0));
                drop(held);
                node
            }
            _ => Arc::clone(state.names.get(name).ok_or(io::ErrorKind::NotFound)?),
        };
        Ok(Arc::new(SimFile { disk: self.clone(), node }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let node = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.names_durable = state.names.clone();
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    node: Arc<Mutex<Node>>,
}

impl SimFile {
    fn change(&self, change: Change) {
        let mut node = self.node.lock().unwrap();
        change.apply(&mut node.now);
        node.unsynced.push(change);
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.node.lock().unwrap().now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let node = self.node.lock().unwrap();
        let rest = node.now.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (fits, error) = {
            let mut state = self.disk.state();
            let faults = &mut state.faults;
            match &mut faults.room {
                _ if faults.write => (bytes.len() / 2, Some(io::Error::other("EIO"))),
                Some(room) if *room < bytes.len() => {
                    (std::mem::take(room), Some(io::ErrorKind::StorageFull.into()))
                }
                Some(room) => {
                    *room -= bytes.len();
                    (bytes.len(), None)
                }
                None => (bytes.len(), None),
            }
        };
        self.change(Change::Write(offset as usize, bytes[..fits].to_vec()));
        error.map_or(Ok(()), Err)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        if self.disk.faults().truncate {
            return Err(io::Error::other("EIO"));
        }
        self.change(Change::Cut(length as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.faults.syncs += 1;
        self.disk.sim.opened.notify_all();
        while state.faults.hold_sync {
            state = self.disk.sim.opened.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let fails = state.faults.sync;
        drop(state);
        let mut node = self.node.lock().unwrap();
        if fails {
            // As Linux has it: the pages count as clean now, but the disk does not have them.
            node.unsynced.clear();
            return Err(io::Error::other("EIO"));
        }
        node.durable = node.now.clone();
        node.unsynced.clear();
        Ok(())
    }
}

pub fn kept(stored: Stored, bytes: Option<u64>) -> Feature {
    Feature { history: History::Kept { age: None, bytes }, stored, ..Feature::default() }
}

/// `chat` keeps all; `quick` too, but asks only for the system's safety; `short` keeps 2,000 bytes;
/// `brief` keeps an hour.
pub fn settings() -> DiskSettings {
    let hour = Some(std::time::Duration::from_secs(3600));
    let history = History::Kept { age: hour, bytes: None };
    let features = BTreeMap::from([
        ("brief".to_owned(), Feature { history, ..Feature::default() }),
        ("chat".to_owned(), kept(Stored::Fsync, None)),
        ("quick".to_owned(), kept(Stored::Os, None)),
        ("short".to_owned(), kept(Stored::Fsync, Some(2_000))),
    ]);
    DiskSettings { features: Features::declared(features).into(), ..DiskSettings::default() }
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(1_700_000_000_000))
}

pub fn try_open(disk: &SimDisk, settings: DiskSettings) -> Result<DiskLog, OpenError> {
    DiskLog::open_on(Arc::new(disk.clone()), "sim", settings, clock(), &SystemRandom)
}

pub fn open(disk: &SimDisk) -> DiskLog {
    try_open(disk, settings()).unwrap()
}

pub fn topic(name: &str) -> Topic {
    Topic::parse(name).unwrap()
}

#[allow(clippy::needless_pass_by_value)]
pub fn say(name: &str, body: impl ToString) -> Message {
    let data = Data::text(body.to_string()).unwrap();
    Message { topic: topic(name), event: EventType::message(), data, key: None, item: None }
}

pub fn keyed(name: &str, key: &str, body: impl ToString) -> Message {
    Message { key: Some(Key::parse(key).unwrap()), ..say(name, body) }
}

pub async fn append(log: &DiskLog, batch: Vec<Message>) -> Vec<Receipt> {
    log.append(batch).await.unwrap()
}

pub const ALL: PageLimit = PageLimit { entries: 1_000_000, bytes: usize::MAX };

pub async fn page(log: &DiskLog, names: &[&str], after: u64) -> Page {
    let filter = Filter::new(names.iter().map(|name| topic(name))).unwrap();
    log.read(&filter, Sequence(after), ALL).await.unwrap()
}

pub fn sequences(entries: &[Arc<Entry>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.sequence.0).collect()
}

pub fn texts(entries: &[Arc<Entry>]) -> Vec<String> {
    entries.iter().map(|entry| entry.data.as_text().unwrap().to_owned()).collect()
}

/// Waits for a condition, with a bound.
pub async fn until(mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), wait).await.expect("in time");
}

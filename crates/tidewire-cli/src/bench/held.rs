//! What a run has to put away: the processes that listen, and their folders.
//!
//! It must not know what they are for. Invariant: a folder is removed after the process that writes
//! into it has ended, once, by whoever comes first: the end of its [`Held`], or SIGINT, SIGTERM or
//! SIGHUP. After a signal nothing new is held: the lock stays taken until the bench has ended.

use std::{
    collections::BTreeMap,
    fs,
    process::{self, Command},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::Context;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// By the number of the process.
static ALL: Mutex<BTreeMap<u32, Pair>> = Mutex::new(BTreeMap::new());

/// A process and its folder. The fields drop from above: the process ends first.
#[derive(Debug)]
struct Pair {
    process: Ended,
    _folder: Option<TempDir>,
}

/// A process that ends when this is dropped.
#[derive(Debug)]
struct Ended(process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A process that is put away, with its folder, when this is dropped.
#[derive(Debug)]
pub(crate) struct Held(u32);

impl Held {
    /// Starts a process. `prepare` makes its folder, if it has one, and says what to start; no signal
    /// comes between the folder and the process.
    ///
    /// # Errors
    /// When it cannot be prepared or does not start.
    pub(crate) fn start(
        prepare: impl FnOnce() -> anyhow::Result<(Command, Option<TempDir>)>,
    ) -> anyhow::Result<(Self, Option<process::ChildStdout>)> {
        let mut all = all();
        let (mut command, folder) = prepare()?;
        let mut process = command.spawn().context("a process")?;
        let (id, output) = (process.id(), process.stdout.take());
        all.insert(id, Pair { process: Ended(process), _folder: folder });
        Ok((Self(id), output))
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Under the lock to the end: a signal waits until the folder is gone.
        let mut all = all();
        drop(all.remove(&self.0));
    }
}

fn all() -> MutexGuard<'static, BTreeMap<u32, Pair>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on a signal that would end this process puts everything away first.
///
/// # Errors
/// When the system does not let signals be caught.
pub(crate) fn put_away_on_signals() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (interrupt, terminate, hangup) = {
        let _context = runtime.enter();
        let hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, hangup)
    };
    thread::spawn(move || {
        let number = runtime.block_on(first(interrupt, terminate, hangup));
        let mut all = all();
        let _ended: Vec<_> = all.values_mut().map(|pair| pair.process.0.kill()).collect();
        all.clear();
        process::exit(128 + number.as_raw_value());
    });
    Ok(())
}

async fn first(mut interrupt: Signal, mut terminate: Signal, hangup: Option<Signal>) -> SignalKind {
    let hung_up = async {
        match hangup {
            Some(mut hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
        _ = hung_up => SignalKind::hangup(),
    }
}

/// Whoever started the bench with `nohup` wants it to go on.
fn hangup_is_ignored() -> bool {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = text.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_folder_goes_with_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().to_owned();
        let mut command = Command::new("sleep");
        command.arg("60");
        let (held, _) = Held::start(|| Ok((command, Some(folder)))).unwrap();
        let process = PathBuf::from(format!("/proc/{}", held.id()));
        assert!(path.exists() && process.exists());
        drop(held);
        assert!(!path.exists() && !process.exists());
    }
}

//! Reloading the config of a server that runs: on SIGHUP, and in `dev` when the file has changed.
//!
//! Decides when, and shows what came of it; what may change is the library's to say.

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use tidewire::{Reloaded, Tidewire, config::ConfigError};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::{run::Terminal, source::Source};

/// How often a watched file is looked at. It is in force at the second look that finds it the same.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// When the config is read again.
pub(crate) struct Reloads {
    source: Source,
    terminal: Terminal,
    hangup: Signal,
    // Nothing where nobody watches it.
    watched: Option<Watched>,
}

impl Reloads {
    /// From here on SIGHUP does not end the process by itself.
    ///
    /// # Errors
    /// When the system lets nobody listen to the signal.
    pub(crate) fn begin(
        source: Source,
        watched: Option<Watched>,
        terminal: Terminal,
    ) -> std::io::Result<Self> {
        Ok(Self { hangup: signal(SignalKind::hangup())?, source, terminal, watched })
    }

    /// Reloads for as long as this is waited for.
    pub(crate) async fn run(mut self, server: Arc<Tidewire>) {
        let mut looks = interval_at(Instant::now() + LOOK_INTERVAL, LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let Self { source, terminal, hangup, watched } = &mut self;
            let is_wanted = tokio::select! {
                // If the terminal has gone, the server goes too.
                Some(()) = hangup.recv() => !terminal.has_gone(),
                _ = looks.tick(), if watched.is_some() => {
                    let content = source.file.as_deref().and_then(read);
                    watched.as_mut().is_some_and(|watched| watched.look(content))
                }
            };
            if is_wanted && source.file.is_some() {
                let (server, source) = (Arc::clone(&server), source.clone());
                // Reading files may wait.
                let _ = tokio::task::spawn_blocking(move || reload(&server, &source)).await;
            }
        }
    }
}

fn reload(server: &Tidewire, source: &Source) {
    let file = source.file.as_deref().unwrap_or(Path::new("the config")).display().to_string();
    let said = match source.read() {
        Ok(Ok(loaded)) => {
            let warnings = ConfigError { problems: Vec::new(), warnings: loaded.warnings };
            let warnings = crate::source::shown(&warnings);
            match server.reload(loaded.settings) {
                Ok(reloaded) => warnings + &taken_up(&file, &reloaded),
                Err(error) => warnings + &refused(&file, &error),
            }
        }
        Ok(Err(error)) => refused(&file, &error),
        Err(error) => format!("error: {error:#}\n"),
    };
    // If nobody hears it, the server goes on all the same.
    let _ = std::io::stderr().write_all(said.as_bytes());
}

fn taken_up(file: &str, reloaded: &Reloaded) -> String {
    let Reloaded { changes, is_plan_new } = reloaded;
    let told = if *is_plan_new { "; clients are told of the new plan" } else { "" };
    let count = match changes.len() {
        0 => "nothing has changed".to_owned(),
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    let lines = changes.iter().map(|change| format!("  {change}\n"));
    format!("reloaded {file}: {count}{told}\n{}", lines.collect::<String>())
}

fn refused(file: &str, error: &ConfigError) -> String {
    let problems = crate::source::shown(error);
    format!("{problems}not reloaded {file}: the server goes on with the settings from before\n")
}

/// The content of a file; nothing while there is none.
fn read(file: &Path) -> Option<Vec<u8>> {
    std::fs::read(file).ok()
}

/// A file that is looked at now and then. Its content is compared, because editors replace a file by
/// renaming another over it, or cut it and write it again: what notifies of events has a case for each
/// of them, what it means is in the bytes.
pub(crate) struct Watched {
    /// What was taken up.
    known: Option<Vec<u8>>,
    /// What the last look found.
    seen: Option<Vec<u8>>,
}

impl Watched {
    /// The file of `dev`, as it is now: before it is read for the start, so that no change is missed.
    pub(crate) fn of(source: &Source) -> Option<Self> {
        let file = source.file.as_deref().filter(|_| source.dev)?;
        Some(Self::new(read(file)))
    }

    fn new(content: Option<Vec<u8>>) -> Self {
        Self { known: content.clone(), seen: content }
    }

    /// Is it time to read it? When two looks have found the same, and not what is known: a file that
    /// is being written is left alone.
    fn look(&mut self, content: Option<Vec<u8>>) -> bool {
        let is_settled = content == self.seen;
        self.seen = content;
        let is_new = is_settled && self.seen != self.known;
        if is_new {
            self.known.clone_from(&self.seen);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire::config::Change;

    fn looks(watched: &mut Watched, contents: &[Option<&str>]) -> Vec<bool> {
        let bytes = |text: &Option<&str>| text.map(|text| text.as_bytes().to_vec());
        contents.iter().map(|content| watched.look(bytes(content))).collect()
    }

    #[test]
    fn a_file_is_read_when_it_has_changed_and_settled() {
        let mut watched = Watched::new(Some(b"one".to_vec()));
        assert_eq!(looks(&mut watched, &[Some("one"), Some("one")]), [false, false]);
        assert_eq!(
            looks(&mut watched, &[Some("two"), Some("two"), Some("two")]),
            [false, true, false]
        );
        // Cut, half written, written: an empty config would be a good one that declares nothing.
        assert_eq!(
            looks(&mut watched, &[Some(""), Some("th"), Some("three"), Some("three")]),
            [false, false, false, true]
        );
        // Replaced by way of no file at all; and back to what it was before anybody noticed.
        assert_eq!(looks(&mut watched, &[None, Some("four"), Some("four")]), [false, false, true]);
        assert_eq!(looks(&mut watched, &[Some("five"), Some("four"), Some("four")]), [false; 3]);
        // It is gone: that is said, once.
        assert_eq!(looks(&mut watched, &[None, None, None]), [false, true, false]);
    }

    #[test]
    fn what_was_taken_up_is_said_line_by_line() {
        let change =
            |key: &str| Change { key: key.to_owned(), before: "a".into(), after: "b".into() };
        let said = |keys: &[&str], is_plan_new| {
            let changes = keys.iter().map(|key| change(key)).collect();
            taken_up("t.toml", &Reloaded { changes, is_plan_new })
        };
        assert_eq!(said(&[], false), "reloaded t.toml: nothing has changed\n");
        assert_eq!(
            said(&["server.origins"], false),
            "reloaded t.toml: 1 change\n  server.origins: a → b\n"
        );
        assert_eq!(
            said(&["x", "y"], true),
            "reloaded t.toml: 2 changes; clients are told of the new plan\n  x: a → b\n  y: a → b\n"
        );
    }
}

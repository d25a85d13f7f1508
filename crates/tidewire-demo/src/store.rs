//! [`Store`]: Workboard's database, one file with transactions (`redb`). Each row is JSON under a text.
//!
//! Whatever changes says so in the same transaction: [`Change::emit`] puts an event into the outbox,
//! and [`crate::outbox`] publishes it after the commit. So there is never a change without its event,
//! nor an event without its change. Knows no HTTP and no hub.
//!
//! Invariant: a transaction runs on a thread that may wait, and is committed whole or not at all.

use std::{cell::Cell, path::Path, sync::Arc};

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tidewire::clock::{Clock, Random};
use tokio::sync::Notify;

use crate::failure::Failure;

/// A table of JSON rows by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table(&'static str);

pub(crate) const PEOPLE: Table = Table("people");
pub(crate) const BOARDS: Table = Table("boards");
/// By [`key`].
pub(crate) const TASKS: Table = Table("tasks");
/// By the task's [`key`], `/`, and the comment's.
pub(crate) const COMMENTS: Table = Table("comments");
/// By the session's text.
pub(crate) const SESSIONS: Table = Table("sessions");
/// By [`key`].
pub(crate) const CONVERSATIONS: Table = Table("conversations");
/// By person: the newest notification that was seen.
pub(crate) const SEEN: Table = Table("seen");
/// By [`key`]: what is to be published, in the order in which it was committed.
pub(crate) const OUTBOX: Table = Table("outbox");
/// By person, `/`, and the idempotency key: what a creating request was answered.
pub(crate) const ANSWERED: Table = Table("answered");
/// Numbers and names of the database itself.
pub(crate) const META: Table = Table("meta");

const TABLES: [Table; 10] =
    [PEOPLE, BOARDS, TASKS, COMMENTS, SESSIONS, CONVERSATIONS, SEEN, OUTBOX, ANSWERED, META];

impl Table {
    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.0)
    }
}

/// A number as a key: keys are compared as texts.
pub(crate) fn key(number: u64) -> String {
    format!("{number:020}")
}

/// An event that waits to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) topic: String,
    pub(crate) event: String,
    /// Which thing this is the newest value of, if it is one.
    pub(crate) item: Option<String>,
    pub(crate) data: Value,
}

/// A handle on the database. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    database: Database,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    committed: Notify,
}

impl Store {
    /// Opens the file, or makes it; every table is there then. Waits for the disk.
    pub(crate) fn open(
        file: &Path,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, Failure> {
        let database = Database::create(file)?;
        let transaction = database.begin_write()?;
        for table in TABLES {
            transaction.open_table(table.definition())?;
        }
        transaction.commit()?;
        Ok(Self(Arc::new(Inner { database, clock, random, committed: Notify::new() })))
    }

    /// Looks at one state of the database.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = self.clone();
        blocking(move || look(&store.0.database.begin_read()?)).await
    }

    /// Changes the database: all of it, or nothing when `change` fails. One change after another.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Change) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = self.clone();
        blocking(move || store.write_now(change)).await
    }

    /// The same on this thread, which must be one that may wait.
    pub(crate) fn write_now<T>(
        &self,
        change: impl FnOnce(&Change) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let transaction = self.0.database.begin_write()?;
        let now_ms = self.0.clock.now_ms();
        let under_way = Change { transaction, now_ms, emitted: Cell::new(false) };
        // Dropped without a commit, a transaction has never been.
        let done = change(&under_way)?;
        let Change { transaction, emitted, .. } = under_way;
        transaction.commit()?;
        if emitted.get() {
            self.0.committed.notify_one();
        }
        Ok(done)
    }

    /// Waits until something was put into the outbox since the last time.
    pub(crate) async fn committed(&self) {
        self.0.committed.notified().await;
    }

    /// A text that nobody guesses.
    pub(crate) fn secret(&self) -> String {
        let random = &self.0.random;
        format!("{:016x}{:016x}", random.next_u64(), random.next_u64())
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.clock.now_ms()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::Store(error.to_string())))
}

/// What can be read of a transaction, whichever kind it is.
pub(crate) trait Rows {
    /// The bytes of one row.
    fn bytes(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Failure>;

    /// The rows whose key begins so, by key.
    fn bytes_under(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Failure>;

    /// One row.
    fn row<T: DeserializeOwned>(&self, table: Table, key: &str) -> Result<Option<T>, Failure> {
        let bytes = self.bytes(table, key)?;
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    /// The rows whose key begins so, by key.
    fn rows_under<T: DeserializeOwned>(
        &self,
        table: Table,
        prefix: &str,
    ) -> Result<Vec<T>, Failure> {
        let rows = self.bytes_under(table, prefix)?;
        Ok(rows.iter().map(|(_, bytes)| serde_json::from_slice(bytes)).collect::<Result<_, _>>()?)
    }

    /// All rows, by key.
    fn rows<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<T>, Failure> {
        self.rows_under(table, "")
    }
}

macro_rules! rows_of {
    ($transaction:ty, $($field:ident)?) => {
        impl Rows for $transaction {
            fn bytes(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, Failure> {
                let table = self$(.$field)?.open_table(table.definition())?;
                Ok(table.get(key)?.map(|bytes| bytes.value().to_vec()))
            }

            fn bytes_under(
                &self,
                table: Table,
                prefix: &str,
            ) -> Result<Vec<(String, Vec<u8>)>, Failure> {
                let table = self$(.$field)?.open_table(table.definition())?;
                let mut found = Vec::new();
                for row in table.range(prefix..)? {
                    let (key, bytes) = row?;
                    if !key.value().starts_with(prefix) {
                        break;
                    }
                    found.push((key.value().to_owned(), bytes.value().to_vec()));
                }
                Ok(found)
            }
        }
    };
}

rows_of!(ReadTransaction,);
rows_of!(Change, transaction);

/// A transaction that writes.
pub(crate) struct Change {
    transaction: WriteTransaction,
    /// When it began, in milliseconds since 1970.
    pub(crate) now_ms: u64,
    emitted: Cell<bool>,
}

impl Change {
    /// Puts a row, over one that was there.
    pub(crate) fn put<T: Serialize>(
        &self,
        table: Table,
        key: &str,
        row: &T,
    ) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(row)?;
        self.transaction.open_table(table.definition())?.insert(key, bytes.as_slice())?;
        Ok(())
    }

    /// Takes a row away.
    pub(crate) fn remove(&self, table: Table, key: &str) -> Result<(), Failure> {
        self.transaction.open_table(table.definition())?.remove(key)?;
        Ok(())
    }

    /// The next number of a kind: 1, 2, 3, … and never one twice.
    pub(crate) fn next(&self, kind: &str) -> Result<u64, Failure> {
        let next = self.row::<u64>(META, kind)?.unwrap_or_default() + 1;
        self.put(META, kind, &next)?;
        Ok(next)
    }

    /// Puts an event into the outbox: it is published if and only if this change is committed.
    pub(crate) fn emit(&self, event: &Event) -> Result<(), Failure> {
        self.emitted.set(true);
        self.put(OUTBOX, &key(self.next("outbox")?), event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire::clock::{ManualClock, SeededRandom};

    pub(crate) fn open(folder: &Path) -> Store {
        let file = folder.join("workboard.redb");
        Store::open(&file, Arc::new(ManualClock::at(5)), Arc::new(SeededRandom::new(1))).unwrap()
    }

    #[tokio::test]
    async fn a_change_that_fails_has_never_been() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let event =
            Event { topic: "board/a".into(), event: "x".into(), item: None, data: Value::Null };
        let wanted = event.clone();
        let failed = store
            .write(move |change| {
                change.put(SEEN, "ann", &1)?;
                change.emit(&wanted)?;
                Err::<(), _>(Failure::NotSignedIn)
            })
            .await;
        assert!(failed.is_err());
        let nothing = |rows: &ReadTransaction| {
            Ok((rows.rows::<Event>(OUTBOX)?, rows.row::<u64>(SEEN, "ann")?))
        };
        assert_eq!(store.read(nothing).await.unwrap(), (vec![], None));

        let wanted = event.clone();
        store.write(move |change| change.emit(&wanted)).await.unwrap();
        assert_eq!(store.read(nothing).await.unwrap(), (vec![event], None));
    }

    #[tokio::test]
    async fn rows_come_by_key_and_only_those_that_begin_so() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let put = |change: &Change| {
            for (key, row) in [("b/2", 2), ("b/1", 1), ("c", 3), ("a", 0)] {
                change.put(COMMENTS, key, &row)?;
            }
            change.remove(COMMENTS, "a")
        };
        store.write(put).await.unwrap();
        let found = store.read(|rows| {
            Ok((rows.rows_under::<u64>(COMMENTS, "b/")?, rows.rows::<u64>(COMMENTS)?))
        });
        assert_eq!(found.await.unwrap(), (vec![1, 2], vec![1, 2, 3]));
    }

    #[test]
    fn numbers_sort_as_numbers_and_never_come_twice() {
        assert!(key(9) < key(10) && key(10) < key(u64::MAX));
        let folder = tempfile::tempdir().unwrap();
        let numbers = |store: &Store| store.write_now(|change| change.next("task")).unwrap();
        assert_eq!(numbers(&open(folder.path())), 1);
        assert_eq!(numbers(&open(folder.path())), 2, "after a restart too");
    }
}

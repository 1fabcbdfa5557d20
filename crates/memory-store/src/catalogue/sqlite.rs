//! The catalogue as a `SQLite` database: opening it safely, waiting for others, and naming what goes wrong.
//!
//! What is asked of the tables is in `write`, `query` and `maintain`.

use super::schema::{APPLICATION_ID, TABLES, VERSION};
use super::{Catalogue, maintain, query, replace, write};
use crate::changes::Change;
use crate::error::{Error, Result};
use crate::hash::{ContentHash, ObjectRef};
use crate::memory::{Committed, Filter, Memory, MemorySummary, NewMemory, Trace, Via};
use crate::replace::{Acknowledged, Replacement};
use crate::stats::Stats;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A catalogue in one `SQLite` file, in WAL mode, each commit synced.
#[derive(Debug)]
pub struct SqliteCatalogue {
    path: PathBuf,
    patience: Duration,
    // Two, so that a question need not wait until somebody else's commit has reached the disk.
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl SqliteCatalogue {
    /// Opens an existing catalogue, waiting for other processes for at most `patience` at each step.
    ///
    /// # Errors
    /// [`Error::CatalogueMissing`], [`Error::CatalogueDamaged`], [`Error::NewerStore`], [`Error::ReadOnly`].
    pub fn open(path: &Path, patience: Duration) -> Result<Self> {
        if !path.exists() {
            return Err(Error::CatalogueMissing { path: path.into() });
        }
        let writer = connect(path, patience, OpenFlags::empty())?;
        check_version(path, patience, &writer)?;
        let mode: String = ask(path, patience, &writer, "PRAGMA journal_mode")?;
        if mode != "wal" {
            let reason = format!("its journal mode is {mode}, not wal");
            return Err(Error::CatalogueDamaged { path: path.into(), reason });
        }
        let reader = connect(path, patience, OpenFlags::empty())?;
        Ok(Self { path: path.into(), patience, writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    /// Makes a catalogue, or completes one whose making was interrupted. The caller sees to it that only one
    /// process does so at a time.
    ///
    /// # Errors
    /// As [`open`](Self::open), if there is a file of that name that is something else.
    pub fn create(path: &Path, patience: Duration) -> Result<Self> {
        {
            let mut connection = connect(path, patience, OpenFlags::SQLITE_OPEN_CREATE)?;
            let tables: i64 = ask(path, patience, &connection, "SELECT count(*) FROM sqlite_schema")?;
            if tables == 0 {
                let mode: String = ask(path, patience, &connection, "PRAGMA journal_mode = WAL")?;
                if mode != "wal" {
                    let source = "the file system does not support write-ahead logging".into();
                    return Err(Error::Catalogue { action: "be created", source });
                }
                let create = |connection: &mut Connection| {
                    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    transaction.execute_batch(TABLES)?;
                    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                    transaction.pragma_update(None, "user_version", VERSION)?;
                    transaction.commit()
                };
                create(&mut connection).map_err(|e| explain(path, patience, "be created", e))?;
            }
        }
        Self::open(path, patience)
    }

    /// 32 random bytes, from the system's randomness.
    pub(crate) fn random_identity() -> Result<[u8; 32]> {
        let random =
            || Connection::open_in_memory()?.query_row("SELECT randomblob(32)", [], |row| row.get(0));
        random().map_err(|e| Error::Catalogue { action: "make an identity", source: Box::new(e) })
    }

    /// Runs one writing transaction, durable when this returns.
    fn write<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.within(action, &mut connection, TransactionBehavior::Immediate, work)
    }

    /// Runs one reading transaction: everything it sees is of one moment.
    fn read<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        self.within(action, &mut connection, TransactionBehavior::Deferred, work)
    }

    fn within<T>(
        &self,
        action: &'static str,
        connection: &mut Connection,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        let explain = |e| explain(&self.path, self.patience, action, e);
        let begun = Instant::now();
        let transaction = loop {
            // Not `connection.transaction_with_behavior`: the loop would borrow the connection for good.
            match Transaction::new_unchecked(connection, behavior) {
                // Some of SQLite's answers to a race, as when the log is being recovered or
                // removed, do not go through its busy handler.
                Err(e) if is_busy(&e) && begun.elapsed() < self.patience => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                other => break other.map_err(explain)?,
            }
        };
        match work(&transaction) {
            Ok(result) => {
                transaction.commit().map_err(explain)?;
                Ok(result)
            }
            Err(Failure::Ours(error)) => Err(error),
            Err(Failure::Damage(reason)) => Err(Error::CatalogueDamaged { path: self.path.clone(), reason }),
            Err(Failure::Sqlite(e)) => Err(explain(e)),
        }
    }
}

/// Why a transaction was given up.
#[derive(Debug)]
pub(super) enum Failure {
    /// For a reason of ours.
    Ours(Error),
    /// A row that cannot be.
    Damage(String),
    /// The database failed.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl Catalogue for SqliteCatalogue {
    fn commit(
        &self,
        memories: &[NewMemory],
        replacements: &[Replacement],
        intact: &dyn Fn(&ObjectRef) -> bool,
    ) -> Result<Acknowledged> {
        self.write("commit", |tx| {
            let memories = write::commit(tx, memories, intact)?;
            let replacements =
                replacements.iter().map(|new| replace::replace(tx, new)).collect::<Result<_, _>>()?;
            Ok(Acknowledged { memories, replacements })
        })
    }

    fn memory(&self, hash: &ContentHash) -> Result<Option<Memory>> {
        self.read("be read", |tx| query::memory(tx, hash))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<MemorySummary>> {
        self.read("list memories", |tx| query::list(tx, filter))
    }

    fn content_hashes(&self) -> Result<Vec<ContentHash>> {
        self.read("list hashes", query::content_hashes)
    }

    fn between(&self, low: &ContentHash, high: &ContentHash, limit: usize) -> Result<Vec<ContentHash>> {
        self.read("find a hash", |tx| query::between(tx, low, high, limit))
    }

    fn record_trace(&self, hash: &ContentHash, context: &str, via: Via) -> Result<bool> {
        self.write("record a trace", |tx| write::record_trace(tx, hash, context, via))
    }

    fn traces(&self, hash: &ContentHash) -> Result<Vec<Trace>> {
        self.read("read traces", |tx| query::traces_of(tx, hash))
    }

    fn record_freed(&self, consolidation: &Committed, bytes: u64) -> Result<()> {
        self.write("record what was freed", |tx| write::record_freed(tx, consolidation, bytes))
    }

    fn changes_since(&self, seq: u64) -> Result<(Vec<Change>, u64)> {
        self.read("read changes", |tx| query::changes_since(tx, seq))
    }

    fn last_change(&self) -> Result<u64> {
        self.read("read changes", query::last_change)
    }

    fn forget(&self, hash: &ContentHash) -> Result<()> {
        self.write("forget a memory", |tx| write::forget(tx, hash))
    }

    fn stats(&self) -> Result<Stats> {
        self.read("be counted", maintain::stats)
    }

    fn are_referenced(&self, objects: &[ContentHash]) -> Result<Vec<bool>> {
        self.read("look for references", |tx| maintain::are_referenced(tx, objects))
    }

    fn referenced_objects(&self) -> Result<Vec<(ObjectRef, bool)>> {
        self.read("list objects", maintain::referenced_objects)
    }

    fn owners(&self, object: &ContentHash) -> Result<Vec<ContentHash>> {
        self.read("look for references", |tx| maintain::owners(tx, object))
    }

    fn mark_damaged(&self, object: &ContentHash, damaged: bool) -> Result<()> {
        self.write("mark damage", |tx| write::mark_damaged(tx, object, damaged))
    }

    fn tidy(&self) -> Result<()> {
        self.write("be tidied", maintain::tidy)
    }

    fn integrity(&self) -> Result<Vec<String>> {
        let checked = self.read("be checked", maintain::integrity);
        match checked {
            Err(Error::CatalogueDamaged { reason, .. }) => Ok(vec![reason]),
            other => other,
        }
    }
}

fn connect(path: &Path, patience: Duration, extra: OpenFlags) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | extra;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(patience)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    let connection = open().map_err(|e| explain(path, patience, "be opened", e))?;
    if connection.is_readonly(rusqlite::MAIN_DB).unwrap_or(false) {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        return Err(Error::ReadOnly { path: path.into(), source });
    }
    Ok(connection)
}

fn check_version(path: &Path, patience: Duration, connection: &Connection) -> Result<()> {
    let application: i64 = ask(path, patience, connection, "PRAGMA application_id")?;
    if application != APPLICATION_ID {
        let reason = format!("it is a database of something else (application_id {application:#x})");
        return Err(Error::CatalogueDamaged { path: path.into(), reason });
    }
    match ask(path, patience, connection, "PRAGMA user_version")? {
        VERSION => Ok(()),
        found if found > VERSION => Err(Error::NewerStore { path: path.into(), found, supported: VERSION }),
        found => {
            let reason = format!("it has the impossible version {found}");
            Err(Error::CatalogueDamaged { path: path.into(), reason })
        }
    }
}

/// Asks for one value. `PRAGMA journal_mode = WAL` is one question, too.
fn ask<T: rusqlite::types::FromSql>(
    path: &Path,
    patience: Duration,
    connection: &Connection,
    sql: &str,
) -> Result<T> {
    connection.query_row(sql, [], |row| row.get(0)).map_err(|e| explain(path, patience, "be opened", e))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed)
    )
}

/// Sorts what `SQLite` says by what the user can do about it.
fn explain(path: &Path, patience: Duration, action: &'static str, error: rusqlite::Error) -> Error {
    /// `SQLITE_IOERR_WRITE`: what an exhausted quota or file-size limit comes out as.
    const IOERR_WRITE: i32 = 778;
    let path = path.to_path_buf();
    let of_kind = |kind, error: rusqlite::Error| io::Error::new(kind, error);
    let extended = match &error {
        rusqlite::Error::SqliteFailure(failure, _) => failure.extended_code,
        _ => 0,
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            Error::NoSpace { path, source: of_kind(io::ErrorKind::StorageFull, error) }
        }
        _ if extended == IOERR_WRITE => {
            Error::NoSpace { path, source: of_kind(io::ErrorKind::StorageFull, error) }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            Error::ReadOnly { path, source: of_kind(io::ErrorKind::PermissionDenied, error) }
        }
        // Which SQLite does not explain, but the system does.
        Some(ErrorCode::CannotOpen) => match OpenOptions::new().write(true).open(&path) {
            Err(reason) => Error::io("open", &path, reason),
            Ok(_) => Error::Catalogue { action, source: Box::new(error) },
        },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::CatalogueDamaged { path, reason: error.to_string() }
        }
        _ if is_busy(&error) => {
            Error::Busy { waiting_for: "another process to finish writing".into(), waited: patience }
        }
        _ => Error::Catalogue { action, source: Box::new(error) },
    }
}

//! What stops a run: a missing database, a folder that cannot be read, an interrupt.
//!
//! What a *prediction* did wrong is never an error; it is a state of its [`Verdict`](crate::score::Verdict).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::file;

/// The result of everything here that can stop a run.
pub type Result<T> = std::result::Result<T, Error>;

/// Does `work`; a panic in it is a defect of ours, and comes back as what it said.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

/// Why a run cannot go on. [`Error::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A job names a database that has no folder or no main file.
    #[error("database `{db_id}` not found: no file `{}`", .path.display())]
    DatabaseMissing {
        /// The name that the job gave.
        db_id: String,
        /// The file that should exist.
        path: PathBuf,
    },
    /// A `db_id` that would leave the database folder.
    #[error("`{db_id}` is not a database name")]
    DatabaseName {
        /// The name that the job gave.
        db_id: String,
    },
    /// A folder or file that cannot be read.
    #[error("cannot read `{}`: {source}", .path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A write-ahead log with changes that are not in the database file yet.
    #[error("`{}` holds changes that are not in the database file yet", .path.display())]
    PendingLog {
        /// The log beside the database.
        path: PathBuf,
    },
    /// A rollback journal of a transaction that has not ended: the database file holds a part of it.
    #[error("`{}` is of a transaction that has not ended, and its database holds a part of that", .path.display())]
    HotJournal {
        /// The journal beside the database.
        path: PathBuf,
    },
    /// A database file that SQLite cannot read: damaged, encrypted, or something else altogether.
    #[error("cannot read database `{}`: {message}", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What SQLite or the operating system said.
        message: String,
    },
    /// A `tables.json` that is not what it should be.
    #[error("`{}`: {message}", .path.display())]
    Tables {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Golds, predictions and database names are columns of one table, and these differ in length.
    #[error("{golds} golds, {predictions} predictions and {db_ids} database names: the three lists differ in length")]
    Lengths {
        /// How many golds.
        golds: usize,
        /// How many predictions.
        predictions: usize,
        /// How many database names.
        db_ids: usize,
    },
    /// Something else in this process used the same SQLite first, so that its memory cannot be limited any more.
    #[error("SQLite was in use before its memory could be limited")]
    SqliteInUse,
    /// The file that keeps the digests of golds cannot be read or written. Verdicts do not depend on it.
    #[error("cannot keep results of golds in `{}`: {message}", .path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        message: String,
    },
    /// The thread pool could not be started.
    #[error("cannot start {threads} threads: {message}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the operating system said.
        message: String,
    },
    /// A panic while queries were checked: a defect of ours.
    #[error("internal error while checking queries: {message}")]
    Check {
        /// What the panic said.
        message: String,
    },
    /// A panic while one query ran, or one database was described: a defect of ours.
    #[error("internal error while running a query: {message}")]
    Query {
        /// What the panic said.
        message: String,
    },
    /// A panic inside the evaluator: a defect of ours, stopped at the boundary.
    #[error("internal error while scoring item {index} (database `{db_id}`): {message}")]
    Internal {
        /// Position of the job in its batch, from 0.
        index: usize,
        /// Its database.
        db_id: String,
        /// What the panic said.
        message: String,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Whether only one database is concerned, so that the items of others can go on.
    #[must_use]
    pub fn is_of_one_database(&self) -> bool {
        match self {
            Self::DatabaseMissing { .. }
            | Self::Unreadable { .. }
            | Self::PendingLog { .. }
            | Self::HotJournal { .. }
            | Self::NotADatabase { .. } => true,
            Self::DatabaseName { .. }
            | Self::Tables { .. }
            | Self::Lengths { .. }
            | Self::SqliteInUse
            | Self::Cache { .. }
            | Self::Threads { .. }
            | Self::Check { .. }
            | Self::Query { .. }
            | Self::Internal { .. }
            | Self::Interrupted => false,
        }
    }

    /// What the user can do, as one line; `None` where the message says it all.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DatabaseMissing { db_id, .. } => {
                Some(format!("the database folder holds `{db_id}/{db_id}.sqlite`, and any variants beside that file"))
            }
            Self::DatabaseName { .. } => {
                Some("a database name is the name of one folder, without `/`, `\\` or `..`".to_owned())
            }
            Self::Unreadable { source, .. } if file::is_unusable(source) => {
                Some("give a file; what a pipe or a device yields can be written to one".to_owned())
            }
            Self::Unreadable { .. } => Some("check the path and its permissions".to_owned()),
            Self::NotADatabase { .. } => Some("copy the file anew, or check it with `PRAGMA integrity_check`".to_owned()),
            Self::PendingLog { path } => Some(format!(
                "fold the log in with `sqlite3 {} 'PRAGMA wal_checkpoint(TRUNCATE)'`",
                path.to_string_lossy().trim_end_matches("-wal")
            )),
            Self::HotJournal { path } => Some(format!(
                "when nothing writes to it any more, roll it back with `sqlite3 {} 'PRAGMA schema_version'`",
                path.to_string_lossy().trim_end_matches("-journal")
            )),
            Self::Tables { .. } => Some(
                "the file is a list with `db_id`, `table_names_original`, `column_names_original` and `foreign_keys` of \
                 every database, as Spider's `tables.json`"
                    .to_owned(),
            ),
            Self::Cache { .. } => Some("golds run again each time; name another folder, or go on without one".to_owned()),
            Self::Lengths { .. } => Some("give one prediction and one database name for each gold".to_owned()),
            Self::SqliteInUse => {
                Some("call `qsql::exec::sandbox::initialize` before anything else opens a database".to_owned())
            }
            Self::Threads { .. } => Some("ask for fewer threads".to_owned()),
            Self::Check { .. } => Some("please report the queries and their schemas".to_owned()),
            Self::Query { .. } => Some("please report the query and its database".to_owned()),
            Self::Internal { .. } => Some("please report this item; the other items are not affected".to_owned()),
            Self::Interrupted => None,
        }
    }
}

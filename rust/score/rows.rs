//! One query on one database, with its rows to be looked at.

use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use super::State;
use super::compare::Rejection;
use crate::error::{Error, Result};
use crate::exec::denotation::{Cell, Value};
use crate::exec::sandbox::{self, Database, Failure, Limits, Reader, Row};

/// Most memory of the rows that are kept, in bytes. SQLite's own is limited by [`Limits::memory`].
const KEPT_BYTES: usize = 64 << 20;

/// What a query returned.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct QueryResult {
    /// How it went; [`State::Scored`] where it ran to its end or to the last row wanted, [`State::GoldError`] where the
    /// database cannot be read.
    pub state: State,
    /// Names of the columns, as SQLite gives them.
    pub columns: Vec<String>,
    /// The first rows, in the order in which SQLite returns them; none where the query failed.
    pub rows: Vec<Vec<Cell>>,
    /// Whether there are more rows.
    pub is_truncated: bool,
    /// What happened where it failed.
    pub detail: Option<String>,
}

// A float of SQLite is never NaN.
impl Hash for QueryResult {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.state, &self.columns, &self.rows, self.is_truncated, &self.detail).hash(state);
    }
}

/// Runs a query and keeps its first `max_rows` rows; no more are computed.
///
/// Stops with [`Error::Interrupted`] soon after `cancel` is set by another thread.
pub fn query(
    path: &Path,
    text: &str,
    limits: &Limits,
    max_rows: usize,
    cancel: &Arc<AtomicBool>,
) -> Result<QueryResult> {
    sandbox::initialize()?;
    let run = || {
        let mut database = Database::open(path, false)?;
        database.watch(Arc::clone(cancel));
        let mut reader = FirstRows::new(max_rows);
        database.query(text, limits, &mut reader).map(|()| reader)
    };
    match sandbox::on_large_stack(run)?.map_err(|message| Error::Query { message })? {
        Ok(reader) => reader.result(),
        Err(failure) => QueryResult::failed(&failure).ok_or(Error::Interrupted),
    }
}

impl QueryResult {
    /// `None` where the caller cancelled.
    fn failed(failure: &Failure) -> Option<Self> {
        let Rejection { state, detail, .. } = Rejection::from_failure(failure)?;
        Some(Self { state, columns: Vec::new(), rows: Vec::new(), is_truncated: false, detail: Some(detail) })
    }
}

/// Keeps the first rows of a result.
struct FirstRows {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    most: usize,
    bytes: usize,
    is_truncated: bool,
    is_too_large: bool,
}

impl FirstRows {
    fn new(most: usize) -> Self {
        Self { columns: Vec::new(), rows: Vec::new(), most, bytes: 0, is_truncated: false, is_too_large: false }
    }

    fn result(self) -> Result<QueryResult> {
        if self.is_too_large {
            let message = format!("the rows take more than {} MB", KEPT_BYTES >> 20);
            return QueryResult::failed(&Failure::TooLarge(message)).ok_or(Error::Interrupted);
        }
        let Self { columns, rows, is_truncated, .. } = self;
        Ok(QueryResult { state: State::Scored, columns, rows, is_truncated, detail: None })
    }
}

impl Reader for FirstRows {
    fn names(&mut self, names: impl Iterator<Item = String>) {
        self.columns = names.collect();
    }

    fn start(&mut self, _: usize) -> ControlFlow<()> {
        // A query that needs our functions starts anew.
        (self.bytes, self.is_truncated) = (0, false);
        self.rows.clear();
        ControlFlow::Continue(())
    }

    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        if self.rows.len() == self.most {
            self.is_truncated = true;
            return ControlFlow::Break(());
        }
        let mut cells = Vec::with_capacity(self.columns.len());
        for value in row.cells() {
            self.bytes += size_of::<Cell>();
            if let Value::Text(bytes) | Value::Blob(bytes) = value {
                self.bytes += bytes.len();
            }
            if self.bytes > KEPT_BYTES {
                self.is_too_large = true;
                return ControlFlow::Break(());
            }
            cells.push(Cell::keep(value));
        }
        self.rows.push(cells);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::sandbox::write_database;

    fn run(text: &str, max_rows: usize) -> QueryResult {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite");
        write_database(&path, "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, NULL), (3, x'00')");
        query(&path, text, &Limits::default(), max_rows, &Arc::default()).unwrap()
    }

    #[test]
    fn the_first_rows_are_kept_with_their_columns() {
        let found = run("SELECT a, b AS \"two words\" FROM t", 2);
        assert_eq!(found.columns, ["a", "two words"]);
        assert_eq!(found.rows, [[Cell::Integer(1), Cell::Text("x".into())], [Cell::Integer(2), Cell::Null]]);
        assert!(found.is_truncated);
        assert!(!run("SELECT a FROM t", 3).is_truncated);
    }

    #[test]
    fn rows_without_end_are_computed_as_far_as_wanted() {
        let found = run("WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT x FROM r", 5);
        assert_eq!((found.state, found.rows.len(), found.is_truncated), (State::Scored, 5, true));
    }

    #[test]
    fn rows_beyond_all_memory_are_too_large() {
        let endless =
            "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT hex(zeroblob(9999)) FROM r";
        let found = run(endless, usize::MAX);
        assert_eq!(found.state, State::TooLarge);
        assert!(found.rows.is_empty());
    }

    #[test]
    fn a_failed_query_has_no_rows() {
        let found = run("DELETE FROM t", 5);
        assert_eq!((found.state, found.rows.len()), (State::Forbidden, 0));
        assert_eq!(run("SELECT missing FROM t", 5).detail.as_deref(), Some("no such column: missing"));
    }
}

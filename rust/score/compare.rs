//! One prediction against its gold on one database: by digests taken while SQLite steps, by cells where those leave it
//! open.

use std::ops::ControlFlow;

use super::State;
use crate::exec::denotation::{Cell, Table, Value, same};
use crate::exec::digest::{Digest, Digester, Relation};
use crate::exec::matching::Exhausted;
use crate::exec::sandbox::{Database, Failure, Limits, Reader, Row};

/// Why a database rejects a prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) state: State,
    pub(super) detail: String,
}

impl Rejection {
    fn different(detail: impl Into<String>) -> Self {
        Self { state: State::Scored, detail: detail.into() }
    }

    /// What a failed query counts as; `None` where the caller cancelled.
    pub(super) fn from_failure(failure: &Failure) -> Option<Self> {
        let (state, detail) = match failure {
            Failure::Sql(message) => (State::SqlError, message),
            Failure::Timeout(message) => (State::Timeout, message),
            Failure::TooLarge(message) => (State::TooLarge, message),
            Failure::Forbidden(message) => (State::Forbidden, message),
            Failure::Database(message) => (State::GoldError, message),
            Failure::Cancelled => return None,
        };
        Some(Self { state, detail: shortened(detail) })
    }

    /// What the failure of a gold means for its predictions; `None` where the caller cancelled.
    pub(super) fn of_gold(failure: &Failure) -> Option<Self> {
        let rejection = Self::from_failure(failure)?;
        Some(Self { state: State::GoldError, detail: format!("gold: {}", rejection.detail) })
    }
}

/// Most characters of SQLite's messages that a verdict keeps; they quote the query, which may be long.
const DETAIL: usize = 300;

/// A message with its end cut off where it is too long.
pub(super) fn shortened(message: &str) -> String {
    match message.char_indices().nth(DETAIL) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message.to_owned(),
    }
}

/// Runs the queries of one gold on one database.
pub(super) struct Runner<'a> {
    pub(super) database: &'a mut Database,
    pub(super) limits: &'a Limits,
    pub(super) ordered: bool,
    /// Statements executed so far.
    pub(super) executions: u64,
    /// Steps that they took.
    pub(super) steps: u64,
}

impl Runner<'_> {
    /// The digest of the gold's result.
    pub(super) fn gold(&mut self, text: &str) -> Result<Digest, Failure> {
        let mut reader = DigestReader::new(self.ordered, None);
        self.run(text, &mut reader)?;
        Ok(reader.digester.finish())
    }

    /// Why this database rejects the prediction; `None` where it does not, or the caller cancelled.
    pub(super) fn compare(&mut self, gold: &Digest, gold_text: &str, prediction: &str) -> Option<Rejection> {
        let mut reader = DigestReader::new(self.ordered, Some(gold));
        if let Err(failure) = self.run(prediction, &mut reader) {
            return Rejection::from_failure(&failure);
        }
        if reader.different.is_some() {
            return reader.different;
        }
        let digest = reader.digester.finish();
        match gold.relation(&digest) {
            Relation::Same => None,
            Relation::Different if gold.rows != digest.rows => {
                Some(Rejection::different(format!("{}, the gold has {}", count(digest.rows, "row"), gold.rows)))
            }
            Relation::Different => Some(Rejection::different("other cells than the gold")),
            Relation::Unclear => self.compare_cells(gold, gold_text, prediction),
        }
    }

    fn compare_cells(&mut self, digest: &Digest, gold: &str, prediction: &str) -> Option<Rejection> {
        let mut tables = [TableReader::new(digest), TableReader::new(digest)];
        for (text, reader) in [gold, prediction].into_iter().zip(&mut tables) {
            if let Err(failure) = self.run(text, reader) {
                return Rejection::from_failure(&failure);
            }
            if reader.bytes > KEPT_BYTES {
                let detail = format!("a result of more than {KEPT_BYTES} bytes");
                return Some(Rejection { state: State::TooLarge, detail });
            }
        }
        let [gold, prediction] = tables;
        match same(&gold.table, &prediction.table, self.ordered) {
            Ok(true) => None,
            Ok(false) => Some(Rejection::different("the same cells as the gold in other places")),
            Err(Exhausted) => {
                let detail = "too many columns look alike to match them with the gold's".to_owned();
                Some(Rejection { state: State::TooLarge, detail })
            }
        }
    }

    fn run(&mut self, text: &str, reader: &mut impl Reader) -> Result<(), Failure> {
        self.executions += 1;
        let result = self.database.query(text, self.limits, reader);
        self.steps += self.database.steps(self.limits);
        result
    }
}

/// `1 row`, `2 rows`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Takes the digest of a result, and breaks off when it cannot equal the gold's any more.
struct DigestReader<'a> {
    ordered: bool,
    gold: Option<&'a Digest>,
    digester: Digester,
    different: Option<Rejection>,
}

impl<'a> DigestReader<'a> {
    fn new(ordered: bool, gold: Option<&'a Digest>) -> Self {
        Self { ordered, gold, digester: Digester::new(0, ordered), different: None }
    }
}

impl Reader for DigestReader<'_> {
    fn start(&mut self, columns: usize) -> ControlFlow<()> {
        self.digester = Digester::new(columns, self.ordered);
        // Two empty results are the same at any width.
        if let Some(gold) = self.gold
            && gold.rows > 0
            && gold.columns != columns
        {
            let detail = format!("{}, the gold has {}", count(columns as u64, "column"), gold.columns);
            self.different = Some(Rejection::different(detail));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        self.digester.row(row.cells());
        if let Some(gold) = self.gold
            && self.digester.rows() > gold.rows
        {
            let detail = format!("more than {}, which the gold has", count(gold.rows, "row"));
            self.different = Some(Rejection::different(detail));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Most bytes of cells that are kept of a result where only the cells themselves can decide. Comparing takes some copies.
const KEPT_BYTES: usize = 32 << 20;

/// Keeps a result, and breaks off when it is too large.
struct TableReader {
    table: Table,
    bytes: usize,
    /// How many rows more it takes: one that is random may have others each time that it runs.
    rows: u64,
}

impl TableReader {
    /// For a result with as many rows as that of the digest.
    fn new(digest: &Digest) -> Self {
        Self { table: Table::default(), bytes: 0, rows: digest.rows }
    }
}

impl Reader for TableReader {
    fn start(&mut self, columns: usize) -> ControlFlow<()> {
        self.table = Table::new(columns);
        ControlFlow::Continue(())
    }

    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        for value in row.cells() {
            self.bytes += size_of::<Cell>();
            if let Value::Text(bytes) | Value::Blob(bytes) = value {
                self.bytes += bytes.len();
            }
            if self.bytes > KEPT_BYTES {
                return ControlFlow::Break(());
            }
            self.table.push(Cell::keep(value));
        }
        // One row too many is enough to be different.
        let Some(rows) = self.rows.checked_sub(1) else { return ControlFlow::Break(()) };
        self.rows = rows;
        ControlFlow::Continue(())
    }
}

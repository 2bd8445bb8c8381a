//! One prediction against its gold on one database: by digests taken while SQLite steps, by cells where those leave it
//! open.

use std::ops::ControlFlow;

use super::{Stage, State};
use crate::exec::denotation::{Cell, Table, Value, same};
use crate::exec::digest::{Digest, Digester, Relation, Trace};
use crate::exec::effort::Stopped;
use crate::exec::sandbox::{Database, Failure, Limits, Program, Reader, Row};

/// Why a database rejects a prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) state: State,
    pub(super) stage: Stage,
    pub(super) detail: String,
}

impl Rejection {
    fn different(detail: impl Into<String>) -> Self {
        Self { state: State::Scored, stage: Stage::Runs, detail: detail.into() }
    }

    /// What a query counts as that fails before it runs; `None` where the caller cancelled.
    pub(super) fn from_failure(failure: &Failure) -> Option<Self> {
        let (state, detail) = match failure {
            Failure::Sql(message) => (State::SqlError, message),
            Failure::Timeout(message) => (State::Timeout, message),
            Failure::TooLarge(message) => (State::TooLarge, message),
            Failure::Forbidden(message) => (State::Forbidden, message),
            Failure::Database(message) => (State::GoldError, message),
            Failure::Cancelled => return None,
        };
        let is_query = matches!(failure, Failure::Sql(message) if !is_syntax_error(message));
        let reached = if is_query { Stage::Parses } else { Stage::Nothing };
        Some(Self { state, stage: reached, detail: shortened(detail) })
    }

    /// What the failure of a gold means for its predictions; `None` where the caller cancelled.
    pub(super) fn of_gold(failure: &Failure) -> Option<Self> {
        let rejection = Self::of_query(failure)?;
        let is_of_database = rejection.state == State::GoldError;
        let detail = if is_of_database { rejection.detail } else { format!("gold: {}", rejection.detail) };
        Some(Self { state: State::GoldError, detail, ..rejection })
    }

    /// What the failure of a query means for a comparison, which tells databases that cannot be read from queries that fail.
    fn of_query(failure: &Failure) -> Option<Self> {
        let rejection = Self::from_failure(failure)?;
        let is_of_database = rejection.state == State::GoldError;
        let detail = if is_of_database { format!("database: {}", rejection.detail) } else { rejection.detail };
        Some(Self { detail, ..rejection })
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
    limits: &'a Limits,
    ordered: bool,
    /// Whether predictions run on when it is clear that they are wrong.
    to_end: bool,
    /// Of the gold's result, once it was needed.
    gold_trace: Option<Trace>,
    /// Of the latest prediction's.
    trace: Trace,
    /// Statements executed so far.
    pub(super) executions: u64,
    /// Steps that they took.
    pub(super) steps: u64,
}

impl<'a> Runner<'a> {
    pub(super) fn new(database: &'a mut Database, limits: &'a Limits, ordered: bool) -> Self {
        let trace = Trace::default();
        Self { database, limits, ordered, to_end: false, gold_trace: None, trace, executions: 0, steps: 0 }
    }

    /// With predictions that run to their end, or without.
    pub(super) fn running_to_end(self, to_end: bool) -> Self {
        Self { to_end, ..self }
    }

    /// The digest of the gold's result.
    pub(super) fn gold(&mut self, text: &str) -> Result<Digest, Failure> {
        let mut reader = DigestReader::new(self.ordered, None, None);
        self.run(text, &mut reader)?;
        Ok(reader.digester.finish())
    }

    /// Why this database rejects the prediction; `None` where it does not, or the caller cancelled.
    pub(super) fn compare(&mut self, gold: &Digest, gold_text: &str, prediction: &str) -> Option<Rejection> {
        let mut trace = std::mem::take(&mut self.trace);
        let mut reader = DigestReader::new(self.ordered, Some(gold), Some(&mut trace));
        reader.to_end = self.to_end;
        let result = self.run(prediction, &mut reader);
        let (different, columns, digest) = (reader.different, reader.columns, reader.digester.finish());
        self.trace = trace;
        let rejection = match &result {
            Err(failure) => Rejection::of_query(failure),
            Ok(()) if different.is_some() => different,
            Ok(()) => self.compare_results(gold, &digest, gold_text, prediction),
        };
        rejection.map(|rejection| {
            let stage = match columns {
                None => rejection.stage,
                // Text without a statement, such as a comment.
                Some(0) => Stage::Nothing,
                Some(_) if result.is_err() => Stage::Compiles,
                Some(columns) if columns == gold.columns => Stage::RightWidth,
                Some(_) => Stage::Runs,
            };
            Rejection { stage, ..rejection }
        })
    }

    /// Compares a result with that of the gold.
    fn compare_results(
        &mut self,
        gold: &Digest,
        digest: &Digest,
        gold_text: &str,
        prediction: &str,
    ) -> Option<Rejection> {
        match gold.relation(digest) {
            Relation::Same => None,
            Relation::Different if gold.rows != digest.rows => {
                Some(Rejection::different(format!("{}, the gold has {}", count(digest.rows, "row"), gold.rows)))
            }
            Relation::Different => Some(Rejection::different("other cells than the gold")),
            Relation::Unclear => self.compare_columns(gold, gold_text, prediction),
        }
    }

    /// Compares results that have the same cells in their rows, in columns that may have been moved.
    fn compare_columns(&mut self, digest: &Digest, gold: &str, prediction: &str) -> Option<Rejection> {
        if self.gold_trace.is_none() {
            let mut trace = Trace::default();
            if let Err(failure) = self.run(gold, &mut DigestReader::new(self.ordered, None, Some(&mut trace))) {
                return Rejection::of_gold(&failure);
            }
            self.gold_trace = Some(trace);
        }
        let mut effort = self.database.effort(self.limits);
        let same = |gold: &Trace| gold.same(&self.trace, digest.columns, self.ordered, &mut effort);
        let traced = self.gold_trace.as_ref().and_then(same);
        traced.map_or_else(|| self.compare_cells(digest, gold, prediction), of_comparison)
    }

    fn compare_cells(&mut self, digest: &Digest, gold: &str, prediction: &str) -> Option<Rejection> {
        let mut tables = [TableReader::new(digest), TableReader::new(digest)];
        for (text, reader) in [gold, prediction].into_iter().zip(&mut tables) {
            if let Err(failure) = self.run(text, reader) {
                return Rejection::of_query(&failure);
            }
            if reader.bytes > KEPT_BYTES {
                let detail = format!("a result of more than {KEPT_BYTES} bytes");
                return Some(Rejection { state: State::TooLarge, ..Rejection::different(detail) });
            }
        }
        let [gold, prediction] = tables;
        of_comparison(same(&gold.table, &prediction.table, self.ordered, &mut self.database.effort(self.limits)))
    }

    /// See [`Database::program`].
    pub(super) fn program(&mut self, text: &str) -> Option<Program> {
        self.database.program(text, self.limits)
    }

    fn run(&mut self, text: &str, reader: &mut impl Reader) -> Result<(), Failure> {
        self.executions += 1;
        let result = self.database.query(text, self.limits, reader);
        self.steps += self.database.steps(self.limits);
        result
    }
}

/// Whether SQLite's message says that a text is not SQL at all.
pub(super) fn is_syntax_error(message: &str) -> bool {
    message.ends_with(": syntax error")
        || message.starts_with("unrecognized token: ")
        || ["incomplete input", "more than one statement", "embedded null character"].contains(&message)
}

/// What the comparison of cells says of a prediction; `None` also where the caller cancelled.
fn of_comparison(same: Result<bool, Stopped>) -> Option<Rejection> {
    match same {
        Ok(true) | Err(Stopped::Cancelled) => None,
        Ok(false) => Some(Rejection::different("the same cells as the gold in other places")),
        Err(Stopped::Exhausted) => {
            let detail = "too many columns look alike to match them with the gold's";
            Some(Rejection { state: State::TooLarge, ..Rejection::different(detail) })
        }
        Err(Stopped::Deadline) => {
            let detail = "the deadline passed while the result was compared with the gold's";
            Some(Rejection { state: State::Timeout, ..Rejection::different(detail) })
        }
    }
}

/// `1 row`, `2 rows`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Takes the digest of a result, and breaks off when it cannot equal the gold's any more.
struct DigestReader<'a> {
    ordered: bool,
    to_end: bool,
    gold: Option<&'a Digest>,
    digester: Digester,
    trace: Option<&'a mut Trace>,
    different: Option<Rejection>,
    /// How many columns the result has; `None` while the query is not compiled.
    columns: Option<usize>,
}

impl<'a> DigestReader<'a> {
    fn new(ordered: bool, gold: Option<&'a Digest>, trace: Option<&'a mut Trace>) -> Self {
        let digester = Digester::new(0, ordered);
        Self { ordered, to_end: false, gold, digester, trace, different: None, columns: None }
    }

    /// Notes that the result cannot equal the gold's any more.
    fn reject(&mut self, detail: String) -> ControlFlow<()> {
        self.different = Some(Rejection::different(detail));
        if self.to_end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

impl Reader for DigestReader<'_> {
    fn start(&mut self, columns: usize) -> ControlFlow<()> {
        self.columns = Some(columns);
        self.digester = Digester::new(columns, self.ordered);
        if let Some(trace) = &mut self.trace {
            trace.clear();
        }
        // Two empty results are the same at any width.
        if let Some(gold) = self.gold
            && gold.rows > 0
            && gold.columns != columns
        {
            return self.reject(format!("{}, the gold has {}", count(columns as u64, "column"), gold.columns));
        }
        ControlFlow::Continue(())
    }

    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        if self.different.is_some() {
            return ControlFlow::Continue(());
        }
        self.digester.trace(row.cells(), self.trace.as_deref_mut());
        if let Some(gold) = self.gold
            && self.digester.rows() > gold.rows
        {
            return self.reject(format!("more than {}, which the gold has", count(gold.rows, "row")));
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

//! Whether queries compile against schemas that are given as text. Nothing is run.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::compare::{is_syntax_error, shortened};
use super::{Progress, lock};
use crate::error::{Error, Result, caught};
use crate::exec::sandbox::{self, Database, Failure};

/// Why a query does not compile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Fault {
    /// Which kind of mistake it is.
    pub kind: FaultKind,
    /// The name that does not exist or is ambiguous.
    pub name: Option<String>,
    /// What SQLite says.
    pub detail: String,
}

/// Kinds of mistakes in queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum FaultKind {
    /// It is not SQL.
    Syntax,
    /// It names a table that does not exist.
    Table,
    /// It names a column that does not exist.
    Column,
    /// It names a column that several of its tables have.
    Ambiguous,
    /// It calls a function that does not exist.
    Function,
    /// Anything else that SQLite rejects, such as a misused aggregate.
    Other,
    /// It wants more than to read.
    Forbidden,
    /// It is too long or too deep, or takes too long to compile.
    TooLarge,
    /// The schema itself does not compile.
    Schema,
}

impl FaultKind {
    /// Its name in files and in Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Table => "no_such_table",
            Self::Column => "no_such_column",
            Self::Ambiguous => "ambiguous_column",
            Self::Function => "no_such_function",
            Self::Other => "other",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too_large",
            Self::Schema => "schema",
        }
    }
}

/// How SQLite's messages about names begin; the name follows.
const NAMED: [(&str, FaultKind); 4] = [
    ("no such table: ", FaultKind::Table),
    ("no such column: ", FaultKind::Column),
    ("ambiguous column name: ", FaultKind::Ambiguous),
    ("no such function: ", FaultKind::Function),
];

impl Fault {
    /// The fault of a query; `None` where the caller cancelled.
    fn of(failure: Failure) -> Option<Self> {
        let (kind, detail) = match failure {
            Failure::Sql(message) => {
                if let Some((kind, name)) =
                    NAMED.iter().find_map(|&(start, kind)| Some((kind, message.strip_prefix(start)?)))
                {
                    return Some(Self { kind, name: Some(shortened(name)), detail: shortened(&message) });
                }
                (if is_syntax_error(&message) { FaultKind::Syntax } else { FaultKind::Other }, message)
            }
            Failure::Forbidden(message) => (FaultKind::Forbidden, message),
            Failure::TooLarge(message) | Failure::Timeout(message) => (FaultKind::TooLarge, message),
            Failure::Database(message) => (FaultKind::Other, message),
            Failure::Cancelled => return None,
        };
        Some(Self { kind, name: None, detail: shortened(&detail) })
    }
}

/// Most queries of a schema that are one unit of work.
const UNIT: usize = 1024;

/// Compiles each query against its schema, on as many threads as the machine has cores. `None` is a query without fault.
///
/// Schemas with the same text are defined once. Stops with [`Error::Interrupted`] soon after `cancel` is set.
pub fn check(
    schemas: &[&str],
    queries: &[&str],
    cancel: &Arc<AtomicBool>,
    progress: &Progress,
) -> Result<Vec<Option<Fault>>> {
    sandbox::initialize()?;
    progress.total.store(queries.len() as u64, Ordering::Relaxed);
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, &schema) in schemas.iter().enumerate().take(queries.len()) {
        let place = *places.entry(schema).or_insert_with(|| {
            groups.push((schema, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(index);
    }
    let units: Vec<(&str, &[usize])> =
        groups.iter().flat_map(|(schema, indices)| indices.chunks(UNIT).map(move |unit| (*schema, unit))).collect();
    let found: Mutex<Vec<Option<Fault>>> = Mutex::new(vec![None; queries.len()]);
    let next = AtomicUsize::new(0);
    let work = || {
        while !cancel.load(Ordering::Relaxed)
            && let Some(&(schema, indices)) = units.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let faults = check_unit(schema, indices.iter().map(|&index| queries[index]), cancel);
            let mut found = lock(&found);
            for (&index, fault) in indices.iter().zip(faults) {
                found[index] = fault;
            }
            progress.done.fetch_add(indices.len() as u64, Ordering::Relaxed);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(units.len());
    std::thread::scope(|scope| {
        let start = |_| {
            let builder = std::thread::Builder::new().stack_size(2 * sandbox::STACK_BYTES);
            builder.spawn_scoped(scope, || caught(work))
        };
        let workers: std::io::Result<Vec<_>> = (0..threads).map(start).collect();
        let workers = workers.map_err(|error| Error::Threads { threads, message: error.to_string() })?;
        for worker in workers {
            worker.join().unwrap_or_else(|_| Err(String::new())).map_err(|message| Error::Check { message })?;
        }
        Ok::<_, Error>(())
    })?;
    if cancel.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    Ok(found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn check_unit<'a>(
    schema: &str,
    queries: impl Iterator<Item = &'a str>,
    cancel: &Arc<AtomicBool>,
) -> Vec<Option<Fault>> {
    match Database::define(schema) {
        Ok(mut database) => {
            database.watch(Arc::clone(cancel));
            queries.map(|query| database.check(query).err().and_then(Fault::of)).collect()
        }
        Err(failure) => {
            let fault = Fault { kind: FaultKind::Schema, name: None, detail: shortened(&failure.to_string()) };
            queries.map(|_| Some(fault.clone())).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_kind_and_name() {
        let schema = "CREATE TABLE t (a, b); CREATE TABLE u (a)";
        let cases = [
            ("SELECT a FROM t", None),
            ("SELECT c FROM t", Some((FaultKind::Column, Some("c")))),
            ("SELECT t.c FROM t", Some((FaultKind::Column, Some("t.c")))),
            ("SELECT a FROM w", Some((FaultKind::Table, Some("w")))),
            ("SELECT a FROM t, u", Some((FaultKind::Ambiguous, Some("a")))),
            ("SELECT year(a) FROM t", Some((FaultKind::Function, Some("year")))),
            ("SELECT a, FROM t", Some((FaultKind::Syntax, None))),
            ("SELECT a FROM t WHERE b = 'x", Some((FaultKind::Syntax, None))),
            ("SELECT 1; SELECT 2", Some((FaultKind::Syntax, None))),
            ("", Some((FaultKind::Syntax, None))),
            ("SELECT a FROM t WHERE sum(b) > 1", Some((FaultKind::Other, None))),
            ("SELECT a FROM t UNION SELECT a, b FROM t", Some((FaultKind::Other, None))),
            ("DELETE FROM t", Some((FaultKind::Forbidden, None))),
        ];
        let queries: Vec<&str> = cases.iter().map(|(query, _)| *query).collect();
        let schemas = vec![schema; queries.len()];
        let found = check(&schemas, &queries, &Arc::default(), &Progress::default()).unwrap();
        for ((query, expected), fault) in cases.iter().zip(&found) {
            let fault = fault.as_ref().map(|fault| (fault.kind, fault.name.as_deref()));
            assert_eq!(fault, *expected, "{query}");
        }
    }

    #[test]
    fn each_query_has_the_schema_beside_it() {
        let schemas = ["CREATE TABLE t (a)", "CREATE TABLE u (a)", "CREATE TABLE", "CREATE TABLE t (a)"];
        let queries = ["SELECT a FROM t", "SELECT a FROM t", "SELECT 1", "SELECT b FROM t"];
        let found = check(&schemas, &queries, &Arc::default(), &Progress::default()).unwrap();
        let kinds: Vec<_> = found.iter().map(|fault| fault.as_ref().map(|fault| fault.kind)).collect();
        assert_eq!(kinds, [None, Some(FaultKind::Table), Some(FaultKind::Schema), Some(FaultKind::Column)]);
    }

    #[test]
    fn a_check_can_be_cancelled() {
        let cancel = Arc::new(AtomicBool::new(true));
        let result = check(&["CREATE TABLE t (a)"], &["SELECT 1"], &cancel, &Progress::default());
        assert!(matches!(result, Err(Error::Interrupted)));
    }
}

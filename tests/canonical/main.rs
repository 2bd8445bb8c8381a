//! A query and its canonical form return the same, whatever the schema: random queries on random databases, and what such
//! queries once found. `test_canonical.py` tests it on all predictions on the Spider databases.
//!
//! `make fuzz-canonical` goes on until a million forms that differ from their queries were compared.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its data has failed")]
#![allow(clippy::print_stdout, reason = "whoever fuzzes wants to know how much")]

mod dice;
mod plans;
mod queries;
mod schemas;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use qsql::exec::digest::{Digest, Digester, Relation};
use qsql::exec::sandbox::{Database, Failure, Limits, Reader, Row, initialize};
use qsql::sql::canonical::{Schema, canonicalize};
use qsql::sql::rewrite::is_ordered;
use rusqlite::Connection;

use crate::dice::Dice;
use crate::queries::Queries;

/// Takes the digest of a result.
struct Digests {
    ordered: bool,
    digester: Digester,
}

impl Reader for Digests {
    fn start(&mut self, columns: usize) -> ControlFlow<()> {
        self.digester = Digester::new(columns, self.ordered);
        ControlFlow::Continue(())
    }

    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        self.digester.row(row.cells());
        ControlFlow::Continue(())
    }
}

fn digest(database: &mut Database, sql: &str, ordered: bool, steps: u64) -> Result<Digest, Failure> {
    let mut reader = Digests { ordered, digester: Digester::new(0, ordered) };
    database.query(sql, &Limits { timeout: Duration::from_secs(60), steps, ..Limits::default() }, &mut reader)?;
    Ok(reader.digester.finish())
}

/// Most steps of a random query.
const STEPS: u64 = 300_000;

/// Whether the two results differ in anything: cells, types, columns, how often rows come, and their order where the
/// query asks for one. A query that fails has no result to differ from.
fn difference(database: &mut Database, sql: &str, form: &str) -> Option<String> {
    let ordered = is_ordered(sql);
    let original = digest(database, sql, ordered, STEPS).ok()?;
    match digest(database, form, ordered, STEPS.saturating_mul(4)) {
        Ok(digest) if digest.columns == original.columns && digest.relation(&original) == Relation::Same => None,
        Ok(digest) => Some(format!("{original:?}\n{digest:?}")),
        Err(failure) => Some(format!("{failure:?}")),
    }
}

/// A database file that a script makes, line by line. What it may not insert is left out.
fn database(folder: &Path, script: &str) -> (Database, Schema) {
    initialize().unwrap();
    let path = folder.join("random.sqlite");
    let _ = std::fs::remove_file(&path);
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    connection.execute_batch("BEGIN").unwrap();
    for line in script.lines() {
        if let Err(error) = connection.execute_batch(line) {
            assert!(line.starts_with("INSERT"), "{line} {error}");
        }
    }
    connection.execute_batch("COMMIT").unwrap();
    let mut database = Database::open(&path, true).unwrap();
    let schema = Schema::new(database.schema().unwrap().starred);
    (database, schema)
}

/// What is wrong with the canonical forms of a query on a database, with its schema and without one; or how many of them
/// are other texts than the query.
fn defect(database: &mut Database, schema: &Schema, sql: &str) -> Result<u64, String> {
    let mut changed = 0;
    for schema in [Some(schema), None] {
        let Ok(form) = canonicalize(sql, schema) else { continue };
        let kind = schema.map_or("without schema", |_| "with schema");
        match canonicalize(&form, schema) {
            Ok(again) if again == form => {}
            again => return Err(format!("{kind}, not idempotent:\n{sql}\n{form}\n{again:?}")),
        }
        let difference = difference(database, sql, &form).or_else(|| plans::difference(database, sql, &form));
        if let Some(difference) = difference {
            return Err(format!("{kind}:\n{sql}\n{form}\n{difference}"));
        }
        changed += u64::from(form != sql);
    }
    Ok(changed)
}

/// What random queries found.
#[derive(Default)]
struct Counts {
    queries: AtomicU64,
    run: AtomicU64,
    forms: AtomicU64,
    changed: AtomicU64,
}

fn count(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

/// Random queries on the random database of a seed; the smallest that has a defect, if one has.
fn fuzz(seed: u64, queries: u32, counts: &Counts) -> Option<String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases: queries, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let rolls = |most| proptest::collection::vec(proptest::prelude::any::<u8>(), 0..most);
    let of = schemas::Schema::random(&mut Dice::new(&rolls(300).new_tree(&mut runner).unwrap().current()));
    let folder = tempfile::tempdir().unwrap();
    let (database, schema) = database(folder.path(), &of.script);
    let database = RefCell::new(database);
    let found = RefCell::new(String::new());
    let result = runner.run(&rolls(150), |rolls| {
        let sql = Queries::new(Dice::new(&rolls), &of).statement();
        let database = &mut *database.borrow_mut();
        count(&counts.queries, 1);
        if digest(database, &sql, false, STEPS).is_err() {
            return Ok(());
        }
        count(&counts.run, 1);
        count(&counts.forms, u64::from(canonicalize(&sql, Some(&schema)).is_ok()));
        match defect(database, &schema, &sql) {
            Ok(changed) => count(&counts.changed, changed),
            Err(defect) => {
                *found.borrow_mut() = defect;
                return Err(TestCaseError::fail("a defect"));
            }
        }
        Ok(())
    });
    match result {
        Ok(()) => None,
        Err(TestError::Fail(..)) => Some(format!("seed {seed}\n{}\n{}", of.script, found.borrow())),
        Err(error) => panic!("{error}"),
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn random_queries_return_the_same_in_canonical_form() {
    let (seed, wanted) = (AtomicU64::new(number("QSQL_SEED", 0)), number("QSQL_CHANGED_FORMS", 3000));
    let (threads, most_defects) = (number("QSQL_THREADS", 1), number("QSQL_DEFECTS", 1));
    let counts = Counts::default();
    let defects = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while counts.changed.load(Ordering::Relaxed) < wanted
                    && (defects.lock().unwrap().len() as u64) < most_defects
                {
                    let defect = fuzz(seed.fetch_add(1, Ordering::Relaxed), 200, &counts);
                    defects.lock().unwrap().extend(defect);
                }
            });
        }
    });
    let defects = defects.into_inner().unwrap();
    assert!(defects.is_empty(), "{}", defects.join("\n\n"));
    let Counts { queries, run, forms, changed } = counts;
    let [queries, run, forms, changed] = [queries, run, forms, changed].map(AtomicU64::into_inner);
    println!(
        "{queries} queries, of which {run} run and {forms} have a canonical form; {changed} forms are other texts"
    );
    // Most queries must run and have a canonical form, else the test says nothing.
    assert!(run * 3 > queries, "{run} of {queries} run");
    assert!(forms * 5 > run * 2, "{forms} of {run} have a canonical form");
    assert!(changed > forms / 2, "{changed} of {forms} are changed");
}

/// Queries whose forms were once wrong. Each has the lines of a script before it; those that begin with `--` say why.
const FINDINGS: &str = include_str!("../golden/canonical_findings.sql");

#[test]
fn what_was_found_before_stays_mended() {
    let folder = tempfile::tempdir().unwrap();
    for finding in FINDINGS.trim().split("\n\n") {
        let (script, sql) = finding.rsplit_once('\n').unwrap();
        let (mut database, schema) = database(folder.path(), script);
        assert!(digest(&mut database, sql, false, STEPS).is_ok(), "{finding}");
        if let Err(defect) = defect(&mut database, &schema, sql) {
            panic!("{script}\n{defect}");
        }
    }
}

//! The floor of test-suite execution: what SQLite itself takes, with nothing around it.
//!
//!     cargo bench --bench floor -- plan GOLDS PREDICTIONS DATABASES > plan.json
//!     cargo bench --bench floor -- step plan.json [RUNS]
//!
//! `plan` finds out what has to be run: each distinct gold on every database of its suite, and each distinct prediction
//! on those up to the first that rejects it. `step` runs that on one thread and prints, for each run, the seconds that it
//! takes to open the databases and to prepare and step the statements, one open connection at a time, through SQLite's C
//! interface. Rows are stepped and not looked at; a prediction stops at the first row that its gold does not have.

#![allow(unsafe_code, clippy::print_stdout, clippy::unwrap_used, clippy::panic, reason = "a measurement, run by hand")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, c_int};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use qsql::exec::suite::Suite;
use qsql::score::{Job, Metrics, Prediction, Progress, Protocol, Scorer};
use qsql::sql::rewrite;
use rusqlite::ffi;
use serde_json::{Value, json};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["plan", golds, predictions, databases] => plan(golds, predictions, databases),
        ["step", plan] => step(plan, 1),
        ["step", plan, runs] => step(plan, runs.parse().unwrap()),
        // `cargo bench` runs all benches, without arguments.
        _ => println!("floor: see the head of benches/floor.rs for its arguments"),
    }
}

/// Lines of a file that are not blank, before their first tab and behind it.
fn lines(path: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| line.split_once('\t').unwrap_or((line, "")))
        .map(|(sql, db_id)| (sql.trim().to_owned(), db_id.trim().to_owned()))
        .collect()
}

/// The text that is executed for a query.
fn executed(sql: &str) -> String {
    rewrite::fix_current_year(&rewrite::prepare(sql, false)).into_owned()
}

fn plan(golds: &str, predictions: &str, databases: &str) {
    let (golds, predictions) = (lines(golds), lines(predictions));
    assert_eq!(golds.len(), predictions.len(), "as many predictions as golds");
    let mut suites: BTreeMap<&str, Arc<Suite>> = BTreeMap::new();
    for (_, db_id) in &golds {
        suites.entry(db_id).or_insert_with(|| Arc::new(Suite::find(Path::new(databases), db_id).unwrap()));
    }
    let jobs: Vec<Job<'_>> = golds
        .iter()
        .zip(&predictions)
        .map(|((gold, db_id), (prediction, _))| Job {
            gold,
            prediction: Prediction::Sql(prediction),
            suite: &suites[&**db_id],
            schema: Err("none"),
        })
        .collect();
    let metrics = Metrics { execution: true, exact: false };
    let cancel = Arc::new(AtomicBool::new(false));
    let scorer = Scorer::new(Protocol::default(), None, None);
    let verdicts = scorer.score(&scorer.workers().unwrap(), &jobs, metrics, &cancel, &Progress::default()).unwrap();
    let mut work: BTreeMap<&Path, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (job, verdict) in jobs.iter().zip(verdicts) {
        let Prediction::Sql(prediction) = job.prediction else { continue };
        let (gold, prediction) = (executed(job.gold), executed(&rewrite::replace_placeholders(prediction)));
        for (index, file) in job.suite.files().iter().enumerate() {
            let predictions = work.entry(file.path()).or_default().entry(gold.clone()).or_default();
            if prediction != gold {
                predictions.insert(prediction.clone());
            }
            if verdict.failed_on.as_deref() == Some(&*job.suite.name(index)) {
                break;
            }
        }
    }
    println!("{}", json!(work));
}

/// Golds with their predictions.
type Queries = Vec<(String, Vec<String>)>;

fn step(plan: &str, runs: usize) {
    let plan: Value = serde_json::from_str(&std::fs::read_to_string(plan).unwrap()).unwrap();
    let work: Vec<(CString, Queries)> = plan
        .as_object()
        .unwrap()
        .iter()
        .map(|(file, golds)| {
            let golds = golds.as_object().unwrap().iter().map(|(gold, predictions)| {
                let predictions = predictions.as_array().unwrap();
                (gold.clone(), predictions.iter().map(|text| text.as_str().unwrap().to_owned()).collect())
            });
            (CString::new(format!("file:{file}?mode=ro&immutable=1")).unwrap(), golds.collect())
        })
        .collect();
    // SAFETY: before SQLite is used. Statistics are a lock that a bare use of SQLite has no need of.
    unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0) };
    let mut statements = 0;
    let mut seconds = Vec::new();
    for _ in 0..runs {
        let (mut opening, mut stepping) = (0.0, 0.0);
        statements = 0;
        for (file, golds) in &work {
            let started = Instant::now();
            let database = open(file);
            opening += started.elapsed().as_secs_f64();
            let started = Instant::now();
            for (gold, predictions) in golds {
                let (columns, rows) = run(database, gold, None);
                for prediction in predictions {
                    run(database, prediction, Some((columns, rows)));
                }
                statements += 1 + predictions.len();
            }
            stepping += started.elapsed().as_secs_f64();
            // SAFETY: open, and all its statements are finalized.
            unsafe { ffi::sqlite3_close(database) };
        }
        seconds.push(json!({"open": opening, "step": stepping}));
    }
    println!("{}", json!({"databases": work.len(), "statements": statements, "runs": seconds}));
}

/// Opens a database and has its schema read.
fn open(uri: &CString) -> *mut ffi::sqlite3 {
    let mut database = ptr::null_mut();
    let flags = ffi::SQLITE_OPEN_READONLY | ffi::SQLITE_OPEN_URI | ffi::SQLITE_OPEN_NOMUTEX;
    // SAFETY: the text lives for the call, and the handle is checked before it is used.
    let code = unsafe { ffi::sqlite3_open_v2(uri.as_ptr(), &raw mut database, flags, ptr::null()) };
    assert_eq!(code, ffi::SQLITE_OK, "{uri:?}");
    for option in [ffi::SQLITE_DBCONFIG_DQS_DML, ffi::SQLITE_DBCONFIG_DQS_DDL] {
        // SAFETY: the database is open.
        unsafe { ffi::sqlite3_db_config(database, option, 1, ptr::null_mut::<c_int>()) };
    }
    run(database, "SELECT 1 FROM sqlite_master", None);
    database
}

/// Prepares a query and steps through its rows, unless or until it differs in columns or rows from its gold; returns how
/// many columns and rows there were. What fails has none.
fn run(database: *mut ffi::sqlite3, sql: &str, gold: Option<(c_int, u64)>) -> (c_int, u64) {
    let mut statement = ptr::null_mut();
    let length = c_int::try_from(sql.len()).unwrap();
    // SAFETY: the database is open, the text lives for the call, the statement is null if it is none, and finalized once.
    unsafe {
        let code = ffi::sqlite3_prepare_v2(database, sql.as_ptr().cast(), length, &raw mut statement, ptr::null_mut());
        if code != ffi::SQLITE_OK || statement.is_null() {
            return (0, 0);
        }
        let columns = ffi::sqlite3_column_count(statement);
        let mut rows = 0;
        if gold.is_none_or(|(width, count)| count == 0 || width == columns) {
            while ffi::sqlite3_step(statement) == ffi::SQLITE_ROW {
                rows += 1;
                if gold.is_some_and(|(_, count)| rows > count) {
                    break;
                }
            }
        }
        ffi::sqlite3_finalize(statement);
        (columns, rows)
    }
}

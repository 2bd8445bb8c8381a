//! The cases of `golden/execution.jsonl`, each designed for one rule of the official tool (taoyds/test-suite-sql-eval),
//! through the crate's own interface. What the fields mean is said in `test_golden.py`.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its cases has failed")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use qsql::exec::sandbox::initialize;
use qsql::exec::suite::Suite;
use qsql::score::{Job, Metrics, Prediction, Progress, Protocol, Scorer};
use rusqlite::Connection;
use serde_json::Value;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/qsql/demo/databases");

fn cases() -> Vec<Value> {
    include_str!("golden/execution.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Makes files of the demo databases, which are SQL text, and returns their suites by name.
fn build(folder: &Path) -> HashMap<String, Arc<Suite>> {
    // The evaluator limits SQLite's memory, which it can only where it is the first in the process to use SQLite.
    initialize().unwrap();
    let mut suites = HashMap::new();
    for database in std::fs::read_dir(DEMO).unwrap() {
        let source = database.unwrap().path();
        let name = source.file_name().unwrap().to_str().unwrap().to_owned();
        let target = folder.join(&name);
        std::fs::create_dir(&target).unwrap();
        for script in std::fs::read_dir(&source).unwrap() {
            let script = script.unwrap().path();
            let file = target.join(script.file_stem().unwrap()).with_extension("sqlite");
            let text = std::fs::read_to_string(&script).unwrap();
            // One transaction: without it every statement waits for the disk.
            let text = format!("BEGIN; {text}; COMMIT;");
            Connection::open(file).unwrap().execute_batch(&text).unwrap();
        }
        let suite = Suite::find(folder, &name).unwrap();
        suites.insert(name, Arc::new(suite));
    }
    suites
}

#[test]
fn verdicts_are_as_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let suites = build(folder.path());
    let cases = cases();
    assert!(cases.len() >= 300);
    let mut differences = Vec::new();
    let metrics = Metrics { execution: true, exact: false };
    for keep_distinct in [false, true] {
        let cases: Vec<&Value> = cases.iter().filter(|case| case["keep_distinct"] == keep_distinct).collect();
        let jobs: Vec<Job<'_>> = cases
            .iter()
            .map(|case| Job {
                gold: case["gold"].as_str().unwrap(),
                prediction: Prediction::Sql(case["prediction"].as_str().unwrap()),
                suite: &suites[case["db_id"].as_str().unwrap()],
                schema: Err("none"),
            })
            .collect();
        let scorer = Scorer::new(Protocol { keep_distinct, ..Protocol::default() }, None, None);
        let (workers, cancel) = (scorer.workers().unwrap(), Arc::new(AtomicBool::new(false)));
        let verdicts = scorer.score(&workers, &jobs, metrics, &cancel, &Progress::default()).unwrap();
        for (case, verdict) in cases.into_iter().zip(verdicts) {
            if verdict.execution != case["execution"].as_bool() || case["state"] != verdict.state.name() {
                differences.push(format!("{verdict:?} instead of {case}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

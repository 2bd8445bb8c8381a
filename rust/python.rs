//! The bindings, `qsql._core`: arguments in, verdicts out, errors mapped. The only file that names pyo3.
//!
//! A call hands over whole columns and comes back with all verdicts. In between the work runs on other threads with the
//! GIL released, while the calling thread looks for Ctrl-C and reports progress.

#![expect(clippy::needless_pass_by_value, reason = "arguments from Python arrive by value")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyString};

use crate::error::Error;
use crate::exec::sandbox::{self, Limits};
use crate::exec::suite::Suite;
use crate::score::{self, Job, Prediction, Progress, Protocol};

pyo3::create_exception!(_core, QsqlError, pyo3::exceptions::PyException);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match (error.hint(), error) {
            (_, Error::Interrupted) => PyKeyboardInterrupt::new_err(()),
            (Some(hint), error) => QsqlError::new_err(format!("{error}\nhint: {hint}")),
            (None, error) => QsqlError::new_err(error.to_string()),
        }
    }
}

/// How often the calling thread looks for Ctrl-C and reports progress.
const LOOK: Duration = Duration::from_millis(100);

/// What came of one prediction.
///
/// execution: whether it means the same as its gold on every database of the suite; None if that cannot be told.
/// state: how the execution went: "scored", "sql_error", "timeout", "too_large", "forbidden", "gold_error", "missing".
/// databases: how many databases the suite has.
/// failed_on: file name of the first database that rejects the prediction, or on which the gold fails; else None.
/// detail: what happened there, for people to read; else None.
#[expect(clippy::doc_markdown, reason = "Python's docstring")]
#[pyclass(frozen, module = "qsql")]
struct Verdict(score::Verdict);

#[pymethods]
impl Verdict {
    #[getter]
    fn execution(&self) -> Option<bool> {
        self.0.execution
    }

    #[getter]
    fn state(&self) -> &'static str {
        self.0.state.name()
    }

    #[getter]
    fn databases(&self) -> usize {
        self.0.databases
    }

    #[getter]
    fn failed_on(&self) -> Option<&str> {
        self.0.failed_on.as_deref()
    }

    #[getter]
    fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    fn __repr__(&self) -> String {
        let execution = match self.0.execution {
            None => "None",
            Some(true) => "True",
            Some(false) => "False",
        };
        let mut text = format!("Verdict(execution={execution}, state='{}'", self.0.state.name());
        if let Some(failed_on) = &self.0.failed_on {
            text.push_str(&format!(", failed_on={failed_on:?}"));
        }
        if let Some(detail) = &self.0.detail {
            text.push_str(&format!(", detail={detail:?}"));
        }
        text + ")"
    }
}

/// Scores batches of predictions on a folder of databases, on several threads.
///
/// Threads and open databases are kept between calls, so make one scorer and use it for everything. It may be shared by
/// threads, and survives a fork.
///
/// database_dir: holds `<db_id>/<db_id>.sqlite` and any variants of it beside that file; all of them are the suite.
/// keep_distinct: keep DISTINCT, which the official protocol removes from gold and prediction.
/// credit_empty: count a prediction right that returns nothing where its gold returns nothing on any database, as the
///     official protocol does. Turn it off for rewards: else the empty result is the one that is easy to guess.
/// threads: how many; by default as many as the machine has cores.
/// timeout: seconds for one query on one database.
/// max_steps: SQLite instructions for one query on one database; unlike time, the same on every machine.
/// max_memory: bytes of memory for one query on one database.
#[expect(clippy::doc_markdown, reason = "Python's docstring")]
#[pyclass(frozen, module = "qsql")]
struct Scorer {
    database_dir: PathBuf,
    inner: score::Scorer,
    suites: Mutex<HashMap<String, Arc<Suite>>>,
    executions: std::sync::atomic::AtomicU64,
}

#[pymethods]
impl Scorer {
    #[new]
    #[pyo3(signature = (
        database_dir, *, keep_distinct = false, credit_empty = true, threads = None, timeout = 30.0,
        max_steps = 1_000_000_000, max_memory = 134_217_728
    ))]
    fn new(
        database_dir: PathBuf,
        keep_distinct: bool,
        credit_empty: bool,
        threads: Option<usize>,
        timeout: f64,
        max_steps: u64,
        max_memory: usize,
    ) -> PyResult<Self> {
        let limits = Limits { timeout: seconds(timeout)?, steps: max_steps, memory: max_memory };
        let protocol = Protocol { keep_distinct, credit_empty, limits };
        if threads == Some(0) {
            return Err(QsqlError::new_err("0 threads can do nothing\nhint: give 1 or more, or leave it out"));
        }
        if !database_dir.is_dir() {
            return Err(QsqlError::new_err(format!(
                "database folder `{}` not found\nhint: it holds one folder per database, `<db_id>/<db_id>.sqlite`",
                database_dir.display()
            )));
        }
        let inner = score::Scorer::new(protocol, threads);
        Ok(Self { database_dir, inner, suites: Mutex::default(), executions: 0.into() })
    }

    /// How many threads score.
    #[getter]
    fn threads(&self) -> usize {
        self.inner.threads()
    }

    /// How many statements the finished calls have executed.
    #[getter]
    fn executions(&self) -> u64 {
        self.executions.load(Ordering::Relaxed)
    }

    /// The files of the suite of a database, its main file first.
    fn databases(&self, db_id: &str) -> PyResult<Vec<PathBuf>> {
        Ok(self.suite(db_id)?.files().to_vec())
    }

    /// Judge predictions by test-suite execution accuracy, as the official Spider tool defines it.
    ///
    /// Takes a gold, a prediction (None where there is none) and a database name per item; returns a list of verdicts in
    /// the same order. `progress` is called about ten times a second with how many pairs of prediction and database are
    /// settled, and of how many. Raises `QsqlError` if a database is missing or the lists differ in length.
    #[pyo3(signature = (golds, predictions, db_ids, *, progress = None))]
    fn score(
        &self,
        py: Python<'_>,
        golds: Vec<PyBackedStr>,
        predictions: Vec<Option<Bound<'_, PyString>>>,
        db_ids: Vec<PyBackedStr>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Verdict>> {
        let verdicts = self.run(py, &golds, &predictions, &db_ids, progress.as_ref())?;
        Ok(verdicts.into_iter().map(Verdict).collect())
    }

    /// Judge predictions like `score`; returns a bool array of shape (len(golds),).
    ///
    /// Raises `QsqlError` if a gold fails, since its items are neither right nor wrong.
    fn execution<'py>(
        &self,
        py: Python<'py>,
        golds: Vec<PyBackedStr>,
        predictions: Vec<Option<Bound<'py, PyString>>>,
        db_ids: Vec<PyBackedStr>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let verdicts = self.run(py, &golds, &predictions, &db_ids, None)?;
        let mut bytes = Vec::with_capacity(verdicts.len());
        for (index, verdict) in verdicts.iter().enumerate() {
            let Some(execution) = verdict.execution else {
                let detail = verdict.detail.as_deref().unwrap_or_default();
                return Err(QsqlError::new_err(format!(
                    "item {index} (database `{}`) cannot be scored, {detail}\nhint: mend the gold or leave the item out; \
                     `score` returns such items with state `gold_error`",
                    &*db_ids[index]
                )));
            };
            bytes.push(u8::from(execution));
        }
        py.import("numpy")?.call_method1("frombuffer", (PyBytes::new(py, &bytes), "bool"))
    }
}

impl Scorer {
    fn suite(&self, db_id: &str) -> Result<Arc<Suite>, Error> {
        let mut suites = self.suites.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(suite) = suites.get(db_id) {
            return Ok(Arc::clone(suite));
        }
        let suite = Arc::new(Suite::find(&self.database_dir, db_id)?);
        suites.insert(db_id.to_owned(), Arc::clone(&suite));
        Ok(suite)
    }

    fn run(
        &self,
        py: Python<'_>,
        golds: &[PyBackedStr],
        predictions: &[Option<Bound<'_, PyString>>],
        db_ids: &[PyBackedStr],
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<score::Verdict>> {
        let lengths = (golds.len(), predictions.len(), db_ids.len());
        if lengths.0 != lengths.1 || lengths.0 != lengths.2 {
            return Err(Error::Lengths { golds: lengths.0, predictions: lengths.1, db_ids: lengths.2 }.into());
        }
        let suites = db_ids.iter().map(|db_id| self.suite(db_id)).collect::<Result<Vec<_>, Error>>()?;
        // Text that is not UTF-8 arrives with lone surrogates, and cannot be borrowed.
        let texts: Vec<Option<Option<PyBackedStr>>> = predictions
            .iter()
            .map(|prediction| prediction.as_ref().map(|text| PyBackedStr::try_from(text.clone()).ok()))
            .collect();
        let counters = Progress::default();
        let verdicts = interruptible(py, &counters, progress, |cancel| {
            let jobs: Vec<Job<'_>> = golds
                .iter()
                .zip(&texts)
                .zip(&suites)
                .map(|((gold, text), suite)| Job {
                    gold,
                    prediction: match text {
                        None => Prediction::Missing,
                        Some(None) => Prediction::Undecodable,
                        Some(Some(text)) => Prediction::Sql(text),
                    },
                    suite,
                })
                .collect();
            self.inner.score(&jobs, cancel, &counters)
        })?;
        self.executions.fetch_add(counters.executions.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(verdicts)
    }
}

/// Runs `work` on another thread with the GIL released; meanwhile looks for signals and reports progress here.
fn interruptible<T: Send>(
    py: Python<'_>,
    counters: &Progress,
    report: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Arc<AtomicBool>) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let cancel = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = std::sync::mpsc::channel();
    let receiver = Mutex::new(receiver);
    let (work_cancel, report) = (Arc::clone(&cancel), report.map(|callable| callable.clone().unbind()));
    let interrupt = Mutex::new(None);
    let result = py.detach(|| {
        std::thread::scope(|scope| {
            scope.spawn(move || sender.send(work(&work_cancel)));
            let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match receiver.recv_timeout(LOOK) {
                    Ok(result) => return Some(result),
                    Err(RecvTimeoutError::Disconnected) => return None,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                let (done, total) = (counters.done.load(Ordering::Relaxed), counters.total.load(Ordering::Relaxed));
                let look = Python::attach(|py| {
                    py.check_signals()?;
                    report.as_ref().map_or(Ok(()), |callable| callable.call1(py, (done, total)).map(drop))
                });
                if let Err(error) = look {
                    interrupt.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    cancel.store(true, Ordering::Relaxed);
                }
            }
        })
    });
    if let Some(error) = interrupt.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let result =
        result.ok_or_else(|| QsqlError::new_err("internal error: the scoring thread ended without a result"))?;
    Ok(result?)
}

fn seconds(timeout: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(timeout).ok().filter(|timeout| !timeout.is_zero()).ok_or_else(|| {
        QsqlError::new_err(format!("a timeout of {timeout} seconds is none\nhint: give a number above 0"))
    })
}

/// The native half of qsql.
#[pymodule(gil_used = false)]
mod _core {
    use super::{
        Arc, Bound, Job, Limits, PathBuf, Prediction, Progress, Protocol, PyBackedStr, PyModule, PyModuleMethods,
        PyResult, PyString, Python, Suite, interruptible, pyfunction, sandbox, score, seconds,
    };
    #[pymodule_export]
    use super::{QsqlError, Scorer, Verdict};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Judge one prediction on one `.sqlite` file, or on all those of a folder.
    ///
    /// For many predictions, a `Scorer` is faster by far: it keeps databases open and uses all cores.
    #[pyfunction(name = "score")]
    #[pyo3(signature = (gold, prediction, database, *, keep_distinct = false, timeout = 30.0))]
    fn score_one(
        py: Python<'_>,
        gold: PyBackedStr,
        prediction: Option<Bound<'_, PyString>>,
        database: PathBuf,
        keep_distinct: bool,
        timeout: f64,
    ) -> PyResult<Verdict> {
        let limits = Limits { timeout: seconds(timeout)?, ..Limits::default() };
        let protocol = Protocol { keep_distinct, limits, ..Protocol::default() };
        let scorer = score::Scorer::new(protocol, Some(1));
        let suite = Arc::new(Suite::at(&database)?);
        let text = prediction.map(|text| PyBackedStr::try_from(text).ok());
        let counters = Progress::default();
        let mut verdicts = interruptible(py, &counters, None, |cancel| {
            let prediction = match &text {
                None => Prediction::Missing,
                Some(None) => Prediction::Undecodable,
                Some(Some(text)) => Prediction::Sql(text),
            };
            scorer.score(&[Job { gold: &gold, prediction, suite: &suite }], cancel, &counters)
        })?;
        verdicts.pop().map(Verdict).ok_or_else(|| QsqlError::new_err("internal error: no verdict"))
    }

    /// Version of the SQLite inside.
    #[pyfunction]
    fn sqlite_version() -> &'static str {
        sandbox::sqlite_version()
    }

    /// The options that the SQLite inside was compiled with.
    #[pyfunction]
    fn sqlite_compile_options() -> Vec<String> {
        sandbox::compile_options()
    }
}

//! `Scorer`, `Verdict` and `score`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::spider::partial_scores;
use super::{QsqlError, guarded, interruptible};
use crate::error::Error;
use crate::exec::sandbox::{self, Limits};
use crate::exec::suite::Suite;
use crate::score::{self, DatabaseSchemas, Job, Metrics, Prediction, Progress, Protocol, State, read_schema};
use crate::spider::Tables;

/// What came of one prediction.
///
/// execution: whether it means the same as its gold on every database of the suite; None if that cannot be told or was
///     not asked for.
/// exact: whether it is an exact match of its gold; None likewise.
/// canonical_exact: whether the canonical forms of both match, so that a dialect does not count; None likewise.
/// hardness: of the gold: "easy", "medium", "hard" or "extra"; None if Spider's grammar rejects it.
/// partial: component -> [accuracy, recall, F1, total of the gold, total of the prediction], along with exact.
/// rejected: why Spider's grammar rejects the prediction, which makes exact False; else None.
/// gold_rejected: why it rejects the gold, which makes exact None; else None.
/// state: how the execution went: "scored", "sql_error", "timeout", "too_large", "forbidden", "gold_error", "missing".
/// stage: how far it came on the first database that rejects it: "nothing", "parses", "compiles", "runs", "right_width" or,
///     where none does, "right_result"; None where execution is.
/// databases: how many databases the suite has.
/// failed_on: file name of the first database that rejects the prediction, or on which the gold fails; else None.
/// detail: what happened there, for people to read; else None.
/// capped: whether values were plugged in, and not every way to do it was tried.
#[expect(clippy::doc_markdown, reason = "Python's docstring")]
#[pyclass(frozen, module = "qsql")]
pub(super) struct Verdict(score::Verdict);

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
    fn stage(&self) -> Option<&'static str> {
        self.0.stage.map(score::Stage::name)
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

    #[getter]
    fn capped(&self) -> bool {
        self.0.is_capped
    }

    #[getter]
    fn exact(&self) -> Option<bool> {
        self.0.exact.exact
    }

    #[getter]
    fn canonical_exact(&self) -> Option<bool> {
        self.0.exact.canonical_exact
    }

    #[getter]
    fn hardness(&self) -> Option<&'static str> {
        self.0.exact.hardness.map(crate::spider::Hardness::name)
    }

    #[getter]
    fn partial<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.0.exact.partial.as_ref().map(|partial| partial_scores(py, partial)).transpose()
    }

    #[getter]
    fn rejected(&self) -> Option<&str> {
        self.0.exact.rejected.as_deref()
    }

    #[getter]
    fn gold_rejected(&self) -> Option<&str> {
        self.0.exact.gold_rejected.as_deref()
    }

    fn __repr__(&self) -> String {
        let shown = |value: Option<bool>| match value {
            None => "None",
            Some(true) => "True",
            Some(false) => "False",
        };
        let (execution, exact) = (shown(self.0.execution), shown(self.0.exact.exact));
        let mut text = format!("Verdict(execution={execution}, exact={exact}, state='{}'", self.0.state.name());
        if let Some(failed_on) = &self.0.failed_on {
            text.push_str(&format!(", failed_on={failed_on:?}"));
        }
        if let Some(detail) = &self.0.detail {
            text.push_str(&format!(", detail={detail:?}"));
        }
        text + ")"
    }
}

/// What came of one query on one database.
///
/// state: "ran", or why there is no result: "sql_error", "timeout", "too_large", "forbidden", "database_error".
/// columns, rows: size of the result; None where there is none.
/// digest: bytes that are equal for results with the same rows, in any order of the rows; None where there is none.
/// detail: what happened where there is none; else None.
#[expect(clippy::doc_markdown, reason = "Python's docstring")]
#[pyclass(frozen, module = "qsql")]
pub(super) struct Denotation(score::Denotation);

#[pymethods]
impl Denotation {
    #[getter]
    fn state(&self) -> &'static str {
        run_state(self.0.state)
    }

    #[getter]
    fn columns(&self) -> Option<usize> {
        self.0.digest.map(|digest| digest.columns)
    }

    #[getter]
    fn rows(&self) -> Option<u64> {
        self.0.digest.map(|digest| digest.rows)
    }

    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.digest.map(|digest| PyBytes::new(py, &digest.to_bytes()))
    }

    #[getter]
    fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    fn __repr__(&self) -> String {
        match (&self.0.digest, &self.0.detail) {
            (Some(digest), _) => format!("Denotation(state='ran', columns={}, rows={})", digest.columns, digest.rows),
            (None, detail) => format!("Denotation(state='{}', detail={detail:?})", self.state()),
        }
    }
}

/// Scores batches of predictions on a folder of databases, on several threads.
///
/// Threads and open databases are kept between calls, so make one scorer and use it for everything. It may be shared by
/// threads, and survives a fork.
///
/// database_dir: holds `<db_id>/<db_id>.sqlite` and any variants of it beside that file; all of them are the suite.
/// tables: Spider's `tables.json`, for the foreign keys of exact match; without it they are those that the databases
///     declare.
/// keep_distinct: keep DISTINCT, which the official protocol removes from gold and prediction.
/// plug_value: try predictions with the values of their golds too, for models that predict none.
/// credit_empty: count a prediction right that returns nothing where its gold returns nothing on any database, as the
///     official protocol does. Turn it off for rewards: else the empty result is the one that is easy to guess.
/// variants: judge on the whole suite; else on `<db_id>/<db_id>.sqlite` alone.
/// run_to_end: run predictions to their end even where they are known to be wrong before, so that their stage tells
///     whether they have one. None becomes right or wrong by it, but one that never ends becomes "timeout".
/// threads: how many; by default as many as the machine has cores.
/// timeout: seconds for one query on one database.
/// max_steps: SQLite instructions for one query on one database; unlike time, the same on every machine.
/// max_memory: bytes of memory for one query on one database.
/// cache_dir: folder that keeps the results of golds, as hashes, so that a later process need not run them again on the
///     same content of a database. By default nothing is kept. Verdicts are the same with and without.
#[expect(clippy::doc_markdown, reason = "Python's docstring")]
#[pyclass(frozen, module = "qsql")]
pub(super) struct Scorer {
    database_dir: PathBuf,
    variants: bool,
    inner: score::Scorer,
    tables: Option<Tables>,
    databases: Mutex<HashMap<String, Arc<Target>>>,
    executions: AtomicU64,
    /// Why the cache could not be written.
    cache_problem: Mutex<Option<String>>,
}

/// What jobs of one database share.
struct Target {
    suite: Arc<Suite>,
    schema: Option<DatabaseSchemas>,
}

impl Target {
    /// A database that cannot be read has no schema; that it cannot be read shows in the verdicts.
    fn read(suite: Suite, tables: Option<(&Tables, &str)>) -> Result<Self, Error> {
        let schema = read_schema(&suite.files()[0], tables)?.ok();
        Ok(Self { suite: Arc::new(suite), schema })
    }
}

/// The metrics that an `etype` of the official tool asks for.
fn metrics(etype: &str) -> PyResult<Metrics> {
    match etype {
        "all" => Ok(Metrics { execution: true, exact: true }),
        "exec" => Ok(Metrics { execution: true, exact: false }),
        "match" => Ok(Metrics { execution: false, exact: true }),
        other => Err(QsqlError::new_err(format!(
            "`{other}` is not something to measure\nhint: etype is \"all\", \"exec\" or \"match\""
        ))),
    }
}

/// A prediction as it comes from Python. Text that is not UTF-8 arrives with lone surrogates, and cannot be borrowed.
enum Text {
    Missing,
    Undecodable,
    Sql(PyBackedStr),
}

impl Text {
    fn take(prediction: Option<&Bound<'_, PyString>>) -> Self {
        prediction
            .map_or(Self::Missing, |text| PyBackedStr::try_from(text.clone()).map_or(Self::Undecodable, Self::Sql))
    }

    fn prediction(&self) -> Prediction<'_> {
        match self {
            Self::Missing => Prediction::Missing,
            Self::Undecodable => Prediction::Undecodable,
            Self::Sql(text) => Prediction::Sql(text),
        }
    }
}

#[pymethods]
impl Scorer {
    #[new]
    #[pyo3(signature = (
        database_dir, tables = None, *, keep_distinct = false, plug_value = false, credit_empty = true, variants = true,
        run_to_end = false, threads = None, timeout = 30.0, max_steps = 1_000_000_000, max_memory = 134_217_728, cache_dir = None
    ))]
    #[expect(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "keyword arguments in Python")]
    fn new(
        database_dir: PathBuf,
        tables: Option<PathBuf>,
        keep_distinct: bool,
        plug_value: bool,
        credit_empty: bool,
        variants: bool,
        run_to_end: bool,
        threads: Option<usize>,
        timeout: f64,
        max_steps: u64,
        max_memory: usize,
        cache_dir: Option<PathBuf>,
    ) -> PyResult<Self> {
        let limits = Limits { timeout: seconds(timeout)?, steps: max_steps, memory: max_memory };
        let protocol = Protocol { keep_distinct, plug_value, credit_empty, run_to_end, limits };
        if threads == Some(0) {
            return Err(QsqlError::new_err("0 threads can do nothing\nhint: give 1 or more, or leave it out"));
        }
        if !database_dir.is_dir() {
            return Err(QsqlError::new_err(format!(
                "database folder `{}` not found\nhint: it holds one folder per database, `<db_id>/<db_id>.sqlite`",
                database_dir.display()
            )));
        }
        let tables = guarded("Scorer", || Ok(tables.map(|path| Tables::read(&path)).transpose()?))?;
        let inner = score::Scorer::new(protocol, threads, cache_dir);
        Ok(Self {
            database_dir,
            variants,
            inner,
            tables,
            databases: Mutex::default(),
            executions: 0.into(),
            cache_problem: Mutex::default(),
        })
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

    /// Why results of golds could not be kept in `cache_dir`; None if they could, or nobody asked for it.
    #[getter]
    fn cache_problem(&self) -> Option<String> {
        self.cache_problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The files of the suite of a database, its main file first.
    fn databases(&self, db_id: &str) -> PyResult<Vec<PathBuf>> {
        guarded("databases", || Ok(self.target(db_id)?.suite.files().to_vec()))
    }

    /// Judge predictions by exact match and test-suite execution accuracy, as the official Spider tool defines them.
    ///
    /// `etype` is "all", "exec" or "match". Takes a gold, a prediction (None where there is none) and a database name per item; returns a list of verdicts in
    /// the same order. `progress` is called about ten times a second with how many pairs of prediction and database are
    /// settled, and of how many. Raises `QsqlError` if a database is missing or the lists differ in length.
    #[pyo3(signature = (golds, predictions, db_ids, etype = "all", *, progress = None))]
    fn score(
        &self,
        py: Python<'_>,
        golds: Vec<PyBackedStr>,
        predictions: Vec<Option<Bound<'_, PyString>>>,
        db_ids: Vec<PyBackedStr>,
        etype: &str,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Verdict>> {
        let columns = (&*golds, &*predictions, &*db_ids);
        let verdicts = self.run(py, columns, metrics(etype)?, progress.as_ref())?;
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
        let metrics = Metrics { execution: true, exact: false };
        let verdicts = self.run(py, (&golds, &predictions, &db_ids), metrics, None)?;
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

    /// Run each query on the main file of its database, as it is written; nothing is compared.
    ///
    /// Returns one `Denotation` for each query, in the same order. `progress` is called as by `score`. Raises `QsqlError` if
    /// a database is missing or the lists differ in length.
    #[pyo3(signature = (queries, db_ids, *, progress = None))]
    fn denotations(
        &self,
        py: Python<'_>,
        queries: Vec<Bound<'_, PyString>>,
        db_ids: Vec<PyBackedStr>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Denotation>> {
        let (number, names) = (queries.len(), db_ids.len());
        if number != names {
            let lengths = format!("{number} queries and {names} database names: the lists differ in length");
            return Err(QsqlError::new_err(format!("{lengths}\nhint: give one database name for each query")));
        }
        let targets = guarded("denotations", || {
            Ok(db_ids.iter().map(|db_id| self.target(db_id)).collect::<Result<Vec<_>, Error>>()?)
        })?;
        let queries: Vec<_> = queries.iter().map(|query| query.to_string_lossy()).collect();
        let counters = Progress::default();
        let denotations = interruptible(py, &counters, progress.as_ref(), |cancel| {
            let files = targets.iter().map(|target| target.suite.files()[0].as_path());
            let queries: Vec<_> = queries.iter().map(AsRef::as_ref).zip(files).collect();
            self.inner.denotations(&queries, cancel, &counters)
        })?;
        self.executions.fetch_add(counters.executions.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(denotations.into_iter().map(Denotation).collect())
    }
}

/// Golds, predictions and database names.
type Columns<'a, 'py> = (&'a [PyBackedStr], &'a [Option<Bound<'py, PyString>>], &'a [PyBackedStr]);

impl Scorer {
    fn target(&self, db_id: &str) -> Result<Arc<Target>, Error> {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = databases.get(db_id) {
            return Ok(Arc::clone(target));
        }
        let find = if self.variants { Suite::find } else { Suite::single };
        let suite = find(&self.database_dir, db_id)?;
        let target = Arc::new(Target::read(suite, self.tables.as_ref().map(|tables| (tables, db_id)))?);
        databases.insert(db_id.to_owned(), Arc::clone(&target));
        Ok(target)
    }

    fn run(
        &self,
        py: Python<'_>,
        (golds, predictions, db_ids): Columns<'_, '_>,
        metrics: Metrics,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<score::Verdict>> {
        let lengths = (golds.len(), predictions.len(), db_ids.len());
        if lengths.0 != lengths.1 || lengths.0 != lengths.2 {
            return Err(Error::Lengths { golds: lengths.0, predictions: lengths.1, db_ids: lengths.2 }.into());
        }
        let targets = guarded("score", || {
            Ok(db_ids.iter().map(|db_id| self.target(db_id)).collect::<Result<Vec<_>, Error>>()?)
        })?;
        let predictions: Vec<Text> = predictions.iter().map(|text| Text::take(text.as_ref())).collect();
        let counters = Progress::default();
        let verdicts = interruptible(py, &counters, progress, |cancel| {
            let jobs: Vec<Job<'_>> = golds
                .iter()
                .zip(&predictions)
                .zip(&targets)
                .map(|((gold, prediction), target)| Job {
                    gold,
                    prediction: prediction.prediction(),
                    suite: &target.suite,
                    schema: target.schema.as_ref(),
                })
                .collect();
            let verdicts = self.inner.score(&jobs, metrics, cancel, &counters);
            if let Err(error) = self.inner.save() {
                *self.cache_problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
            verdicts
        })?;
        self.executions.fetch_add(counters.executions.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(verdicts)
    }
}

/// The state of a query that is compared with no other.
pub(super) fn run_state(state: State) -> &'static str {
    match state {
        State::Scored => "ran",
        State::GoldError => "database_error",
        state => state.name(),
    }
}

pub(super) fn seconds(timeout: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(timeout).ok().filter(|timeout| !timeout.is_zero()).ok_or_else(|| {
        QsqlError::new_err(format!("a timeout of {timeout} seconds is none\nhint: give a number above 0"))
    })
}

/// Judge one prediction on one `.sqlite` file, or on all those of a folder.
///
/// For many predictions, a `Scorer` is faster by far: it keeps databases open and uses all cores.
#[pyfunction(name = "score")]
#[pyo3(signature = (gold, prediction, database, *, keep_distinct = false, timeout = 30.0))]
pub(super) fn score_one(
    py: Python<'_>,
    gold: PyBackedStr,
    prediction: Option<Bound<'_, PyString>>,
    database: PathBuf,
    keep_distinct: bool,
    timeout: f64,
) -> PyResult<Verdict> {
    let limits = Limits { timeout: seconds(timeout)?, ..Limits::default() };
    let scorer = score::Scorer::new(Protocol { keep_distinct, limits, ..Protocol::default() }, Some(1), None);
    let target = guarded("score", || Ok(Target::read(Suite::at(&database)?, None)?))?;
    let text = Text::take(prediction.as_ref());
    let (counters, metrics) = (Progress::default(), Metrics { execution: true, exact: true });
    let mut verdicts = interruptible(py, &counters, None, |cancel| {
        let (prediction, schema) = (text.prediction(), target.schema.as_ref());
        scorer.score(&[Job { gold: &gold, prediction, suite: &target.suite, schema }], metrics, cancel, &counters)
    })?;
    verdicts.pop().map(Verdict).ok_or_else(|| QsqlError::new_err("internal error: no verdict"))
}

/// Version of the SQLite inside.
#[pyfunction]
pub(super) fn sqlite_version() -> &'static str {
    sandbox::sqlite_version()
}

/// The options that the SQLite inside was compiled with.
#[pyfunction]
pub(super) fn sqlite_compile_options() -> Vec<String> {
    sandbox::compile_options()
}

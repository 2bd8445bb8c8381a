//! `Scorer` and `score`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::arguments::{integer, limits, number, optional_integer, seconds, within};
use super::verdict::{Denotation, Verdict};
use super::{Callbacks, QsqlError, guarded, interruptible, message};
use crate::error::Error;
use crate::exec::sandbox::{self, Failure, Limits};
use crate::exec::suite::{LeftOut, Suite};
use crate::score::{self, DatabaseSchemas, Job, Metrics, Prediction, Progress, Protocol, Workers, read_schema};
use crate::spider::Tables;

#[doc = documented!("Scorer")]
#[pyclass(frozen, module = "qsql")]
pub(super) struct Scorer {
    database_dir: PathBuf,
    variants: bool,
    settings: Settings,
    inner: score::Scorer,
    tables: Option<Tables>,
    databases: Mutex<HashMap<String, Arc<Target>>>,
    executions: AtomicU64,
    /// Why the cache could not be written.
    cache_problem: Mutex<Option<String>>,
}

/// Positional arguments of a scorer, and those with names.
type Arguments<'py> = ((PathBuf, Option<PathBuf>), Bound<'py, PyDict>);

/// What a scorer was made with and its parts do not tell.
struct Settings {
    tables: Option<PathBuf>,
    threads: Option<usize>,
    timeout: f64,
    cache_dir: Option<PathBuf>,
    protocol: Protocol,
}

/// What jobs of one database share.
struct Target {
    suite: Arc<Suite>,
    /// What exact match compares by, or why there is none.
    schema: Result<DatabaseSchemas, String>,
}

impl Target {
    fn read(suite: Suite, tables: Option<(&Tables, &str)>) -> Result<Self, Error> {
        let main = suite.files()[0].path();
        let schema = match read_schema(main, tables) {
            Ok(Err(Failure::Database(message))) => return Err(Error::NotADatabase { path: main.to_owned(), message }),
            Ok(found) => found.map_err(|failure| format!("the schema of the database cannot be read: {failure}")),
            // Execution needs none of it.
            Err(error @ Error::Tables { .. }) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Self { suite: Arc::new(suite), schema })
    }

    fn job<'a>(&'a self, gold: &'a str, prediction: &'a Text) -> Job<'a> {
        let schema = self.schema.as_ref().map_err(String::as_str);
        Job { gold, prediction: prediction.prediction(), suite: &self.suite, schema }
    }
}

/// The target of an item, or why its database cannot be read, which concerns the items of that database alone.
type Found = Result<Arc<Target>, Arc<Error>>;

/// Most threads of a scorer. They are all started at once, each with a stack.
const MOST_THREADS: i64 = 1024;

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
        #[pyo3(from_py_with = optional_integer)] threads: Option<i64>,
        #[pyo3(from_py_with = number)] timeout: f64,
        #[pyo3(from_py_with = integer)] max_steps: i64,
        #[pyo3(from_py_with = integer)] max_memory: i64,
        cache_dir: Option<PathBuf>,
    ) -> PyResult<Self> {
        let limits = limits(timeout, max_steps, max_memory)?;
        let protocol = Protocol { keep_distinct, plug_value, credit_empty, run_to_end, limits };
        let threads = threads.map(|threads| within("threads", threads, 1..=MOST_THREADS)).transpose()?;
        if !database_dir.is_dir() {
            return Err(QsqlError::new_err(format!(
                "database folder `{}` not found\nhint: it holds one folder per database, `<db_id>/<db_id>.sqlite`",
                database_dir.display()
            )));
        }
        let read = guarded("Scorer", || Ok(tables.as_deref().map(Tables::read).transpose()?))?;
        let inner = score::Scorer::new(protocol, threads, cache_dir.clone());
        Ok(Self {
            database_dir,
            variants,
            settings: Settings { tables, threads, timeout, cache_dir, protocol },
            inner,
            tables: read,
            databases: Mutex::default(),
            executions: 0.into(),
            cache_problem: Mutex::default(),
        })
    }

    /// For pickle: the arguments of another scorer like this one.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<Arguments<'py>> {
        let Settings { tables, threads, timeout, cache_dir, protocol } = &self.settings;
        let settings = PyDict::new(py);
        settings.set_item("keep_distinct", protocol.keep_distinct)?;
        settings.set_item("plug_value", protocol.plug_value)?;
        settings.set_item("credit_empty", protocol.credit_empty)?;
        settings.set_item("variants", self.variants)?;
        settings.set_item("run_to_end", protocol.run_to_end)?;
        settings.set_item("threads", threads)?;
        settings.set_item("timeout", timeout)?;
        settings.set_item("max_steps", protocol.limits.steps)?;
        settings.set_item("max_memory", protocol.limits.memory)?;
        settings.set_item("cache_dir", cache_dir)?;
        Ok(((self.database_dir.clone(), tables.clone()), settings))
    }

    #[doc = documented!("Scorer.threads")]
    #[getter]
    fn threads(&self) -> usize {
        self.inner.threads()
    }

    #[doc = documented!("Scorer.executions")]
    #[getter]
    fn executions(&self) -> u64 {
        self.executions.load(Ordering::Relaxed)
    }

    #[doc = documented!("Scorer.cache_problem")]
    #[getter]
    fn cache_problem(&self) -> Option<String> {
        self.cache_problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[doc = documented!("Scorer.databases")]
    fn databases(&self, db_id: &Bound<'_, PyString>) -> PyResult<Vec<PathBuf>> {
        guarded("databases", || {
            let target = self.target(&database_name(db_id)?)?;
            Ok(target.suite.files().iter().map(|file| file.path().to_owned()).collect())
        })
    }

    #[doc = documented!("Scorer.left_out")]
    fn left_out(&self, db_id: &Bound<'_, PyString>) -> PyResult<Vec<(PathBuf, String)>> {
        guarded("left_out", || {
            let suite = &self.target(&database_name(db_id)?)?.suite;
            Ok(suite.left_out().iter().map(|LeftOut { path, reason }| (path.clone(), reason.to_string())).collect())
        })
    }

    #[doc = documented!("Scorer.database_problem")]
    fn database_problem(&self, db_id: &Bound<'_, PyString>) -> PyResult<Option<String>> {
        guarded("database_problem", || match self.target(&database_name(db_id)?) {
            Ok(_) => Ok(None),
            Err(error) if error.is_of_one_database() => Ok(Some(message(&error))),
            Err(error) => Err(error.into()),
        })
    }

    #[doc = documented!("Scorer.schema_problem")]
    fn schema_problem(&self, db_id: &Bound<'_, PyString>) -> PyResult<Option<String>> {
        guarded("schema_problem", || Ok(self.target(&database_name(db_id)?)?.schema.as_ref().err().cloned()))
    }

    #[doc = documented!("Scorer.score")]
    #[pyo3(signature = (golds, predictions, db_ids, etype = "all", *, progress = None, settled = None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn score(
        &self,
        py: Python<'_>,
        golds: Vec<PyBackedStr>,
        predictions: Vec<Option<Bound<'_, PyString>>>,
        db_ids: Vec<PyBackedStr>,
        etype: &str,
        progress: Option<Bound<'_, PyAny>>,
        settled: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Verdict>> {
        let columns = (&*golds, &*predictions, &*db_ids);
        let callbacks = Callbacks::new(progress.as_ref(), settled.as_ref());
        let verdicts = self.run(py, columns, metrics(etype)?, callbacks)?;
        Ok(verdicts.into_iter().map(Verdict::from).collect())
    }

    #[doc = documented!("Scorer.execution")]
    fn execution<'py>(
        &self,
        py: Python<'py>,
        golds: Vec<PyBackedStr>,
        predictions: Vec<Option<Bound<'py, PyString>>>,
        db_ids: Vec<PyBackedStr>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let metrics = Metrics { execution: true, exact: false };
        let verdicts = self.run(py, (&golds, &predictions, &db_ids), metrics, Callbacks::default())?;
        let mut bytes = Vec::with_capacity(verdicts.len());
        for (index, verdict) in verdicts.iter().enumerate() {
            let Some(execution) = verdict.execution else {
                let detail = verdict.detail.as_deref().unwrap_or_default();
                return Err(QsqlError::new_err(format!(
                    "item {index} (database `{}`) cannot be scored, {detail}\nhint: mend the gold or its database, or leave the item \
                     out; `score` returns such items with state `gold_error`",
                    &*db_ids[index]
                )));
            };
            bytes.push(u8::from(execution));
        }
        py.import("numpy")?.call_method1("frombuffer", (PyBytes::new(py, &bytes), "bool"))
    }

    #[doc = documented!("Scorer.denotations")]
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
        let targets = guarded("denotations", || Ok(self.targets(&db_ids)?))?;
        let queries: Vec<_> = queries.iter().map(|query| query.to_string_lossy()).collect();
        let (workers, counters) = (self.workers()?, Progress::default());
        let callbacks = Callbacks::new(progress.as_ref(), None);
        let denotations = interruptible(py, &counters, callbacks, |cancel| {
            let files = targets.iter().flatten().map(|target| &target.suite.files()[0]);
            let readable = queries.iter().zip(&targets).filter(|(_, target)| target.is_ok()).map(|(query, _)| &**query);
            let queries: Vec<_> = readable.zip(files).collect();
            self.inner.denotations(&workers, &queries, cancel, &counters)
        })?;
        self.executions.fetch_add(counters.executions.load(Ordering::Relaxed), Ordering::Relaxed);
        let mut denotations = denotations.into_iter();
        let all = targets.iter().map(|target| match target {
            Ok(_) => denotations.next(),
            Err(error) => Some(score::Denotation::unreadable(error)),
        });
        Ok(all.flatten().map(Denotation::from).collect())
    }
}

/// Golds, predictions and database names.
type Columns<'a, 'py> = (&'a [PyBackedStr], &'a [Option<Bound<'py, PyString>>], &'a [PyBackedStr]);

impl Scorer {
    /// The workers of this process. With the GIL held, so that no fork can copy a lock that is taken meanwhile.
    fn workers(&self) -> PyResult<Arc<Workers>> {
        guarded("score", || Ok(self.inner.workers()?))
    }

    /// What jobs on a database share, as its files are now.
    fn target(&self, db_id: &str) -> Result<Arc<Target>, Error> {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        let suite = match databases.get(db_id) {
            Some(known) => match known.suite.again()? {
                Some(suite) => suite,
                None => return Ok(Arc::clone(known)),
            },
            None if self.variants => Suite::find(&self.database_dir, db_id)?,
            None => Suite::single(&self.database_dir, db_id)?,
        };
        let target = Arc::new(Target::read(suite, self.tables.as_ref().map(|tables| (tables, db_id)))?);
        databases.insert(db_id.to_owned(), Arc::clone(&target));
        Ok(target)
    }

    /// The targets of items. A database that cannot be read is looked for anew in each call: it may be there by then.
    fn targets(&self, db_ids: &[PyBackedStr]) -> Result<Vec<Found>, Error> {
        let mut found: HashMap<&str, Found> = HashMap::new();
        let target = |db_id| match found.entry(db_id) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(place) => match self.target(db_id) {
                Err(error) if !error.is_of_one_database() => Err(error),
                target => Ok(place.insert(target.map_err(Arc::new)).clone()),
            },
        };
        db_ids.iter().map(|db_id| &**db_id).map(target).collect()
    }

    fn run(
        &self,
        py: Python<'_>,
        (golds, predictions, db_ids): Columns<'_, '_>,
        metrics: Metrics,
        callbacks: Callbacks,
    ) -> PyResult<Vec<score::Verdict>> {
        let lengths = (golds.len(), predictions.len(), db_ids.len());
        if lengths.0 != lengths.1 || lengths.0 != lengths.2 {
            return Err(Error::Lengths { golds: lengths.0, predictions: lengths.1, db_ids: lengths.2 }.into());
        }
        let targets = guarded("score", || Ok(self.targets(db_ids)?))?;
        let predictions: Vec<Text> = predictions.iter().map(|text| Text::take(text.as_ref())).collect();
        let (mut positions, mut unreadable) = (Vec::new(), Vec::new());
        for (position, target) in targets.iter().enumerate() {
            match target {
                Ok(_) => positions.push(position),
                Err(error) => unreadable.push((position, score::Verdict::unreadable(error, &db_ids[position]))),
            }
        }
        let workers = self.workers()?;
        let counters = Progress { settled: callbacks.settled_at(&positions), ..Progress::default() };
        let (verdicts, saved) = interruptible(py, &counters, callbacks, |cancel| {
            let job = |&position: &usize| {
                let target = targets[position].as_ref().ok()?;
                Some(target.job(&golds[position], &predictions[position]))
            };
            let jobs: Vec<Job<'_>> = positions.iter().filter_map(job).collect();
            let verdicts = self.inner.score(&workers, &jobs, metrics, cancel, &counters);
            // What is known stays known, whatever ended the call.
            let saved = workers.save();
            Ok((verdicts?, saved))
        })?;
        if let Err(error) = saved {
            *self.cache_problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        }
        self.executions.fetch_add(counters.executions.load(Ordering::Relaxed), Ordering::Relaxed);
        let mut all: Vec<_> = positions.into_iter().zip(verdicts).chain(unreadable).collect();
        all.sort_unstable_by_key(|&(position, _)| position);
        Ok(all.into_iter().map(|(_, verdict)| verdict).collect())
    }
}

#[doc = documented!("score")]
#[pyfunction(name = "score")]
#[pyo3(signature = (gold, prediction, database, *, keep_distinct = false, timeout = 30.0))]
pub(super) fn score_one(
    py: Python<'_>,
    gold: PyBackedStr,
    prediction: Option<Bound<'_, PyString>>,
    database: PathBuf,
    keep_distinct: bool,
    #[pyo3(from_py_with = number)] timeout: f64,
) -> PyResult<Verdict> {
    let limits = Limits { timeout: seconds(timeout)?, ..Limits::default() };
    let scorer = score::Scorer::new(Protocol { keep_distinct, limits, ..Protocol::default() }, Some(1), None);
    let suite = guarded("score", || Ok(Suite::at(&database)?))?;
    let name = suite.name(0);
    let target = match Target::read(suite, None) {
        Err(error) if error.is_of_one_database() => {
            return Ok(score::Verdict::unreadable(&error, name.trim_end_matches(".sqlite")).into());
        }
        target => target?,
    };
    let text = Text::take(prediction.as_ref());
    let workers = guarded("score", || Ok(scorer.workers()?))?;
    let (counters, metrics) = (Progress::default(), Metrics { execution: true, exact: true });
    let mut verdicts = interruptible(py, &counters, Callbacks::default(), |cancel| {
        scorer.score(&workers, &[target.job(&gold, &text)], metrics, cancel, &counters)
    })?;
    verdicts.pop().map(Verdict::from).ok_or_else(|| QsqlError::new_err("internal error: no verdict"))
}

#[doc = documented!("database_file")]
#[pyfunction]
pub(super) fn database_file(database_dir: PathBuf, db_id: &Bound<'_, PyString>) -> PyResult<PathBuf> {
    Ok(Suite::main_file(&database_dir, &database_name(db_id)?)?)
}

/// A `db_id` as text. With lone surrogates it cannot be borrowed, and is the name of no file.
fn database_name(db_id: &Bound<'_, PyString>) -> PyResult<PyBackedStr> {
    PyBackedStr::try_from(db_id.clone())
        .map_err(|_| Error::DatabaseName { db_id: db_id.to_string_lossy().into_owned() }.into())
}

#[doc = documented!("sqlite_version")]
#[pyfunction]
pub(super) fn sqlite_version() -> &'static str {
    sandbox::sqlite_version()
}

#[doc = documented!("sqlite_compile_options")]
#[pyfunction]
pub(super) fn sqlite_compile_options() -> Vec<String> {
    sandbox::compile_options()
}

//! Jobs in, verdicts out. The only file that names rayon.
//!
//! A prediction is right if it means the same as its gold on every database of the suite. How a batch is cut into units
//! of work is in `batch.rs`; here are the threads that do it, the databases they keep open, and what comes out.

mod batch;
mod check;
mod compare;
mod databases;
mod denotations;
mod exact;
mod gold;
mod golds;
mod plug;
mod queue;
mod rows;
mod schema;
mod store;

use std::ops::ControlFlow::{Break, Continue};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::exec::sandbox::{self, Limits};
use crate::exec::suite::Suite;
use crate::sql::rewrite;

use batch::Batch;
use compare::shortened;
use databases::Databases;
use golds::Golds;

pub use check::{Fault, FaultKind, check};
pub use denotations::Denotation;
pub use exact::ExactVerdict;
pub use rows::{QueryResult, query};
pub use schema::{DatabaseSchemas, read_schema};

/// How a prediction is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "switches that have nothing to do with each other")]
pub struct Protocol {
    /// Keep `DISTINCT`, which the official protocol removes from gold and prediction.
    pub keep_distinct: bool,
    /// Try the prediction with the values of the gold too, and count it right if any way to plug them in is.
    pub plug_value: bool,
    /// Count a prediction right that returns nothing wherever it is run, as its gold does. The official protocol does; a
    /// model that is rewarded by it learns to return nothing.
    pub credit_empty: bool,
    /// Run predictions to their end where it is clear before that they are wrong, to tell whether they have one.
    pub run_to_end: bool,
    /// What each query may use.
    pub limits: Limits,
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            keep_distinct: false,
            plug_value: false,
            credit_empty: true,
            run_to_end: false,
            limits: Limits::default(),
        }
    }
}

/// A prediction to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The query that is right.
    pub gold: &'a str,
    /// The query to be judged.
    pub prediction: Prediction<'a>,
    /// The databases to run both on.
    pub suite: &'a Arc<Suite>,
    /// The schema of the first of them, or why there is none.
    pub schema: std::result::Result<&'a DatabaseSchemas, &'a str>,
}

/// What to find out about jobs. How hard their golds are is always found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Whether the prediction means the same as the gold.
    pub execution: bool,
    /// Whether it is an exact match.
    pub exact: bool,
}

/// What a model gave for a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction<'a> {
    /// Nothing.
    Missing,
    /// Bytes that are no text.
    Undecodable,
    /// A query, or what passes for one.
    Sql(&'a str),
}

/// How the execution of a prediction went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum State {
    /// It ran wherever it had to, and its results were compared.
    Scored,
    /// SQLite rejects it.
    SqlError,
    /// It ran longer than it may.
    Timeout,
    /// It is too long, or needs more memory than it may have.
    TooLarge,
    /// It wants more than to read.
    Forbidden,
    /// The gold itself failed, so that nothing can be said.
    GoldError,
    /// There is no prediction.
    Missing,
}

impl State {
    /// Its name in files and in Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::SqlError => "sql_error",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Forbidden => "forbidden",
            Self::GoldError => "gold_error",
            Self::Missing => "missing",
        }
    }
}

/// How far a prediction came on the first database that rejects it; each stage includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Stage {
    /// It is not known to be a query: SQLite's grammar rejects it, or its size, or it wants more than to read.
    Nothing,
    /// It is a query, with names or calls that have no meaning there.
    Parses,
    /// It has a meaning there, and fails when it runs.
    Compiles,
    /// It runs, to its end or until it is clear that it is wrong; see [`Protocol::run_to_end`].
    Runs,
    /// Its result has as many columns as that of the gold.
    RightWidth,
    /// No database rejects it.
    RightResult,
}

impl Stage {
    /// Its name in Python.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Parses => "parses",
            Self::Compiles => "compiles",
            Self::Runs => "runs",
            Self::RightWidth => "right_width",
            Self::RightResult => "right_result",
        }
    }
}

/// What came of one job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Verdict {
    /// Whether the prediction means the same as the gold; `None` if that cannot be told or was not asked for.
    pub execution: Option<bool>,
    /// How the execution went.
    pub state: State,
    /// How far it came; `None` where `execution` is.
    pub stage: Option<Stage>,
    /// How many databases the suite has.
    pub databases: usize,
    /// File name of the first database that rejects the prediction, or on which the gold fails.
    pub failed_on: Option<String>,
    /// What happened there.
    pub detail: Option<String>,
    /// Whether values were plugged in, and not every way to do it was tried.
    pub is_capped: bool,
    /// Exact match and hardness.
    pub exact: ExactVerdict,
}

impl Verdict {
    /// What comes of an item whose database `db_id` cannot be read at all.
    #[must_use]
    pub fn unreadable(error: &Error, db_id: &str) -> Self {
        let file_of = |beside: &Path, suffix| {
            let name = beside.file_name().unwrap_or_default().to_string_lossy();
            name.strip_suffix(suffix).unwrap_or(&name).to_owned()
        };
        let failed_on = match error {
            Error::NotADatabase { path, .. } => file_of(path, ""),
            Error::PendingLog { path } => file_of(path, "-wal"),
            Error::HotJournal { path } => file_of(path, "-journal"),
            _ => format!("{db_id}.sqlite"),
        };
        Self {
            execution: None,
            state: State::GoldError,
            stage: None,
            databases: 0,
            failed_on: Some(failed_on),
            detail: Some(shortened(&format!("database: {}", unreadable_detail(error)))),
            is_capped: false,
            exact: ExactVerdict::without_schema("the database cannot be read"),
        }
    }
}

/// Why a database cannot be read, for whoever knows which one.
fn unreadable_detail(error: &Error) -> String {
    match error {
        Error::DatabaseMissing { path, .. } => format!("no file `{}`", path.display()),
        Error::NotADatabase { message, .. } => message.clone(),
        error => error.to_string(),
    }
}

/// Verdicts that are settled while their batch still runs, to be taken by another thread.
#[derive(Debug)]
pub struct Settled {
    /// Where each job of the batch stands for whoever takes its verdict.
    positions: Vec<usize>,
    verdicts: Mutex<Vec<(usize, Verdict)>>,
}

impl Settled {
    /// None yet, of jobs that stand at `positions`.
    #[must_use]
    pub fn new(positions: Vec<usize>) -> Self {
        Self { positions, verdicts: Mutex::default() }
    }

    /// Those that were not taken yet.
    pub fn take(&self) -> Vec<(usize, Verdict)> {
        std::mem::take(&mut lock(&self.verdicts))
    }

    fn extend(&self, verdicts: impl Iterator<Item = (usize, Verdict)>) {
        lock(&self.verdicts).extend(verdicts.map(|(job, verdict)| (self.positions[job], verdict)));
    }
}

/// How far a batch is, to be read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Verdicts that are settled, if somebody wants them before the batch ends.
    pub settled: Option<Settled>,
    /// Settled pairs of prediction and database.
    pub done: AtomicU64,
    /// All of them; 0 until known.
    pub total: AtomicU64,
    /// Statements executed.
    pub executions: AtomicU64,
}

/// What the units of a batch work with.
struct Resources<'a> {
    databases: &'a Databases,
    golds: &'a Golds,
    limits: Limits,
    run_to_end: bool,
    cancel: &'a Arc<AtomicBool>,
    progress: &'a Progress,
}

/// How often settled verdicts are looked for.
const SETTLING: Duration = Duration::from_millis(500);

/// Scores batches of jobs, keeping threads and open databases between them.
#[derive(Debug)]
pub struct Scorer {
    protocol: Protocol,
    threads: usize,
    /// Where digests of golds are kept from one process to the next.
    cache: Option<PathBuf>,
    workers: Mutex<Option<Arc<Workers>>>,
}

impl Scorer {
    /// A scorer of `threads` threads, or as many as the machine has cores. If `cache` is a folder, golds that were scored
    /// in an earlier process on the same content of a database do not run again.
    #[must_use]
    pub fn new(protocol: Protocol, threads: Option<usize>, cache: Option<PathBuf>) -> Self {
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        Self { protocol, threads: threads.max(1), cache, workers: Mutex::new(None) }
    }

    /// How many threads it has.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Judges all jobs. Verdicts come in the order of the jobs.
    ///
    /// Stops with [`Error::Interrupted`] soon after `cancel` is set by another thread.
    pub fn score(
        &self,
        workers: &Workers,
        jobs: &[Job<'_>],
        metrics: Metrics,
        cancel: &Arc<AtomicBool>,
        progress: &Progress,
    ) -> Result<Vec<Verdict>> {
        sandbox::initialize()?;
        let batch = Batch::plan(jobs, metrics, self.protocol)?;
        progress.total.store(batch.pairs(), Ordering::Relaxed);
        workers.databases.start_batch();
        let queue = batch.queue(self.threads, progress.settled.is_some());
        let Workers { databases, golds, .. } = workers;
        let Protocol { limits, run_to_end, .. } = self.protocol;
        let resources = Resources { databases, golds, limits, run_to_end, cancel, progress };
        let mut told = vec![false; jobs.len()];
        let (working, ended) = channel::<()>();
        workers.threads.in_place_scope(|scope| {
            for _ in 0..self.threads.min(queue.len()) {
                let working = working.clone();
                let (batch, queue, resources) = (&batch, &queue, &resources);
                scope.spawn(move |_| {
                    queue.work_off(|unit| {
                        batch.work(&unit, queue, resources);
                        if resources.cancel.load(Ordering::Relaxed) { Break(()) } else { Continue(()) }
                    });
                    drop(working);
                });
            }
            drop(working);
            let Some(settled) = &progress.settled else { return };
            while ended.recv_timeout(SETTLING) == Err(RecvTimeoutError::Timeout) {
                settled.extend(batch.settled(&mut told));
            }
        });
        if let Some(settled) = &progress.settled {
            settled.extend(batch.settled(&mut told));
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        batch.verdicts()
    }

    /// The threads and open databases of this process. After a fork they are made anew: threads do not survive it, and
    /// what they were using at that moment must be left alone.
    ///
    /// To be called where no fork can happen meanwhile, in Python with the GIL: a lock that is held at that moment is
    /// never released in the child.
    pub fn workers(&self) -> Result<Arc<Workers>> {
        let mut workers = lock(&self.workers);
        if let Some(inherited) = workers.take_if(|workers| workers.process != std::process::id()) {
            std::mem::forget(inherited);
        }
        if let Some(workers) = &*workers {
            return Ok(Arc::clone(workers));
        }
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(self.threads)
            .thread_name(|index| format!("qsql-{index}"))
            // As much again for what a query calls when its own stack is used up, and for us.
            .stack_size(2 * sandbox::STACK_BYTES)
            .build()
            .map_err(|error| Error::Threads { threads: self.threads, message: error.to_string() })?;
        let golds = self.cache.as_deref().map_or_else(Golds::default, Golds::stored);
        let databases = Databases::new(golds.is_stored());
        let new = Arc::new(Workers { process: std::process::id(), threads, databases, golds });
        *workers = Some(Arc::clone(&new));
        Ok(new)
    }
}

/// Threads, and the databases and results of golds that they share.
#[derive(Debug)]
pub struct Workers {
    process: u32,
    threads: rayon::ThreadPool,
    databases: Databases,
    golds: Golds,
}

impl Workers {
    /// Writes what the cache has not yet. Verdicts do not depend on it, so that a failure is no reason to stop.
    pub fn save(&self) -> Result<()> {
        self.golds.save()
    }
}

/// The text that is executed for a prediction, by the official rules: that of a gold with its placeholders filled in first.
#[must_use]
pub fn executed_prediction(sql: &str, protocol: Protocol) -> String {
    executed_text(&rewrite::replace_placeholders(sql), protocol)
}

/// The text that is executed for a gold, by the official rules; that of a query which is too long is left alone.
#[must_use]
pub fn executed_text(sql: &str, protocol: Protocol) -> String {
    if sql.len() > sandbox::SQL_BYTES {
        return sql.to_owned();
    }
    rewrite::fix_current_year(&rewrite::prepare(sql, protocol.keep_distinct)).into_owned()
}

/// Locks whatever happened to earlier holders: panics are caught and reported, and leave the data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The bindings, `qsql._core`: arguments in, verdicts out, errors mapped. The only folder that names pyo3.
//!
//! A call hands over whole columns and comes back with all verdicts. In between the work runs on other threads with the
//! GIL released, while the calling thread looks for Ctrl-C and reports progress.

#![expect(clippy::needless_pass_by_value, reason = "arguments from Python arrive by value")]
#![expect(clippy::doc_markdown, clippy::doc_link_with_quotes, reason = "docstrings are written for Python")]

/// The docstring of `_core.pyi` for a name; see `rust/documentation.rs`.
macro_rules! documented {
    ($name:literal) => {
        include_str!(concat!(env!("OUT_DIR"), "/", $name))
    };
}

mod arguments;
mod check;
mod describe;
mod pickle;
mod query;
mod scorer;
mod spider;
mod verdict;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;

use crate::error::{Error, caught};
use crate::score::{Progress, Settled};
use verdict::Verdict;

// Of the package, where its users and pickle find it.
pyo3::create_exception!(qsql, QsqlError, pyo3::exceptions::PyException, documented!("QsqlError"));

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match (error.hint(), error) {
            (_, Error::Interrupted) => PyKeyboardInterrupt::new_err(()),
            (_, error) => QsqlError::new_err(message(&error)),
        }
    }
}

/// What an error says in Python: its hint is the last line.
fn message(error: &Error) -> String {
    error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}\nhint: {hint}"))
}

/// Does the work of a call. A panic in it is a defect of ours, and must not be worse for the caller than any other error.
fn guarded<T>(call: &str, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    caught(work).unwrap_or_else(|message| Err(defect(call, &message)))
}

fn defect(call: &str, message: &str) -> PyErr {
    let hint = "please report the call with its arguments";
    QsqlError::new_err(format!("internal error in `{call}`: {message}\nhint: {hint}"))
}

/// How often the calling thread looks for Ctrl-C and reports progress.
const LOOK: Duration = Duration::from_millis(100);

/// What a caller wants to be told while its call runs, by functions of Python.
#[derive(Default)]
struct Callbacks {
    /// How much is done, and of how much.
    progress: Option<Py<PyAny>>,
    /// Positions and verdicts of items that are settled.
    settled: Option<Py<PyAny>>,
}

impl Callbacks {
    fn new(progress: Option<&Bound<'_, PyAny>>, settled: Option<&Bound<'_, PyAny>>) -> Self {
        let owned = |callable: &Bound<'_, PyAny>| callable.clone().unbind();
        Self { progress: progress.map(owned), settled: settled.map(owned) }
    }

    /// Where verdicts gather that are to be told: of jobs that are at these positions.
    fn settled_at(&self, positions: &[usize]) -> Option<Settled> {
        self.settled.as_ref().map(|_| Settled::new(positions.to_vec()))
    }

    fn tell_progress(&self, py: Python<'_>, counters: &Progress) -> PyResult<()> {
        let Some(callable) = &self.progress else { return Ok(()) };
        let (done, total) = (counters.done.load(Ordering::Relaxed), counters.total.load(Ordering::Relaxed));
        callable.call1(py, (done, total)).map(drop)
    }

    fn tell_settled(&self, py: Python<'_>, counters: &Progress) -> PyResult<()> {
        let (Some(callable), Some(settled)) = (&self.settled, &counters.settled) else { return Ok(()) };
        let settled = settled.take();
        if settled.is_empty() {
            return Ok(());
        }
        let settled: Vec<_> =
            settled.into_iter().map(|(position, verdict)| (position, Verdict::from(verdict))).collect();
        callable.call1(py, (settled,)).map(drop)
    }
}

/// Runs `work` on another thread with the GIL released; meanwhile looks for signals and calls back from here. If it is
/// interrupted, what is settled by then is told before the call ends.
fn interruptible<T: Send>(
    py: Python<'_>,
    counters: &Progress,
    callbacks: Callbacks,
    work: impl FnOnce(&Arc<AtomicBool>) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let cancel = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = std::sync::mpsc::channel();
    let receiver = Mutex::new(receiver);
    let (work_cancel, callbacks) = (Arc::clone(&cancel), &callbacks);
    let interrupt = Mutex::new(None);
    let result = py.detach(|| {
        std::thread::scope(|scope| {
            scope.spawn(move || sender.send(caught(|| work(&work_cancel))));
            let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                match receiver.recv_timeout(LOOK) {
                    Ok(result) => return Some(result),
                    Err(RecvTimeoutError::Disconnected) => return None,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                let look = guarded("progress", || {
                    Python::attach(|py| {
                        py.check_signals()?;
                        callbacks.tell_progress(py, counters)?;
                        callbacks.tell_settled(py, counters)
                    })
                });
                if let Err(error) = look {
                    interrupt.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    cancel.store(true, Ordering::Relaxed);
                }
            }
        })
    });
    if let Some(error) = interrupt.into_inner().unwrap_or_else(PoisonError::into_inner) {
        guarded("settled", || callbacks.tell_settled(py, counters))?;
        return Err(error);
    }
    match result {
        Some(Ok(result)) => Ok(result?),
        Some(Err(message)) => Err(defect("score", &message)),
        None => Err(defect("score", "the scoring thread ended without a result")),
    }
}

/// The native half of qsql.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::QsqlError;
    #[pymodule_export]
    use super::check::{Check, check};
    #[pymodule_export]
    use super::describe::{describe, describe_definitions};
    #[pymodule_export]
    use super::query::{QueryResult, executed_text, query, suite_files};
    #[pymodule_export]
    use super::scorer::{Scorer, database_file, score_one, sqlite_compile_options, sqlite_version};
    #[pymodule_export]
    use super::spider::{ExactMatch, Schema, canonicalize, exact_match, hardness};
    #[pymodule_export]
    use super::verdict::{Denotation, Verdict};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

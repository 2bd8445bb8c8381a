//! `QueryResult` and `query`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};

use super::arguments::{integer, limits, number, within};
use super::describe::cell_object;
use super::pickle::{self, Reduced};
use super::verdict::run_state;
use super::{Callbacks, guarded, interruptible};
use crate::exec::suite::Suite;
use crate::score::{self, Progress, Protocol};

#[doc = documented!("QueryResult")]
#[pyclass(frozen, eq, hash, module = "qsql")]
#[derive(PartialEq, Hash)]
pub(super) struct QueryResult(score::QueryResult);

#[pymethods]
impl QueryResult {
    #[doc = documented!("QueryResult.state")]
    #[getter]
    fn state(&self) -> &'static str {
        run_state(self.0.state)
    }

    #[doc = documented!("QueryResult.columns")]
    #[getter]
    fn columns(&self) -> Vec<&str> {
        self.0.columns.iter().map(String::as_str).collect()
    }

    #[doc = documented!("QueryResult.rows")]
    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let tuple = |cells: &Vec<_>| {
            let cells = cells.iter().map(|cell| cell_object(py, cell)).collect::<PyResult<Vec<_>>>()?;
            PyTuple::new(py, cells)
        };
        self.0.rows.iter().map(tuple).collect()
    }

    #[doc = documented!("QueryResult.truncated")]
    #[getter]
    fn truncated(&self) -> bool {
        self.0.is_truncated
    }

    #[doc = documented!("QueryResult.detail")]
    #[getter]
    fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// For pickle and copy.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        pickle::reduce(slf.as_any(), &slf.get().0)
    }

    #[classmethod]
    fn _unpickled(_: &Bound<'_, PyType>, pickled: &[u8]) -> PyResult<Self> {
        pickle::restore(pickled).map(Self)
    }

    fn __repr__(&self) -> String {
        match &self.0.detail {
            None => format!("QueryResult(state='ran', columns={:?}, rows={})", self.0.columns, self.0.rows.len()),
            Some(detail) => format!("QueryResult(state='{}', detail={detail:?})", self.state()),
        }
    }
}

#[doc = documented!("query")]
#[pyfunction]
#[pyo3(signature = (database, sql, *, max_rows = 1000, timeout = 30.0, max_steps = 1_000_000_000, max_memory = 134_217_728))]
pub(super) fn query(
    py: Python<'_>,
    database: PathBuf,
    sql: Bound<'_, PyString>,
    #[pyo3(from_py_with = integer)] max_rows: i64,
    #[pyo3(from_py_with = number)] timeout: f64,
    #[pyo3(from_py_with = integer)] max_steps: i64,
    #[pyo3(from_py_with = integer)] max_memory: i64,
) -> PyResult<QueryResult> {
    let limits = limits(timeout, max_steps, max_memory)?;
    let max_rows = within("max_rows", max_rows, 0..=i64::MAX)?;
    let suite = guarded("query", || Ok(Suite::at(&database)?))?;
    let text = sql.to_string_lossy();
    let found = interruptible(py, &Progress::default(), Callbacks::default(), |cancel| {
        score::query(suite.files()[0].path(), &text, &limits, max_rows, cancel)
    })?;
    Ok(QueryResult(found))
}

#[doc = documented!("suite_files")]
#[pyfunction]
pub(super) fn suite_files(database: PathBuf) -> PyResult<Vec<PathBuf>> {
    guarded("suite_files", || Ok(Suite::at(&database)?.files().iter().map(|file| file.path().to_owned()).collect()))
}

#[doc = documented!("executed_text")]
#[pyfunction]
#[pyo3(signature = (sql, *, is_prediction = false, keep_distinct = false))]
pub(super) fn executed_text(sql: &Bound<'_, PyString>, is_prediction: bool, keep_distinct: bool) -> String {
    let protocol = Protocol { keep_distinct, ..Protocol::default() };
    let sql = sql.to_string_lossy();
    if is_prediction { score::executed_prediction(&sql, protocol) } else { score::executed_text(&sql, protocol) }
}

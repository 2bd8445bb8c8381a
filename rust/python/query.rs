//! `QueryResult` and `query`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::describe::cell_object;
use super::scorer::{run_state, seconds};
use super::{guarded, interruptible};
use crate::exec::sandbox::Limits;
use crate::exec::suite::Suite;
use crate::score::{self, Progress, Protocol};

/// What one query returned on one database.
///
/// state: "ran", or why there is no result: "sql_error", "timeout", "too_large", "forbidden", "database_error".
/// columns: names of the columns.
/// rows: the first rows, as tuples of what Python's `sqlite3` returns.
/// truncated: whether there are more rows.
/// detail: what happened where there is no result; else None.
#[expect(clippy::doc_markdown, reason = "Python's docstring")]
#[pyclass(frozen, module = "qsql")]
pub(super) struct QueryResult(score::QueryResult);

#[pymethods]
impl QueryResult {
    #[getter]
    fn state(&self) -> &'static str {
        run_state(self.0.state)
    }

    #[getter]
    fn columns(&self) -> Vec<&str> {
        self.0.columns.iter().map(String::as_str).collect()
    }

    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let tuple = |cells: &Vec<_>| {
            let cells = cells.iter().map(|cell| cell_object(py, cell)).collect::<PyResult<Vec<_>>>()?;
            PyTuple::new(py, cells)
        };
        self.0.rows.iter().map(tuple).collect()
    }

    #[getter]
    fn truncated(&self) -> bool {
        self.0.is_truncated
    }

    #[getter]
    fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    fn __repr__(&self) -> String {
        match &self.0.detail {
            None => format!("QueryResult(state='ran', columns={:?}, rows={})", self.0.columns, self.0.rows.len()),
            Some(detail) => format!("QueryResult(state='{}', detail={detail:?})", self.state()),
        }
    }
}

/// Run one query on one `.sqlite` file, in the sandbox, and return its first rows.
///
/// Nothing is written, whatever the query says; no more than `max_rows` rows are computed. What the query does wrong is the
/// state of the result. Raises `QsqlError` if there is no database, `KeyboardInterrupt` soon after Ctrl-C.
#[pyfunction]
#[pyo3(signature = (database, sql, *, max_rows = 1000, timeout = 30.0, max_steps = 1_000_000_000, max_memory = 134_217_728))]
pub(super) fn query(
    py: Python<'_>,
    database: PathBuf,
    sql: Bound<'_, PyString>,
    max_rows: usize,
    timeout: f64,
    max_steps: u64,
    max_memory: usize,
) -> PyResult<QueryResult> {
    let limits = Limits { timeout: seconds(timeout)?, steps: max_steps, memory: max_memory };
    let suite = guarded("query", || Ok(Suite::at(&database)?))?;
    let text = sql.to_string_lossy();
    let found = interruptible(py, &Progress::default(), None, |cancel| {
        score::query(&suite.files()[0], &text, &limits, max_rows, cancel)
    })?;
    Ok(QueryResult(found))
}

/// Return the text that scoring executes for a query, by the rules of the official tool.
///
/// Operators are joined, `YEAR(CURDATE())` is 2020, DISTINCT and further statements go unless `keep_distinct`; in a prediction
/// each placeholder `value` is 1.
#[pyfunction]
#[pyo3(signature = (sql, *, is_prediction = false, keep_distinct = false))]
pub(super) fn executed_text(sql: &Bound<'_, PyString>, is_prediction: bool, keep_distinct: bool) -> String {
    let protocol = Protocol { keep_distinct, ..Protocol::default() };
    let sql = sql.to_string_lossy();
    if is_prediction { score::executed_prediction(&sql, protocol) } else { score::executed_text(&sql, protocol) }
}

//! `describe` and `describe_definitions`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::{QsqlError, guarded};
use crate::exec::denotation::Cell;
use crate::exec::examples::examples;
use crate::exec::sandbox::{Database, Failure, TableDescription, initialize};
use crate::exec::suite::Suite;

/// Describe the tables of a `.sqlite` file: a list with a dict for each table, in the order of their definition.
///
/// `name`; `columns`: (name, declared type, position in the primary key from 1 or 0); `foreign_keys`: (columns, table that
/// they refer to, columns there or none for its primary key); `values`: for each column its first distinct values that are
/// not NULL, at most `values`. Raises `QsqlError` if the file cannot be read.
#[pyfunction]
#[pyo3(signature = (database, *, values = 0))]
pub(super) fn describe(py: Python<'_>, database: PathBuf, values: usize) -> PyResult<Vec<Bound<'_, PyDict>>> {
    guarded("describe", || {
        let suite = Suite::at(&database)?;
        let file = &suite.files()[0];
        let unreadable = |failure: Failure| {
            let name = file.display();
            QsqlError::new_err(format!("cannot read `{name}`: {failure}\nhint: it must be a SQLite database"))
        };
        let mut open = Database::open(file, false).map_err(unreadable)?;
        let tables = open.describe().map_err(unreadable)?;
        let mut described = Vec::with_capacity(tables.len());
        for table in tables {
            let mut columns = Vec::with_capacity(table.columns.len());
            for column in table.columns.iter().filter(|_| values > 0) {
                columns.push(examples(&mut open, &table.name, &column.name, values).map_err(unreadable)?);
            }
            described.push(table_dict(py, table, &columns)?);
        }
        Ok(described)
    })
}

/// Describe the tables that a text of CREATE TABLE statements defines, as `describe` does.
///
/// Raises `QsqlError` if it does not compile, or does more than to define.
#[pyfunction]
pub(super) fn describe_definitions<'py>(py: Python<'py>, definitions: &str) -> PyResult<Vec<Bound<'py, PyDict>>> {
    guarded("describe_definitions", || {
        initialize()?;
        let tables = Database::define(definitions).and_then(|mut database| database.describe());
        let tables = tables.map_err(|failure| {
            QsqlError::new_err(format!("the schema does not compile: {failure}\nhint: it is CREATE TABLE statements"))
        })?;
        tables.into_iter().map(|table| table_dict(py, table, &[])).collect()
    })
}

fn table_dict<'py>(py: Python<'py>, table: TableDescription, values: &[Vec<Cell>]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("name", table.name)?;
    let columns: Vec<_> = table.columns.into_iter().map(|column| (column.name, column.declared, column.key)).collect();
    dict.set_item("columns", columns)?;
    let keys: Vec<_> = table.foreign_keys.into_iter().map(|key| (key.columns, key.table, key.references)).collect();
    dict.set_item("foreign_keys", keys)?;
    let values: Vec<Vec<_>> = values
        .iter()
        .map(|cells| cells.iter().map(|cell| cell_object(py, cell)).collect::<PyResult<_>>())
        .collect::<PyResult<_>>()?;
    dict.set_item("values", values)?;
    Ok(dict)
}

/// A cell as Python's `sqlite3` gives it.
pub(super) fn cell_object<'py>(py: Python<'py>, cell: &Cell) -> PyResult<Bound<'py, PyAny>> {
    Ok(match cell {
        Cell::Null => py.None().into_bound(py),
        Cell::Integer(integer) => integer.into_pyobject(py)?.into_any(),
        Cell::Real(real) => real.into_pyobject(py)?.into_any(),
        Cell::Text(text) => text.as_ref().into_pyobject(py)?.into_any(),
        Cell::Blob(bytes) => PyBytes::new(py, bytes).into_any(),
    })
}

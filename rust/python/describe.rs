//! `describe` and `describe_definitions`.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::arguments::{integer, within};
use super::{Callbacks, QsqlError, guarded, interruptible};
use crate::error::Error;
use crate::exec::denotation::Cell;
use crate::exec::examples::examples;
use crate::exec::sandbox::{Database, Failure, TableDescription, initialize, on_large_stack};
use crate::exec::suite::Suite;
use crate::score::Progress;

#[doc = documented!("describe")]
#[pyfunction]
#[pyo3(signature = (database, *, values = 0))]
pub(super) fn describe(
    py: Python<'_>,
    database: PathBuf,
    #[pyo3(from_py_with = integer)] values: i64,
) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let values = within("values", values, 0..=i64::MAX)?;
    let suite = guarded("describe", || Ok(Suite::at(&database)?))?;
    let file = suite.files()[0].path();
    tables(py, || Database::open(file, false), values)?.map_err(|failure| {
        let name = file.display();
        QsqlError::new_err(format!("cannot read `{name}`: {failure}\nhint: it must be a SQLite database"))
    })
}

#[doc = documented!("describe_definitions")]
#[pyfunction]
pub(super) fn describe_definitions<'py>(py: Python<'py>, definitions: &str) -> PyResult<Vec<Bound<'py, PyDict>>> {
    tables(py, || Database::define(definitions), 0)?.map_err(|failure| {
        QsqlError::new_err(format!("the schema does not compile: {failure}\nhint: it is CREATE TABLE statements"))
    })
}

/// Describes the tables of a database, on a thread of its own: what defines them is no less to be trusted than a query.
fn tables(
    py: Python<'_>,
    open: impl FnOnce() -> Result<Database, Failure> + Send,
    values: usize,
) -> PyResult<Result<Vec<Bound<'_, PyDict>>, Failure>> {
    let described = interruptible(py, &Progress::default(), Callbacks::default(), |cancel| {
        initialize()?;
        let describe = || {
            let mut database = open()?;
            database.watch(Arc::clone(cancel));
            let tables = database.describe()?;
            let values_of = |table: TableDescription| {
                let columns = table.columns.iter().filter(|_| values > 0);
                let cells = columns.map(|column| match examples(&mut database, &table.name, &column.name, values) {
                    // Its module finds it damaged, or cannot go through it.
                    Err(Failure::Sql(_) | Failure::Database(_)) if table.definition.is_some() => Ok(Vec::new()),
                    found => found,
                });
                let cells = cells.collect::<Result<Vec<_>, Failure>>()?;
                Ok((table, cells))
            };
            tables.into_iter().map(values_of).collect::<Result<Vec<_>, Failure>>()
        };
        on_large_stack(describe)?.map_err(|message| Error::Query { message })
    })?;
    match described {
        Err(failure) => Ok(Err(failure)),
        Ok(described) => {
            let dicts = described.into_iter().map(|(table, values)| table_dict(py, table, &values));
            dicts.collect::<PyResult<Vec<_>>>().map(Ok)
        }
    }
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
    if let Some(definition) = table.definition {
        dict.set_item("definition", definition)?;
    }
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

//! `Schema`, `ExactMatch`, `exact_match` and `hardness`.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyDict, PyString, PyType};
use serde::{Deserialize, Serialize};

use super::pickle::{self, Reduced};
use super::{QsqlError, guarded};
use crate::exec::suite::Suite;
use crate::score::{DatabaseSchemas, read_schema};
use crate::spider::{self, Component, Partial, Tables, parse};
use crate::sql::canonical;

#[doc = documented!("Schema")]
#[pyclass(frozen, eq, hash, module = "qsql")]
pub(super) struct Schema(DatabaseSchemas);

// The file that it comes from does not count.
impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        (&self.0.exact, &self.0.canonical) == (&other.0.exact, &other.0.canonical)
    }
}

impl Hash for Schema {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.canonical.tables().hash(state);
    }
}

#[pymethods]
impl Schema {
    #[new]
    #[pyo3(signature = (tables, foreign_keys = Vec::new()))]
    fn new(tables: &Bound<'_, PyDict>, foreign_keys: Vec<(String, String)>) -> PyResult<Self> {
        guarded("Schema", || Self::build(tables, &foreign_keys))
    }

    #[doc = documented!("Schema.read")]
    #[staticmethod]
    #[pyo3(signature = (database, tables = None, db_id = None))]
    fn read(database: PathBuf, tables: Option<PathBuf>, db_id: Option<String>) -> PyResult<Self> {
        guarded("Schema.read", || {
            let suite = Suite::at(&database)?;
            let file = suite.files()[0].path();
            let tables = tables.map(|path| Tables::read(&path)).transpose()?;
            let db_id = db_id.unwrap_or_else(|| file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
            let schema = read_schema(file, tables.as_ref().map(|tables| (tables, db_id.as_str())))?;
            schema.map(Self).map_err(|failure| {
                QsqlError::new_err(format!(
                    "cannot read the schema of `{}`: {failure}\nhint: it must be a SQLite database",
                    file.display()
                ))
            })
        })
    }

    /// For pickle and copy.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        pickle::reduce(slf.as_any(), &slf.get().0)
    }

    #[classmethod]
    fn _unpickled(_: &Bound<'_, PyType>, pickled: &[u8]) -> PyResult<Self> {
        pickle::restore(pickled).map(Self)
    }
}

impl Schema {
    fn build(tables: &Bound<'_, PyDict>, foreign_keys: &[(String, String)]) -> PyResult<Self> {
        let tables = table_list(tables)?;
        let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
        let columns: Vec<(i64, &str)> = (0..)
            .zip(&tables)
            .flat_map(|(table, (_, columns))| columns.iter().map(move |column| (table, column.as_str())))
            .collect();
        let index = |name: &str| {
            let same = |&(table, column): &(i64, &str)| {
                let table = usize::try_from(table).ok().and_then(|table| names.get(table));
                table.is_some_and(|table| format!("{table}.{column}").eq_ignore_ascii_case(name))
            };
            columns.iter().position(same).ok_or_else(|| {
                QsqlError::new_err(format!("no column `{name}`\nhint: a foreign key is a pair of \"table.column\""))
            })
        };
        let pairs = foreign_keys.iter().map(|(from, to)| Ok((index(from)?, index(to)?)));
        let pairs = pairs.collect::<PyResult<Vec<_>>>()?;
        let keys = spider::schema::ForeignKeys { tables: &names, columns: &columns, pairs: &pairs };
        let schema = spider::Schema::new(tables.iter().map(|(name, columns)| (name, columns.clone())));
        let exact = schema.with_foreign_keys(keys).map_err(|error| QsqlError::new_err(error.to_string()))?;
        Ok(Self(DatabaseSchemas { exact, canonical: canonical::Schema::new(tables) }))
    }
}

fn table_list(tables: &Bound<'_, PyDict>) -> PyResult<Vec<(String, Vec<String>)>> {
    tables.iter().map(|(name, columns)| Ok((name.extract()?, columns.extract()?))).collect()
}

/// A schema, or table name -> names of its columns.
#[derive(FromPyObject)]
pub(super) enum SchemaArgument<'py> {
    Schema(PyRef<'py, Schema>),
    Tables(Bound<'py, PyDict>),
}

impl SchemaArgument<'_> {
    fn with<T>(&self, use_it: impl FnOnce(&spider::Schema) -> PyResult<T>) -> PyResult<T> {
        match self {
            Self::Schema(schema) => use_it(&schema.0.exact),
            Self::Tables(tables) => use_it(&spider::Schema::new(table_list(tables)?)),
        }
    }
}

/// Partial scores by the official names of the components.
pub(super) fn partial_scores<'py>(py: Python<'py>, partial: &[Partial; 10]) -> PyResult<Bound<'py, PyDict>> {
    let scores = PyDict::new(py);
    for (component, partial) in Component::ALL.iter().zip(partial) {
        scores.set_item(component.name(), partial.row())?;
    }
    Ok(scores)
}

#[doc = documented!("ExactMatch")]
#[pyclass(frozen, eq, hash, module = "qsql")]
#[derive(PartialEq, Eq, Hash)]
pub(super) struct ExactMatch(Comparison);

/// What is known of a prediction beside its gold.
#[derive(PartialEq, Eq, Hash, Deserialize, Serialize)]
struct Comparison {
    exact: bool,
    partial: [Partial; 10],
    rejected: Option<String>,
    position: Option<usize>,
    hardness: spider::Hardness,
}

#[pymethods]
impl ExactMatch {
    #[doc = documented!("ExactMatch.exact")]
    #[getter]
    fn exact(&self) -> bool {
        self.0.exact
    }

    #[doc = documented!("ExactMatch.partial")]
    #[getter]
    fn partial<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        partial_scores(py, &self.0.partial)
    }

    #[doc = documented!("ExactMatch.rejected")]
    #[getter]
    fn rejected(&self) -> Option<&str> {
        self.0.rejected.as_deref()
    }

    #[doc = documented!("ExactMatch.position")]
    #[getter]
    fn position(&self) -> Option<usize> {
        self.0.position
    }

    #[doc = documented!("ExactMatch.hardness")]
    #[getter]
    fn hardness(&self) -> &'static str {
        self.0.hardness.name()
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
        let exact = if self.0.exact { "True" } else { "False" };
        match &self.0.rejected {
            None => format!("ExactMatch(exact={exact})"),
            Some(rejected) => format!("ExactMatch(exact={exact}, rejected={rejected:?})"),
        }
    }
}

fn parse_gold(gold: &str, schema: &spider::Schema) -> PyResult<spider::Query> {
    parse(gold, schema).map_err(|rejection| {
        QsqlError::new_err(format!(
            "Spider's grammar rejects the gold `{gold}`: {rejection}\n\
             hint: write it in Spider's dialect, with spaces round operators and `AS` before aliases"
        ))
    })
}

#[doc = documented!("exact_match")]
#[pyfunction]
pub(super) fn exact_match(
    gold: PyBackedStr,
    prediction: Bound<'_, PyString>,
    schema: SchemaArgument<'_>,
) -> PyResult<ExactMatch> {
    // Text with lone surrogates cannot be borrowed; the grammar has no more use for it than Python.
    let prediction = prediction.to_string_lossy();
    let compare = |schema: &spider::Schema| {
        let gold = parse_gold(&gold, schema)?;
        let parsed = parse(&prediction, schema);
        let found = spider::ExactMatch::compare(parsed.as_ref().ok(), &gold, schema);
        let rejection = parsed.err();
        let position = rejection.as_ref().and_then(|rejection| prediction.get(..rejection.offset?));
        Ok(ExactMatch(Comparison {
            exact: found.exact,
            partial: found.partial,
            position: position.map(|before| before.chars().count()),
            rejected: rejection.map(|rejection| rejection.reason.to_string()),
            hardness: spider::hardness(&gold),
        }))
    };
    guarded("exact_match", || schema.with(compare))
}

#[doc = documented!("hardness")]
#[pyfunction]
pub(super) fn hardness(sql: PyBackedStr, schema: SchemaArgument<'_>) -> PyResult<&'static str> {
    guarded("hardness", || schema.with(|schema| Ok(spider::hardness(&parse_gold(&sql, schema)?).name())))
}

#[doc = documented!("canonicalize")]
#[pyfunction]
#[pyo3(signature = (sql, schema = None))]
pub(super) fn canonicalize(sql: PyBackedStr, schema: Option<SchemaArgument<'_>>) -> PyResult<String> {
    guarded("canonicalize", || {
        let found = match &schema {
            None => canonical::canonicalize(&sql, None),
            Some(SchemaArgument::Schema(schema)) => canonical::canonicalize(&sql, Some(&schema.0.canonical)),
            Some(SchemaArgument::Tables(tables)) => {
                canonical::canonicalize(&sql, Some(&canonical::Schema::new(table_list(tables)?)))
            }
        };
        found.map_err(|error| QsqlError::new_err(format!("{error}\nhint: go on with the query as it is")))
    })
}

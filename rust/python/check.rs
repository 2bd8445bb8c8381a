//! `Check` and `check`.

use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::pickle::{self, Reduced};
use super::{Callbacks, QsqlError, interruptible};
use crate::score::{self, Progress};

#[doc = documented!("Check")]
#[pyclass(frozen, eq, hash, module = "qsql")]
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Check(Option<score::Fault>);

#[pymethods]
impl Check {
    #[doc = documented!("Check.error")]
    #[getter]
    fn error(&self) -> Option<&'static str> {
        self.0.as_ref().map(|fault| fault.kind.name())
    }

    #[doc = documented!("Check.name")]
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.as_ref()?.name.as_deref()
    }

    #[doc = documented!("Check.detail")]
    #[getter]
    fn detail(&self) -> Option<&str> {
        self.0.as_ref().map(|fault| fault.detail.as_str())
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
        match &self.0 {
            None => "Check(error=None)".to_owned(),
            Some(fault) => format!("Check(error='{}', detail={:?})", fault.kind.name(), fault.detail),
        }
    }
}

#[doc = documented!("check")]
#[pyfunction]
#[pyo3(signature = (schemas, queries, *, progress = None))]
pub(super) fn check(
    py: Python<'_>,
    schemas: Vec<Bound<'_, PyString>>,
    queries: Vec<Bound<'_, PyString>>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Vec<Check>> {
    if schemas.len() != queries.len() {
        let message = format!(
            "{} schemas and {} queries: the lists differ in length\nhint: give one schema for each query",
            schemas.len(),
            queries.len()
        );
        return Err(QsqlError::new_err(message));
    }
    // Text with lone surrogates cannot be borrowed; SQLite has no more use for it than Python.
    let [schemas, queries] =
        [&schemas, &queries].map(|column| column.iter().map(|text| text.to_string_lossy()).collect::<Vec<_>>());
    let counters = Progress::default();
    let faults = interruptible(py, &counters, Callbacks::new(progress.as_ref(), None), |cancel| {
        let [schemas, queries] =
            [&schemas, &queries].map(|column| column.iter().map(AsRef::as_ref).collect::<Vec<&str>>());
        score::check(&schemas, &queries, cancel, &counters)
    })?;
    Ok(faults.into_iter().map(Check).collect())
}

//! `Verdict` and `Denotation`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyType};

use super::pickle::{self, Reduced};
use super::spider::partial_scores;
use crate::score::{self, State};

#[doc = documented!("Verdict")]
#[pyclass(frozen, eq, hash, module = "qsql")]
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Verdict(score::Verdict);

impl From<score::Verdict> for Verdict {
    fn from(verdict: score::Verdict) -> Self {
        Self(verdict)
    }
}

#[pymethods]
impl Verdict {
    #[doc = documented!("Verdict.execution")]
    #[getter]
    fn execution(&self) -> Option<bool> {
        self.0.execution
    }

    #[doc = documented!("Verdict.state")]
    #[getter]
    fn state(&self) -> &'static str {
        self.0.state.name()
    }

    #[doc = documented!("Verdict.stage")]
    #[getter]
    fn stage(&self) -> Option<&'static str> {
        self.0.stage.map(score::Stage::name)
    }

    #[doc = documented!("Verdict.databases")]
    #[getter]
    fn databases(&self) -> usize {
        self.0.databases
    }

    #[doc = documented!("Verdict.failed_on")]
    #[getter]
    fn failed_on(&self) -> Option<&str> {
        self.0.failed_on.as_deref()
    }

    #[doc = documented!("Verdict.detail")]
    #[getter]
    fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    #[doc = documented!("Verdict.capped")]
    #[getter]
    fn capped(&self) -> bool {
        self.0.is_capped
    }

    #[doc = documented!("Verdict.exact")]
    #[getter]
    fn exact(&self) -> Option<bool> {
        self.0.exact.exact
    }

    #[doc = documented!("Verdict.canonical_exact")]
    #[getter]
    fn canonical_exact(&self) -> Option<bool> {
        self.0.exact.canonical_exact
    }

    #[doc = documented!("Verdict.hardness")]
    #[getter]
    fn hardness(&self) -> Option<&'static str> {
        self.0.exact.hardness.map(crate::spider::Hardness::name)
    }

    #[doc = documented!("Verdict.partial")]
    #[getter]
    fn partial<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        self.0.exact.partial.as_ref().map(|partial| partial_scores(py, partial)).transpose()
    }

    #[doc = documented!("Verdict.rejected")]
    #[getter]
    fn rejected(&self) -> Option<&str> {
        self.0.exact.rejected.as_deref()
    }

    #[doc = documented!("Verdict.gold_rejected")]
    #[getter]
    fn gold_rejected(&self) -> Option<&str> {
        self.0.exact.gold_rejected.as_deref()
    }

    #[doc = documented!("Verdict.to_dict")]
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(py);
        found.set_item("hardness", self.hardness())?;
        found.set_item("exact", self.exact())?;
        found.set_item("execution", self.execution())?;
        found.set_item("state", self.state())?;
        found.set_item("stage", self.stage())?;
        found.set_item("partial", self.partial(py)?)?;
        found.set_item("canonical_exact", self.canonical_exact())?;
        found.set_item("rejected", self.rejected())?;
        found.set_item("gold_rejected", self.gold_rejected())?;
        found.set_item("databases", self.databases())?;
        found.set_item("failed_on", self.failed_on())?;
        found.set_item("detail", self.detail())?;
        found.set_item("capped", self.capped())?;
        Ok(found)
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

#[doc = documented!("Denotation")]
#[pyclass(frozen, eq, hash, module = "qsql")]
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Denotation(score::Denotation);

impl From<score::Denotation> for Denotation {
    fn from(denotation: score::Denotation) -> Self {
        Self(denotation)
    }
}

#[pymethods]
impl Denotation {
    #[doc = documented!("Denotation.state")]
    #[getter]
    fn state(&self) -> &'static str {
        run_state(self.0.state)
    }

    #[doc = documented!("Denotation.columns")]
    #[getter]
    fn columns(&self) -> Option<usize> {
        self.0.digest.map(|digest| digest.columns)
    }

    #[doc = documented!("Denotation.rows")]
    #[getter]
    fn rows(&self) -> Option<u64> {
        self.0.digest.map(|digest| digest.rows)
    }

    #[doc = documented!("Denotation.digest")]
    #[getter]
    fn digest<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.0.digest.map(|digest| PyBytes::new(py, &digest.to_bytes()))
    }

    #[doc = documented!("Denotation.detail")]
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
        match (&self.0.digest, &self.0.detail) {
            (Some(digest), _) => format!("Denotation(state='ran', columns={}, rows={})", digest.columns, digest.rows),
            (None, detail) => {
                format!("Denotation(state='{}', detail={:?})", self.state(), detail.as_deref().unwrap_or_default())
            }
        }
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

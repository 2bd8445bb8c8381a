//! Numbers that calls take, with their bounds. One that is out of them is a `QsqlError` that says what may be given.

use std::ops::RangeInclusive;
use std::time::Duration;

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;

use super::QsqlError;
use crate::exec::sandbox::Limits;

/// Takes an integer, for `from_py_with`: one that is too large or too small to be held becomes the nearest that is not, so
/// that [`within`] can say what is wrong with it. What is no integer at all is a `TypeError`, as Python has it.
pub(super) fn integer(given: &Bound<'_, PyAny>) -> PyResult<i64> {
    match given.extract::<i64>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(given.py()) => {
            Ok(if given.lt(0)? { i64::MIN } else { i64::MAX })
        }
        taken => taken,
    }
}

/// The same for an argument that may be None.
pub(super) fn optional_integer(given: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if given.is_none() { Ok(None) } else { integer(given).map(Some) }
}

/// Takes a number, likewise: an integer that no float can hold is infinite.
pub(super) fn number(given: &Bound<'_, PyAny>) -> PyResult<f64> {
    match given.extract::<f64>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(given.py()) => {
            Ok(if given.lt(0)? { f64::NEG_INFINITY } else { f64::INFINITY })
        }
        taken => taken,
    }
}

/// An integer argument that has bounds.
pub(super) fn within<T: TryFrom<i64>>(name: &str, given: i64, bounds: RangeInclusive<i64>) -> PyResult<T> {
    let taken = if bounds.contains(&given) { T::try_from(given).ok() } else { None };
    taken.ok_or_else(|| {
        let given = match given {
            i64::MIN => "below all bounds".to_owned(),
            i64::MAX => "beyond all bounds".to_owned(),
            given => given.to_string(),
        };
        let hint = match (*bounds.start(), *bounds.end()) {
            (least, i64::MAX) => format!("give {least} or more"),
            (least, most) => format!("give {least} to {most}"),
        };
        QsqlError::new_err(format!("`{name}` is {given}\nhint: {hint}"))
    })
}

/// Most seconds that a query may have: 31 years.
const MOST_SECONDS: f64 = 1e9;

/// A timeout from Python.
pub(super) fn seconds(timeout: f64) -> PyResult<Duration> {
    let taken = if timeout <= MOST_SECONDS { Duration::try_from_secs_f64(timeout).ok() } else { None };
    taken.filter(|timeout| !timeout.is_zero()).ok_or_else(|| {
        let hint = format!("give a number of seconds above 0, at most {MOST_SECONDS}");
        QsqlError::new_err(format!("`timeout` is {timeout:?}\nhint: {hint}"))
    })
}

/// The limits of a query from Python.
pub(super) fn limits(timeout: f64, max_steps: i64, max_memory: i64) -> PyResult<Limits> {
    Ok(Limits {
        timeout: seconds(timeout)?,
        steps: within("max_steps", max_steps, 1..=i64::MAX)?,
        memory: within("max_memory", max_memory, 1..=i64::MAX)?,
    })
}

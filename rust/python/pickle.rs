//! How results travel between processes: as bytes, behind the version that wrote them.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{QsqlError, guarded};

/// What `__reduce__` gives: a function that makes the object again, and its argument.
pub(super) type Reduced<'py> = (Bound<'py, PyAny>, (Bound<'py, PyBytes>,));

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What an object is pickled as. Its class has a class method `_unpickled`, which is [`restore`].
pub(super) fn reduce<'py, T: Serialize>(object: &Bound<'py, PyAny>, value: &T) -> PyResult<Reduced<'py>> {
    let bytes = postcard::to_allocvec(&(VERSION, value))
        .map_err(|error| QsqlError::new_err(format!("cannot pickle {object}: {error}")))?;
    Ok((object.get_type().getattr("_unpickled")?, (PyBytes::new(object.py(), &bytes),)))
}

/// What was pickled.
pub(super) fn restore<T: DeserializeOwned>(bytes: &[u8]) -> PyResult<T> {
    guarded("unpickle", || {
        let read = |error: postcard::Error| {
            QsqlError::new_err(format!("what was pickled is damaged: {error}\nhint: make it again"))
        };
        let (version, rest) = postcard::take_from_bytes::<&str>(bytes).map_err(read)?;
        if version != VERSION {
            return Err(QsqlError::new_err(format!(
                "it was pickled by qsql {version}, and this is {VERSION}\nhint: keep results as JSON (`to_dict`) where they \
                 outlive a version"
            )));
        }
        postcard::from_bytes(rest).map_err(read)
    })
}

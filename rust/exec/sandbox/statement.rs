//! Prepared statements, and how their results are read.

#![expect(unsafe_code, reason = "statements are stepped through the C interface")]

use std::ffi::{CStr, c_int};
use std::ops::ControlFlow;

use rusqlite::ffi;

use crate::exec::denotation::Value;

/// A prepared statement.
#[derive(Debug)]
pub(super) struct Statement {
    handle: *mut ffi::sqlite3_stmt,
}

// SAFETY: a statement is used by the thread that has its connection, and goes with it from one thread to another.
unsafe impl Send for Statement {}

impl Statement {
    /// # Safety
    ///
    /// `handle` must be a live statement that nothing else finalizes. It must be dropped before its connection is closed.
    pub(super) unsafe fn new(handle: *mut ffi::sqlite3_stmt) -> Self {
        Self { handle }
    }

    pub(super) fn columns(&self) -> usize {
        // SAFETY: the handle is a live statement, here and in the methods below.
        usize::try_from(unsafe { ffi::sqlite3_column_count(self.handle) }).unwrap_or(0)
    }

    /// The name of a column. Bytes that are no UTF-8 become replacement characters.
    pub(super) fn name(&self, column: usize) -> String {
        let column = c_int::try_from(column).unwrap_or(c_int::MAX);
        // SAFETY: as above. The name, null where there is no memory for it, lives until the next call.
        let name = unsafe { ffi::sqlite3_column_name(self.handle, column) };
        // SAFETY: not null, hence a C string.
        if name.is_null() { String::new() } else { unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned() }
    }

    pub(super) fn parameters(&self) -> c_int {
        // SAFETY: as above.
        unsafe { ffi::sqlite3_bind_parameter_count(self.handle) }
    }

    pub(super) fn is_readonly(&self) -> bool {
        // SAFETY: as above.
        unsafe { ffi::sqlite3_stmt_readonly(self.handle) != 0 }
    }

    /// Makes it ready to run again, as if for the first time: the progress handler is called after so many instructions of all
    /// runs, unless they are counted anew.
    pub(super) fn reset(&self) {
        // SAFETY: as above. The code repeats the last step's and says nothing new.
        unsafe {
            ffi::sqlite3_reset(self.handle);
            ffi::sqlite3_stmt_status(self.handle, ffi::SQLITE_STMTSTATUS_VM_STEP, 1);
        }
    }

    /// Goes to the next row, if there is one.
    pub(super) fn step(&self) -> Result<bool, c_int> {
        // SAFETY: as above.
        match unsafe { ffi::sqlite3_step(self.handle) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(code),
        }
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: the handle is live and not used again. The code repeats the last step's and says nothing new.
        unsafe { ffi::sqlite3_finalize(self.handle) };
    }
}

/// Takes in the result of a query. `start` and `row` may break off; nothing more is computed then.
pub trait Reader {
    /// The names of its columns, before all else, for readers that want them.
    fn names(&mut self, _: impl Iterator<Item = String>) {}
    /// The query is valid, and its result has so many columns; no row is computed yet.
    fn start(&mut self, columns: usize) -> ControlFlow<()>;
    /// The next row.
    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()>;
}

/// The row that a statement stands on.
pub struct Row<'a> {
    statement: &'a Statement,
    columns: usize,
}

impl<'a> Row<'a> {
    pub(super) fn new(statement: &'a Statement, columns: usize) -> Self {
        Self { statement, columns }
    }
    /// The cells from left to right. They live until the next row.
    pub fn cells(&self) -> impl Iterator<Item = Value<'_>> {
        (0..).take(self.columns).map(|column| self.cell(column))
    }

    fn cell(&self, column: c_int) -> Value<'_> {
        // SAFETY: the statement stands on a row and `column` is one of its columns. No other thread uses the value. Text
        // and blob pointers are valid for their length until the next step, which borrows of `self` outlast no more than
        // `self` itself; the length is asked for after the pointer, as SQLite wants it. Null, from an empty blob or a lack
        // of memory, is no bytes.
        unsafe {
            let value = ffi::sqlite3_column_value(self.statement.handle, column);
            let bytes = |data: *const u8| {
                if data.is_null() {
                    return &[][..];
                }
                let length = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
                std::slice::from_raw_parts(data, length)
            };
            match ffi::sqlite3_value_type(value) {
                ffi::SQLITE_INTEGER => Value::Integer(ffi::sqlite3_value_int64(value)),
                ffi::SQLITE_FLOAT => Value::Real(ffi::sqlite3_value_double(value)),
                ffi::SQLITE_TEXT => Value::Text(bytes(ffi::sqlite3_value_text(value))),
                ffi::SQLITE_BLOB => Value::Blob(bytes(ffi::sqlite3_value_blob(value).cast())),
                _ => Value::Null,
            }
        }
    }
}

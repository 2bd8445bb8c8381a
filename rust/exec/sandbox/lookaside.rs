//! The small allocations of SQLite, from a buffer of the thread.
//!
//! SQLite gives every connection a buffer of its own for them. A thousand databases that stay open would be a thousand
//! buffers, each of them cold when its turn comes. Here a connection borrows that of the thread that uses it.

#![expect(unsafe_code, reason = "the buffer is handed to SQLite's C interface")]

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;

use rusqlite::{Connection, ffi};

/// Size and number of the pieces, as SQLite has them by default.
const SLOT: c_int = 1200;
const SLOTS: c_int = 40;

/// Of words, to be aligned as SQLite wants it.
type Buffer = Box<[u64]>;

thread_local! {
    /// The buffer of the thread, while no connection has it.
    static BUFFER: Cell<Option<Buffer>> = const { Cell::new(None) };
}

/// A buffer on loan to a connection; goes back when this is dropped, also by a panic.
pub(super) struct Loan {
    handle: *mut ffi::sqlite3,
    buffer: Option<Buffer>,
}

impl Loan {
    /// Lends the thread's buffer to a connection, which must live longer than the loan and stay on this thread.
    pub(super) fn new(connection: &Connection) -> Self {
        let mut buffer = BUFFER.take().unwrap_or_else(|| vec![0; (SLOT * SLOTS) as usize / 8].into());
        // SAFETY: the connection is open.
        let handle = unsafe { connection.handle() };
        let lent = set(handle, buffer.as_mut_ptr().cast(), SLOT, SLOTS);
        if lent {
            return Self { handle, buffer: Some(buffer) };
        }
        BUFFER.set(Some(buffer));
        Self { handle, buffer: None }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Some(buffer) = self.buffer.take() else { return };
        if set(self.handle, ptr::null_mut(), 0, 0) {
            BUFFER.set(Some(buffer));
        } else {
            // The connection still has something in it, so it is the connection's for good.
            Box::leak(buffer);
        }
    }
}

/// Sets the buffer of a connection, or none; refused while there is something in the present one.
fn set(handle: *mut ffi::sqlite3, buffer: *mut std::ffi::c_void, slot: c_int, slots: c_int) -> bool {
    // SAFETY: the connection is open by the promise of `Loan::new`, and the buffer null or as large as `Buffer`; it lives
    // until it is taken back, or forever.
    unsafe { ffi::sqlite3_db_config(handle, ffi::SQLITE_DBCONFIG_LOOKASIDE, buffer, slot, slots) == ffi::SQLITE_OK }
}

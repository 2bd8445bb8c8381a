//! What an aggregate that makes JSON has come to, in memory of SQLite's.

use std::ffi::c_int;
use std::ptr;

use rusqlite::ffi;

/// What an aggregate has come to: its entries, each behind its length, which is 0 for a key that is NULL and makes no entry.
pub(super) struct Group {
    /// Memory from SQLite's allocator, which counts it.
    bytes: *mut u8,
    room: usize,
    end: usize,
    /// Where the first entry begins that has not been taken out again.
    start: usize,
}

/// Bytes of a length.
const LENGTH: usize = size_of::<u32>();

impl Group {
    fn new() -> Self {
        Self { bytes: ptr::null_mut(), room: 0, end: 0, start: 0 }
    }

    /// Adds an entry; whether there was memory for it.
    pub(super) fn push(&mut self, entry: &[u8]) -> bool {
        let Ok(length) = u32::try_from(entry.len()) else { return false };
        let end = self.end + LENGTH + entry.len();
        if end > self.room {
            let room = end.max(2 * self.room);
            // SAFETY: null or an allocation of SQLite's, which on failure stays as it is.
            let bytes = unsafe { ffi::sqlite3_realloc64(self.bytes.cast(), room as u64) };
            if bytes.is_null() {
                return false;
            }
            (self.bytes, self.room) = (bytes.cast(), room);
        }
        // SAFETY: there is room for both.
        unsafe {
            let at = self.bytes.add(self.end);
            ptr::copy_nonoverlapping(length.to_le_bytes().as_ptr(), at, LENGTH);
            ptr::copy_nonoverlapping(entry.as_ptr(), at.add(LENGTH), entry.len());
        }
        self.end = end;
        true
    }

    /// The entries, those for keys that are NULL included.
    pub(super) fn entries(&self) -> impl Iterator<Item = &[u8]> {
        let filled = if self.end == 0 {
            &[][..]
        } else {
            // SAFETY: so many bytes were written, and they stay while this is borrowed.
            unsafe { std::slice::from_raw_parts(self.bytes, self.end) }
        };
        let mut rest = filled.get(self.start..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk::<LENGTH>()?;
            let (entry, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = behind;
            Some(entry)
        })
    }

    /// Takes the first entry out.
    pub(super) fn pop(&mut self) {
        let first = self.entries().next().map_or(0, |entry| LENGTH + entry.len());
        self.start += first;
        if self.start > self.end / 2 {
            // SAFETY: both parts lie within what was written.
            unsafe { ptr::copy(self.bytes.add(self.start), self.bytes, self.end - self.start) };
            (self.start, self.end) = (0, self.end - self.start);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: null or an allocation of SQLite's, not used again.
        unsafe { ffi::sqlite3_free(self.bytes.cast()) }
    }
}

/// The group of an aggregate; `None` if there is none yet and none is `wanted`, or there is no memory for it.
///
/// # Safety
///
/// `context` must be that of a running aggregate. The group lives until `finish`.
pub(super) unsafe fn group<'a>(context: *mut ffi::sqlite3_context, wanted: bool) -> Option<&'a mut Group> {
    let size = if wanted { c_int::try_from(size_of::<*mut Group>()).unwrap_or(0) } else { 0 };
    // SAFETY: SQLite gives room for an address, zero at first, or null where there is none.
    unsafe {
        let place = ffi::sqlite3_aggregate_context(context, size).cast::<*mut Group>().as_mut()?;
        if place.is_null() {
            *place = Box::into_raw(Box::new(Group::new()));
        }
        place.as_mut()
    }
}

//! What SQL functions are called with, and what they answer.

#![expect(unsafe_code, reason = "values of the C interface")]

use rusqlite::ffi;

/// The text of an argument, converted if it is a number; `None` for NULL.
///
/// # Safety
///
/// `value` must be an argument of the running function, and not be converted while the text is in use.
pub(super) unsafe fn text<'a>(value: *mut ffi::sqlite3_value) -> Option<&'a [u8]> {
    // SAFETY: by the caller's promise; the length is asked for after the text, as SQLite wants it.
    unsafe {
        let data = ffi::sqlite3_value_text(value);
        (!data.is_null()).then(|| {
            std::slice::from_raw_parts(data, usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or_default())
        })
    }
}

/// Answers with a text.
///
/// # Safety
///
/// `context` must be that of the running function.
pub(super) unsafe fn return_text(context: *mut ffi::sqlite3_context, bytes: &[u8]) {
    // SAFETY: SQLite copies the bytes, and refuses them if they are too many.
    unsafe {
        ffi::sqlite3_result_text64(
            context,
            bytes.as_ptr().cast(),
            bytes.len() as u64,
            ffi::SQLITE_TRANSIENT(),
            u8::try_from(ffi::SQLITE_UTF8).unwrap_or_default(),
        );
    }
}

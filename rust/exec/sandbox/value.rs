//! What SQL functions are called with, and what they answer.

#![expect(unsafe_code, reason = "values of the C interface")]

use std::ffi::{CStr, c_void};

use memchr::memchr;
use rusqlite::ffi;

use super::watch::{Interrupted, Watch, gauge};

/// The watch of the connection that calls a function.
///
/// # Safety
///
/// `context` must be that of a function that was registered with the address of a live watch, on this thread.
pub(super) unsafe fn watch<'a>(context: *mut ffi::sqlite3_context) -> &'a Watch {
    // SAFETY: by the caller's promise; watches are never borrowed mutably.
    unsafe { &*ffi::sqlite3_user_data(context).cast::<c_void>().cast::<Watch>() }
}

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

/// Answers with an error where the query must stop.
///
/// # Safety
///
/// `context` must be that of the running function.
pub(super) unsafe fn finish(context: *mut ffi::sqlite3_context, done: Result<(), Interrupted>) {
    // SAFETY: by the caller's promise.
    unsafe {
        match done {
            Ok(()) => {}
            Err(Interrupted::Limit) => ffi::sqlite3_result_error_code(context, ffi::SQLITE_INTERRUPT),
            Err(Interrupted::Memory) => ffi::sqlite3_result_error_nomem(context),
        }
    }
}

/// What functions take of a text that holds a null byte: the part before it.
pub(super) fn until_null(text: &[u8]) -> &[u8] {
    let end = memchr(0, text).unwrap_or(text.len());
    gauge::touch(end);
    &text[..end]
}

/// Whether a byte continues a character of UTF-8.
pub(super) fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// How long the first character of `text` is, as SQLite cuts text: a byte, and behind one from `0xc0` on all that continue
/// it; 0 at the end.
pub(super) fn character_length(text: &[u8]) -> usize {
    let Some((&first, behind)) = text.split_first() else { return 0 };
    let more = if first >= 0xc0 { behind.iter().take_while(|&&byte| continues(byte)).count() } else { 0 };
    gauge::touch(1 + more);
    1 + more
}

/// Takes the first character off, 0 at the end. What is not UTF-8 gives the same nonsense as in SQLite.
pub(super) fn read(text: &mut &[u8]) -> u32 {
    let (character, rest) = text.split_at(character_length(text));
    *text = rest;
    let Some((&first, behind)) = character.split_first() else { return 0 };
    if first < 0xc0 {
        return first.into();
    }
    let start = match first {
        0xc0..0xe0 => first & 0x1f,
        0xe0..0xf0 => first & 0x0f,
        0xf0..0xf8 => first & 0x07,
        0xf8..0xfc => first & 0x03,
        0xfc..0xfe => first & 0x01,
        _ => 0,
    };
    let point = behind.iter().fold(u32::from(start), |point, &byte| (point << 6).wrapping_add(u32::from(byte & 0x3f)));
    if point < 0x80 || point & 0xffff_f800 == 0xd800 || point & 0xffff_fffe == 0xfffe { 0xfffd } else { point }
}

/// [`read`], told to the watch: where a text is not UTF-8, a character may be as long as the text.
pub(super) fn read_watched(watch: &Watch, text: &mut &[u8]) -> Result<u32, Interrupted> {
    let before = text.len();
    let character = read(text);
    watch.compares((before - text.len()).max(1))?;
    Ok(character)
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

/// Answers with a blob, or with NULL.
///
/// # Safety
///
/// `context` must be that of the running function.
pub(super) unsafe fn return_blob(context: *mut ffi::sqlite3_context, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else { return };
    // SAFETY: SQLite copies the bytes, and refuses them if they are too many. No bytes have an address too.
    unsafe {
        ffi::sqlite3_result_blob64(context, bytes.as_ptr().cast(), bytes.len() as u64, ffi::SQLITE_TRANSIENT());
    }
}

/// A float as text in one of SQLite's formats; `None` if there is none.
pub(super) fn float_text(float: f64, format: &CStr) -> Option<Vec<u8>> {
    let mut text = [0_u8; 100];
    // SAFETY: room for so many bytes, and a format for one float. What is written ends with a null.
    unsafe {
        ffi::sqlite3_snprintf(100, text.as_mut_ptr().cast(), format.as_ptr(), float);
    }
    CStr::from_bytes_until_nul(&text).ok().map(|text| text.to_bytes().to_vec())
}

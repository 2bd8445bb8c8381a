//! SQLite's `unhex` with two arguments again, with the same answers in linear time.
//!
//! SQLite's own looks through all characters that may stand between digits for each character that does.

#![expect(unsafe_code, reason = "a function of the C interface")]

use std::collections::HashSet;
use std::ffi::c_int;

use rusqlite::ffi;

use super::memory::Charge;
use super::value::{finish, read_watched, return_blob, text, until_null, watch};
use super::watch::{Interrupted, Watch};

/// What a character of the set takes, where the set has just grown.
const CHARACTER_BYTES: usize = 20;

/// `unhex(subject, ignored)`; its data is the watch.
pub(super) unsafe extern "C" fn unhex(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls this with two arguments, which live until it returns, and registered with the address of a live
    // watch, on this thread.
    unsafe {
        if let (Some(subject), Some(ignored)) = (text(*arguments), text(*arguments.add(1))) {
            let decoded = decoded(watch(context), subject, ignored);
            finish(context, decoded.map(|bytes| return_blob(context, bytes.as_deref())));
        }
    }
}

/// The bytes that pairs of hexadecimal digits stand for, between which only characters of `ignored` may stand.
fn decoded(watch: &Watch, subject: &[u8], ignored: &[u8]) -> Result<Option<Vec<u8>>, Interrupted> {
    let (mut characters, mut charge) = (HashSet::new(), Charge::default());
    let mut rest = ignored;
    while !rest.is_empty() {
        if characters.insert(read_watched(watch, &mut rest)?) {
            charge.add(CHARACTER_BYTES)?;
        }
    }
    let mut bytes = Vec::with_capacity(subject.len() / 2);
    watch.passes(subject.len())?;
    let mut rest = until_null(subject);
    while let Some(&first) = rest.first() {
        let Some(high) = digit(first) else {
            if characters.contains(&read_watched(watch, &mut rest)?) {
                continue;
            }
            return Ok(None);
        };
        watch.compares(1)?;
        let Some(low) = rest.get(1).copied().and_then(digit) else { return Ok(None) };
        bytes.push(high << 4 | low);
        rest = &rest[2..];
    }
    Ok(Some(bytes))
}

/// What a hexadecimal digit stands for.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

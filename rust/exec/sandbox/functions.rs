//! SQLite's functions that compare each argument with the other at every place, again: `instr` and `replace` here, and those of
//! [`trim`](mod@super::trim), [`unhex`](mod@super::unhex) and [`like`](mod@super::like).
//!
//! SQLite's own take minutes on texts that fit the limits, and nothing can stop a function before it returns. These give the
//! same answers in time that is proportional to the length of their arguments, except for patterns. All tell the watch of
//! what they do as they go: from one look at the limits to the next, they compare [`CHARACTERS_PER_LOOK`] characters, or go
//! through their arguments once.
//!
//! [`CHARACTERS_PER_LOOK`]: super::watch::CHARACTERS_PER_LOOK

#![expect(unsafe_code, reason = "functions of the C interface")]

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use memchr::memmem::{self, find};
use rusqlite::ffi;

use super::json;
use super::like::like;
use super::trim::trim;
use super::unhex::unhex;
use super::value::{continues, finish, return_text, text, watch};
use super::watch::{Interrupted, Watch, gauge};

type Function = unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);

/// What the functions are called, but for those of [`json`].
const NAMES: &[&[u8]] = &[b"like", b"glob", b"instr", b"replace", b"trim", b"ltrim", b"rtrim", b"unhex"];

/// Whether a function of SQLite is replaced by one of ours.
pub(super) fn is_own(name: &[u8]) -> bool {
    [NAMES, json::NAMES].iter().any(|names| names.iter().any(|own| own.eq_ignore_ascii_case(name)))
}

/// Registers the functions with a connection; returns SQLite's result code.
///
/// # Safety
///
/// `connection` must be an open connection, and `watch` the address of one that outlives it.
pub(super) unsafe fn register(connection: *mut ffi::sqlite3, watch: *mut c_void) -> c_int {
    const FUNCTIONS: [(&CStr, c_int, Function); 9] = [
        (c"like", 2, like::<false>),
        (c"like", 3, like::<false>),
        (c"glob", 2, like::<true>),
        (c"instr", 2, instr),
        (c"replace", 3, replace),
        (c"trim", 2, trim::<true, true>),
        (c"ltrim", 2, trim::<true, false>),
        (c"rtrim", 2, trim::<false, true>),
        (c"unhex", 2, unhex),
    ];
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;
    FUNCTIONS
        .iter()
        .map(|&(name, arguments, function)| {
            // SAFETY: an open connection by the caller's promise, a static name, and the data that the functions need.
            unsafe {
                ffi::sqlite3_create_function_v2(
                    connection,
                    name.as_ptr(),
                    arguments,
                    flags,
                    watch,
                    Some(function),
                    None,
                    None,
                    None,
                )
            }
        })
        .find(|&code| code != ffi::SQLITE_OK)
        // SAFETY: an open connection by the caller's promise.
        .unwrap_or_else(|| unsafe { json::register(connection, watch) })
}

unsafe extern "C" fn instr(context: *mut ffi::sqlite3_context, _: c_int, arguments: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls this with two arguments, which live until it returns; copies are freed here.
    unsafe {
        let (haystack, needle) = (*arguments, *arguments.add(1));
        let is_blob = |value| ffi::sqlite3_value_type(value) == ffi::SQLITE_BLOB;
        let in_bytes = is_blob(haystack) && is_blob(needle);
        // Text of a blob is taken from a copy, because taking it turns a blob into text for good. That of a number is taken from
        // the number, because a copy knows no connection, and so not how many digits are wanted. Of two blobs it is their bytes.
        let copies = [haystack, needle]
            .map(|value| if is_blob(value) { ffi::sqlite3_value_dup(value) } else { ptr::null_mut() });
        let text_of = |value, copy: *mut _| if is_blob(value) { text(copy) } else { text(value) };
        if [haystack, needle].iter().zip(copies).any(|(&value, copy)| is_blob(value) && copy.is_null()) {
            ffi::sqlite3_result_error_nomem(context);
        } else if let (Some(haystack), Some(needle)) = (text_of(haystack, copies[0]), text_of(needle, copies[1])) {
            let place = place(watch(context), haystack, needle, in_bytes);
            let answer = |place| ffi::sqlite3_result_int64(context, i64::try_from(place).unwrap_or(i64::MAX));
            finish(context, place.map(answer));
        }
        for copy in copies {
            ffi::sqlite3_value_free(copy);
        }
    }
}

/// Where `needle` first begins in `haystack`, from 1: in bytes, or in characters at whose start it begins; else 0.
fn place(watch: &Watch, haystack: &[u8], needle: &[u8], in_bytes: bool) -> Result<usize, Interrupted> {
    let continues = |byte: u8| !in_bytes && continues(byte);
    watch.compares(1)?;
    watch.passes(haystack.len() + needle.len())?;
    gauge::touch(haystack.len() + needle.len());
    Ok(match needle.first() {
        None => 1,
        // No character starts with this byte, but the text may.
        Some(&first) if continues(first) => usize::from(haystack.starts_with(needle)),
        Some(_) => find(haystack, needle)
            .map_or(0, |at| haystack[..=at].iter().skip(1).filter(|&&byte| !continues(byte)).count() + 1),
    })
}

unsafe extern "C" fn replace(context: *mut ffi::sqlite3_context, _: c_int, arguments: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls this with three arguments, which live until it returns.
    unsafe {
        let Some(subject) = text(*arguments) else { return };
        let Some(pattern) = text(*arguments.add(1)) else { return };
        if pattern.first().is_none_or(|&first| first == 0) {
            return return_text(context, subject);
        }
        let Some(replacement) = text(*arguments.add(2)) else { return };
        let most = ffi::sqlite3_limit(ffi::sqlite3_context_db_handle(context), ffi::SQLITE_LIMIT_LENGTH, -1);
        let most = usize::try_from(most).unwrap_or_default();
        let answer = |replaced: Option<Vec<u8>>| match replaced {
            Some(text) => return_text(context, &text),
            None => ffi::sqlite3_result_error_toobig(context),
        };
        finish(context, replaced(watch(context), subject, pattern, replacement, most).map(answer));
    }
}

/// `subject` with every `pattern` in it replaced, from left to right; `None` if that takes more than `most` bytes.
fn replaced(
    watch: &Watch,
    subject: &[u8],
    pattern: &[u8],
    replacement: &[u8],
    most: usize,
) -> Result<Option<Vec<u8>>, Interrupted> {
    watch.passes(subject.len() + pattern.len())?;
    gauge::touch(subject.len() + pattern.len());
    let mut out = Vec::with_capacity(subject.len());
    let mut rest = 0;
    for at in memmem::find_iter(subject, pattern) {
        let kept = &subject[rest..at];
        if out.len() + kept.len() + replacement.len() > most {
            return Ok(None);
        }
        watch.compares(1)?;
        watch.passes(kept.len() + replacement.len())?;
        gauge::touch(kept.len() + replacement.len());
        out.extend_from_slice(kept);
        out.extend_from_slice(replacement);
        rest = at + pattern.len();
    }
    out.extend_from_slice(&subject[rest..]);
    Ok((out.len() <= most).then_some(out))
}

#[cfg(test)]
mod bounds;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;
    use rusqlite::types::Value;

    use super::super::Limits;
    use super::super::watch::SharedWatch;
    use super::*;

    fn connections() -> [Connection; 2] {
        assert!(super::super::memory::install());
        let [theirs, ours] = [(); 2].map(|()| Connection::open_in_memory().unwrap());
        let watch = std::mem::ManuallyDrop::new(SharedWatch::new());
        watch.start(&Limits::default());
        // SAFETY: the connection is open, and the watch is never dropped.
        assert_eq!(unsafe { register(ours.handle(), watch.address()) }, ffi::SQLITE_OK);
        [theirs, ours]
    }

    /// Few different bytes, so that they match often; lone and truncated parts of characters among them.
    fn value() -> impl Strategy<Value = Value> {
        let bytes = prop::collection::vec(prop::sample::select(b"ab\xc3\xa4\x80\xe2\xff\0".to_vec()), 0..8);
        prop_oneof![
            8 => bytes.clone().prop_map(|bytes| Value::Text(String::from_utf8_lossy(&bytes).into_owned())),
            8 => bytes.prop_map(Value::Blob),
            1 => (-20_i64..200).prop_map(Value::Integer),
            1 => (-2.0..200.0).prop_map(Value::Real),
            1 => Just(Value::Null),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn answers_are_those_of_sqlite(a in value(), b in value(), c in value()) {
            let connections = connections();
            for call in [
                "instr(?1, ?2)", "instr(CAST(?1 AS TEXT), CAST(?2 AS TEXT))", "replace(?1, ?2, ?3)", "trim(?1, ?2)",
                "replace(CAST(?1 AS TEXT), CAST(?2 AS TEXT), CAST(?3 AS TEXT))", "ltrim(?1, ?2)", "rtrim(?1, ?2)",
                "trim(CAST(?1 AS TEXT), CAST(?2 AS TEXT))", "typeof(instr(?1, ?2)) || typeof(?1) || typeof(?2)",
            ] {
                let query = format!("SELECT CAST({call} AS BLOB), ?1, ?2, ?3");
                let [theirs, ours] = connections.each_ref().map(|connection| {
                    connection.query_row(&query, (&a, &b, &c), |row| row.get::<_, Value>(0)).unwrap()
                });
                prop_assert_eq!(theirs, ours, "{}", call);
            }
        }
    }

    /// Patterns and texts of few different characters, wildcards among them, so that they match often.
    fn pattern() -> impl Strategy<Value = Value> {
        let parts = ["%", "_", "*", "?", "[", "]", "^", "-", "a", "b", "A", "\u{e4}", "\u{c4}", "/", "\0"];
        prop_oneof![
            9 => prop::collection::vec(prop::sample::select(parts.to_vec()), 0..9)
                .prop_map(|parts| Value::Text(parts.concat())),
            1 => value(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn patterns_match_as_in_sqlite(a in pattern(), b in pattern(), c in prop::sample::select(vec!["/", "%", "_", "a"])) {
            let connections = connections();
            let [pattern, subject] = ["CAST(CAST(?1 AS BLOB) AS TEXT)", "CAST(CAST(?2 AS BLOB) AS TEXT)"];
            let query = format!(
                "SELECT ?2 LIKE ?1, ?2 GLOB ?1, ?2 LIKE ?1 ESCAPE ?3, {subject} LIKE {pattern}, {subject} GLOB {pattern}"
            );
            let [theirs, ours] = connections.each_ref().map(|connection| {
                connection.query_row(&query, (&a, &b, c), |row| {
                    (0..5).map(|column| row.get::<_, Value>(column)).collect::<rusqlite::Result<Vec<_>>>()
                }).unwrap()
            });
            prop_assert_eq!(theirs, ours);
        }
    }

    #[test]
    fn long_arguments_take_no_longer_than_their_length() {
        let [_, ours] = connections();
        // Hours in SQLite's own functions.
        let query = "WITH t(x, y) AS (SELECT printf('%.*c', 4000000, 'a'), printf('%.*cb', 2000000, 'a'))
            SELECT instr(x, y), length(replace(x, y, '')), length(trim(x, y)) FROM t";
        let row: [i64; 3] = ours.query_row(query, (), |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).unwrap();
        assert_eq!(row, [0, 4_000_000, 0]);
    }
}

//! SQLite's functions `instr`, `replace`, `trim`, `ltrim` and `rtrim` again, with the same answers in linear time.
//!
//! SQLite's own compare each argument with the other at every place, which takes minutes on texts that fit the limits, and
//! nothing can stop a function before it returns. These take time in proportion to the length of their arguments.

#![expect(unsafe_code, reason = "functions of the C interface")]

use std::collections::HashMap;
use std::ffi::{CStr, c_int, c_void};

use memchr::memmem::{self, find};
use rusqlite::ffi;

use super::like::like;
use super::value::{return_text, text};

type Function = unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);

/// What the functions are called.
pub(super) const NAMES: &[&[u8]] = &[b"like", b"glob", b"instr", b"replace", b"trim", b"ltrim", b"rtrim"];

/// Registers the functions here and those of [`like`](mod@super::like) with a connection; returns SQLite's result code.
///
/// # Safety
///
/// `connection` must be an open connection, and `watch` the address of one that outlives it.
pub(super) unsafe fn register(connection: *mut ffi::sqlite3, watch: *mut c_void) -> c_int {
    const FUNCTIONS: [(&CStr, c_int, Function); 8] = [
        (c"like", 2, like::<false>),
        (c"like", 3, like::<false>),
        (c"glob", 2, like::<true>),
        (c"instr", 2, instr),
        (c"replace", 3, replace),
        (c"trim", 2, trim::<true, true>),
        (c"ltrim", 2, trim::<true, false>),
        (c"rtrim", 2, trim::<false, true>),
    ];
    let flags = ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;
    FUNCTIONS
        .iter()
        .map(|&(name, arguments, function)| {
            // SAFETY: an open connection by the caller's promise, a static name, and the data that some of the functions need.
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
        .unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn instr(context: *mut ffi::sqlite3_context, _: c_int, arguments: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls this with two arguments, which live until it returns; copies are freed here.
    unsafe {
        let (haystack, needle) = (*arguments, *arguments.add(1));
        let is_blob = |value| ffi::sqlite3_value_type(value) == ffi::SQLITE_BLOB;
        let in_bytes = is_blob(haystack) && is_blob(needle);
        // Text is taken from copies, because taking it turns a blob into text for good. Of two blobs it is their bytes.
        let copies = [ffi::sqlite3_value_dup(haystack), ffi::sqlite3_value_dup(needle)];
        if let (Some(haystack), Some(needle)) = (text(copies[0]), text(copies[1])) {
            let place = place(haystack, needle, in_bytes);
            ffi::sqlite3_result_int64(context, i64::try_from(place).unwrap_or(i64::MAX));
        } else if copies.iter().any(|copy| copy.is_null()) {
            ffi::sqlite3_result_error_nomem(context);
        }
        for copy in copies {
            ffi::sqlite3_value_free(copy);
        }
    }
}

/// Where `needle` first begins in `haystack`, from 1: in bytes, or in characters at whose start it begins; else 0.
fn place(haystack: &[u8], needle: &[u8], in_bytes: bool) -> usize {
    let continues = |byte: u8| !in_bytes && byte & 0xc0 == 0x80;
    match needle.first() {
        None => 1,
        // No character starts with this byte, but the text may.
        Some(&first) if continues(first) => usize::from(haystack.starts_with(needle)),
        Some(_) => find(haystack, needle)
            .map_or(0, |at| haystack[..=at].iter().skip(1).filter(|&&byte| !continues(byte)).count() + 1),
    }
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
        match replaced(subject, pattern, replacement, usize::try_from(most).unwrap_or_default()) {
            Some(text) => return_text(context, &text),
            None => ffi::sqlite3_result_error_toobig(context),
        }
    }
}

/// `subject` with every `pattern` in it replaced, from left to right; `None` if that takes more than `most` bytes.
fn replaced(subject: &[u8], pattern: &[u8], replacement: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(subject.len());
    let mut rest = 0;
    for at in memmem::find_iter(subject, pattern) {
        out.extend_from_slice(&subject[rest..at]);
        out.extend_from_slice(replacement);
        rest = at + pattern.len();
        if out.len() > most {
            return None;
        }
    }
    out.extend_from_slice(&subject[rest..]);
    (out.len() <= most).then_some(out)
}

unsafe extern "C" fn trim<const LEFT: bool, const RIGHT: bool>(
    context: *mut ffi::sqlite3_context,
    _: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite calls this with two arguments, which live until it returns.
    unsafe {
        if let (Some(subject), Some(set)) = (text(*arguments), text(*arguments.add(1))) {
            return_text(context, trimmed(subject, set, LEFT, RIGHT));
        }
    }
}

/// `subject` without the characters of `set` at its left or right end.
fn trimmed<'a>(subject: &'a [u8], set: &[u8], left: bool, right: bool) -> &'a [u8] {
    // Where bytes are not UTF-8, one "character" may be the beginning of another; then the first in the set counts.
    let mut characters: HashMap<&[u8], usize> = HashMap::new();
    let mut rest = set.split(|&byte| byte == 0).next().unwrap_or_default();
    while let Some((character, behind)) = split_character(rest) {
        let index = characters.len();
        characters.entry(character).or_insert(index);
        rest = behind;
    }
    let mut lengths: Vec<usize> = characters.keys().map(|character| character.len()).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let first_of = |ends: &dyn Fn(usize) -> Option<&'a [u8]>| {
        let known = |&length: &usize| Some((*characters.get(ends(length)?)?, length));
        lengths.iter().filter_map(known).min().map(|(_, length)| length)
    };
    let mut inside = subject;
    while left && let Some(length) = first_of(&|length| inside.get(..length)) {
        inside = &inside[length..];
    }
    while right && let Some(length) = first_of(&|length| inside.get(inside.len().checked_sub(length)?..)) {
        inside = &inside[..inside.len() - length];
    }
    inside
}

/// The first character of `bytes` as SQLite cuts text: a byte, and behind one from `0xc0` on all that continue it.
fn split_character(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, behind) = bytes.split_first()?;
    let more = if first >= 0xc0 { behind.iter().take_while(|&&byte| byte & 0xc0 == 0x80).count() } else { 0 };
    Some(bytes.split_at(1 + more))
}

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

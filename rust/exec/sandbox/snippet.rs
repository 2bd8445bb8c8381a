//! The functions `snippet` and `highlight` of FTS5 again, with the same answers in time by the length of the row.
//!
//! FTS5's own take time by the square of the matches in it: one scores the words behind each match by going through all of them,
//! the other looks for the end of what it has written whenever it adds to that. Nothing can stop a function before it returns.
//! (The others take time in proportion to matches, or allocate as they go.)

#![expect(unsafe_code, reason = "a function of the C interface")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use rusqlite::ffi::{self, Fts5Context, Fts5ExtensionApi};

use super::value::{return_text, text};
use super::watch::Watch;

/// Registers the functions with a connection; returns SQLite's result code.
///
/// # Safety
///
/// `connection` must be an open connection, and the watch outlive it.
pub(super) unsafe fn register(connection: *mut ffi::sqlite3, watch: *mut c_void) -> c_int {
    let mut api: *mut ffi::fts5_api = ptr::null_mut();
    let mut statement = ptr::null_mut();
    // SAFETY: an open connection by the caller's promise, and static C strings. FTS5 writes the address of its functions, which
    // live as long as the connection, to the place that is bound under this name.
    unsafe {
        let query = c"SELECT fts5(?1)".as_ptr();
        let code = ffi::sqlite3_prepare_v2(connection, query, -1, &raw mut statement, ptr::null_mut());
        if code != ffi::SQLITE_OK {
            return code;
        }
        ffi::sqlite3_bind_pointer(statement, 1, (&raw mut api).cast(), c"fts5_api_ptr".as_ptr(), None);
        ffi::sqlite3_step(statement);
        let code = ffi::sqlite3_finalize(statement);
        match api.as_ref().and_then(|api| api.xCreateFunction) {
            Some(create) => match create(api, c"snippet".as_ptr(), watch, Some(snippet), None) {
                ffi::SQLITE_OK => create(api, c"highlight".as_ptr(), watch, Some(highlight), None),
                code => code,
            },
            None if code == ffi::SQLITE_OK => ffi::SQLITE_ERROR,
            None => code,
        }
    }
}

/// A row that matches, as FTS5 shows it to its functions.
#[derive(Clone, Copy)]
struct Matched {
    api: *const Fts5ExtensionApi,
    context: *mut Fts5Context,
}

/// Calls a function of FTS5 that tells something through its result; the error where there is none.
macro_rules! call {
    ($matched:expr, $function:ident $(, $argument:expr)*) => {
        // SAFETY: SQLite gives a table of functions that lives for the call, and the context that they want.
        unsafe { (*$matched.api).$function.map(|function| function($matched.context $(, $argument)*)) }
            .ok_or(ffi::SQLITE_ERROR)
    };
}

type Answer<T> = Result<T, c_int>;

/// Where a phrase of the query matches.
struct Instance {
    phrase: usize,
    column: c_int,
    /// The number of its first word in the column.
    start: i64,
    /// One more than that of its last.
    end: i64,
}

impl Matched {
    /// All matches, in the order of their places.
    fn instances(self) -> Answer<Vec<Instance>> {
        let mut count = 0;
        checked(call!(self, xInstCount, &raw mut count)?)?;
        let instance = |index| {
            let (mut phrase, mut column, mut start) = (0, 0, 0);
            checked(call!(self, xInst, index, &raw mut phrase, &raw mut column, &raw mut start)?)?;
            let (start, size) = (i64::from(start), i64::from(call!(self, xPhraseSize, phrase)?));
            Ok(Instance { phrase: usize::try_from(phrase).unwrap_or(0), column, start, end: start + size })
        };
        (0..count).map(instance).collect()
    }

    fn words(self, column: c_int) -> Answer<i64> {
        let mut words = 0;
        checked(call!(self, xColumnSize, column, &raw mut words)?)?;
        Ok(i64::from(words))
    }

    /// The text of a column; null where the table keeps none.
    fn text(self, column: c_int) -> Answer<(*const c_char, c_int)> {
        let (mut text, mut length) = (ptr::null(), 0);
        checked(call!(self, xColumnText, column, &raw mut text, &raw mut length)?)?;
        Ok((text, length))
    }

    /// Hands the places of the words of a column to `word`, until that breaks off; others at the place of one are left out.
    fn tokenize<F: FnMut(Word) -> Answer<()>>(
        self,
        column: c_int,
        (text, length): (*const c_char, c_int),
        mut word: F,
    ) -> Answer<()> {
        unsafe extern "C" fn next<F: FnMut(Word) -> Answer<()>>(
            word: *mut c_void,
            flags: c_int,
            _: *const c_char,
            _: c_int,
            start: c_int,
            end: c_int,
        ) -> c_int {
            let [start, end] = [start, end].map(|place| usize::try_from(place).unwrap_or(0));
            if flags & ffi::FTS5_TOKEN_COLOCATED != 0 {
                return ffi::SQLITE_OK;
            }
            // SAFETY: called with what `tokenize` hands over, while that waits.
            unsafe { (*word.cast::<F>())(Word { start, end }) }.err().unwrap_or(ffi::SQLITE_OK)
        }
        let (mut locale, mut locale_length) = (ptr::null(), 0);
        checked(call!(self, xColumnLocale, column, &raw mut locale, &raw mut locale_length)?)?;
        let word = (&raw mut word).cast::<c_void>();
        checked(call!(self, xTokenize_v2, text, length, locale, locale_length, word, Some(next::<F>))?)
    }
}

/// Where a word begins and ends in a text, in bytes.
struct Word {
    start: usize,
    end: usize,
}

fn checked(code: c_int) -> Answer<()> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
}

/// Matches that are looked at between two looks at the clock.
const STRIDE: usize = 1 << 14;

/// Where the best snippet is.
struct Best {
    column: c_int,
    start: i64,
    score: i64,
    /// Words of the column; `None` if no match was scored.
    words: Option<i64>,
}

unsafe extern "C" fn snippet(
    api: *const Fts5ExtensionApi,
    context: *mut Fts5Context,
    result: *mut ffi::sqlite3_context,
    count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    if count != 5 {
        let message = c"wrong number of arguments to function snippet()";
        // SAFETY: the context of the running function, and a C string, which is copied.
        return unsafe { ffi::sqlite3_result_error(result, message.as_ptr(), -1) };
    }
    let matched = Matched { api, context };
    // SAFETY: FTS5 calls this with so many arguments, which live until it returns.
    let integer = |index| unsafe { ffi::sqlite3_value_int(*arguments.add(index)) };
    // SAFETY: as above; each is converted once.
    let mark = |index| until_null(unsafe { text(*arguments.add(index)) }.unwrap_or_default());
    let (column, words) = (integer(0), i64::from(integer(4)));
    // SAFETY: the context of the running function.
    let most = unsafe { longest(result) };
    let answer = call!(matched, xUserData).and_then(|watch| {
        // SAFETY: what `register` gave, by whose contract it is alive.
        let watch = unsafe { &*watch.cast::<Watch>() };
        let best = best(matched, column, words, watch)?;
        let size = best.words.map_or_else(|| matched.words(best.column), Ok)?;
        let range = Range { from: best.start, to: best.start + words - 1, size };
        written(matched, best.column, Some(&range), [mark(1), mark(2), mark(3)], most)
    });
    // SAFETY: as above.
    unsafe { return_answer(result, answer) }
}

unsafe extern "C" fn highlight(
    api: *const Fts5ExtensionApi,
    context: *mut Fts5Context,
    result: *mut ffi::sqlite3_context,
    count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) {
    if count != 3 {
        let message = c"wrong number of arguments to function highlight()";
        // SAFETY: the context of the running function, and a C string, which is copied.
        return unsafe { ffi::sqlite3_result_error(result, message.as_ptr(), -1) };
    }
    let matched = Matched { api, context };
    // SAFETY: FTS5 calls this with so many arguments, which live until it returns.
    let column = unsafe { ffi::sqlite3_value_int(*arguments) };
    // SAFETY: as above; each is converted once.
    let mark = |index| until_null(unsafe { text(*arguments.add(index)) }.unwrap_or_default());
    // SAFETY: the context of the running function.
    let most = unsafe { longest(result) };
    let answer = match written(matched, column, None, [mark(1), mark(2), &[]], most) {
        // There is no such column.
        Err(ffi::SQLITE_RANGE) => Ok(Some(Vec::new())),
        answer => answer,
    };
    // SAFETY: as above.
    unsafe { return_answer(result, answer) }
}

/// How many bytes a text may have.
///
/// # Safety
///
/// `context` must be that of the running function.
unsafe fn longest(context: *mut ffi::sqlite3_context) -> usize {
    // SAFETY: by the caller's promise.
    let most = unsafe { ffi::sqlite3_limit(ffi::sqlite3_context_db_handle(context), ffi::SQLITE_LIMIT_LENGTH, -1) };
    usize::try_from(most).unwrap_or(0)
}

/// # Safety
///
/// `context` must be that of the running function.
unsafe fn return_answer(context: *mut ffi::sqlite3_context, answer: Answer<Option<Vec<u8>>>) {
    // SAFETY: by the caller's promise.
    unsafe {
        match answer {
            Ok(Some(text)) => return_text(context, &text),
            Ok(None) => ffi::sqlite3_result_null(context),
            Err(code) => ffi::sqlite3_result_error_code(context, code),
        }
    }
}

/// Finds the best place for a snippet of so many words, in any column if `wanted` is negative.
fn best(matched: Matched, wanted: c_int, words: i64, watch: &Watch) -> Answer<Best> {
    let instances = matched.instances()?;
    let phrases = usize::try_from(call!(matched, xPhraseCount)?).unwrap_or(0);
    let mut best = Best { column: wanted.max(0), start: 0, score: 0, words: None };
    let mut seen: Vec<u32> = vec![0; phrases];
    let (mut round, mut until_look) = (0, STRIDE);
    for column in (0..call!(matched, xColumnCount)?).filter(|&column| wanted < 0 || column == wanted) {
        let sentences = sentences(matched, column)?;
        let size = matched.words(column)?;
        let of_column: &[Instance] = {
            let start = instances.partition_point(|instance| instance.column < column);
            let end = instances.partition_point(|instance| instance.column <= column);
            &instances[start..end]
        };
        // The score of the words from `start` on, and the first and the end of the last match in them.
        let mut score = |start: i64| {
            round += 1;
            let (mut score, mut first, mut last) = (0, -1, 0);
            let from = of_column.partition_point(|instance| instance.start < start);
            for instance in of_column[from..].iter().take_while(|instance| instance.start < start + words) {
                let is_new = seen.get_mut(instance.phrase).is_some_and(|seen| std::mem::replace(seen, round) != round);
                score += if is_new { 1000 } else { 1 };
                first = if first < 0 { instance.start } else { first };
                last = instance.end;
                until_look -= 1;
                if until_look == 0 {
                    until_look = STRIDE;
                    if watch.is_late() {
                        return Err(ffi::SQLITE_INTERRUPT);
                    }
                }
            }
            Ok((score, first, last))
        };
        for instance in of_column {
            if instance.start > size {
                return Err(ffi::SQLITE_CORRUPT_VTAB);
            }
            let (found, first, last) = score(instance.start)?;
            if found > best.score {
                // In the middle, if there is room.
                let start = (first - (words - (last - first)) / 2).min(size - words).max(0);
                best = Best { column, start, score: found, words: Some(size) };
            }
            if size > words && !sentences.is_empty() {
                // The sentence that the match is in, or else the first.
                let behind = sentences.partition_point(|&start| start <= instance.start).max(1);
                let start = sentences[behind - 1];
                if start < instance.start {
                    let (found, ..) = score(start)?;
                    let found = found + if start == 0 { 120 } else { 100 };
                    if found > best.score {
                        best = Best { column, start, score: found, words: Some(size) };
                    }
                }
            }
        }
    }
    Ok(best)
}

/// The numbers of the words that sentences of a column begin with.
fn sentences(matched: Matched, column: c_int) -> Answer<Vec<i64>> {
    let (text, length) = matched.text(column)?;
    // SAFETY: the text of a column, which lives until the row is left.
    let bytes = unsafe { bytes(text, length) };
    let (mut sentences, mut number) = (Vec::new(), 0);
    matched.tokenize(column, (text, length), |Word { start, .. }| {
        let before = bytes.get(..start).unwrap_or_default();
        let space = before.iter().rev().take_while(|byte| b" \t\n\r".contains(byte)).count();
        let end = before.len().checked_sub(space + 1).and_then(|at| before.get(at));
        if number == 0 || space > 0 && matches!(end, Some(b'.' | b':')) {
            sentences.push(number);
        }
        number += 1;
        Ok(())
    })?;
    Ok(sentences)
}

/// Matches of a column that overlap are one: the numbers of its first word and of its last.
fn joined(instances: &[Instance], column: c_int) -> Vec<(i64, i64)> {
    let mut joined: Vec<(i64, i64)> = Vec::new();
    for instance in instances.iter().filter(|instance| instance.column == column) {
        match joined.last_mut() {
            Some((_, last)) if instance.start <= *last => *last = (*last).max(instance.end - 1),
            _ => joined.push((instance.start, instance.end - 1)),
        }
    }
    joined
}

/// The words of a column that a snippet shows, by their numbers.
struct Range {
    from: i64,
    to: i64,
    /// How many words the column has.
    size: i64,
}

/// Writes the words of a column that are in a range, or all of it, with marks before and behind each match and for what is left
/// out; in at most so many bytes. `None` where the table keeps no text.
fn written(
    matched: Matched,
    column: c_int,
    range: Option<&Range>,
    [open, close, dots]: [&[u8]; 3],
    most: usize,
) -> Answer<Option<Vec<u8>>> {
    let (text, length) = matched.text(column)?;
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the text of a column, which lives until the row is left.
    let bytes = unsafe { bytes(text, length) };
    let instances = matched.instances()?;
    let joined = joined(&instances, column);
    // Without an end it is all of the column.
    let (from, to) = range.map_or((0, -1), |range| (range.from, range.to));
    let mut marks = joined.iter().skip_while(|(first, _)| *first < from).copied();
    let mut current = marks.next();
    let mut out = if from > 0 { dots.to_vec() } else { Vec::new() };
    let (mut number, mut copied, mut is_open) = (-1, 0, false);
    let piece = |out: &mut Vec<u8>, start: usize, end: usize| {
        out.extend_from_slice(until_null(bytes.get(start..end).unwrap_or_default()));
    };
    matched.tokenize(column, (text, length), |Word { start, end }| {
        number += 1;
        if to >= 0 {
            if number < from || number > to {
                return Ok(());
            }
            if from != 0 && number == from {
                copied = start;
            }
        }
        if is_open && current.is_none_or(|(first, _)| number <= first) && start > copied {
            out.extend_from_slice(close);
            is_open = false;
        }
        if current.is_some_and(|(first, _)| number == first) && !is_open {
            piece(&mut out, copied, start);
            out.extend_from_slice(open);
            (copied, is_open) = (start, true);
        }
        if current.is_some_and(|(_, last)| number == last) {
            if !is_open {
                out.extend_from_slice(open);
                is_open = true;
            }
            piece(&mut out, copied, end);
            copied = end;
            current = marks.next();
        }
        if number == to {
            if is_open {
                if current.is_some_and(|(first, _)| number >= first) {
                    piece(&mut out, copied, end);
                    copied = end;
                }
                out.extend_from_slice(close);
                is_open = false;
            }
            piece(&mut out, copied, end);
            copied = end;
        }
        if out.len() > most { Err(ffi::SQLITE_TOOBIG) } else { Ok(()) }
    })?;
    if is_open {
        out.extend_from_slice(close);
    }
    if range.is_none_or(|range| range.to >= range.size - 1) {
        piece(&mut out, copied, bytes.len());
    } else {
        out.extend_from_slice(dots);
    }
    Ok(Some(out))
}

/// What C takes for the text.
fn until_null(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// # Safety
///
/// `text` must be null or so many bytes that live as long as what is returned.
unsafe fn bytes<'a>(text: *const c_char, length: c_int) -> &'a [u8] {
    let length = usize::try_from(length).unwrap_or(0);
    // SAFETY: by the caller's promise.
    if text.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(text.cast(), length) } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

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

    const TABLES: [&str; 4] =
        ["x, y", "x, y, detail = column", "x, y, tokenize = 'porter ascii'", "x, y, tokenize = trigram"];

    /// Texts of few words, with the ends of sentences.
    fn words() -> impl Strategy<Value = String> {
        let parts = ["a", "b", "ab", "abc", "b c", " ", ". ", ": ", ".", "\n", "\u{e4}", "c a b", "x y z x y z x y z"];
        prop::collection::vec(prop::sample::select(parts.to_vec()), 0..40).prop_map(|parts| parts.join(" "))
    }

    fn expression() -> impl Strategy<Value = String> {
        let terms =
            ["a", "b", "abc", "\"a b\"", "b *", "\"b c a\"", "NEAR(a b, 3)", "x", "\"x y\"", "\"y z x\"", "y : a"];
        prop::collection::vec(prop::sample::select(terms.to_vec()), 1..5).prop_map(|terms| terms.join(" OR "))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn answers_are_those_of_fts5(
            texts in prop::collection::vec((words(), words()), 1..4), expression in expression(),
            table in prop::sample::select(TABLES.to_vec()), column in -2..3, words in -2..70,
        ) {
            let [theirs, ours] = connections().map(|connection| {
                connection.execute_batch(&format!("CREATE VIRTUAL TABLE t USING fts5({table})")).unwrap();
                for (x, y) in &texts {
                    connection.execute("INSERT INTO t VALUES (?1, ?2)", (x, y)).unwrap();
                }
                let query = "SELECT snippet(t, ?1, '[', ']', '...', ?2), highlight(t, ?1, '<', '>') FROM t WHERE t MATCH ?3";
                let mut statement = connection.prepare(query).unwrap();
                let texts = |row: &rusqlite::Row<'_>| Ok([row.get::<_, Option<String>>(0)?, row.get(1)?]);
                let rows = statement.query_map((column, words, &expression), texts).unwrap();
                rows.map(|row| row.map_err(|error| error.to_string())).collect::<Vec<_>>()
            });
            prop_assert_eq!(theirs, ours);
        }
    }

    #[test]
    fn many_matches_take_no_time_by_the_square() {
        let [_, ours] = connections();
        ours.execute_batch(
            "CREATE VIRTUAL TABLE t USING fts5(x); INSERT INTO t VALUES (replace(hex(zeroblob(400000)), '00', 'a '))",
        )
        .unwrap();
        let query = "SELECT length(snippet(t, 0, '[', ']', '...', 10)) FROM t WHERE t MATCH 'a'";
        assert_eq!(ours.query_row(query, (), |row| row.get::<_, i64>(0)).unwrap(), 42);
        let query = "SELECT length(highlight(t, 0, '[', ']')) FROM t WHERE t MATCH 'a'";
        assert_eq!(ours.query_row(query, (), |row| row.get::<_, i64>(0)).unwrap(), 4 * 400_000);
        ours.set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH, 2_000_000).unwrap();
        let query = "SELECT highlight(t, 0, hex(zeroblob(100000)), '') FROM t WHERE t MATCH 'a'";
        let error = ours.query_row(query, (), |row| row.get::<_, String>(0)).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::TooBig));
    }
}

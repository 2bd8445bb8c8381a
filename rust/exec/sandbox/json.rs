//! The functions that make JSON of values again, with 15 digits for a float as it is everywhere else.
//!
//! SQLite writes floats into JSON with 17 digits since it keeps so many in text; the connection's setting does not reach
//! them. With 15, as in every SQLite before, `json_array(0.1 + 0.2)` is `[0.3]`.

#![expect(unsafe_code, reason = "functions of the C interface")]

mod group;

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ptr;

use rusqlite::ffi;

use self::group::{Group, group};
use super::value::{float_text, return_text, text, until_null, watch};
use super::watch::{CHARACTERS_PER_LOOK, Interrupted, Watch, gauge};

/// What the functions are called; those for JSON as a blob come behind.
pub(super) const NAMES: &[&[u8]] = &[
    b"json_quote",
    b"json_array",
    b"json_object",
    b"json_group_array",
    b"json_group_object",
    b"jsonb_array",
    b"jsonb_object",
    b"jsonb_group_array",
    b"jsonb_group_object",
];

/// What SQLite marks a text with that is JSON.
const SUBTYPE: c_uint = 74;

/// Registers the functions with a connection; returns SQLite's result code.
///
/// # Safety
///
/// `connection` must be an open connection, and `watch` the address of a live [`Watch`](super::watch::Watch) that outlives it.
pub(super) unsafe fn register(connection: *mut ffi::sqlite3, watch: *mut c_void) -> c_int {
    const FLAGS: c_int = ffi::SQLITE_UTF8
        | ffi::SQLITE_DETERMINISTIC
        | ffi::SQLITE_INNOCUOUS
        | ffi::SQLITE_SUBTYPE
        | ffi::SQLITE_RESULT_SUBTYPE;
    type Scalar = unsafe extern "C" fn(*mut ffi::sqlite3_context, c_int, *mut *mut ffi::sqlite3_value);
    type End = unsafe extern "C" fn(*mut ffi::sqlite3_context);
    const SCALARS: [(&CStr, c_int, Scalar); 5] = [
        (c"json_quote", 1, quote),
        (c"json_array", -1, array::<false>),
        (c"jsonb_array", -1, array::<true>),
        (c"json_object", -1, object::<false>),
        (c"jsonb_object", -1, object::<true>),
    ];
    const GROUPS: [(&CStr, c_int, End, End); 4] = [
        (c"json_group_array", 1, finish::<false, false>, value::<false, false>),
        (c"jsonb_group_array", 1, finish::<false, true>, value::<false, true>),
        (c"json_group_object", 2, finish::<true, false>, value::<true, false>),
        (c"jsonb_group_object", 2, finish::<true, true>, value::<true, true>),
    ];
    // SAFETY: an open connection by the caller's promise, and static names and data.
    unsafe {
        let scalars = SCALARS.iter().map(|&(name, arguments, function)| {
            let name = name.as_ptr();
            ffi::sqlite3_create_function_v2(connection, name, arguments, FLAGS, watch, Some(function), None, None, None)
        });
        let groups = GROUPS.iter().map(|&(name, arguments, finish, value)| {
            ffi::sqlite3_create_window_function(
                connection,
                name.as_ptr(),
                arguments,
                FLAGS,
                watch,
                Some(step),
                Some(finish),
                Some(value),
                Some(inverse),
                None,
            )
        });
        scalars.chain(groups).find(|&code| code != ffi::SQLITE_OK).unwrap_or(ffi::SQLITE_OK)
    }
}

/// Why there is no JSON.
enum Refused {
    Blob,
    TooBig,
    Malformed,
    OddArguments,
    Label,
    Other(c_int),
}

impl From<Interrupted> for Refused {
    fn from(interrupted: Interrupted) -> Self {
        Self::Other(match interrupted {
            Interrupted::Limit => ffi::SQLITE_INTERRUPT,
            Interrupted::Memory => ffi::SQLITE_NOMEM,
        })
    }
}

impl Refused {
    /// # Safety
    ///
    /// `context` must be that of the running function.
    unsafe fn answer(self, context: *mut ffi::sqlite3_context) {
        let message = match self {
            Self::Blob => c"JSON cannot hold BLOB values",
            Self::Malformed => c"malformed JSON",
            Self::OddArguments => c"json_object() requires an even number of arguments",
            Self::Label => c"json_object() labels must be TEXT",
            // SAFETY: by the caller's promise.
            Self::TooBig => return unsafe { ffi::sqlite3_result_error_toobig(context) },
            // SAFETY: as above.
            Self::Other(code) => return unsafe { ffi::sqlite3_result_error_code(context, code) },
        };
        // SAFETY: as above; the message is copied.
        unsafe { ffi::sqlite3_result_error(context, message.as_ptr(), -1) }
    }
}

/// The arguments of a call.
///
/// # Safety
///
/// They must be those of the running function, which live until it returns.
unsafe fn arguments<'a>(count: c_int, arguments: *mut *mut ffi::sqlite3_value) -> &'a [*mut ffi::sqlite3_value] {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: by the caller's promise; without arguments there is no array.
    if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(arguments, count) } }
}

unsafe extern "C" fn quote(context: *mut ffi::sqlite3_context, count: c_int, values: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls this with its context and arguments.
    unsafe {
        let mut json = Json::new(context);
        let written = arguments(count, values).iter().try_for_each(|&value| json.value(value));
        json.answer::<false>(written);
    }
}

unsafe extern "C" fn array<const BLOB: bool>(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: as above.
    unsafe {
        let mut json = Json::new(context);
        json.text.push(b'[');
        let written = arguments(count, values).iter().try_for_each(|&value| {
            json.separate();
            json.value(value)
        });
        json.text.push(b']');
        json.answer::<BLOB>(written);
    }
}

unsafe extern "C" fn object<const BLOB: bool>(
    context: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: as above.
    unsafe {
        let mut json = Json::new(context);
        let arguments = arguments(count, values);
        if arguments.len() % 2 != 0 {
            return Refused::OddArguments.answer(context);
        }
        json.text.push(b'{');
        let written = arguments.chunks_exact(2).try_for_each(|pair| {
            if ffi::sqlite3_value_type(pair[0]) != ffi::SQLITE_TEXT {
                return Err(Refused::Label);
            }
            json.separate();
            json.string(text(pair[0]).unwrap_or_default())?;
            json.text.push(b':');
            json.value(pair[1])
        });
        json.text.push(b'}');
        json.answer::<BLOB>(written);
    }
}

/// JSON that is being written, for the function of a context.
struct Json<'a> {
    context: *mut ffi::sqlite3_context,
    watch: &'a Watch,
    text: Vec<u8>,
    /// Largest text in bytes.
    most: usize,
}

impl Json<'_> {
    /// # Safety
    ///
    /// `context` must be that of the running function, registered by [`register`], and this not outlive the call.
    unsafe fn new(context: *mut ffi::sqlite3_context) -> Self {
        // SAFETY: by the caller's promise, and that of `register`.
        let (watch, most) = unsafe {
            let connection = ffi::sqlite3_context_db_handle(context);
            (watch(context), ffi::sqlite3_limit(connection, ffi::SQLITE_LIMIT_LENGTH, -1))
        };
        Self { context, watch, text: Vec::new(), most: usize::try_from(most).unwrap_or(0) }
    }

    /// Writes what is JSON already.
    fn copy(&mut self, json: &[u8]) -> Result<(), Refused> {
        gauge::touch(json.len());
        self.watch.passes(json.len())?;
        self.text.extend_from_slice(json);
        if self.text.len() > self.most { Err(Refused::TooBig) } else { Ok(()) }
    }

    /// Writes what is between two entries, behind the bracket that was written first.
    fn separate(&mut self) {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
    }

    /// Writes a value.
    ///
    /// # Safety
    ///
    /// It must be an argument of the running function.
    unsafe fn value(&mut self, value: *mut ffi::sqlite3_value) -> Result<(), Refused> {
        // SAFETY: by the caller's promise, here and below.
        let kind = unsafe { ffi::sqlite3_value_type(value) };
        match kind {
            ffi::SQLITE_NULL => self.text.extend_from_slice(b"null"),
            ffi::SQLITE_FLOAT => {
                // SAFETY: as above.
                let written = unsafe { float_text(ffi::sqlite3_value_double(value), c"%!0.15g") };
                self.text.extend_from_slice(&written.ok_or(Refused::Other(ffi::SQLITE_NOMEM))?);
            }
            // SAFETY: as above.
            ffi::SQLITE_INTEGER => self.text.extend_from_slice(unsafe { text(value) }.unwrap_or_default()),
            ffi::SQLITE_TEXT => {
                // SAFETY: as above.
                let (text, subtype) = unsafe { (text(value).unwrap_or_default(), ffi::sqlite3_value_subtype(value)) };
                if subtype == SUBTYPE { self.copy(text)? } else { self.string(text)? }
            }
            _ => {
                // SAFETY: as above.
                let json = unsafe { self.of_blob(value) }?;
                self.copy(&json)?;
            }
        }
        if self.text.len() > self.most { Err(Refused::TooBig) } else { Ok(()) }
    }

    /// The JSON in a blob, which SQLite itself reads.
    ///
    /// # Safety
    ///
    /// It must be an argument of the running function.
    unsafe fn of_blob(&self, value: *mut ffi::sqlite3_value) -> Result<Vec<u8>, Refused> {
        // SAFETY: by the caller's promise, and that of `new`.
        let found = unsafe {
            let bind = |statement| ffi::sqlite3_bind_value(statement, 1, value);
            let answer = |found| text(found).map(<[u8]>::to_vec);
            asked(self.context, c"SELECT CASE WHEN json_valid(?1, 4) THEN json(?1) END", bind, answer)
        };
        found?.ok_or(Refused::Blob)
    }

    /// Writes a text as a string.
    fn string(&mut self, text: &[u8]) -> Result<(), Refused> {
        self.text.push(b'"');
        for part in text.chunks(CHARACTERS_PER_LOOK) {
            gauge::touch(part.len());
            self.watch.compares(part.len())?;
            for &byte in part {
                match byte {
                    b'"' | b'\\' => self.text.extend_from_slice(&[b'\\', byte]),
                    0x08 => self.text.extend_from_slice(b"\\b"),
                    0x09 => self.text.extend_from_slice(b"\\t"),
                    0x0a => self.text.extend_from_slice(b"\\n"),
                    0x0c => self.text.extend_from_slice(b"\\f"),
                    0x0d => self.text.extend_from_slice(b"\\r"),
                    0..0x20 => self.text.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                    _ => self.text.push(byte),
                }
            }
            if self.text.len() > self.most {
                return Err(Refused::TooBig);
            }
        }
        self.text.push(b'"');
        Ok(())
    }

    /// Answers with what was written.
    fn answer<const BLOB: bool>(self, written: Result<(), Refused>) {
        // SAFETY: the context is that of the running function, by the promise of `new`.
        unsafe {
            match written {
                Err(refused) => refused.answer(self.context),
                Ok(()) => return_json::<BLOB>(self.context, &self.text),
            }
        }
    }
}

/// What SQLite answers to a query about the value that `bind` gives it; `answer` takes it.
///
/// # Safety
///
/// `context` must be that of the running function.
unsafe fn asked<T>(
    context: *mut ffi::sqlite3_context,
    query: &CStr,
    bind: impl FnOnce(*mut ffi::sqlite3_stmt) -> c_int,
    answer: impl FnOnce(*mut ffi::sqlite3_value) -> T,
) -> Result<T, Refused> {
    let mut statement = ptr::null_mut();
    // SAFETY: by the caller's promise; the statement is finalized here.
    unsafe {
        let connection = ffi::sqlite3_context_db_handle(context);
        let code = ffi::sqlite3_prepare_v2(connection, query.as_ptr(), -1, &raw mut statement, ptr::null_mut());
        if code != ffi::SQLITE_OK {
            return Err(Refused::Other(code));
        }
        let found = match bind(statement) {
            ffi::SQLITE_OK => ffi::sqlite3_step(statement),
            code => code,
        };
        let found = match found {
            ffi::SQLITE_ROW => Ok(answer(ffi::sqlite3_column_value(statement, 0))),
            ffi::SQLITE_ERROR => Err(Refused::Malformed),
            code => Err(Refused::Other(code)),
        };
        ffi::sqlite3_finalize(statement);
        found
    }
}

/// Answers with JSON, as a blob where the function is for that.
///
/// # Safety
///
/// `context` must be that of the running function.
unsafe fn return_json<const BLOB: bool>(context: *mut ffi::sqlite3_context, json: &[u8]) {
    // SAFETY: by the caller's promise; the JSON outlives the statement that it is bound to.
    unsafe {
        if !BLOB {
            return_text(context, json);
            return ffi::sqlite3_result_subtype(context, SUBTYPE);
        }
        let bind = |statement| {
            let (text, length, utf8) = (json.as_ptr().cast(), json.len() as u64, ffi::SQLITE_UTF8);
            let utf8 = u8::try_from(utf8).unwrap_or_default();
            ffi::sqlite3_bind_text64(statement, 1, text, length, ffi::SQLITE_STATIC(), utf8)
        };
        let answer = |blob| ffi::sqlite3_result_value(context, blob);
        if let Err(refused) = asked(context, c"SELECT jsonb(?1)", bind, answer) {
            refused.answer(context);
        }
    }
}

unsafe extern "C" fn step(context: *mut ffi::sqlite3_context, count: c_int, values: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls this with its context and arguments.
    unsafe {
        let Some(group) = group(context, true) else { return ffi::sqlite3_result_error_nomem(context) };
        let mut json = Json::new(context);
        let written = match arguments(count, values) {
            [value] => json.value(*value),
            [key, value] => match text(*key) {
                None => Ok(()),
                // As C takes it.
                Some(key) => json.string(until_null(key)).and_then(|()| {
                    json.text.push(b':');
                    json.value(*value)
                }),
            },
            _ => Ok(()),
        };
        if let Err(refused) = written {
            refused.answer(context);
        } else if !group.push(&json.text) {
            ffi::sqlite3_result_error_nomem(context);
        }
    }
}

unsafe extern "C" fn inverse(context: *mut ffi::sqlite3_context, _: c_int, _: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite calls this with its context, for the first row that it has called `step` for and this not.
    if let Some(group) = unsafe { group(context, false) } {
        group.pop();
    }
}

unsafe extern "C" fn value<const OBJECT: bool, const BLOB: bool>(context: *mut ffi::sqlite3_context) {
    // SAFETY: SQLite calls this with its context.
    unsafe {
        let [open, close] = if OBJECT { *b"{}" } else { *b"[]" };
        let mut json = Json::new(context);
        json.text.push(open);
        let entries = group(context, false).map(|group| &*group);
        for entry in entries.iter().flat_map(|group| group.entries()).filter(|entry| !entry.is_empty()) {
            json.separate();
            if let Err(refused) = json.copy(entry) {
                return refused.answer(context);
            }
        }
        json.text.push(close);
        return_json::<BLOB>(context, &json.text);
    }
}

unsafe extern "C" fn finish<const OBJECT: bool, const BLOB: bool>(context: *mut ffi::sqlite3_context) {
    // SAFETY: SQLite calls this once, also where the query was stopped; nothing uses the group afterwards.
    unsafe {
        value::<OBJECT, BLOB>(context);
        if let Some(place) = ffi::sqlite3_aggregate_context(context, 0).cast::<*mut Group>().as_mut()
            && !place.is_null()
        {
            drop(Box::from_raw(std::mem::replace(place, ptr::null_mut())));
        }
    }
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
        let watch = Box::leak(Box::new(SharedWatch::new()));
        watch.start(&Limits::default());
        // SAFETY: the connection is open, and the watch is never dropped.
        assert_eq!(unsafe { register(ours.handle(), watch.address()) }, ffi::SQLITE_OK);
        [theirs, ours]
    }

    /// Values whose text is the same with 15 digits and with 17.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            4 => "[a\"\\\\\u{e4}\u{1}\u{8}\t\n\r\u{c}\u{7f}]{0,5}".prop_map(Value::Text),
            2 => any::<i64>().prop_map(Value::Integer),
            2 => prop::sample::select(vec![0.0, -0.5, 1e21, -2.5e-7, 123_456.75, f64::INFINITY, f64::NEG_INFINITY]).prop_map(Value::Real),
            1 => Just(Value::Null),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn answers_are_those_of_sqlite(rows in prop::collection::vec((value(), value(), -2_i64..3), 0..8)) {
            let queries = [
                "SELECT json_quote(a), json_array(a, b, c), json_array(), json_object(), json_object('k' || a, b) FROM t",
                "SELECT json_quote(json_array(a)), json_array(json(json_array(b)), json_object('x', json_array(a))) FROM t",
                "SELECT json_group_array(a), json_group_object(b, a), json_group_array(json_array(a, c)) FROM t",
                "SELECT c, json_group_array(a), json_group_object(c, b) FROM t GROUP BY c",
                "SELECT json_group_array(a) OVER w, json_group_object(b, a) OVER w FROM t
                    WINDOW w AS (ORDER BY rowid ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
                "SELECT json_group_array(a) FILTER (WHERE c > 0) OVER (ORDER BY c) FROM t",
                "SELECT json_extract(json_group_array(a), '$[0]'), json_type(json_group_array(b)) FROM t",
                "SELECT json_array(jsonb_array(a, b)), json_quote(jsonb('[1,2]')), json_object('a', jsonb(json_array(a))) FROM t",
                "SELECT json(jsonb_array(a, b)), hex(jsonb_object('k' || c, a)), hex(jsonb_array()), hex(jsonb_group_array(a)) FROM t",
                "SELECT hex(jsonb_group_object(b, a)) FROM t WHERE b IS NOT NULL",
                "SELECT json(jsonb_group_array(a) OVER (ORDER BY c ROWS 1 PRECEDING)) FROM t",
                "SELECT json_array(CAST(a AS BLOB)) FROM t WHERE typeof(a) = 'text'",
                "SELECT json_object(a, 1) FROM t",
                "SELECT json_object(a) FROM t",
                "SELECT json_group_array(x'00') FROM t",
            ];
            let connections = connections();
            for connection in &connections {
                connection.execute_batch("CREATE TABLE t (a, b, c)").unwrap();
                for row in &rows {
                    connection.execute("INSERT INTO t VALUES (?1, ?2, ?3)", (&row.0, &row.1, row.2)).unwrap();
                }
            }
            for query in queries {
                let [theirs, ours] = connections.each_ref().map(|connection| {
                    let mut statement = connection.prepare(query).unwrap();
                    let columns = statement.column_count();
                    let rows = statement.query_map((), |row| {
                        (0..columns).map(|column| row.get::<_, Value>(column)).collect::<rusqlite::Result<Vec<_>>>()
                    });
                    rows.unwrap().map(|row| row.map_err(|error| error.to_string())).collect::<Vec<_>>()
                });
                prop_assert_eq!(theirs, ours, "{}", query);
            }
        }
    }

    #[test]
    fn floats_have_fifteen_digits() {
        let [_, ours] = connections();
        let query = "SELECT json_array(0.1 + 0.2, 1.0 / 3, 1e999, 2.0), json_quote(4.35 * 100), json_object('a', 1e22),
            (SELECT json_group_array(x) || json(jsonb_group_array(x)) FROM (SELECT 0.1 + 0.2 AS x)), (SELECT json_group_object(0.5, x) FROM (SELECT 0.1 + 0.2 AS x))";
        let row: [String; 5] =
            ours.query_row(query, (), |row| Ok(std::array::from_fn(|column| row.get(column).unwrap()))).unwrap();
        assert_eq!(
            row,
            ["[0.3,0.333333333333333,9.0e+999,2.0]", "435.0", "{\"a\":1.0e+22}", "[0.3][0.3]", "{\"0.5\":0.3}"]
        );
    }

    #[test]
    fn no_group_is_larger_than_a_value() {
        let [_, ours] = connections();
        ours.set_limit(rusqlite::limits::Limit::SQLITE_LIMIT_LENGTH, 100_000).unwrap();
        let query = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 1000000) SELECT json_group_array(x) FROM r";
        let error = ours.query_row(query, (), |row| row.get::<_, String>(0)).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::TooBig));
    }
}

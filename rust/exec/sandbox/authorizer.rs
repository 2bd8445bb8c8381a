//! What a statement may do, asked by SQLite for every action while it is compiled.

#![expect(unsafe_code, reason = "a callback of the C interface")]

use std::ffi::{CStr, c_char, c_int, c_void};

use rusqlite::ffi;

use super::functions;
use super::watch::Watch;

/// Functions that load code, and those whose time grows with the square of their arguments.
const REFUSED: &[&CStr] = &[c"load_extension", c"fts3_tokenizer", c"json_patch", c"jsonb_patch"];

/// Functions that may give something else each time: by chance, or where their argument is the present.
const VOLATILE: &[&[u8]] = &[
    b"random",
    b"randomblob",
    b"date",
    b"time",
    b"datetime",
    b"julianday",
    b"unixepoch",
    b"strftime",
    b"timediff",
    b"current_date",
    b"current_time",
    b"current_timestamp",
    b"changes",
    b"total_changes",
    b"last_insert_rowid",
];

/// Pragmas that only report; with an argument, only those whose argument names what to report on.
const REPORTS: &[&CStr] = &[
    c"table_info",
    c"table_xinfo",
    c"table_list",
    c"index_list",
    c"index_info",
    c"index_xinfo",
    c"foreign_key_list",
    c"foreign_key_check",
    c"database_list",
    c"collation_list",
    c"function_list",
    c"module_list",
    c"pragma_list",
    c"compile_options",
    c"integrity_check",
    c"quick_check",
];

/// The callback. Reading, calling functions and recursion are allowed, and pragmas that only report.
///
/// It is registered with the address of the connection's watch, and leaves there what it refused.
pub(super) unsafe extern "C" fn authorize(
    watch: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    _database: *const c_char,
    _trigger: *const c_char,
) -> c_int {
    // SAFETY: registered with the address of a live watch, on this thread.
    let watch = unsafe { &*watch.cast::<Watch>() };
    // Asked at every reference to a column, this is also a place to stop a compilation.
    if watch.call() || action == ffi::SQLITE_FUNCTION && calls(watch, second) {
        return ffi::SQLITE_DENY;
    }
    let is = |name: *const c_char, wanted: &CStr| {
        // SAFETY: SQLite passes null or a C string that lives for the call.
        !name.is_null() && unsafe { CStr::from_ptr(name) }.to_bytes().eq_ignore_ascii_case(wanted.to_bytes())
    };
    let allowed = match action {
        ffi::SQLITE_READ | ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE => true,
        ffi::SQLITE_FUNCTION => !REFUSED.iter().any(|name| is(second, name)),
        ffi::SQLITE_PRAGMA => REPORTS.iter().any(|name| is(first, name)),
        _ => false,
    };
    if allowed {
        return ffi::SQLITE_OK;
    }
    // The statements that change the schema show as writes to its tables.
    let is_schema = [c"sqlite_master", c"sqlite_temp_master"].iter().any(|name| is(first, name));
    watch.refuse(if is_schema { "a change of the schema" } else { action_name(action) });
    ffi::SQLITE_DENY
}

/// Tells the watch that a function is called; whether the query must stop.
fn calls(watch: &Watch, name: *const c_char) -> bool {
    let is_own = functions::NAMES.iter().any(|own| own.to_bytes().eq_ignore_ascii_case(bytes(&name)));
    watch.function(is_json(name), is_volatile(name)) || is_own && watch.own_function()
}

/// Whether a function is one of those for JSON, two of which are operators.
fn is_json(name: *const c_char) -> bool {
    let name = bytes(&name);
    name.starts_with(b"->") || name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"json"))
}

/// Whether a function may give something else each time.
fn is_volatile(name: *const c_char) -> bool {
    VOLATILE.iter().any(|known| known.eq_ignore_ascii_case(bytes(&name)))
}

/// The bytes of a name that SQLite passes.
fn bytes(name: &*const c_char) -> &[u8] {
    // SAFETY: null, or a C string of SQLite that lives for the call.
    if name.is_null() { &[] } else { unsafe { CStr::from_ptr(*name) }.to_bytes() }
}

/// What an action of the authorizer is in SQL.
fn action_name(action: c_int) -> &'static str {
    match action {
        ffi::SQLITE_ALTER_TABLE => "ALTER TABLE",
        ffi::SQLITE_ANALYZE => "ANALYZE",
        ffi::SQLITE_ATTACH => "ATTACH or VACUUM",
        ffi::SQLITE_CREATE_INDEX | ffi::SQLITE_CREATE_TEMP_INDEX => "CREATE INDEX",
        ffi::SQLITE_CREATE_TABLE | ffi::SQLITE_CREATE_TEMP_TABLE => "CREATE TABLE",
        ffi::SQLITE_CREATE_TRIGGER | ffi::SQLITE_CREATE_TEMP_TRIGGER => "CREATE TRIGGER",
        ffi::SQLITE_CREATE_VIEW | ffi::SQLITE_CREATE_TEMP_VIEW => "CREATE VIEW",
        ffi::SQLITE_CREATE_VTABLE => "CREATE VIRTUAL TABLE",
        ffi::SQLITE_DELETE => "DELETE",
        ffi::SQLITE_DETACH => "DETACH",
        ffi::SQLITE_DROP_INDEX | ffi::SQLITE_DROP_TEMP_INDEX => "DROP INDEX",
        ffi::SQLITE_DROP_TABLE | ffi::SQLITE_DROP_TEMP_TABLE | ffi::SQLITE_DROP_VTABLE => "DROP TABLE",
        ffi::SQLITE_DROP_TRIGGER | ffi::SQLITE_DROP_TEMP_TRIGGER => "DROP TRIGGER",
        ffi::SQLITE_DROP_VIEW | ffi::SQLITE_DROP_TEMP_VIEW => "DROP VIEW",
        ffi::SQLITE_FUNCTION => "a function that loads code or has no bounds",
        ffi::SQLITE_INSERT => "INSERT",
        ffi::SQLITE_PRAGMA => "PRAGMA",
        ffi::SQLITE_REINDEX => "REINDEX",
        ffi::SQLITE_SAVEPOINT => "SAVEPOINT",
        ffi::SQLITE_TRANSACTION => "a transaction",
        ffi::SQLITE_UPDATE => "UPDATE",
        _ => "more than to read",
    }
}

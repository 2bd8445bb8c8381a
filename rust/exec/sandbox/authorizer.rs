//! What a statement may do, asked by SQLite for every action while it is compiled.

#![expect(unsafe_code, reason = "a callback of the C interface")]

use std::ffi::{CStr, c_char, c_int, c_void};

use rusqlite::ffi;

use super::functions;
use super::watch::Watch;

/// Functions that load code, and those whose time grows with the square of their arguments.
const REFUSED: &[&[u8]] = &[b"load_extension", b"fts3_tokenizer", b"json_patch", b"jsonb_patch"];

/// The same of FTS3, by the product of its argument and the row.
const REFUSED_OF_MODULES: &[u8] = b"matchinfo";

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
const REPORTS: &[&[u8]] = &[
    b"table_info",
    b"table_xinfo",
    b"table_list",
    b"index_list",
    b"index_info",
    b"index_xinfo",
    b"foreign_key_list",
    b"foreign_key_check",
    b"database_list",
    b"collation_list",
    b"function_list",
    b"module_list",
    b"pragma_list",
    b"compile_options",
    b"integrity_check",
    b"quick_check",
];

/// Pragmas that modules ask when they are first used, without an argument: FTS3 and R*Tree for the size of pages, FTS5 for
/// whether the file has changed. A query may not ask them, since they tell of more than its database.
const OF_MODULES: &[&[u8]] = &[b"page_size", b"data_version"];

/// Pragmas that show what the connection has been through: databases and modules are listed once they were used, and functions
/// are once they were registered.
const OF_CONNECTION: &[&[u8]] = &[b"database_list", b"module_list", b"function_list", b"collation_list", b"table_list"];

/// How the tables are called that the pragmas are too.
const PRAGMA_TABLE: &[u8] = b"pragma_";

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
    if watch.question() {
        return ffi::SQLITE_DENY;
    }
    if matches!(action, ffi::SQLITE_SELECT | ffi::SQLITE_RECURSIVE) {
        return ffi::SQLITE_OK;
    }
    // SAFETY: SQLite passes null or a C string that lives for the call.
    let first = unsafe { bytes(first) };
    if action == ffi::SQLITE_READ {
        return reads(watch, first);
    }
    // SAFETY: as above.
    let second = unsafe { bytes(second) };
    if action == ffi::SQLITE_FUNCTION && calls(watch, second) {
        return ffi::SQLITE_DENY;
    }
    let allowed = match action {
        ffi::SQLITE_FUNCTION => {
            let is_refused_here = watch.has_virtual_tables() && second.eq_ignore_ascii_case(REFUSED_OF_MODULES);
            !is_refused_here && !is_one_of(second, REFUSED)
        }
        ffi::SQLITE_PRAGMA => {
            let is_own = watch.takes_own_pragma();
            if is_own && asks(watch, first) {
                return ffi::SQLITE_DENY;
            }
            let of_module = watch.has_virtual_tables() && !is_own && second.is_empty() && is_one_of(first, OF_MODULES);
            of_module || is_one_of(first, REPORTS)
        }
        // An R*Tree compiles all of its statements when it is first looked at. Those that write run only where a query writes,
        // which no query does that gets through its own compilation.
        ffi::SQLITE_INSERT | ffi::SQLITE_UPDATE | ffi::SQLITE_DELETE if watch.is_of_tree(first) => {
            watch.let_through(action_name(action));
            true
        }
        _ => false,
    };
    if allowed {
        return ffi::SQLITE_OK;
    }
    // The statements that change the schema show as writes to its tables.
    let is_schema = is_one_of(first, &[b"sqlite_master", b"sqlite_temp_master"]);
    watch.refuse(if is_schema { "a change of the schema" } else { action_name(action) });
    ffi::SQLITE_DENY
}

/// The callback while tables are defined: besides reading, definitions of tables, views and indexes are allowed, and what
/// SQLite and the modules of virtual tables themselves write for them.
pub(super) unsafe extern "C" fn authorize_definitions(
    watch: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    database: *const c_char,
    trigger: *const c_char,
) -> c_int {
    // SAFETY: registered with the address of a live watch, on this thread.
    let known = unsafe { &*watch.cast::<Watch>() };
    // SAFETY: SQLite passes null or a C string that lives for the call.
    let name = unsafe { bytes(first) };
    match action {
        ffi::SQLITE_CREATE_TABLE
        | ffi::SQLITE_CREATE_VIEW
        | ffi::SQLITE_CREATE_INDEX
        | ffi::SQLITE_REINDEX
        | ffi::SQLITE_TRANSACTION => ffi::SQLITE_OK,
        ffi::SQLITE_CREATE_VTABLE => {
            known.defines_virtual_table(Some(name));
            ffi::SQLITE_OK
        }
        ffi::SQLITE_INSERT | ffi::SQLITE_UPDATE | ffi::SQLITE_DELETE
            if name.starts_with(b"sqlite_") || known.is_of_definition(name) =>
        {
            ffi::SQLITE_OK
        }
        ffi::SQLITE_PRAGMA if known.is_defining() && is_one_of(name, OF_MODULES) => ffi::SQLITE_OK,
        // SAFETY: called with what SQLite passes.
        _ => unsafe { authorize(watch, action, first, second, database, trigger) },
    }
}

/// The bytes of a name; none for null.
///
/// # Safety
///
/// The name must be null or a C string that lives as long as what is returned.
unsafe fn bytes<'a>(name: *const c_char) -> &'a [u8] {
    // SAFETY: by the caller's promise.
    if name.is_null() { &[] } else { unsafe { CStr::from_ptr(name) }.to_bytes() }
}

fn is_one_of(name: &[u8], known: &[&[u8]]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a table may be read. The tables that are pragmas ask for them when they run, which must not be taken for a module.
fn reads(watch: &Watch, table: &[u8]) -> c_int {
    let start = table.get(..PRAGMA_TABLE.len()).filter(|start| start.eq_ignore_ascii_case(PRAGMA_TABLE));
    if let Some(pragma) = start.map(|start| &table[start.len()..]) {
        if is_one_of(pragma, OF_MODULES) {
            watch.refuse(action_name(ffi::SQLITE_PRAGMA));
            return ffi::SQLITE_DENY;
        }
        if asks(watch, pragma) {
            return ffi::SQLITE_DENY;
        }
    }
    ffi::SQLITE_OK
}

/// Tells the watch what a pragma shows; whether the query must stop.
fn asks(watch: &Watch, pragma: &[u8]) -> bool {
    let is_stale = is_one_of(pragma, OF_CONNECTION) && watch.looks_at_connection();
    // With our functions whoever asks, since one that calls any of them has them.
    is_stale || pragma.eq_ignore_ascii_case(b"function_list") && watch.own_function()
}

/// Tells the watch that a function is called; whether the query must stop.
fn calls(watch: &Watch, name: &[u8]) -> bool {
    // Two functions for JSON are operators.
    let is_json = name.starts_with(b"->") || name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"json"));
    watch.function(is_json, is_one_of(name, VOLATILE)) || functions::is_own(name) && watch.own_function()
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

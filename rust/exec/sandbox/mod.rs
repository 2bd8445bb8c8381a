//! A database that untrusted SQL can read, and do nothing else with. The only folder that names rusqlite.
//!
//! The file is opened for reading only, as it is; an authorizer refuses everything but reading; a progress handler ends a
//! query at its deadline, at its budget of steps, or when the caller cancels. Statements are prepared and stepped
//! through SQLite's C interface itself, because two rules of the official tool (Python's `sqlite3`) hang on it: text
//! behind the first statement is an error even if it is only a `;`, and so are parameters.

#![expect(unsafe_code, reason = "statements are prepared and stepped through the C interface")]

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ffi};

mod authorizer;
mod definition;
mod fresh;
mod functions;
mod json;
mod like;
mod memory;
mod program;
mod schema;
mod scratch;
mod snippet;
mod source;
mod stack;
mod statement;
mod trim;
mod turn;
mod unhex;
mod value;
mod watch;

use self::fresh::{connect, is_blank, is_pragma};
pub use self::program::Program;
pub use self::schema::{ColumnDescription, DatabaseSchema, ForeignKeyDescription, TableDescription};
use self::source::{HEADER, Source};
pub use self::stack::on_large_stack;
use self::statement::Statement;
pub use self::statement::{Reader, Row};
use self::turn::Kept;
use self::watch::{STEPS_PER_LOOK, SharedWatch, Watch};
use super::digest::Digest;
use super::effort::Effort;
use crate::error::Error;

/// What a query may use before it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wall-clock time of one query on one database.
    pub timeout: Duration,
    /// Instructions of SQLite's virtual machine for one query on one database. Unlike time, they are the same on every
    /// machine, so that verdicts are too.
    pub steps: u64,
    /// New memory of SQLite for one query on one database, in bytes.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), steps: 1_000_000_000, memory: 128 << 20 }
    }
}

/// For queries of our own.
const UNLIMITED: Limits = Limits { timeout: Duration::MAX, steps: u64::MAX, memory: usize::MAX };

/// `SQLITE_DBCONFIG_FP_DIGITS`, which the bindings do not name yet.
const FLOAT_DIGITS: c_int = 1023;

/// Longest query text, in bytes; the longest of Spider has 577. SQLite compiles some texts in time that grows with the
/// square of their length, and takes no look at the limits on the way.
pub const SQL_BYTES: usize = 50_000;

/// Most calls of functions that a query may spell out. Between two jumps of its program nothing looks at the limits, and
/// each call may work through a value as large as [`value_bytes`] allows.
const FUNCTION_CALLS: u32 = 1000;

/// The product of a compiled query's size and that of its largest value, both in bytes. It bounds the work between two looks
/// at the limits, since a row may take every instruction once, and each may go through a value, or read the digits of two again and
/// again to compute with them: half a second.
const WORK: u64 = 1 << 35;

/// The same where the query has functions for JSON, which go through a value once for each path, and slowly.
const JSON_WORK: u64 = 1 << 34;

/// Most arguments of a function, as in the common builds of SQLite.
const FUNCTION_ARGUMENTS: c_int = 127;

/// How much stack a query may take. SQLite descends into subqueries and common table expressions, however deep they are
/// nested, and a stack that ends under it takes the process along.
pub const STACK_BYTES: usize = 8 << 20;

/// Longest pattern of LIKE and GLOB, in bytes. Matching takes time in proportion to the pattern and to the text.
const PATTERN_BYTES: c_int = 500;

/// Most instructions of a compiled query; the largest of Spider has some hundreds.
const PROGRAM_STEPS: c_int = 1_000_000;

/// Deepest nesting that the parser follows. Each level costs stack, of which a thread has a fixed amount.
const PARSER_DEPTH: c_int = 500;

/// Memory of an open database without its pages: its schema, and room for small allocations.
const OPEN_BYTES: u64 = 90 << 10;

/// Most memory of the pages of a file, by SQLite's default.
const PAGES_BYTES: u64 = 2 << 20;

/// Largest text, blob or row in bytes: that of the database file, within bounds. No value in the file is larger, and one
/// that a query makes has no need to be; functions on it run to their end before the next look at the limits.
fn value_bytes(file: u64) -> c_int {
    c_int::try_from(file.clamp(64 << 10, 4 << 20)).unwrap_or(c_int::MAX)
}

/// Why a query gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// SQLite or the rules of Python's `sqlite3` reject it; the message says how.
    Sql(String),
    /// It was still running at its deadline or at the end of its budget of steps; the message says which.
    Timeout(String),
    /// It, a value of it, or the memory that it asks for is too large.
    TooLarge(String),
    /// It wants more than to read; the message names the action.
    Forbidden(String),
    /// The database itself cannot be read; the query has no part in it.
    Database(String),
    /// The caller cancelled.
    Cancelled,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Sql(message)
            | Self::Timeout(message)
            | Self::TooLarge(message)
            | Self::Forbidden(message)
            | Self::Database(message) => message,
            Self::Cancelled => "cancelled",
        })
    }
}

/// Version of the SQLite inside.
#[must_use]
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// The options that the SQLite inside was compiled with.
#[must_use]
pub fn compile_options() -> Vec<String> {
    (0..)
        .map_while(|index| {
            // SAFETY: the function takes any index and returns a static string, or null past the end.
            let option = unsafe { ffi::sqlite3_compileoption_get(index) };
            // SAFETY: not null, hence a static C string.
            (!option.is_null()).then(|| unsafe { CStr::from_ptr(option) }.to_string_lossy().into_owned())
        })
        .collect()
}

/// Prepares SQLite, which must not have been used in the process before. Opening a database does it too.
pub fn initialize() -> Result<(), Error> {
    if memory::install() { Ok(()) } else { Err(Error::SqliteInUse) }
}

/// Makes a database file, or goes on with one.
#[cfg(test)]
pub(crate) fn write_database(path: &Path, script: &str) {
    initialize().unwrap();
    Connection::open(path).unwrap().execute_batch(script).unwrap();
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    /// Compiled queries to be run again; declared before the connection, which must be closed after they are gone.
    kept: HashMap<Box<str>, Kept>,
    /// Memory of those, in bytes; `None` if there are to be none.
    kept_bytes: Option<u64>,
    connection: Connection,
    /// SQLite holds its address; declared behind the connection, which is closed first.
    watch: SharedWatch,
    /// How the file is to be read; see [`Source::layout`].
    layout: [u8; HEADER],
    /// Of the file, in bytes.
    size: u64,
    /// Hash of the file's content, if it is held in memory.
    content: Option<u128>,
    is_held: bool,
    /// Memory for the next file to be held.
    room: Vec<u8>,
    /// Largest value in bytes.
    value_bytes: c_int,
    /// Largest value of the query at hand, which may be smaller.
    value_limit: Cell<c_int>,
    /// See [`Database::places`].
    places: Option<Digest>,
}

impl Database {
    /// Opens a database file read-only, as it is: no lock is taken and no journal looked at. If it is to be `held` and
    /// small enough, it is read into memory, which pays where it is used more than once.
    ///
    /// Its schema is read at once, so that no query pays for that, and all have the same limits.
    pub fn open(path: &Path, held: bool) -> Result<Self, Failure> {
        if !memory::install() || !scratch::register() {
            return Err(Failure::Database(Error::SqliteInUse.to_string()));
        }
        let source = Source::open(path, held, Vec::new())?;
        let (layout, size, content, is_held) = (source.layout(), source.size(), source.hash(), source.is_held());
        let mut database = Self { content, is_held, ..Self::new(connect(source)?, layout, size) };
        database.set_up()?;
        Ok(database)
    }

    fn new(connection: Connection, layout: [u8; HEADER], size: u64) -> Self {
        let (watch, value_bytes) = (SharedWatch::new(), value_bytes(size));
        Self {
            kept: HashMap::new(),
            kept_bytes: None,
            connection,
            watch,
            layout,
            size,
            content: None,
            is_held: false,
            room: Vec::new(),
            value_bytes,
            value_limit: Cell::new(value_bytes),
            places: None,
        }
    }

    /// The hash of the file's content, if it is held in memory.
    #[must_use]
    pub fn content(&self) -> Option<u128> {
        self.content
    }

    /// About how many bytes of memory it takes while it is open.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let pages = if self.is_held { self.size } else { self.size.min(PAGES_BYTES) };
        OPEN_BYTES + pages + self.room.capacity() as u64 + self.kept_bytes.unwrap_or(0)
    }

    /// Whether it holds a file descriptor.
    #[must_use]
    pub fn holds_file(&self) -> bool {
        !self.is_held
    }

    /// Whether the latest query may have another result when it runs again: it calls for chance or for the time.
    #[must_use]
    pub fn is_volatile(&self) -> bool {
        self.watch.is_volatile()
    }

    fn configure(&self) -> rusqlite::Result<()> {
        // Python's build takes "text" for a string where no column has that name, and the official tool relies on it.
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, true)?;
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, true)?;
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        // Pages of a file in memory are read where they are, not copied; it may be turned to such a file later.
        self.connection.pragma_update(None, "mmap_size", i64::MAX)?;
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_LENGTH, self.value_bytes),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, c_int::try_from(SQL_BYTES).unwrap_or(c_int::MAX)),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_BYTES),
            (Limit::SQLITE_LIMIT_FUNCTION_ARG, FUNCTION_ARGUMENTS),
            (Limit::SQLITE_LIMIT_VDBE_OP, PROGRAM_STEPS),
            (Limit::SQLITE_LIMIT_PARSER_DEPTH, PARSER_DEPTH),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            self.connection.set_limit(limit, value)?;
        }
        let watch = self.watch.address();
        // SAFETY: the handle is open. The watch outlives the connection, whose thread is the only one to call back; the
        // callbacks only borrow it as shared and set its cells.
        unsafe {
            let handle = self.connection.handle();
            // Digits of a float that becomes text: 15 in every SQLite that has no such setting.
            ffi::sqlite3_db_config(handle, FLOAT_DIGITS, 15, ptr::null_mut::<c_int>());
            ffi::sqlite3_progress_handler(handle, c_int::from(STEPS_PER_LOOK.cast_signed()), Some(progress), watch);
            ffi::sqlite3_set_authorizer(handle, Some(authorizer::authorize), watch);
        }
        Ok(())
    }

    /// Replaces some of SQLite's functions by ours.
    fn register_functions(&mut self) -> Result<(), Failure> {
        // What was compiled before, SQLite would compile again as it runs.
        self.forget_kept();
        // SAFETY: the connection is open, and the watch outlives it.
        match unsafe { functions::register(self.connection.handle(), self.watch.address()) } {
            ffi::SQLITE_OK => {
                self.watch.functions_registered();
                Ok(())
            }
            code => Err(Failure::Database(ffi::code_to_str(code).to_owned())),
        }
    }

    /// Sets the flag that cancels the queries from now on.
    pub fn watch(&mut self, cancel: Arc<AtomicBool>) {
        self.watch.obey(cancel);
    }

    /// What a comparison of results may do, with the time and the flag of a query. It begins now.
    #[must_use]
    pub fn effort(&self, limits: &Limits) -> Effort {
        Effort::new(limits.timeout, self.watch.cancel())
    }

    /// The tables of the database.
    pub fn schema(&mut self) -> Result<DatabaseSchema, Failure> {
        self.start_reading()?;
        let found = schema::read(&self.connection).map_err(|error| Failure::Database(error.to_string()));
        self.watch.set_fresh(false);
        found
    }

    /// The tables of the database with types and keys, without those of SQLite itself.
    pub fn describe(&mut self) -> Result<Vec<TableDescription>, Failure> {
        self.start_reading()?;
        let found = schema::describe(&self.connection).map_err(|error| Failure::Database(error.to_string()));
        self.watch.set_fresh(false);
        found
    }

    fn start_reading(&mut self) -> Result<(), Failure> {
        if self.watch.has_virtual_tables() {
            self.renew_if_used()?;
        }
        self.watch.start(&Limits::default());
        Ok(())
    }

    /// Runs one statement and hands its result to `reader`, until that breaks off.
    ///
    /// Text without a statement, such as a comment, has no columns and no rows.
    pub fn query(&mut self, text: &str, limits: &Limits, reader: &mut impl Reader) -> Result<(), Failure> {
        if let Some(result) = self.execute_kept(text, limits, reader)
            && !self.watch.lacks_functions()
        {
            return result;
        }
        let compiled = self.compile_and_execute(text, limits, reader)?;
        if let Some(compiled) = compiled.filter(|_| !self.watch.has_virtual_tables() && !self.watch.needs_fresh()) {
            self.keep(text, compiled);
        }
        Ok(())
    }

    /// The same for a statement that is not going to be run again.
    fn query_once(&mut self, text: &str, limits: &Limits, reader: &mut impl Reader) -> Result<(), Failure> {
        self.compile_and_execute(text, limits, reader).map(drop)
    }

    /// How many steps the latest query took, which had these limits; 1 at least.
    #[must_use]
    pub fn steps(&self, limits: &Limits) -> u64 {
        1 + limits.steps.saturating_sub(self.watch.steps_left())
    }

    fn compile_and_execute(
        &mut self,
        text: &str,
        limits: &Limits,
        reader: &mut impl Reader,
    ) -> Result<Option<Kept>, Failure> {
        if self.watch.has_virtual_tables() {
            self.renew_if_used()?;
        }
        let mut result = self.try_compile_and_execute(text, limits, reader);
        if self.watch.needs_fresh() && !self.watch.is_fresh() {
            self.renew()?;
            result = self.try_compile_and_execute(text, limits, reader);
        }
        if self.watch.lacks_functions() {
            // Most databases never see a query that needs them, and registering takes as long as a small query.
            self.register_functions()?;
            result = self.try_compile_and_execute(text, limits, reader);
        }
        self.watch.set_fresh(false);
        result
    }

    fn try_compile_and_execute(
        &self,
        text: &str,
        limits: &Limits,
        reader: &mut impl Reader,
    ) -> Result<Option<Kept>, Failure> {
        self.watch.start(limits);
        memory::limited(limits.memory, 0, &self.watch, || {
            self.limit_values(self.value_bytes)?;
            let Some(statement) = self.prepare(text)? else {
                reader.names(std::iter::empty());
                // Whether it breaks off or not, there are no rows.
                let _ = reader.start(0);
                return Ok(None);
            };
            // What its compilation has left behind is the compiled query.
            let (bytes, compilation) = (memory::used(), self.watch.compilation());
            self.execute(&statement, bytes, reader)?;
            Ok(Some(Kept { statement, limits: *limits, compilation, bytes }))
        })
    }

    /// Runs a compiled query of so many bytes.
    fn execute(&self, statement: &Statement, bytes: u64, reader: &mut impl Reader) -> Result<(), Failure> {
        let (most_work, scale) = if self.watch.calls_json() { (JSON_WORK, WORK / JSON_WORK) } else { (WORK, 1) };
        let most = c_int::try_from(most_work / bytes).unwrap_or(c_int::MAX).min(self.value_bytes);
        self.limit_values(most)?;
        self.watch.compiled(scale * bytes * u64::from(most.unsigned_abs()));
        let columns = statement.columns();
        reader.names((0..columns).map(|column| statement.name(column)));
        if reader.start(columns).is_break() {
            return Ok(());
        }
        while statement.step().map_err(|code| self.failure(code))? {
            if reader.row(&Row::new(statement, columns)).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Sets how large a value may be.
    fn limit_values(&self, bytes: c_int) -> Result<(), Failure> {
        if self.value_limit.replace(bytes) == bytes {
            return Ok(());
        }
        let set = self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, bytes);
        set.map(drop).map_err(|error| Failure::Database(error.to_string()))
    }

    fn prepare(&self, text: &str) -> Result<Option<Statement>, Failure> {
        if text.contains('\0') {
            return Err(Failure::Sql("embedded null character".to_owned()));
        }
        let length = c_int::try_from(text.len()).ok().filter(|_| text.len() <= SQL_BYTES);
        let length = length.ok_or_else(|| Failure::TooLarge(too_long(text)))?;
        self.watch.set_pragma(is_pragma(text.as_bytes()));
        let mut handle = ptr::null_mut();
        let mut tail = ptr::null();
        // SAFETY: the connection is open, the text is alive for the call and its length is given; `handle` and `tail`
        // are written before they are read.
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                self.connection.handle(),
                text.as_ptr().cast(),
                length,
                ffi::SQLITE_PREPARE_PERSISTENT,
                &raw mut handle,
                &raw mut tail,
            )
        };
        if code != ffi::SQLITE_OK {
            return Err(self.failure(code));
        }
        // SAFETY: after success `tail` points into `text` or at its end.
        let behind = unsafe { tail.offset_from(text.as_ptr().cast::<c_char>()) };
        let behind = usize::try_from(behind).ok().and_then(|at| text.as_bytes().get(at..)).unwrap_or_default();
        // SAFETY: not null, hence a statement of this connection, which is closed behind it.
        let statement = (!handle.is_null()).then(|| unsafe { Statement::new(handle) });
        if !is_blank(behind) {
            return Err(Failure::Sql("more than one statement".to_owned()));
        }
        let Some(statement) = statement else { return Ok(None) };
        if statement.parameters() > 0 {
            return Err(Failure::Sql("the query has parameters, which have no values here".to_owned()));
        }
        // Statements that write have no columns, also where they find nothing to do, such as `REINDEX` without an index.
        if !statement.is_readonly() || statement.columns() == 0 {
            return Err(Failure::Forbidden(self.watch.provisional().unwrap_or("the statement writes").to_owned()));
        }
        Ok(Some(statement))
    }

    /// What a result code means, with SQLite's own message.
    fn failure(&self, code: c_int) -> Failure {
        // SAFETY: the connection is open; the message is a C string that is copied before the next call.
        let message =
            unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.connection.handle())) }.to_string_lossy().into_owned();
        // Whoever stops a query or refuses something does it through an error that SQLite knows, such as a lack of memory.
        if let Some(failure) = self.watch.failure() {
            return failure;
        }
        if let Some(refused) = self.watch.refused() {
            return Failure::Forbidden(refused.to_owned());
        }
        // A table that a module writes to alone.
        if self.watch.has_virtual_tables() && message.ends_with(" may not be modified") {
            return Failure::Forbidden(self.watch.provisional().map_or(message, str::to_owned));
        }
        match code & 0xff {
            // A temporary file for which there is no memory is not the database's fault.
            _ if code == ffi::SQLITE_IOERR_NOMEM => Failure::TooLarge(message),
            // The content of one virtual table, which its module takes for damaged; all others are none the worse for it.
            _ if code == ffi::SQLITE_CORRUPT_VTAB => Failure::Sql(message),
            ffi::SQLITE_AUTH | ffi::SQLITE_READONLY => Failure::Forbidden(message),
            ffi::SQLITE_NOMEM | ffi::SQLITE_TOOBIG | ffi::SQLITE_FULL => Failure::TooLarge(message),
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN => {
                Failure::Database(message)
            }
            // Limits that SQLite reports as mistakes in the query.
            _ if TOO_LARGE.iter().any(|limit| message.starts_with(limit)) && !message.contains("() - max ") => {
                Failure::TooLarge(message)
            }
            _ => Failure::Sql(message),
        }
    }
}

/// What is wrong with a text of more than [`SQL_BYTES`].
#[must_use]
pub fn too_long(text: &str) -> String {
    format!("a query of {} bytes, at most {SQL_BYTES}", text.len())
}

/// How SQLite's messages about its limits begin.
const TOO_LARGE: &[&str] = &[
    "too many ",
    "Expression tree is too large",
    "LIKE or GLOB pattern too complex",
    "parser stack overflow",
    "Recursion limit",
];

/// The progress handler: not zero stops the query.
unsafe extern "C" fn progress(watch: *mut c_void) -> c_int {
    // SAFETY: `configure` registered this with the address of a live `Watch`, on this thread.
    c_int::from(unsafe { &*watch.cast::<Watch>() }.steps())
}

/// Digests of whole results, for tests.
#[cfg(test)]
mod digesting {
    use std::ops::ControlFlow;

    use super::{Database, Failure, Limits, Reader, Row};
    use crate::exec::digest::{Digest, Digester};

    struct DigestReader(Digester);

    impl Reader for DigestReader {
        fn start(&mut self, columns: usize) -> ControlFlow<()> {
            self.0 = Digester::new(columns, true);
            ControlFlow::Continue(())
        }

        fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
            self.0.row(row.cells());
            ControlFlow::Continue(())
        }
    }

    impl Database {
        /// The digest of a result with its rows in order.
        pub(super) fn digest(&mut self, text: &str, limits: &Limits) -> Result<Digest, Failure> {
            let mut reader = DigestReader(Digester::new(0, true));
            self.query(text, limits, &mut reader)?;
            Ok(reader.0.finish())
        }
    }
}

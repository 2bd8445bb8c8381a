//! Databases that are defined by text and have no rows, and whether a query compiles on them.

#![expect(unsafe_code, reason = "statements are prepared and stepped through the C interface")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use rusqlite::{Connection, OpenFlags, ffi};

use super::source::HEADER;
use super::statement::Statement;
use super::{Database, Failure, Limits, SQL_BYTES, authorizer, is_blank, memory, scratch};
use crate::error::Error;

/// Longest script of definitions, in bytes.
pub const DEFINITION_BYTES: usize = 1 << 20;

/// What definitions may use, and then the compilation of a query.
const LIMITS: Limits = Limits { timeout: std::time::Duration::from_secs(10), steps: 50_000_000, memory: 64 << 20 };

impl Database {
    /// Makes a database in memory from `CREATE TABLE`, `CREATE VIRTUAL TABLE`, `CREATE VIEW` and `CREATE INDEX` statements, which
    /// may stand between `BEGIN` and `COMMIT`. Virtual tables of unknown modules are left out, everything else is refused, and
    /// what they do is limited like a query.
    pub fn define(script: &str) -> Result<Self, Failure> {
        if !memory::install() || !scratch::register() {
            return Err(Failure::Database(Error::SqliteInUse.to_string()));
        }
        let length = script.len();
        if length > DEFINITION_BYTES {
            return Err(Failure::TooLarge(format!("definitions of {length} bytes, at most {DEFINITION_BYTES}")));
        }
        if script.contains('\0') {
            return Err(Failure::Sql("embedded null character".to_owned()));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags_and_vfs(":memory:", flags, scratch::NAME)
            .map_err(|error| Failure::Database(error.to_string()))?;
        let database = Self::new(connection, [0; HEADER], length as u64);
        // What is lost when it crashes has no journal.
        let journal = database.connection.pragma_update(None, "journal_mode", "OFF");
        journal.and_then(|()| database.configure()).map_err(|error| Failure::Database(error.to_string()))?;
        database.set_authorizer(authorizer::authorize_definitions);
        database.watch.start(&LIMITS);
        memory::limited(LIMITS.memory, 0, &database.watch, || database.run_definitions(script))?;
        database.set_authorizer(authorizer::authorize);
        let tables = database.virtual_tables()?;
        database.watch.set_virtual_tables(&tables);
        Ok(database)
    }

    /// Whether a query compiles; it is not run.
    pub fn check(&mut self, text: &str) -> Result<(), Failure> {
        let prepare = |database: &Self| {
            database.watch.start(&LIMITS);
            memory::limited(LIMITS.memory, 0, &database.watch, || database.prepare(text).map(|found| found.is_some()))
        };
        let mut found = prepare(self);
        if self.watch.lacks_functions() {
            self.register_functions()?;
            found = prepare(self);
        }
        if found? { Ok(()) } else { Err(Failure::Sql("incomplete input".to_owned())) }
    }

    fn set_authorizer(
        &self,
        callback: unsafe extern "C" fn(
            *mut c_void,
            c_int,
            *const c_char,
            *const c_char,
            *const c_char,
            *const c_char,
        ) -> c_int,
    ) {
        // SAFETY: the connection is open, and the watch outlives it.
        unsafe { ffi::sqlite3_set_authorizer(self.connection.handle(), Some(callback), self.watch.address()) };
    }

    fn run_definitions(&self, script: &str) -> Result<(), Failure> {
        let mut rest = script;
        while !is_blank(rest.as_bytes()) {
            self.watch.defines_virtual_table(None);
            // A definition is read up to its end; what stands behind it does not count to its length.
            let (mut handle, mut tail) = (ptr::null_mut(), ptr::null());
            let mut end = rest.len().min(SQL_BYTES);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let length = c_int::try_from(end).unwrap_or(c_int::MAX);
            // SAFETY: the connection is open, the text is alive for the call and its length is given; `handle` and `tail`
            // are written before they are read.
            let code = unsafe {
                let (text, connection) = (rest.as_ptr().cast(), self.connection.handle());
                ffi::sqlite3_prepare_v2(connection, text, length, &raw mut handle, &raw mut tail)
            };
            if code != ffi::SQLITE_OK {
                return Err(self.failure(code));
            }
            // SAFETY: after success `tail` points into the text or at its end.
            let read = unsafe { tail.offset_from(rest.as_ptr().cast::<c_char>()) };
            rest = usize::try_from(read).ok().and_then(|read| rest.get(read..)).unwrap_or_default();
            if handle.is_null() {
                continue;
            }
            // SAFETY: not null, hence a statement of this connection, which is dropped here.
            let statement = unsafe { Statement::new(handle) };
            loop {
                match statement.step().map_err(|code| self.failure(code)) {
                    Ok(true) => {}
                    Ok(false) => break,
                    // What nobody here can use is not there.
                    Err(Failure::Sql(message)) if message.starts_with("no such module: ") => break,
                    Err(failure) => return Err(failure),
                }
            }
        }
        self.watch.defines_virtual_table(None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str, query: &str) -> Result<(), Failure> {
        Database::define(script)?.check(query)
    }

    fn sql(message: &str) -> Result<(), Failure> {
        Err(Failure::Sql(message.to_owned()))
    }

    const SCRIPT: &str = "-- two tables\nCREATE TABLE t (a INTEGER PRIMARY KEY, \"b c\" TEXT);;
        CREATE TABLE u (a, FOREIGN KEY (a) REFERENCES t (a)); CREATE VIEW v AS SELECT a FROM t; CREATE INDEX i ON u (a);";

    #[test]
    fn queries_compile_or_say_why_not() {
        assert_eq!(check(SCRIPT, "SELECT t.a, `b c` FROM t JOIN u ON t.a = u.a WHERE `b c` LIKE '%x%'"), Ok(()));
        assert_eq!(check(SCRIPT, "SELECT trim(a) FROM v;".trim_end_matches(';')), Ok(()));
        assert_eq!(check(SCRIPT, "SELECT x FROM t"), sql("no such column: x"));
        assert_eq!(check(SCRIPT, "SELECT a FROM w"), sql("no such table: w"));
        assert_eq!(check(SCRIPT, "SELECT a FROM t, u"), sql("ambiguous column name: a"));
        assert_eq!(check(SCRIPT, "SELECT f(a) FROM t"), sql("no such function: f"));
        assert_eq!(check(SCRIPT, "SELEC a FROM t"), sql("near \"SELEC\": syntax error"));
        assert_eq!(check(SCRIPT, " -- nothing"), sql("incomplete input"));
        assert_eq!(check("", "SELECT 1"), Ok(()));
    }

    #[test]
    fn queries_do_nothing_but_read() {
        for text in ["DROP TABLE t", "CREATE TABLE w (a)", "INSERT INTO t VALUES (1)", "ATTACH 'x' AS y", "BEGIN"] {
            assert!(matches!(check(SCRIPT, text), Err(Failure::Forbidden(_))), "{text}");
        }
    }

    #[test]
    fn definitions_do_nothing_but_define() {
        for script in [
            "CREATE TABLE t (a); INSERT INTO t VALUES (1)",
            "CREATE TABLE t (a); DROP TABLE t",
            "ATTACH 'x.sqlite' AS x",
            "PRAGMA writable_schema = 1",
            "CREATE TRIGGER t AFTER INSERT ON u BEGIN SELECT 1; END",
            "CREATE VIRTUAL TABLE t USING fts5 (a); INSERT INTO t_data VALUES (1, x'00')",
            "CREATE VIRTUAL TABLE t USING fts5 (a); INSERT INTO t VALUES ('x')",
            "CREATE VIRTUAL TABLE t USING fts5 (a); PRAGMA page_size",
            "CREATE VIRTUAL TABLE t USING rtree (a, b, c); DELETE FROM t_node",
            "CREATE VIRTUAL TABLE temp.t USING fts5 (a); CREATE TEMP TABLE u (a)",
            "CREATE TEMP TABLE t (a)",
            "CREATE TABLE sqlite_t (a); DELETE FROM sqlite_master",
            "VACUUM INTO 'x.sqlite'",
            "SELECT load_extension('x')",
        ] {
            assert!(Database::define(script).is_err(), "{script}");
        }
        assert!(Database::define("BEGIN TRANSACTION; CREATE TABLE t (a); COMMIT;").is_ok());
    }

    #[test]
    fn virtual_tables_are_defined_where_their_module_is_known() {
        let script = "CREATE VIRTUAL TABLE text USING fts5 (title, body); CREATE VIRTUAL TABLE old USING fts4 (title);
            CREATE VIRTUAL TABLE box USING rtree (id, x0, x1); CREATE VIRTUAL TABLE far USING VirtualSpatialIndex ();
            CREATE TABLE t (a);";
        for query in [
            "SELECT title FROM text WHERE text MATCH 'x' ORDER BY rank",
            "SELECT highlight(text, 0, '', ''), bm25(text) FROM text('x')",
            "SELECT title FROM old WHERE old MATCH 'x'",
            "SELECT a FROM t JOIN box ON a = id WHERE x0 > 1",
        ] {
            assert_eq!(check(script, query), Ok(()), "{query}");
        }
        assert_eq!(check(script, "SELECT absent FROM box"), sql("no such column: absent"));
        assert_eq!(check(script, "SELECT 1 FROM far"), sql("no such module: VirtualSpatialIndex"));
        for query in ["INSERT INTO text (text) VALUES ('optimize')", "DELETE FROM box_node", "PRAGMA data_version"] {
            assert!(matches!(check(script, query), Err(Failure::Forbidden(_))), "{query}");
        }
        assert!(Database::define(script).unwrap().describe().unwrap().len() == 4);
    }

    #[test]
    fn definitions_are_limited() {
        let endless =
            "CREATE TABLE t AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c";
        assert!(matches!(Database::define(endless), Err(Failure::Timeout(_) | Failure::TooLarge(_))));
        let long = format!("CREATE TABLE t (a); -- {}", "x".repeat(DEFINITION_BYTES));
        assert!(matches!(Database::define(&long), Err(Failure::TooLarge(_))));
        let many: Vec<String> = (0..2000).map(|number| format!("CREATE TABLE t{number} (a, b, c, d);")).collect();
        let many = many.join("\n");
        assert!(many.len() > SQL_BYTES);
        assert_eq!(Database::define(&many).unwrap().check("SELECT d FROM t1999"), Ok(()));
    }
}

//! One connection for all variants of a database: what was read of the schema and compiled for one holds for the next.
//!
//! Opening a database and compiling its queries takes longer than to run most queries of a test suite. The variants differ in
//! their rows only, which neither schema nor compiled queries depend on. Where that is not so, as it shows in the header
//! and in the definitions, a database is not turned but opened.
//!
//! A query that is run again is in the state in which its compilation left it, with the steps and the memory that it took:
//! it goes beyond a limit exactly where it would have if it had been compiled anew. Small allocations from the room of the
//! connection are no part of a compiled query (`SQLITE_PREPARE_PERSISTENT`), so that others find that room empty.

use std::ops::ControlFlow;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::source::{self, ENCODING, Source};
use super::statement::Statement;
use super::watch::Compilation;
use super::{Database, Failure, Limits, Reader, Row, UNLIMITED, memory, value_bytes};
use crate::exec::denotation::Value;
use crate::exec::digest::{Digest, Digester};

/// Most memory of compiled queries that a database keeps: hundreds of the size of Spider's.
const KEPT_BYTES: u64 = 2 << 20;

/// A compiled query.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) statement: Statement,
    /// The limits that it was compiled under.
    pub(super) limits: Limits,
    pub(super) compilation: Compilation,
    /// Its size in bytes.
    pub(super) bytes: u64,
}

/// What compiling a query depends on beside its text: of two files that agree in it, SQLite makes the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alike(u128);

impl Database {
    /// `None` where compiling depends on more, or the database cannot be read; see [`Database::places`].
    pub(super) fn alike(&mut self) -> Option<Alike> {
        let places = self.places().ok()??;
        Some(Alike(xxh3_128(&[&self.layout[..], &places.to_bytes()].concat())))
    }

    /// From here on keeps compiled queries, to run them again on what it is [turned](Self::turn) to.
    pub fn keep_queries(&mut self) {
        self.kept_bytes.get_or_insert(0);
    }

    /// Goes over to another file, if that has the same schema in the same places; says whether it did. If not, or after a
    /// failure, it is of no use any more.
    pub fn turn(&mut self, path: &Path, held: bool) -> Result<bool, Failure> {
        let Some(places) = self.places()? else { return Ok(false) };
        let source = Source::open(path, held, std::mem::take(&mut self.room))?;
        if source.layout() != self.layout {
            return Ok(false);
        }
        (self.size, self.content, self.is_held) = (source.size(), source.hash(), source.is_held());
        self.value_bytes = value_bytes(self.size);
        self.room = source::exchange(&self.connection, source)?.into_room();
        self.places = None;
        Ok(self.places()? == Some(places))
    }

    /// The digest of all definitions with the places of tables in the file, which compiled queries are made for. `None` where
    /// they also depend on rows, those with statistics, or on what an extension keeps of a virtual table, and where text is not
    /// UTF-8: compiled queries then translate and measure their literals when they first reach them.
    fn places(&mut self) -> Result<Option<Digest>, Failure> {
        if self.layout[ENCODING] != [0, 0, 0, 1] {
            return Ok(None);
        }
        if self.places.is_none() {
            let mut reader = PlacesReader { digester: Digester::new(0, true), depends_on_rows: false };
            self.query("SELECT rootpage, type, name, tbl_name, sql FROM sqlite_master", &UNLIMITED, &mut reader)?;
            self.places = (!reader.depends_on_rows).then(|| reader.digester.finish());
        }
        Ok(self.places)
    }

    /// Keeps a compiled query, if such are to be kept.
    pub(super) fn keep(&mut self, text: &str, compiled: Kept) {
        let Some(bytes) = &mut self.kept_bytes else { return };
        // It may have been compiled under other limits before.
        if let Some(other) = self.kept.remove(text) {
            *bytes -= other.bytes;
        }
        if *bytes + compiled.bytes <= KEPT_BYTES {
            *bytes += compiled.bytes;
            compiled.statement.reset();
            self.kept.insert(text.into(), compiled);
        }
    }

    /// Runs a query that was compiled under the same limits; `None` if it was not.
    pub(super) fn execute_kept(
        &mut self,
        text: &str,
        limits: &Limits,
        reader: &mut impl Reader,
    ) -> Option<Result<(), Failure>> {
        let kept = self.kept.get(text).filter(|kept| kept.limits == *limits)?;
        self.watch.resume(limits, &kept.compilation);
        let execute = || self.execute(&kept.statement, kept.bytes, reader);
        let result = memory::limited(limits.memory, kept.bytes, &self.watch, execute);
        kept.statement.reset();
        Some(result)
    }

    /// Forgets all compiled queries.
    pub(super) fn forget_kept(&mut self) {
        self.kept.clear();
        self.kept_bytes = self.kept_bytes.map(|_| 0);
    }
}

/// See [`Database::places`].
struct PlacesReader {
    digester: Digester,
    depends_on_rows: bool,
}

impl Reader for PlacesReader {
    fn start(&mut self, columns: usize) -> ControlFlow<()> {
        self.digester = Digester::new(columns, true);
        ControlFlow::Continue(())
    }

    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        let mut cells = row.cells();
        let [place, kind, name] = std::array::from_fn(|_| cells.next().unwrap_or(Value::Null));
        let is_virtual = kind == Value::Text(b"table") && !matches!(place, Value::Integer(1..));
        let is_statistics = matches!(name, Value::Text(name) if name.get(..11).is_some_and(|start| start.eq_ignore_ascii_case(b"sqlite_stat")));
        self.depends_on_rows |= is_virtual || is_statistics;
        self.digester.row(row.cells());
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::exec::sandbox::write_database;

    const TABLES: &str =
        "CREATE TABLE t (a INTEGER, b TEXT); CREATE INDEX i ON t (b); CREATE VIEW v AS SELECT a FROM t;";

    /// Databases of the same tables with so many rows.
    fn variants(folder: &Path, rows: &[usize]) -> Vec<PathBuf> {
        let write = |(number, rows): (usize, &usize)| {
            let path = folder.join(format!("{number}.sqlite"));
            let numbers = format!("SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < {rows}");
            let values = format!("WITH RECURSIVE r(x) AS ({numbers}) INSERT INTO t SELECT x, 'row ' || x FROM r");
            write_database(&path, &if *rows > 0 { format!("{TABLES} {values}") } else { TABLES.to_owned() });
            path
        };
        rows.iter().enumerate().map(write).collect()
    }

    const QUERIES: [&str; 12] = [
        "SELECT count(*) FROM t",
        "SELECT b, a FROM t ORDER BY a DESC",
        "SELECT x.a FROM t AS x JOIN t AS y ON x.b = y.b WHERE y.a > 3",
        "SELECT a FROM v UNION SELECT a + 1 FROM t",
        "SELECT DISTINCT length(b) FROM t GROUP BY a % 7 HAVING count(*) > 1",
        "SELECT a FROM t WHERE b LIKE '%7%'",
        "SELECT sum(a) OVER (ORDER BY b) FROM t",
        "SELECT json_extract('[1, 2]', '$[' || (a % 2) || ']') FROM t",
        "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r WHERE x < (SELECT max(a) FROM t)) SELECT x FROM r",
        "PRAGMA table_info(t)",
        "PRAGMA integrity_check",
        "SELECT missing FROM t",
    ];

    #[test]
    fn a_database_that_was_turned_answers_like_one_that_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let files = variants(folder.path(), &[100, 0, 3000, 1, 100]);
        for held in [false, true] {
            let mut turned = Database::open(&files[4], held).unwrap();
            turned.keep_queries();
            for _ in 0..3 {
                for file in &files {
                    assert!(turned.turn(file, held).unwrap());
                    let mut opened = Database::open(file, held).unwrap();
                    assert_eq!(turned.content(), opened.content());
                    for query in QUERIES {
                        let limits = Limits::default();
                        let found = [&mut turned, &mut opened].map(|database| {
                            (database.digest(query, &limits), database.steps(&limits), database.is_volatile())
                        });
                        assert_eq!(found[0], found[1], "{query}");
                    }
                    assert_eq!(turned.alike(), opened.alike());
                    assert_eq!(turned.schema().unwrap(), opened.schema().unwrap());
                }
            }
        }
    }

    #[test]
    fn a_query_that_is_run_again_goes_beyond_its_limits_where_a_new_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let files = variants(folder.path(), &[40, 60]);
        for query in QUERIES {
            let found = |database: &mut Database, limits: &Limits| {
                let result = database.digest(query, limits);
                (result, database.steps(limits))
            };
            for steps in (0..1600).step_by(32).map(|steps| steps + 1) {
                let limits = Limits { steps, ..Limits::default() };
                let mut opened = Database::open(&files[1], false).unwrap();
                // Our functions are there from the first query on that needs them; it is compiled twice.
                let _ = opened.digest("SELECT '' LIKE ''", &Limits::default());
                let expected = found(&mut opened, &limits);
                let mut kept = Database::open(&files[0], false).unwrap();
                kept.keep_queries();
                let _ = kept.digest("SELECT '' LIKE ''", &Limits::default());
                for round in 0..3 {
                    assert!(kept.turn(&files[0], false).unwrap());
                    let _ = found(&mut kept, &limits);
                    assert!(kept.turn(&files[1], false).unwrap());
                    assert_eq!(found(&mut kept, &limits), expected, "{query} in {steps} steps, round {round}");
                }
            }
        }
        let sorted = "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 2000) SELECT x FROM r ORDER BY hex(x)";
        let mut kept = Database::open(&files[0], false).unwrap();
        kept.keep_queries();
        for memory in (10_000..400_000).step_by(7_000) {
            let limits = Limits { memory, ..Limits::default() };
            let first = kept.digest(sorted, &limits);
            kept.forget_kept();
            for _ in 0..3 {
                assert_eq!(kept.digest(sorted, &limits), first, "{memory} bytes");
            }
        }
    }

    #[test]
    fn queries_are_compiled_once_under_the_same_limits() {
        let folder = tempfile::tempdir().unwrap();
        let files = variants(folder.path(), &[5]);
        let mut database = Database::open(&files[0], false).unwrap();
        let limits = Limits::default();
        database.digest("SELECT a FROM t", &limits).unwrap();
        assert!(database.kept.is_empty());
        database.keep_queries();
        for timeout in [1, 1, 2] {
            let limits = Limits { timeout: Duration::from_secs(timeout), ..limits };
            database.digest("SELECT a FROM t", &limits).unwrap();
        }
        assert_eq!(database.kept.len(), 1);
        let bytes = database.kept_bytes;
        assert_eq!(bytes, database.kept.values().next().map(|kept| kept.bytes));
        assert!(database.memory() > Database::open(&files[0], false).unwrap().memory());
        // One that needs our functions makes SQLite compile all anew.
        database.digest("SELECT a FROM t WHERE b LIKE 'x'", &limits).unwrap();
        assert_eq!(database.kept.keys().map(|text| &**text).collect::<Vec<_>>(), ["SELECT a FROM t WHERE b LIKE 'x'"]);
        assert!(bytes.is_some_and(|bytes| bytes > 0));
        for number in 0..2000 {
            database.digest(&format!("SELECT a + {number} FROM t"), &limits).unwrap();
        }
        assert!(database.kept.len() > 100 && database.kept_bytes.is_some_and(|bytes| bytes <= KEPT_BYTES));
    }

    #[test]
    fn databases_that_differ_in_more_than_rows_are_not_turned_to() {
        let folder = tempfile::tempdir().unwrap();
        let first = &variants(folder.path(), &[9])[0];
        let is_turned = |script: &str| {
            let other = folder.path().join("other.sqlite");
            let _ = std::fs::remove_file(&other);
            write_database(&other, script);
            let both = [(first, &other), (&other, first)];
            both.map(|(from, to)| Database::open(from, false).unwrap().turn(to, false).unwrap())
        };
        assert_eq!(is_turned(TABLES), [true, true]);
        for script in [
            TABLES.replace("INTEGER", "TEXT"),
            TABLES.replace("(b)", "(a)"),
            format!("{TABLES} CREATE TABLE u (a)"),
            format!("PRAGMA encoding = 'UTF-16'; {TABLES}"),
            format!("PRAGMA page_size = 512; {TABLES}"),
            format!("PRAGMA user_version = 1; {TABLES}"),
            // The same definitions in other places.
            format!("PRAGMA auto_vacuum = FULL; {TABLES}"),
            format!("CREATE TABLE u (a); {TABLES} DROP TABLE u; PRAGMA schema_version = 3"),
        ] {
            assert_eq!(is_turned(&script), [false, false], "{script}");
        }
        for script in [
            format!("{TABLES} ANALYZE"),
            format!("PRAGMA encoding = 'UTF-16'; {TABLES}"),
            "CREATE VIRTUAL TABLE t USING fts5(a)".to_owned(),
        ] {
            let other = folder.path().join("statistics.sqlite");
            let _ = std::fs::remove_file(&other);
            write_database(&other, &script);
            let mut database = Database::open(&other, false).unwrap();
            assert_eq!(database.turn(&other, false), Ok(false), "{script}");
        }
    }
}

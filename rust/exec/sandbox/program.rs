//! What SQLite compiles a query to, to tell that two queries are one.
//!
//! A result follows from the program and the database alone. So two texts with the same program return the same rows in the
//! same order on every file that they compile alike for, whatever else is different about them: nothing has to be known of
//! SQL, of the planner, or of which rewritings are sound.

use std::ops::ControlFlow;

use super::turn::Alike;
use super::{Database, Limits, Reader, Row};
use crate::exec::denotation::Value;
use crate::exec::digest::{Digest, Digester};

/// Most instructions of a program that is looked at; the largest of Spider has some hundreds.
const INSTRUCTIONS: u64 = 2000;

/// Longest text of a query whose program is looked at, in bytes. Bloom filters, which SQLite puts into programs as blobs of
/// nothing, are larger.
const TEXT: i64 = 10_000;

/// The program of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// The files that it is the program for.
    alike: Alike,
    instructions: Digest,
}

impl Database {
    /// The program of a query. `None` where there is none, or it does not tell all about the result: that may depend on
    /// chance, on time or on the rows that SQLite compiled it for, the listing may leave something out, or be very long.
    pub fn program(&mut self, text: &str, limits: &Limits) -> Option<Program> {
        if i64::try_from(text.len()).map_or(true, |length| length > TEXT) {
            return None;
        }
        let alike = self.alike()?;
        let mut reader = ProgramReader { digester: Digester::new(0, true), is_complete: true };
        // What is wrong with a query is for its run to say.
        self.query_once(&format!("EXPLAIN {text}"), limits, &mut reader).ok()?;
        let is_complete = reader.is_complete && !self.is_volatile();
        is_complete.then(|| Program { alike, instructions: reader.digester.finish() })
    }

    /// Whether SQLite compiles a query that has this program to the same for this database.
    pub fn compiles_alike(&mut self, program: &Program) -> bool {
        self.alike() == Some(program.alike)
    }
}

/// Takes the digest of a listing of instructions.
struct ProgramReader {
    digester: Digester,
    is_complete: bool,
}

impl Reader for ProgramReader {
    fn start(&mut self, columns: usize) -> ControlFlow<()> {
        self.digester = Digester::new(columns, true);
        ControlFlow::Continue(())
    }

    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        let mut cells = row.cells().skip(1);
        let is_vague = match (cells.next(), cells.next()) {
            // Listed with 16 digits, which two that differ can share, or as an address.
            (Some(Value::Text(b"Real" | b"VOpen")), _) => true,
            // Listed up to its first null byte. One as large as that is no literal, but the room of a Bloom filter.
            (Some(Value::Text(b"Blob")), size) => !matches!(size, Some(Value::Integer(TEXT..))),
            _ => false,
        };
        if is_vague || self.digester.rows() >= INSTRUCTIONS {
            self.is_complete = false;
            return ControlFlow::Break(());
        }
        self.digester.row(row.cells());
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::sandbox::write_database;

    const TABLES: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT); CREATE INDEX i ON t (a);
        CREATE TABLE u (t_id INT, c); INSERT INTO t VALUES (1, 2, 'x'), (2, 2, 'y'); INSERT INTO u VALUES (1, 3);";

    fn open(script: &str) -> Database {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite");
        write_database(&path, script);
        Database::open(&path, true).unwrap()
    }

    #[test]
    fn spellings_of_a_query_have_one_program() {
        let mut database = open(TABLES);
        for [one, other] in [
            ["SELECT a FROM t", "select T1.A AS x from T as T1 -- all"],
            ["SELECT b FROM t JOIN u ON t.id = u.t_id WHERE c > 2", "SELECT b FROM t, u WHERE t.id = u.t_id AND c > 2"],
            ["SELECT a FROM t WHERE b LIKE '%x'", "SELECT t.a FROM t WHERE (t.b) LIKE \"%x\""],
            [
                "SELECT id FROM t WHERE id NOT IN (SELECT t_id FROM u)",
                "SELECT id FROM t WHERE id NOT IN (select T_ID from u)",
            ],
            ["SELECT a FROM t ORDER BY a LIMIT 1", "SELECT a FROM t ORDER BY 1 ASC LIMIT 1"],
        ] {
            let limits = Limits::default();
            let programs = [one, other].map(|text| database.program(text, &limits));
            assert!(programs[0].is_some(), "{one}");
            assert_eq!(programs[0], programs[1], "{one} / {other}");
        }
    }

    #[test]
    fn queries_that_differ_have_programs_that_differ() {
        let mut database = open(TABLES);
        let texts = [
            "SELECT a FROM t",
            "SELECT id FROM t",
            "SELECT b FROM t",
            "SELECT DISTINCT a FROM t",
            "SELECT c FROM u",
            "SELECT t_id FROM u",
            "SELECT a FROM t LIMIT 1",
            "SELECT a FROM t LIMIT 2",
            "SELECT a FROM t WHERE a = 1",
            "SELECT a FROM t WHERE a = 2",
            "SELECT a FROM t WHERE a = '1'",
            "SELECT a FROM t WHERE a > 1",
            "SELECT a FROM t WHERE a >= 1",
            "SELECT a FROM t WHERE b = 'x'",
            "SELECT a FROM t WHERE b = 'X'",
            "SELECT a FROM t WHERE b = 'x' COLLATE NOCASE",
            "SELECT a FROM t WHERE b = 'x' COLLATE RTRIM",
            "SELECT a FROM t ORDER BY b",
            "SELECT a FROM t ORDER BY b DESC",
            "SELECT a FROM t ORDER BY b NULLS LAST",
            "SELECT a FROM t ORDER BY b COLLATE NOCASE",
            "SELECT count(*) FROM t",
            "SELECT count(a) FROM t",
            "SELECT count(DISTINCT a) FROM t",
            "SELECT sum(a) FROM t",
            "SELECT total(a) FROM t",
            "SELECT min(a) FROM t",
            "SELECT max(a) FROM t",
            "SELECT max(a, id) FROM t",
            "SELECT min(a, id) FROM t",
            "SELECT upper(b) FROM t",
            "SELECT lower(b) FROM t",
            "SELECT a + 1 FROM t",
            "SELECT a - 1 FROM t",
            "SELECT a * 1 FROM t",
            "SELECT a + 12345678901 FROM t",
            "SELECT a + 12345678902 FROM t",
            "SELECT CAST(a AS TEXT) FROM t",
            "SELECT CAST(a AS REAL) FROM t",
            "SELECT t.a FROM t LEFT JOIN u ON t.id = u.t_id",
            "SELECT t.a FROM t JOIN u ON t.id = u.t_id",
            "SELECT row_number() OVER (ORDER BY a) FROM t",
            "SELECT rank() OVER (ORDER BY a) FROM t",
            "SELECT a FROM t UNION SELECT c FROM u",
            "SELECT a FROM t UNION ALL SELECT c FROM u",
            "SELECT a FROM t EXCEPT SELECT c FROM u",
            "SELECT a FROM t INTERSECT SELECT c FROM u",
        ];
        let programs = texts.map(|text| database.program(text, &Limits::default()));
        for (index, program) in programs.iter().enumerate() {
            assert!(program.is_some(), "{}", texts[index]);
            let first = programs.iter().position(|other| other == program);
            assert_eq!(first, Some(index), "{}", texts[index]);
        }
    }

    #[test]
    fn what_a_listing_does_not_tell_is_no_program() {
        let mut database = open(TABLES);
        let long = format!("SELECT a FROM t WHERE b = '{}'", "x".repeat(10_000));
        let many = format!("SELECT {} FROM t", vec!["a + 1"; 1200].join(" , "));
        for text in [
            // Two floats that are the same in 16 digits.
            "SELECT 0.3 FROM t",
            "SELECT a FROM t WHERE a < 0.30000000000000004",
            "SELECT x'00' FROM t",
            "SELECT a FROM t WHERE b = x'0001'",
            "SELECT random() FROM t",
            "SELECT date('now') FROM t",
            "SELECT value FROM json_each('[1]')",
            "SELECT name FROM pragma_table_info('t')",
            "SELECT missing FROM t",
            "SELECT a FROM t; SELECT b FROM t",
            "EXPLAIN SELECT a FROM t",
            "DELETE FROM t",
            "SELECT load_extension('x')",
            "",
            &long,
            &many,
        ] {
            assert_eq!(database.program(text, &Limits::default()), None, "{text:.100}");
        }
        let few = Limits { steps: 32, ..Limits::default() };
        assert_eq!(database.program(&many[..9000], &few), None);
    }

    #[test]
    fn programs_are_for_files_that_sqlite_compiles_alike_for() {
        let program = |script: &str| open(script).program("SELECT a FROM t", &Limits::default());
        let first = program(TABLES).unwrap();
        assert!(open(&format!("{TABLES} DELETE FROM t")).compiles_alike(&first));
        for script in [
            TABLES.replace("b TEXT", "b INT"),
            TABLES.replace("i ON t (a)", "i ON t (b)"),
            format!("{TABLES} CREATE TABLE v (x)"),
            format!("CREATE TABLE v (x); {TABLES} DROP TABLE v; PRAGMA schema_version = 3"),
            format!("PRAGMA page_size = 512; {TABLES}"),
        ] {
            assert!(!open(&script).compiles_alike(&first), "{script}");
        }
        for script in [format!("{TABLES} ANALYZE"), format!("PRAGMA encoding = 'UTF-16'; {TABLES}")] {
            assert_eq!(program(&script), None, "{script}");
        }
    }
}

//! A query and its canonical form return the same: for random queries on a small database that has every kind of value.
//! `test_canonical.py` tests it on all predictions on the Spider databases.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its data has failed")]

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use qsql::exec::digest::{Digest, Digester, Relation};
use qsql::exec::sandbox::{Database, Failure, Limits, Reader, Row, initialize};
use qsql::sql::canonical::{Schema, canonicalize};
use qsql::sql::rewrite::is_ordered;
use rusqlite::Connection;

/// Takes the digest of a result.
struct Digests {
    ordered: bool,
    digester: Digester,
}

impl Reader for Digests {
    fn start(&mut self, columns: usize) -> ControlFlow<()> {
        self.digester = Digester::new(columns, self.ordered);
        ControlFlow::Continue(())
    }

    fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
        self.digester.row(row.cells());
        ControlFlow::Continue(())
    }
}

fn digest(database: &mut Database, sql: &str, ordered: bool, steps: u64) -> Result<Digest, Failure> {
    let mut reader = Digests { ordered, digester: Digester::new(0, ordered) };
    database.query(sql, &Limits { timeout: Duration::from_secs(60), steps, ..Limits::default() }, &mut reader)?;
    Ok(reader.digester.finish())
}

/// The tables of a database file with their columns.
fn schema(path: &Path) -> Schema {
    let connection = Connection::open(path).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let tables = names("SELECT name FROM sqlite_master WHERE type = 'table'");
    let columns =
        |table: &String| names(&format!("SELECT name FROM pragma_table_info('{}')", table.replace('\'', "''")));
    Schema::new(tables.iter().map(|table| (table, columns(table))))
}

/// Whether the two results differ in anything: cells, types, columns, how often rows come, and their order where the
/// query asks for one. A query that fails has no result to differ from.
fn differs(database: &mut Database, sql: &str, canonical: &str, steps: u64) -> Option<String> {
    let ordered = is_ordered(sql);
    let original = digest(database, sql, ordered, steps).ok()?;
    match digest(database, canonical, ordered, steps.saturating_mul(4)) {
        Ok(digest) if digest.columns == original.columns && digest.relation(&original) == Relation::Same => None,
        Ok(digest) => Some(format!("{original:?}\n{digest:?}")),
        Err(failure) => Some(format!("{failure:?}")),
    }
}

/// Every kind of value, affinity and collation, and indexes that SQLite can choose from.
const DATA: &str = "
    CREATE TABLE a (id INTEGER PRIMARY KEY, x INT, y TEXT, z);
    CREATE TABLE b (id INTEGER PRIMARY KEY, a_id INT, x REAL, w TEXT COLLATE NOCASE);
    CREATE TABLE c (k TEXT PRIMARY KEY, x, y NUMERIC);
    CREATE TABLE t1 (x INT, \"group\" TEXT, \"two words\" TEXT, \"match\" INT);
    CREATE INDEX a_x ON a (x); CREATE INDEX b_a ON b (a_id); CREATE INDEX b_w ON b (w); CREATE INDEX t_x ON t1 (x DESC);
    INSERT INTO a VALUES (1, 3, 'u', 1), (2, 1, 'v', '1'), (3, NULL, 'U', 2.5), (4, 2, NULL, 1.0), (5, 1, '2', NULL),
        (6, 7, 'x', 'u'), (7, 2, 'w', x'61'), (8, '9', 'it''s', -1);
    INSERT INTO b VALUES (1, 2, 1.5, 'u'), (2, 2, 2, 'U'), (3, 1, NULL, 'v'), (4, NULL, 1, 'W'), (5, 5, -1, NULL),
        (6, 4, 2.0, '2'), (7, 1, 1e10, 'x'), (8, 9, 3, 'v');
    INSERT INTO c VALUES ('u', 1, '1'), ('U', '1', 1.5), ('v', 1.0, NULL), ('2', 2, 2), ('x', NULL, '2.0'), ('1', 'u', 'u');
    INSERT INTO t1 VALUES (1, 'u', 'v', 1), (2, 'v', 'u', 2), (2, NULL, '2', 3), (NULL, 'x', 'x', NULL);
";

const TABLES: &[(&str, &[&str])] = &[
    ("a", &["id", "x", "y", "z"]),
    ("b", &["id", "a_id", "x", "w"]),
    ("c", &["k", "x", "y"]),
    ("t1", &["x", "\"group\"", "[two words]", "match"]),
];

/// Decisions that make a query; where they end, every decision is the first, which is the simplest.
struct Dice<'a> {
    rolls: std::slice::Iter<'a, u8>,
    depth: usize,
    names: usize,
}

/// A table that columns can be taken from: what they are qualified with, and their names.
type Visible = (String, Vec<String>);

impl Dice<'_> {
    fn roll(&mut self, sides: usize) -> usize {
        self.rolls.next().map_or(0, |&roll| usize::from(roll)) % sides
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.roll(texts.len())]
    }

    fn one_in(&mut self, chance: usize) -> bool {
        self.roll(chance) == chance - 1
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    fn statement(&mut self) -> String {
        let mut sql = self.query(&[], None);
        sql.push_str(self.pick(&["", ";", " ; -- end", " /* end */ "]));
        sql
    }

    fn query(&mut self, outer: &[Visible], columns: Option<usize>) -> String {
        self.depth += 1;
        let compound = self.one_in(8);
        let columns = columns.or_else(|| compound.then(|| 1 + self.roll(2)));
        let (mut sql, orderable) = self.select(outer, columns);
        if compound {
            for _ in 0..=self.roll(2) {
                sql.push_str(self.pick(&[" UNION ", " union all ", " INTERSECT ", " EXCEPT "]));
                sql.push_str(&self.select(outer, columns).0);
            }
            if self.one_in(3) {
                sql.push_str(" ORDER BY 1");
                sql.push_str(self.pick(&["", " DESC"]));
            }
        } else if self.one_in(3) {
            let terms: Vec<String> = (0..=self.roll(2))
                .map(|_| orderable[self.roll(orderable.len())].clone() + self.pick(&["", " ASC", " desc"]))
                .collect();
            sql.push_str(&format!(" ORDER BY {}", terms.join(",")));
            if self.one_in(2) {
                sql.push_str(self.pick(&[" LIMIT 3", " limit 2 OFFSET 1", " LIMIT 1, 2", " LIMIT 4 OFFSET 0"]));
            }
        }
        self.depth -= 1;
        sql
    }

    /// A `SELECT`, and what its `ORDER BY` may name.
    fn select(&mut self, outer: &[Visible], columns: Option<usize>) -> (String, Vec<String>) {
        let (from, tables) = self.from(outer);
        let mut visible = tables.clone();
        visible.extend(outer.iter().cloned());
        let grouped = self.one_in(4);
        let keys: Vec<String> = (0..=self.roll(2)).map(|_| self.column(&tables)).collect();
        let mut orderable = Vec::new();
        let mut aliases = Vec::new();
        let mut items = Vec::new();
        for number in 1..=columns.unwrap_or_else(|| 1 + self.roll(3)) {
            let item = match self.roll(if grouped { 6 } else { 5 }) {
                0 | 1 => self.column(&tables),
                2 => self.value(&visible),
                3 if columns.is_none() && !grouped => self.star(&tables),
                4 if !grouped => self.condition(&visible),
                _ if grouped && self.one_in(2) => keys[0].clone(),
                _ if grouped => self.aggregate(&tables),
                _ => self.column(&tables),
            };
            if item.ends_with('*') {
                items.push(item);
                continue;
            }
            if items.iter().all(|item: &String| !item.ends_with('*')) {
                orderable.push(number.to_string());
            }
            orderable.push(item.clone());
            if self.one_in(3) {
                let alias = if self.one_in(3) {
                    self.column(&tables[..1]).rsplit('.').next().unwrap().to_owned()
                } else {
                    self.name()
                };
                let alias = if alias.starts_with(['[', '"', '`']) { self.name() } else { alias };
                items.push(format!("{item} {}{alias}", self.pick(&["AS ", "", "as "])));
                orderable.push(alias.clone());
                orderable.push(format!("- {alias}"));
                aliases.push(alias);
            } else {
                items.push(item);
            }
        }
        if !grouped {
            orderable.push(self.column(&tables));
        }
        let distinct = self.pick(&["", "", "", "DISTINCT ", "all "]);
        let mut sql = format!(
            "{} {distinct}{} {from}",
            self.pick(&["SELECT", "select", "Select"]),
            items.join(self.pick(&[", ", ","]))
        );
        if self.one_in(2) {
            sql.push_str(&format!(" WHERE {}", self.condition(&visible)));
        }
        if grouped {
            let key = match self.roll(4) {
                0 if !aliases.is_empty() => aliases[0].clone(),
                _ => keys.join(", "),
            };
            sql.push_str(&format!(" GROUP BY {key}"));
            orderable.push(self.aggregate(&tables));
            if self.one_in(3) {
                let aggregate = match self.roll(3) {
                    0 if !aliases.is_empty() => aliases[0].clone(),
                    _ => self.aggregate(&tables),
                };
                sql.push_str(&format!(" HAVING {aggregate} {} {}", self.pick(&[">", "=", "<>", "<="]), self.roll(4)));
            }
        }
        (sql, orderable)
    }

    fn from(&mut self, outer: &[Visible]) -> (String, Vec<Visible>) {
        let mut sql = String::from("FROM ");
        let mut tables: Vec<Visible> = Vec::new();
        let count = if self.depth > 2 { 1 } else { 1 + self.roll(3) };
        for position in 0..count {
            let (text, table) = self.table(outer, &tables);
            let join = if position == 0 {
                ""
            } else {
                self.pick(&[" JOIN ", ", ", " INNER JOIN ", " cross join ", " LEFT JOIN "])
            };
            sql.push_str(join);
            sql.push_str(&text);
            tables.push(table);
            if position > 0 && !join.starts_with(',') && !self.one_in(4) {
                let join_condition = {
                    let (left, right) = (self.column(&tables[..position]), self.column(&tables[position..]));
                    format!("{left} = {right}")
                };
                let on = if self.one_in(4) {
                    format!("{join_condition} and {}", self.condition(&tables))
                } else {
                    join_condition
                };
                sql.push_str(&format!(" ON {on}"));
            }
        }
        (sql, tables)
    }

    fn table(&mut self, outer: &[Visible], taken: &[Visible]) -> (String, Visible) {
        if self.depth < 3 && self.one_in(10) {
            let (query, ()) = (self.query(outer, Some(1)), ());
            let alias = self.name();
            // The name of its column is not known here, so only a star reaches it.
            return (format!("({query}) {}{alias}", self.pick(&["AS ", ""])), (alias, Vec::new()));
        }
        let (name, columns) = TABLES[self.roll(TABLES.len())];
        let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        let is_taken = taken.iter().any(|(visible, _)| visible == name);
        if is_taken || self.one_in(2) {
            let alias = if self.one_in(3) && !taken.iter().any(|(visible, _)| visible == "T1") {
                "T1".to_owned()
            } else {
                self.name()
            };
            return (format!("{} {}{alias}", self.spelled(name), self.pick(&["AS ", "", "as "])), (alias, columns));
        }
        (self.spelled(name), (name.to_owned(), columns))
    }

    /// A name in one of its spellings.
    fn spelled(&mut self, name: &str) -> String {
        if name.starts_with(['"', '[']) {
            return name.to_owned();
        }
        match self.roll(6) {
            1 => name.to_uppercase(),
            2 => format!("`{name}`"),
            3 => format!("\"{name}\""),
            4 => format!("[{name}]"),
            _ => name.to_owned(),
        }
    }

    fn column(&mut self, tables: &[Visible]) -> String {
        let named: Vec<&Visible> = tables.iter().filter(|(_, columns)| !columns.is_empty()).collect();
        if named.is_empty() {
            return "1.5".to_owned();
        }
        let (table, columns) = named[self.roll(named.len())];
        let column = columns[self.roll(columns.len())].clone();
        let column = self.spelled(&column);
        if tables.len() == 1 && !self.one_in(3) || self.one_in(6) {
            column
        } else {
            format!("{}.{column}", self.spelled(table))
        }
    }

    fn star(&mut self, tables: &[Visible]) -> String {
        if self.one_in(2) { "*".to_owned() } else { format!("{}.*", tables[self.roll(tables.len())].0) }
    }

    fn aggregate(&mut self, tables: &[Visible]) -> String {
        let column = self.column(tables);
        match self.roll(8) {
            0 | 1 => "COUNT(*)".to_owned(),
            2 => "count(1)".to_owned(),
            3 => format!("count(DISTINCT {column})"),
            4 => format!("count('{}')", self.roll(3)),
            5 => format!("Max({column})"),
            6 => format!("min( {column} )"),
            _ => format!("sum({column})"),
        }
    }

    fn literal(&mut self) -> &'static str {
        self.pick(&["1", "2", "'u'", "'2'", "'V'", "1.0", "-1", "\"v\"", "'it''s'", "\"no such\"", "3e0", "'1'", "' '"])
    }

    fn value(&mut self, visible: &[Visible]) -> String {
        self.depth += 1;
        let kinds = if self.depth > 4 { 3 } else { 11 };
        let value = match self.roll(kinds) {
            0 | 1 => self.column(visible),
            2 => self.literal().to_owned(),
            3 => format!("({})", self.value(visible)),
            4 => format!(
                "{} {} {}",
                self.value(visible),
                self.pick(&["+", "-", "*", "/", "||", "%"]),
                self.value(visible)
            ),
            5 => format!("- {}", self.column(visible)),
            6 => format!("lower({})", self.value(visible)),
            7 => format!(
                "CASE WHEN {} THEN {} ELSE {} END",
                self.condition(visible),
                self.value(visible),
                self.literal()
            ),
            8 => format!("CAST({} AS {})", self.value(visible), self.pick(&["INTEGER", "text", "REAL"])),
            9 => {
                let (from, tables) = self.from(visible);
                format!("(SELECT {} {from})", self.aggregate(&tables))
            }
            _ => format!("coalesce({}, {})", self.value(visible), self.literal()),
        };
        self.depth -= 1;
        value
    }

    fn condition(&mut self, visible: &[Visible]) -> String {
        self.depth += 1;
        let kinds = if self.depth > 4 { 4 } else { 14 };
        let value = if self.one_in(3) { self.value(visible) } else { self.column(visible) };
        let condition = match self.roll(kinds) {
            0 | 1 => format!("{value} {} {}", self.comparison(), self.literal()),
            2 => format!("{value} {} {}", self.comparison(), self.column(visible)),
            3 => format!("{}{}{value}", self.literal(), self.comparison()),
            4 => format!("{value} {}IN ({})", self.pick(&["", "NOT "]), self.literals()),
            5 => format!("{} AND {}", self.condition(visible), self.condition(visible)),
            6 => format!("{} or {}", self.condition(visible), self.condition(visible)),
            7 => format!("({})", self.condition(visible)),
            8 => format!("NOT {}", self.condition(visible)),
            9 => format!("{value} {}", self.pick(&["IS NULL", "IS NOT NULL", "ISNULL", "NOTNULL"])),
            10 => format!("{value} {}BETWEEN {} AND {}", self.pick(&["", "not "]), self.literal(), self.literal()),
            11 => format!("{value} {}LIKE '{}'", self.pick(&["", "NOT "]), self.pick(&["%u%", "_", "V", "2%"])),
            12 => format!("{value} {}IN ({})", self.pick(&["", "NOT "]), self.query(visible, Some(1))),
            _ => format!("{}EXISTS ({})", self.pick(&["", "NOT "]), self.query(visible, Some(1))),
        };
        self.depth -= 1;
        condition
    }

    fn comparison(&mut self) -> &'static str {
        self.pick(&["=", "==", "<>", "!=", "<", ">", "<=", ">="])
    }

    fn literals(&mut self) -> String {
        let literals: Vec<&str> = (0..=self.roll(3)).map(|_| self.literal()).collect();
        literals.join(", ")
    }
}

/// The small database in a file of its own.
fn small_database(folder: &Path) -> (Database, Schema) {
    initialize().unwrap();
    let path = folder.join("small.sqlite");
    Connection::open(&path).unwrap().execute_batch(DATA).unwrap();
    (Database::open(&path, false).unwrap(), schema(&path))
}

#[test]
fn random_queries_return_the_same_in_canonical_form() {
    let folder = tempfile::tempdir().unwrap();
    let (mut database, schema) = small_database(folder.path());
    let cases = std::env::var("QSQL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(4000);
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        ..Default::default()
    });
    let (mut executed, mut canonical_forms) = (0_u32, 0_u32);
    let database = std::cell::RefCell::new(&mut database);
    let counts = std::cell::RefCell::new((&mut executed, &mut canonical_forms));
    let rolls = proptest::collection::vec(proptest::prelude::any::<u8>(), 0..150);
    let result = runner.run(&rolls, |rolls| {
        let sql = Dice { rolls: rolls.iter(), depth: 0, names: 0 }.statement();
        let database = &mut **database.borrow_mut();
        let runs = digest(database, &sql, false, 1_000_000).is_ok();
        let (executed, canonical_forms) = &mut *counts.borrow_mut();
        **executed += u32::from(runs);
        for schema in [Some(&schema), None] {
            let Ok(canonical) = canonicalize(&sql, schema) else { continue };
            **canonical_forms += u32::from(runs && schema.is_some());
            let again = canonicalize(&canonical, schema);
            proptest::prop_assert_eq!(again.as_deref(), Ok(&*canonical), "not idempotent\n{}", sql);
            if let Some(difference) = differs(database, &sql, &canonical, 1_000_000) {
                proptest::prop_assert!(
                    false,
                    "{} schema\n{sql}\n{canonical}\n{difference}",
                    schema.map_or("no", |_| "with")
                );
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    // Most queries must run and have a canonical form, else the test says nothing.
    assert!(executed * 2 > cases, "{executed} of {cases} run");
    assert!(canonical_forms * 10 > executed * 8, "{canonical_forms} of {executed} have a canonical form");
}

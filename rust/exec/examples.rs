//! Example values of columns, for people and models to look at.

use std::ops::ControlFlow;

use super::denotation::Cell;
use super::sandbox::{Database, Failure, Limits, Reader, Row};

/// The first distinct values of a column that are not `NULL`, at most `count`.
pub fn examples(database: &mut Database, table: &str, column: &str, count: usize) -> Result<Vec<Cell>, Failure> {
    struct Cells(Vec<Cell>);
    impl Reader for Cells {
        fn start(&mut self, _: usize) -> ControlFlow<()> {
            ControlFlow::Continue(())
        }
        fn row(&mut self, row: &Row<'_>) -> ControlFlow<()> {
            self.0.extend(row.cells().map(Cell::keep));
            ControlFlow::Continue(())
        }
    }
    let [table, column] = [table, column].map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
    let query = format!("SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL LIMIT {count}");
    let mut cells = Cells(Vec::new());
    database.query(&query, &Limits::default(), &mut cells)?;
    Ok(cells.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::sandbox::write_database;

    #[test]
    fn examples_are_distinct_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sqlite");
        let script =
            "CREATE TABLE \"a\"\"b\" (\"c d\"); INSERT INTO \"a\"\"b\" VALUES (2), (NULL), (2), ('x'), (1.5), (x'00')";
        write_database(&path, script);
        let mut database = Database::open(&path, false).unwrap();
        let found = examples(&mut database, "a\"b", "c d", 3).unwrap();
        assert_eq!(found, [Cell::Integer(2), Cell::Text("x".into()), Cell::Real(1.5)]);
        assert!(examples(&mut database, "a\"b", "c d", 0).unwrap().is_empty());
    }
}

//! What tables a database has.

use std::collections::HashMap;

use rusqlite::Connection;

/// The tables of a database file and the foreign keys that they declare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseSchema {
    /// Every table in the order of `sqlite_master`, internal ones too, with its columns in order.
    pub tables: Vec<(String, Vec<String>)>,
    /// Declared foreign keys: table and column, and the table and column that they refer to.
    pub foreign_keys: Vec<[(String, String); 2]>,
}

/// A column as `PRAGMA table_info` has it: name, and position in the primary key from 1, or 0.
type Column = (String, u32);

pub(super) fn read(connection: &Connection) -> rusqlite::Result<DatabaseSchema> {
    let mut names = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
    let names = names.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let mut columns: HashMap<String, Vec<Column>> = HashMap::new();
    let mut schema = DatabaseSchema::default();
    for name in &names {
        let mut info = connection.prepare("SELECT name, pk FROM pragma_table_info(?1)")?;
        let found = info.query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found = found.collect::<rusqlite::Result<Vec<Column>>>()?;
        schema.tables.push((name.clone(), found.iter().map(|(column, _)| column.clone()).collect()));
        columns.insert(name.to_lowercase(), found);
    }
    for name in names {
        let mut keys =
            connection.prepare("SELECT \"from\", \"table\", \"to\", seq FROM pragma_foreign_key_list(?1)")?;
        let mut rows = keys.query([&name])?;
        while let Some(row) = rows.next()? {
            let (from, table, to): (String, String, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let position: u32 = row.get(3)?;
            // A key that names no column refers to the primary key.
            let to = to.or_else(|| {
                let columns = columns.get(&table.to_lowercase())?;
                columns.iter().find(|(_, key)| *key == position + 1).map(|(column, _)| column.clone())
            });
            if let Some(to) = to {
                schema.foreign_keys.push([(name.clone(), from), (table, to)]);
            }
        }
    }
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_foreign_keys_are_read_whatever_their_names() {
        assert!(super::super::memory::install());
        let connection = Connection::open_in_memory().unwrap();
        let script = "CREATE TABLE \"order\" (id INTEGER PRIMARY KEY AUTOINCREMENT, \"a b\" TEXT);
            CREATE VIEW v AS SELECT 1;
            CREATE TABLE item (o REFERENCES \"order\", p INTEGER, FOREIGN KEY (p) REFERENCES Item (o));";
        connection.execute_batch(script).unwrap();
        let schema = read(&connection).unwrap();
        let names: Vec<&str> = schema.tables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["order", "sqlite_sequence", "item"]);
        assert_eq!(schema.tables[0].1, ["id", "a b"]);
        let mut keys: Vec<String> =
            schema.foreign_keys.iter().map(|[(a, b), (c, d)]| format!("{a}.{b}={c}.{d}")).collect();
        keys.sort();
        assert_eq!(keys, ["item.o=order.id", "item.p=Item.o"]);
    }
}

//! What tables a database has.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, ErrorCode};

/// The tables of a database file and the foreign keys that they declare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseSchema {
    /// Every table in the order of `sqlite_master`, internal ones too, with its columns in order as the official tool sees
    /// them: without those that are generated.
    pub tables: Vec<(String, Vec<String>)>,
    /// The same with all columns of `SELECT *`, but for tables that have others beside, which only virtual ones do.
    pub starred: Vec<(String, Vec<String>)>,
    /// Declared foreign keys: table and column, and the table and column that they refer to.
    pub foreign_keys: Vec<[(String, String); 2]>,
}

/// A column as `PRAGMA table_xinfo` has it: name, position in the primary key from 1, or 0, and how it is hidden.
type Column = (String, u32, u32);

/// How a column is hidden that no `*` shows. Generated ones are hidden from inserts only.
const HIDDEN: u32 = 1;

pub(super) fn read(connection: &Connection) -> rusqlite::Result<DatabaseSchema> {
    let mut names = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
    let names = names.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let mut columns: HashMap<String, Vec<Column>> = HashMap::new();
    let mut schema = DatabaseSchema::default();
    for name in &names {
        let mut info = connection.prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?1)")?;
        let found = info.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let found = if_usable(found.collect::<rusqlite::Result<Vec<Column>>>())?.unwrap_or_default();
        let inserted = found.iter().filter(|(.., hidden)| *hidden == 0);
        schema.tables.push((name.clone(), inserted.map(|(column, ..)| column.clone()).collect()));
        if !found.is_empty() && found.iter().all(|(.., hidden)| *hidden != HIDDEN) {
            schema.starred.push((name.clone(), found.iter().map(|(column, ..)| column.clone()).collect()));
        }
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
                columns.iter().find(|(_, key, _)| *key == position + 1).map(|(column, ..)| column.clone())
            });
            if let Some(to) = to {
                schema.foreign_keys.push([(name.clone(), from), (table, to)]);
            }
        }
    }
    Ok(schema)
}

/// What was read of a table; `None` if nothing can be, since its module is not known here or finds its content damaged. No query
/// can use such a table, and all others are none the worse for it.
fn if_usable<T>(read: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(rusqlite::Error::SqliteFailure(error, _))
            if matches!(error.code, ErrorCode::Unknown | ErrorCode::DatabaseCorrupt) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A table with all that a model may be told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDescription {
    /// Its name.
    pub name: String,
    /// Its columns in order.
    pub columns: Vec<ColumnDescription>,
    /// Its foreign keys in the order of their definition.
    pub foreign_keys: Vec<ForeignKeyDescription>,
    /// How it is defined, if it belongs to a module, which gives its columns a meaning of their own.
    pub definition: Option<String>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// Its type as declared, perhaps empty.
    pub declared: String,
    /// Its position in the primary key from 1, or 0.
    pub key: u32,
}

/// A foreign key as it is declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignKeyDescription {
    /// The columns of the table itself.
    pub columns: Vec<String>,
    /// The table that it refers to.
    pub table: String,
    /// The columns there; none where the key names none, and so means the primary key.
    pub references: Vec<String>,
}

/// Describes the tables of a database, without those of SQLite itself, those in which modules keep the content of virtual
/// tables, and those that cannot be used.
pub(super) fn describe(connection: &Connection) -> rusqlite::Result<Vec<TableDescription>> {
    let mut names =
        connection.prepare("SELECT name, iif(rootpage = 0, sql, NULL) FROM sqlite_master WHERE type = 'table'")?;
    let names = names.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let names = names.collect::<rusqlite::Result<Vec<(String, Option<String>)>>>()?;
    let is_own = |name: &str| name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"));
    let mut tables = Vec::new();
    for (name, definition) in &names {
        if !is_own(name)
            && let Some(table) = if_usable(describe_table(connection, name.clone(), definition.clone()))?
        {
            tables.push(table);
        }
    }
    if names.iter().any(|(_, definition)| definition.is_some()) {
        // Known once all virtual tables were looked at.
        let mut shadows = connection.prepare("SELECT name FROM pragma_table_list WHERE type = 'shadow'")?;
        let shadows = shadows.query_map((), |row| row.get(0))?.collect::<rusqlite::Result<HashSet<String>>>()?;
        tables.retain(|table| !shadows.contains(&table.name));
    }
    Ok(tables)
}

fn describe_table(
    connection: &Connection,
    name: String,
    definition: Option<String>,
) -> rusqlite::Result<TableDescription> {
    let mut info = connection.prepare("SELECT name, type, pk FROM pragma_table_info(?1)")?;
    let column =
        |row: &rusqlite::Row<'_>| Ok(ColumnDescription { name: row.get(0)?, declared: row.get(1)?, key: row.get(2)? });
    let columns = info.query_map([&name], column)?.collect::<rusqlite::Result<Vec<_>>>()?;
    // SQLite numbers them from the last to the first.
    let mut keys = connection
        .prepare("SELECT id, \"from\", \"table\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id DESC, seq")?;
    let mut rows = keys.query([&name])?;
    let mut foreign_keys: Vec<(u32, ForeignKeyDescription)> = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, from, table, to): (u32, String, String, Option<String>) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        if foreign_keys.last().is_none_or(|(last, _)| *last != id) {
            foreign_keys.push((id, ForeignKeyDescription { table, ..ForeignKeyDescription::default() }));
        }
        if let Some((_, key)) = foreign_keys.last_mut() {
            key.columns.push(from);
            key.references.extend(to);
        }
    }
    let foreign_keys = foreign_keys.into_iter().map(|(_, key)| key).collect();
    Ok(TableDescription { name, columns, foreign_keys, definition })
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

    #[test]
    fn tables_are_described_as_declared() {
        assert!(super::super::memory::install());
        let connection = Connection::open_in_memory().unwrap();
        let script = "CREATE TABLE a (x INTEGER, \"y z\" VARCHAR(20), w, PRIMARY KEY (w, x));
            CREATE TABLE b (id INTEGER PRIMARY KEY AUTOINCREMENT, p REFERENCES c, q, r,
                FOREIGN KEY (q, r) REFERENCES a (w, x));";
        connection.execute_batch(script).unwrap();
        let tables = describe(&connection).unwrap();
        let column = |name: &str, declared: &str, key| ColumnDescription {
            name: name.to_owned(),
            declared: declared.to_owned(),
            key,
        };
        let key = |columns: &[&str], table: &str, references: &[&str]| ForeignKeyDescription {
            columns: columns.iter().map(|&name| name.to_owned()).collect(),
            table: table.to_owned(),
            references: references.iter().map(|&name| name.to_owned()).collect(),
        };
        assert_eq!(tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let expected = [column("x", "INTEGER", 2), column("y z", "VARCHAR(20)", 0), column("w", "", 1)];
        assert_eq!(tables[0].columns, expected);
        assert_eq!(tables[1].foreign_keys, [key(&["p"], "c", &[]), key(&["q", "r"], "a", &["w", "x"])]);
    }
}

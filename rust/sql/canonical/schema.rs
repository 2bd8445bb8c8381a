//! Tables and columns of a database, as far as names need them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// The tables of a database with their columns, in the order in which they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Schema {
    tables: Vec<Table>,
    positions: HashMap<Box<str>, usize>,
}

/// A table of a [`Schema`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Table {
    name: Box<str>,
    columns: Vec<Box<str>>,
}

impl Schema {
    /// A schema of these tables, each with all its columns; the columns in the order of `PRAGMA table_info`.
    ///
    /// As in SQLite, names are the same if they differ only in the case of ASCII letters; they are kept in small letters.
    /// A later table of the same name replaces an earlier one.
    pub fn new<T, C>(tables: impl IntoIterator<Item = (T, Vec<C>)>) -> Self
    where
        T: AsRef<str>,
        C: AsRef<str>,
    {
        let lower = |name: &str| name.to_ascii_lowercase().into_boxed_str();
        let mut schema = Self::default();
        for (name, columns) in tables {
            let table = Table {
                name: lower(name.as_ref()),
                columns: columns.iter().map(|name| lower(name.as_ref())).collect(),
            };
            if let Some(&position) = schema.positions.get(&table.name) {
                schema.tables[position] = table;
            } else {
                schema.positions.insert(table.name.clone(), schema.tables.len());
                schema.tables.push(table);
            }
        }
        schema
    }

    /// All tables in their order.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The table of this name, which must be in small letters.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.positions.get(name).map(|&position| &self.tables[position])
    }
}

impl Table {
    /// Its name in small letters.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of its columns in small letters, in their order.
    #[must_use]
    pub fn columns(&self) -> &[Box<str>] {
        &self.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_small_letters_and_later_tables_replace_earlier_ones() {
        let schema = Schema::new([("Singer", vec!["Id"]), ("É", vec![]), ("SINGER", vec!["Name", "Age"])]);
        assert_eq!(schema.tables().iter().map(Table::name).collect::<Vec<_>>(), ["singer", "É"]);
        assert_eq!(schema.table("singer").unwrap().columns(), ["name".into(), "age".into()]);
        assert!(schema.table("Singer").is_none());
    }
}

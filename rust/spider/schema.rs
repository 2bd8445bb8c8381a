//! Tables, columns and foreign keys, as the metric names them.
//!
//! The official program gives every table and column of a database a string, `__table__` and `__table.column__`, and
//! `__all__` to the star; it compares those strings, and at two places takes them apart again at the dot. Here each
//! string is an [`Identifier`], a number, and what taking it apart gives is worked out once per schema.

use rustc_hash::FxHashMap as HashMap;
use serde::{Deserialize, Serialize};

/// A table, a column or the star.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Identifier(u32);

/// The part of an identifier's string that some rule looks at. Equal parts have equal numbers.
pub(super) type Part = u32;

/// What the metric knows of a database.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Schema {
    /// The official `idMap`: what a query may write, and what it means.
    identifiers: HashMap<Box<str>, Identifier>,
    /// The columns of every table.
    tables: HashMap<Box<str>, HashMap<Box<str>, Identifier>>,
    names: Names,
    /// For columns in a foreign key: the column that stands for all that it is keyed to.
    folds: HashMap<Identifier, Identifier>,
}

/// The parts of `tables.json` that say which columns are keyed to which.
#[derive(Clone, Copy, Debug)]
pub struct ForeignKeys<'a> {
    /// `table_names_original`.
    pub tables: &'a [&'a str],
    /// `column_names_original`: the index of the table, negative for the star, and the column's name.
    pub columns: &'a [(i64, &'a str)],
    /// `foreign_keys`: pairs of indices into `columns`.
    pub pairs: &'a [(usize, usize)],
}

/// An index in [`ForeignKeys`] that points nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignKeyError {
    /// A column of a table that is not listed.
    #[error("column {column} belongs to table {table}, and there are {tables} tables")]
    Table {
        /// Index of the column.
        column: usize,
        /// The table's index as it was given.
        table: i64,
        /// How many tables there are.
        tables: usize,
    },
    /// A foreign key of a column that is not listed.
    #[error("foreign key {pair} has column {column}, and there are {columns} columns")]
    Column {
        /// Index of the foreign key.
        pair: usize,
        /// The column's index as it was given.
        column: usize,
        /// How many columns there are.
        columns: usize,
    },
}

impl Schema {
    /// A schema without foreign keys: the official `get_schema` and `Schema`.
    ///
    /// To be official, `tables` are those of `sqlite_master` with `type = 'table'` (internal ones like
    /// `sqlite_sequence` too) in its order, and the columns those of `PRAGMA table_info`. Names are put in small letters
    /// here.
    pub fn new<T, C>(tables: impl IntoIterator<Item = (T, Vec<C>)>) -> Schema
    where
        T: AsRef<str>,
        C: AsRef<str>,
    {
        let mut names = Names::default();
        let mut identifiers = HashMap::default();
        identifiers.insert(Box::from(STAR), names.identifier(STAR_NAME));
        let mut columns_of: HashMap<Box<str>, HashMap<Box<str>, Identifier>> = HashMap::default();
        for (table, columns) in tables {
            let table = table.as_ref().to_lowercase();
            let columns = columns.iter().map(|column| {
                let column = column.as_ref().to_lowercase();
                let identifier = names.identifier(&format!("__{table}.{column}__"));
                (column.into_boxed_str(), identifier)
            });
            // A later table of the same name replaces an earlier one, as it does in a Python dictionary.
            let columns = columns.collect();
            columns_of.insert(table.into_boxed_str(), columns);
        }
        for (table, columns) in &columns_of {
            for (column, &identifier) in columns {
                identifiers.insert(format!("{table}.{column}").into_boxed_str(), identifier);
            }
        }
        // Tables come last: one that is called like a column of another hides it, and one called `*` hides the star.
        for table in columns_of.keys() {
            identifiers.insert(table.clone(), names.identifier(&format!("__{table}__")));
        }
        Schema { identifiers, tables: columns_of, names, folds: HashMap::default() }
    }

    /// Adds foreign keys: the official `build_foreign_key_map`.
    ///
    /// Each pair joins the first class that has one of its two columns, else starts a class. Two classes that a later
    /// pair connects stay two, and a column in both is folded by the later one. Within a class every column is folded
    /// into the one that is listed first.
    pub fn with_foreign_keys(mut self, keys: ForeignKeys<'_>) -> Result<Schema, ForeignKeyError> {
        let mut columns = Vec::with_capacity(keys.columns.len());
        for (index, &(table, column)) in keys.columns.iter().enumerate() {
            columns.push(if table < 0 {
                STAR_NAME.to_owned()
            } else {
                let name = usize::try_from(table).ok().and_then(|table| keys.tables.get(table));
                let name = name.ok_or(ForeignKeyError::Table { column: index, table, tables: keys.tables.len() })?;
                format!("__{}.{}__", name.to_lowercase(), column.to_lowercase())
            });
        }
        let mut classes: Vec<Vec<usize>> = Vec::new();
        for (pair, &(from, to)) in keys.pairs.iter().enumerate() {
            if let Some(column) = [from, to].into_iter().find(|&column| column >= columns.len()) {
                return Err(ForeignKeyError::Column { pair, column, columns: columns.len() });
            }
            match classes.iter_mut().find(|class| class.contains(&from) || class.contains(&to)) {
                Some(class) => class.extend([from, to]),
                None => classes.push(vec![from, to]),
            }
        }
        for mut class in classes {
            class.sort_unstable();
            let first = self.names.identifier(&columns[class[0]]);
            for column in class {
                let column = self.names.identifier(&columns[column]);
                self.folds.insert(column, first);
            }
        }
        Ok(self)
    }

    /// What `name` means: a table, `table.column` or `*`.
    pub(super) fn identifier(&self, name: &str) -> Option<Identifier> {
        self.identifiers.get(name).copied()
    }

    pub(super) fn has_table(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    pub(super) fn column(&self, table: &str, column: &str) -> Option<Identifier> {
        self.tables.get(table)?.get(column).copied()
    }

    /// What `group by` is compared by: a column without its table.
    pub(super) fn column_part(&self, identifier: Identifier) -> Part {
        self.names.parts(identifier).column
    }

    /// Folds foreign keys of the columns whose table is among `tables`: the official `build_valid_col_units`.
    pub(super) fn folding(&self, tables: impl Iterator<Item = Identifier>) -> Folding<'_> {
        let mut tables: Vec<Part> = if self.folds.is_empty() {
            Vec::new()
        } else {
            tables.map(|table| self.names.parts(table).table).collect()
        };
        // A query may name a table any number of times; the list is searched for every column.
        tables.sort_unstable();
        tables.dedup();
        Folding { schema: self, tables }
    }
}

/// See [`Schema::folding`].
pub(super) struct Folding<'a> {
    schema: &'a Schema,
    tables: Vec<Part>,
}

impl Folding<'_> {
    /// The column that stands for `column`.
    pub(super) fn fold(&self, column: Identifier) -> Identifier {
        match self.schema.folds.get(&column) {
            Some(&fold) if self.covers(column) => fold,
            _ => column,
        }
    }

    fn covers(&self, column: Identifier) -> bool {
        self.schema.names.parts(column).owner.is_some_and(|owner| self.tables.binary_search(&owner).is_ok())
    }
}

const STAR: &str = "*";
const STAR_NAME: &str = "__all__";

/// The official strings behind the identifiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Names {
    identifiers: HashMap<Box<str>, Identifier>,
    parts: Vec<Parts>,
    part_numbers: HashMap<Box<str>, Part>,
}

/// The parts of one official string that some rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Parts {
    /// Between the first dot and the next, the whole string if there is none.
    column: Part,
    /// Before the first dot, if there is one.
    owner: Option<Part>,
    /// All but the last two characters: of a table, what its columns have before their dot.
    table: Part,
}

impl Names {
    fn identifier(&mut self, name: &str) -> Identifier {
        if let Some(&identifier) = self.identifiers.get(name) {
            return identifier;
        }
        let mut split = name.split('.');
        let (before, behind) = (split.next(), split.next());
        let parts = Parts {
            column: self.part(behind.unwrap_or(name)),
            owner: behind.and(before).map(|owner| self.part(owner)),
            table: self.part(name.strip_suffix("__").unwrap_or(name)),
        };
        let identifier = Identifier(u32::try_from(self.parts.len()).unwrap_or(u32::MAX));
        self.parts.push(parts);
        self.identifiers.insert(Box::from(name), identifier);
        identifier
    }

    fn part(&mut self, text: &str) -> Part {
        let next = u32::try_from(self.part_numbers.len()).unwrap_or(u32::MAX);
        *self.part_numbers.entry(Box::from(text)).or_insert(next)
    }

    fn parts(&self, identifier: Identifier) -> Parts {
        self.parts[identifier.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema::new([("Singer", vec!["ID", "Name"]), ("concert", vec!["id", "singer_id"])])
    }

    fn fold(schema: &Schema, tables: &[&str], column: &str) -> Identifier {
        let tables = tables.iter().map(|table| schema.identifier(table).unwrap());
        schema.folding(tables).fold(schema.identifier(column).unwrap())
    }

    #[test]
    fn names_are_in_small_letters() {
        let schema = schema();
        assert_eq!(schema.column("singer", "name"), schema.identifier("singer.name"));
        assert!(schema.identifier("Singer").is_none());
        assert!(schema.identifier("singer").is_some());
    }

    #[test]
    fn a_group_key_is_the_column_without_its_table() {
        let schema = schema();
        let part = |name: &str| schema.column_part(schema.identifier(name).unwrap());
        assert_eq!(part("singer.id"), part("concert.id"));
        assert_ne!(part("singer.id"), part("singer.name"));
        assert_ne!(part("singer.id"), part("*"));
    }

    // `_map` writes tables after columns, so a dotted table name takes a column's place; `split(".")[1]` and
    // `index(".")` then see the table's own dot.
    #[test]
    fn dotted_table_names_are_taken_apart_at_the_first_dot() {
        let schema = Schema::new([("a", vec!["b", "b__"]), ("a.b", vec!["c"]), ("all", vec!["x"])]);
        assert_eq!(schema.identifier("a.b"), schema.column("a", "b"));
        let part = |name: &str| schema.column_part(schema.identifier(name).unwrap());
        // Between the dots of `__a.b.c__` stands "b", behind the dot of `__a.b__` stands "b__".
        assert_ne!(part("a.b.c"), part("a.b"));
        assert_eq!(schema.identifier("all"), schema.identifier("*"));
    }

    #[test]
    fn a_later_table_of_the_same_name_replaces_an_earlier_one() {
        let schema = Schema::new([("É", vec!["a"]), ("é", vec!["b"])]);
        assert!(schema.column("é", "a").is_none());
        assert!(schema.column("é", "b").is_some());
    }

    #[test]
    fn foreign_keys_fold_only_columns_of_the_tables_at_hand() {
        let keys = ForeignKeys {
            tables: &["Singer", "Concert"],
            columns: &[(-1, "*"), (0, "ID"), (0, "Name"), (1, "ID"), (1, "Singer_ID")],
            pairs: &[(4, 1)],
        };
        let schema = schema().with_foreign_keys(keys).unwrap();
        let singer = schema.identifier("singer.id").unwrap();
        let concert = schema.identifier("concert.singer_id").unwrap();
        assert_eq!(fold(&schema, &["concert"], "concert.singer_id"), singer);
        assert_eq!(fold(&schema, &["singer"], "concert.singer_id"), concert);
        assert_eq!(fold(&schema, &["singer"], "singer.id"), singer);
    }

    // `keyset_in_list` returns the first class that has either column and never merges two.
    #[test]
    fn connected_classes_stay_apart_and_the_later_one_wins() {
        let schema = Schema::new([("t", vec!["a", "b", "c", "d"])]);
        let columns = &[(-1, "*"), (0, "a"), (0, "b"), (0, "c"), (0, "d")];
        let keys = ForeignKeys { tables: &["t"], columns, pairs: &[(1, 2), (3, 4), (4, 1)] };
        let schema = schema.with_foreign_keys(keys).unwrap();
        let folded: Vec<Identifier> =
            ["t.a", "t.b", "t.c", "t.d"].iter().map(|column| fold(&schema, &["t"], column)).collect();
        let column = |name| schema.column("t", name).unwrap();
        // {a, b, d} first, then {c, d}, which takes d.
        assert_eq!(folded, [column("a"), column("a"), column("c"), column("c")]);
    }

    #[test]
    fn foreign_keys_may_name_columns_that_the_database_lacks() {
        let keys =
            ForeignKeys { tables: &["old", "concert"], columns: &[(0, "id"), (1, "singer_id")], pairs: &[(1, 0)] };
        let schema = schema().with_foreign_keys(keys).unwrap();
        assert_ne!(fold(&schema, &["concert"], "concert.singer_id"), schema.identifier("concert.singer_id").unwrap());
        assert!(schema.identifier("old.id").is_none());
    }

    #[test]
    fn indices_that_point_nowhere_are_errors() {
        let keys = ForeignKeys { tables: &["t"], columns: &[(1, "a")], pairs: &[] };
        assert!(matches!(schema().with_foreign_keys(keys), Err(ForeignKeyError::Table { table: 1, .. })));
        let keys = ForeignKeys { tables: &["t"], columns: &[(0, "a")], pairs: &[(0, 5)] };
        assert!(matches!(schema().with_foreign_keys(keys), Err(ForeignKeyError::Column { column: 5, .. })));
    }
}

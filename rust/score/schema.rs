//! The schema that exact match needs, from the database file and, where there is one, `tables.json`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::exec::sandbox::{Database, Failure};
use crate::spider::schema::ForeignKeys;
use crate::spider::{Schema, Tables};
use crate::sql::canonical;

/// What is known of the tables of a database.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DatabaseSchemas {
    /// As exact match needs it.
    pub exact: Schema,
    /// As the canonical form needs it.
    pub canonical: canonical::Schema,
}

/// Reads the schema of a database as the official tool does: tables from the file, foreign keys from `tables.json`.
///
/// Without a `tables.json` the foreign keys are those that the database declares. The inner error is a database that
/// cannot be read; it concerns that database only.
pub fn read_schema(
    file: &Path,
    tables: Option<(&Tables, &str)>,
) -> Result<std::result::Result<DatabaseSchemas, Failure>> {
    let found = match Database::open(file, false).and_then(|mut database| database.schema()) {
        Ok(found) => found,
        Err(failure) => return Ok(Err(failure)),
    };
    let schema = Schema::new(found.tables.iter().map(|(name, columns)| (name, columns.clone())));
    let canonical = canonical::Schema::new(found.starred.iter().map(|(name, columns)| (name, columns.clone())));
    if let Some((tables, db_id)) = tables {
        let exact = tables.add_foreign_keys(db_id, schema)?;
        return Ok(Ok(DatabaseSchemas { exact, canonical }));
    }
    let names: Vec<&str> = found.tables.iter().map(|(name, _)| name.as_str()).collect();
    let columns: Vec<(i64, &str)> = (0..)
        .zip(&found.tables)
        .flat_map(|(table, (_, columns))| columns.iter().map(move |column| (table, column.as_str())))
        .collect();
    let index = |(table, column): &(String, String)| {
        columns.iter().position(|&(at, name)| {
            let owner = usize::try_from(at).ok().and_then(|at| names.get(at));
            name.eq_ignore_ascii_case(column) && owner.is_some_and(|owner| owner.eq_ignore_ascii_case(table))
        })
    };
    // A key that refers to nothing is legal in SQLite, and says nothing here.
    let pairs: Vec<(usize, usize)> =
        found.foreign_keys.iter().filter_map(|[from, to]| Some((index(from)?, index(to)?))).collect();
    let keys = ForeignKeys { tables: &names, columns: &columns, pairs: &pairs };
    let exact = schema.with_foreign_keys(keys).map_err(|error| Failure::Database(error.to_string()));
    Ok(exact.map(|exact| DatabaseSchemas { exact, canonical }))
}

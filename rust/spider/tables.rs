//! Spider's `tables.json`: which columns are keyed to which, for every database of a benchmark.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::schema::{ForeignKeyError, ForeignKeys, Schema};
use crate::error::{Error, Result};
use crate::file;

/// Largest file. That of Spider has 2 MB, for 166 databases.
const LARGEST: u64 = 1 << 30;

/// The foreign keys of every database that a `tables.json` lists.
#[derive(Debug)]
pub struct Tables {
    path: String,
    entries: HashMap<String, Value>,
}

impl Tables {
    /// Reads a `tables.json`.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = file::read(path, LARGEST).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
        let wrong = |message: String| Error::Tables { path: path.to_owned(), message };
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(wrong("it is UTF-16, not UTF-8".to_owned()));
        }
        // A mark of the order of bytes belongs to no content.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let entries: Vec<Value> = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        let entries = entries.into_iter().enumerate().map(|(index, entry)| match entry["db_id"].as_str() {
            Some(db_id) => Ok((db_id.to_owned(), entry)),
            None => Err(wrong(format!("entry {} has no `db_id`", index + 1))),
        });
        Ok(Self { path: path.display().to_string(), entries: entries.collect::<Result<_>>()? })
    }

    /// Adds the foreign keys that are listed for `db_id` to its schema.
    pub fn add_foreign_keys(&self, db_id: &str, schema: Schema) -> Result<Schema> {
        let wrong = |message: String| Error::Tables { path: self.path.clone().into(), message };
        let entry = self.entries.get(db_id).ok_or_else(|| wrong(format!("database `{db_id}` is not listed")))?;
        let field = |name: &str| wrong(format!("database `{db_id}` has no proper `{name}`"));
        let tables = strings(&entry["table_names_original"]).ok_or_else(|| field("table_names_original"))?;
        let columns = pairs(&entry["column_names_original"], |table, name| Some((table.as_i64()?, name.as_str()?)));
        let columns = columns.ok_or_else(|| field("column_names_original"))?;
        let index = |value: &Value| usize::try_from(value.as_u64()?).ok();
        let keys = pairs(&entry["foreign_keys"], |from, to| Some((index(from)?, index(to)?)));
        let keys = keys.ok_or_else(|| field("foreign_keys"))?;
        schema
            .with_foreign_keys(ForeignKeys { tables: &tables, columns: &columns, pairs: &keys })
            .map_err(|error: ForeignKeyError| wrong(format!("database `{db_id}`: {error}")))
    }
}

fn strings(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

fn pairs<'a, T>(value: &'a Value, read: impl Fn(&'a Value, &'a Value) -> Option<T>) -> Option<Vec<T>> {
    let pair = |value: &'a Value| match value.as_array()?.as_slice() {
        [first, second] => read(first, second),
        _ => None,
    };
    value.as_array()?.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(text: &str) -> Result<Tables> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Tables::read(file.path())
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said() {
        let schema = || Schema::new([("a", vec!["b"])]);
        let text = |error: Error| error.to_string();
        assert!(matches!(Tables::read(Path::new("absent.json")), Err(Error::Unreadable { .. })));
        assert!(text(tables("{").unwrap_err()).contains("expected a sequence"));
        assert!(text(tables("[{}]").unwrap_err()).ends_with("entry 1 has no `db_id`"));
        let found = tables(r#"[{"db_id": "x", "table_names_original": ["a"]}]"#).unwrap();
        assert!(text(found.add_foreign_keys("y", schema()).unwrap_err()).ends_with("database `y` is not listed"));
        let error = text(found.add_foreign_keys("x", schema()).unwrap_err());
        assert!(error.ends_with("database `x` has no proper `column_names_original`"), "{error}");
    }

    #[test]
    fn foreign_keys_are_added() {
        let found = tables(
            r#"[{"db_id": "x", "table_names_original": ["a"], "column_names_original": [[-1, "*"], [0, "b"], [0, "c"]],
                "foreign_keys": [[2, 1]]}]"#,
        );
        let schema = found.unwrap().add_foreign_keys("x", Schema::new([("a", vec!["b", "c"])])).unwrap();
        let query = |sql| super::super::parse(sql, &schema).unwrap();
        let (b, c) = (query("select b from a"), query("select c from a"));
        assert!(super::super::ExactMatch::compare(Some(&b), &c, &schema).exact);
    }
}

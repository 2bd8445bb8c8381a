//! One canonical text for the many that mean the same query.
//!
//! `SELECT s.Name Singer FROM singer s INNER JOIN concert c ON s.Id=c.Singer_ID WHERE c.Year IN ('2014', '2015');` and
//! `SELECT T1.name FROM singer AS T1 JOIN concert AS T2 ON T1.id = T2.singer_id WHERE T2.year = '2014' OR
//! T2.year = '2015'` ask for the same thing; the second is the canonical form of both. It is written in the dialect that
//! the official grammar of Spider reads, wherever that dialect can say it.
//!
//! Three properties hold, and are tested on random queries and on the predictions of all systems at hand:
//! - **It returns the same.** Each rewriting is one that SQLite's own definition makes equal: the same columns, the same
//!   rows as a bag, and in the same order where the query asks for one. Where an order of rows can show (`free.rs`), only
//!   names and spellings change, and SQLite plans the form as it plans the query; what it might plan otherwise is an error
//!   there.
//! - **It is idempotent.** The canonical form of a canonical form is itself.
//! - **It is safe.** Any text gives a result or an error, in bounded time and stack.
//!
//! The way of a query: text → `read` → tree (`tree.rs`) → `resolve.rs` gives names their
//! meaning → `simplify.rs`, `joins.rs` → `print.rs` → text. What does not fit into the tree has no canonical form and is
//! an error; callers then go on with the text as it is.
//!
//! Deliberately not done: another order of tables, columns, conditions or groups, and another order of the sides of a
//! `=` (SQLite takes the collation of the left one); `DISTINCT` in `IN (SELECT DISTINCT ...)` (not redundant if the
//! collations of the sides differ); `EXISTS` or `LEFT JOIN ... IS NULL` as `IN` (nulls and collations); queries in `FROM`
//! taken apart.

mod free;
mod joins;
mod print;
mod read;
mod resolve;
mod schema;
mod scope;
mod settle;
mod simplify;
mod tree;
mod words;

pub use schema::{Schema, Table};

/// Why a text has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// It is no SQL, or more than one statement. Line and column count from 1; both are 0 at the end of the text.
    #[error("{message}{}", place(*.line, *.column))]
    Syntax {
        /// What is wrong.
        message: String,
        /// The line.
        line: u64,
        /// The column, in characters.
        column: u64,
    },
    /// It holds something that has no canonical form, or that SQLite reads in another way than the parser.
    #[error("{what} has no canonical form")]
    Unsupported {
        /// What it is.
        what: String,
    },
    /// A table that the schema does not have.
    #[error("no such table: `{name}`")]
    UnknownTable {
        /// Its name.
        name: String,
    },
    /// A column that no table in reach has.
    #[error("no such column: `{name}`")]
    UnknownColumn {
        /// Its name.
        name: String,
    },
    /// A column that several tables have.
    #[error("ambiguous column: `{name}`")]
    AmbiguousColumn {
        /// Its name.
        name: String,
    },
    /// It is too long or nested too deeply.
    #[error("the query is too long or nested too deeply")]
    TooComplex,
}

fn place(line: u64, column: u64) -> String {
    if line == 0 { String::new() } else { format!(" (line {line}, column {column})") }
}

/// The canonical form of a query.
///
/// With a schema, names are resolved as SQLite does it on a database of that schema. Without one, names stay where their
/// meaning is open: a name in double quotes may be a column or a string, and one without a table may be a column of any
/// table or an alias.
///
/// It needs less than a megabyte of stack.
pub fn canonicalize(sql: &str, schema: Option<&Schema>) -> Result<String, CanonicalError> {
    let (text, is_large) = form(sql, schema)?;
    // A canonical form may be longer and deeper than the text. Where it comes near to what can be read, it must still be
    // readable, else it would not be its own canonical form.
    if is_large && form(&text, schema)?.0 != text {
        return Err(CanonicalError::TooComplex);
    }
    Ok(text)
}

/// The canonical form, and whether the query is unusually large.
fn form(sql: &str, schema: Option<&Schema>) -> Result<(String, bool), CanonicalError> {
    let (mut query, depth) = read::read(sql)?;
    let mut resolver = resolve::Resolver::new(schema);
    resolver.query(&mut query)?;
    settle::settle(&mut query, &resolver.tables)?;
    let is_free = free::is_free(&query);
    if let Some(what) = resolver.plan_bound.filter(|_| !is_free) {
        return Err(read::unsupported(what));
    }
    simplify::simplify(&mut query, is_free);
    let text = print::print(&query, &resolver.tables, schema);
    let is_large = depth > LARGE_DEPTH || text.len() > LARGE_BYTES;
    Ok((text, is_large))
}

/// See [`canonicalize`]: half of what can be read at all.
const LARGE_DEPTH: usize = 15;
const LARGE_BYTES: usize = 1500;

//! Spider's exact-match metric: what the official evaluator (`taoyds/test-suite-sql-eval`) answers, without a database.
//!
//! The metric is defined by one particular program, so this module reproduces that program and not an idea of it: its
//! word tokenizer, its small grammar with everything the grammar lets through by accident, the way it drops values and
//! folds foreign keys before comparing, and its ten partial scores. In reading order:
//!
//! * [`words`] cuts SQL text into words;
//! * [`schema`] names the tables and columns and folds foreign keys;
//! * [`tables`] reads them from `tables.json`;
//! * [`query`] is the tree;
//! * [`parse`](mod@parse) reads words into the tree, or says why it cannot: a [`Rejection`];
//! * [`exact`] compares two trees;
//! * [`hardness`](mod@hardness) grades a gold query;
//! * [`values`] puts the values of a gold into a prediction.
//!
//! ```
//! use qsql::spider::{ExactMatch, Hardness, Schema, hardness, parse};
//!
//! let schema = Schema::new([("singer", vec!["id", "name", "age"])]);
//! let gold = parse("SELECT name FROM singer WHERE age > 20", &schema)?;
//! let prediction = parse("select T1.name from singer as T1 where T1.age > 35", &schema)?;
//! // Values do not count, and neither does the alias.
//! assert!(ExactMatch::compare(Some(&prediction), &gold, &schema).exact);
//! assert_eq!(hardness(&gold), Hardness::Easy);
//!
//! let rejection = parse("select name as n from singer", &schema).unwrap_err();
//! assert_eq!(rejection.to_string(), "column alias is not in the grammar (word 2, byte 12)");
//! # Ok::<(), qsql::spider::Rejection>(())
//! ```
//!
//! Where the official program crashes there is no verdict to reproduce; [`parse`](mod@parse), [`exact`] and
//! [`hardness`](mod@hardness) say under "Beyond the official verdicts" what is answered instead.

pub mod exact;
pub mod hardness;
mod number;
pub mod parse;
pub mod query;
mod rebuild;
mod rejection;
pub mod schema;
mod sentences;
pub mod tables;
mod treebank;
pub mod values;
pub mod words;

pub use exact::{Component, ExactMatch, Partial};
pub use hardness::{Hardness, hardness};
pub use parse::parse;
pub use query::Query;
pub use rejection::{Reason, Rejection};
pub use schema::Schema;
pub use tables::Tables;

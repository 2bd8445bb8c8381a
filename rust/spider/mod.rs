//! Spider's exact-match metric: what the official evaluator (`taoyds/test-suite-sql-eval`) answers, without a database.

pub mod hardness;
mod number;
pub mod parse;
pub mod query;
mod rejection;
pub mod schema;
mod sentences;
mod treebank;
pub mod words;

pub use hardness::{Hardness, hardness};
pub use parse::parse;
pub use query::Query;
pub use rejection::{Reason, Rejection};
pub use schema::Schema;

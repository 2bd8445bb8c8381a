//! Spider's exact-match metric: what the official evaluator (`taoyds/test-suite-sql-eval`) answers, without a database.

mod rejection;
pub mod schema;
mod sentences;
mod treebank;
pub mod words;

pub use rejection::{Reason, Rejection};
pub use schema::Schema;

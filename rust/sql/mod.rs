//! SQL as text: no database, no schema.

pub mod lex;
pub mod rewrite;
pub mod statement;

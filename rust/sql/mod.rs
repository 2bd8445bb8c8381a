//! SQL as text: no database.

pub mod canonical;
pub mod lex;
pub mod rewrite;
pub mod statement;

//! Running SQL that nobody trusts, and telling whether two results mean the same.

pub mod denotation;
pub mod digest;
pub mod examples;
pub mod matching;
pub mod sandbox;
pub mod suite;

//! Running SQL that nobody trusts, and telling whether two results mean the same.

mod clock;
pub mod denotation;
pub mod digest;
pub mod effort;
pub mod examples;
pub mod matching;
pub mod sandbox;
pub mod stamp;
pub mod suite;

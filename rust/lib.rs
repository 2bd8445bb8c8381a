//! Text-to-SQL evaluation.
#![cfg_attr(test, allow(clippy::unwrap_used))]

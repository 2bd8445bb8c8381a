//! Text-to-SQL evaluation: Spider's exact match and test-suite execution accuracy, verdict for verdict the official
//! tool's, natively and on SQL that nobody trusts.
//!
//! In reading order, each knowing only those below it:
//! - `python`: arguments in, verdicts out (feature `python`)
//! - [`score`]: batches of jobs on all cores
//! - [`spider`]: the exact-match metric; [`exec`]: databases that can only be read, and when two results mean the same
//! - [`sql`]: SQL as text
//! - [`error`]: what stops a run; `file`: what may be opened at all

pub mod error;
pub mod exec;
mod file;
#[cfg(feature = "python")]
mod python;
pub mod score;
pub mod spider;
pub mod sql;

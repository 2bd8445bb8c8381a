//! What queries return, as digests: no gold, no comparison.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::compare::{Rejection, Runner, shortened};
use super::{Progress, Scorer, State, Workers};
use crate::error::{Error, Result};
use crate::exec::digest::Digest;
use crate::exec::sandbox::{self, Failure};
use crate::exec::suite::SuiteFile;

/// What came of one query on one database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Denotation {
    /// How it went; [`State::Scored`] where the query ran to its end, [`State::GoldError`] where the database cannot be
    /// read.
    pub state: State,
    /// The result with its rows in any order; `None` where there is none.
    pub digest: Option<Digest>,
    /// What happened where there is none.
    pub detail: Option<String>,
}

impl Scorer {
    /// Runs each query on its database. Results come in the order of the queries.
    ///
    /// Stops with [`Error::Interrupted`] soon after `cancel` is set by another thread.
    pub fn denotations(
        &self,
        workers: &Workers,
        queries: &[(&str, &SuiteFile)],
        cancel: &Arc<AtomicBool>,
        progress: &Progress,
    ) -> Result<Vec<Denotation>> {
        sandbox::initialize()?;
        progress.total.store(queries.len() as u64, Ordering::Relaxed);
        workers.databases.start_batch();
        let found: Vec<OnceLock<Denotation>> = queries.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let limits = &self.protocol.limits;
        workers.threads.scope(|scope| {
            for _ in 0..self.threads.min(queries.len()) {
                scope.spawn(|_| {
                    while !cancel.load(Ordering::Relaxed) {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some((text, file)) = queries.get(index) else { break };
                        let run = |database: &mut _, _| Runner::new(database, limits, false).gold(text);
                        let result = workers.databases.with(file, cancel, run).and_then(|result| result);
                        if let Some(denotation) = Denotation::of(result) {
                            found[index].get_or_init(|| denotation);
                        }
                        progress.executions.fetch_add(1, Ordering::Relaxed);
                        progress.done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let found: Option<Vec<_>> = found.into_iter().map(OnceLock::into_inner).collect();
        // Only what was cancelled is missing.
        found.filter(|_| !cancel.load(Ordering::Relaxed)).ok_or(Error::Interrupted)
    }
}

impl Denotation {
    /// What comes of a query whose database cannot be read at all.
    #[must_use]
    pub fn unreadable(error: &Error) -> Self {
        Self { state: State::GoldError, digest: None, detail: Some(shortened(&super::unreadable_detail(error))) }
    }

    /// `None` where the caller cancelled.
    fn of(result: std::result::Result<Digest, Failure>) -> Option<Self> {
        match result {
            Ok(digest) => Some(Self { state: State::Scored, digest: Some(digest), detail: None }),
            Err(failure) => Rejection::from_failure(&failure).map(|Rejection { state, detail, .. }| Self {
                state,
                digest: None,
                detail: Some(detail),
            }),
        }
    }
}

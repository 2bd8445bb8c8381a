//! A gold and its predictions on one variant of their database.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::compare::{Rejection, Runner};
use super::golds::Key;
use super::{Job, Resources, lock};
use crate::exec::digest::Digest;
use crate::exec::sandbox::{Database, Failure, Program};
use crate::exec::suite::Suite;
use crate::sql::rewrite;

/// A gold and what is to be compared with it.
pub(super) struct Gold<'a> {
    pub(super) suite: &'a Arc<Suite>,
    text: String,
    ordered: bool,
    program: KnownProgram,
    /// Whether it returned a row on any variant so far.
    pub(super) returned: AtomicBool,
    pub(super) candidates: Vec<Candidate>,
}

/// A distinct prediction for a gold.
pub(super) struct Candidate {
    text: String,
    program: KnownProgram,
    /// The first job that has it.
    pub(super) job: usize,
    /// How many jobs have it.
    pub(super) jobs: u64,
    /// How many variants it is through with.
    passed: AtomicUsize,
    /// Index of the first variant known to reject it; `usize::MAX` while there is none.
    rejected_by: AtomicUsize,
    pub(super) rejection: Mutex<Option<(usize, Rejection)>>,
}

/// A variant that is open.
pub(super) struct Place<'a> {
    pub(super) variant: usize,
    pub(super) database: &'a mut Database,
    /// What stands for the content of its file.
    pub(super) content: u128,
    /// Results of golds that were found on it.
    pub(super) found: &'a mut Vec<(Key, Digest)>,
}

impl<'a> Gold<'a> {
    /// The gold of a job, as the `text` that is executed, without predictions yet.
    pub(super) fn new(job: &Job<'a>, text: String) -> Self {
        Self {
            suite: job.suite,
            ordered: rewrite::is_ordered(&text),
            text,
            program: KnownProgram::default(),
            returned: AtomicBool::new(false),
            candidates: Vec::new(),
        }
    }

    /// Compares some of its predictions on a variant, except those that an earlier variant rejects. `current` gets the job
    /// that is worked on.
    pub(super) fn compare(
        &self,
        candidates: Range<usize>,
        place: Place<'_>,
        resources: &Resources<'_>,
        current: &AtomicUsize,
    ) {
        let Place { variant, database, content, found } = place;
        let candidates = &self.candidates[candidates];
        let is_open = |candidate: &&Candidate| candidate.rejected_by.load(Ordering::Relaxed) > variant;
        if let Some(first) = candidates.iter().find(is_open) {
            current.store(first.job, Ordering::Relaxed);
            let mut runner =
                Runner::new(database, &resources.limits, self.ordered).running_to_end(resources.run_to_end);
            let key = Key::new(content, &self.text, self.ordered, &resources.limits);
            match resources.golds.find(key, &mut runner, &self.text, found) {
                Err(failure) => reject_all(candidates, variant, &failure),
                Ok(gold) => {
                    if gold.rows > 0 {
                        self.returned.store(true, Ordering::Relaxed);
                    }
                    for candidate in candidates.iter().filter(is_open) {
                        current.store(candidate.job, Ordering::Relaxed);
                        if let Some(rejection) = self.rejection(candidate, variant, &gold, &mut runner) {
                            candidate.reject(variant, rejection);
                        }
                    }
                }
            }
            resources.progress.executions.fetch_add(runner.executions, Ordering::Relaxed);
        }
        resources.progress.done.fetch_add(candidates.iter().map(|candidate| candidate.jobs).sum(), Ordering::Relaxed);
    }

    /// Notes that some of its predictions are through with one more variant, and what came of it is kept.
    pub(super) fn pass(&self, candidates: Range<usize>) {
        for candidate in &self.candidates[candidates] {
            candidate.passed.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether a prediction is through with all variants, so that what came of it is final.
    pub(super) fn is_settled(&self, candidate: usize) -> bool {
        self.candidates[candidate].passed.load(Ordering::Acquire) == self.suite.files().len()
    }

    /// Why the database of `runner` rejects a prediction; `None` where it does not, or the caller cancelled.
    fn rejection(
        &self,
        candidate: &Candidate,
        variant: usize,
        gold: &Digest,
        runner: &mut Runner<'_>,
    ) -> Option<Rejection> {
        // A query returns what it returns; most of a good model's predictions end here.
        if candidate.text == self.text || self.compares_programs(variant) && self.is_program_of(candidate, runner) {
            return None;
        }
        runner.compare(gold, &self.text, &candidate.text)
    }

    /// Whether programs are compared on a variant. Most predictions that are wrong get no further than the first one, and to
    /// list a program takes as long as to run a small query.
    fn compares_programs(&self, variant: usize) -> bool {
        variant > 0 && self.suite.files().len() >= FEWEST_FILES
    }

    /// Whether SQLite compiles the gold and a prediction to the same program for the database of `runner`.
    fn is_program_of(&self, candidate: &Candidate, runner: &mut Runner<'_>) -> bool {
        let own = self.program.on(runner, &self.text);
        own.is_some() && own == candidate.program.on(runner, &candidate.text)
    }

    /// Notes that a variant cannot be read: predictions cannot be judged there.
    pub(super) fn fail(&self, candidates: Range<usize>, variant: usize, failure: &Failure) {
        reject_all(&self.candidates[candidates], variant, failure);
    }
}

/// Fewest files of a suite for which listing programs pays.
const FEWEST_FILES: usize = 4;

/// The program of a query for the variant on which it was first asked for, and for those that SQLite compiles alike for.
#[derive(Default)]
struct KnownProgram(OnceLock<Option<Program>>);

impl KnownProgram {
    /// The program for the database of `runner`, if it is known that it has no other.
    fn on(&self, runner: &mut Runner<'_>, text: &str) -> Option<Program> {
        self.0.get_or_init(|| runner.program(text)).filter(|program| runner.database.compiles_alike(program))
    }
}

fn reject_all(candidates: &[Candidate], variant: usize, failure: &Failure) {
    if let Some(rejection) = Rejection::of_gold(failure) {
        for candidate in candidates {
            candidate.reject(variant, rejection.clone());
        }
    }
}

impl Candidate {
    /// A prediction that `job` is the first to have, as the `text` that is executed.
    pub(super) fn new(job: usize, text: String) -> Self {
        Self {
            text,
            program: KnownProgram::default(),
            job,
            jobs: 0,
            passed: AtomicUsize::new(0),
            rejected_by: AtomicUsize::new(usize::MAX),
            rejection: Mutex::new(None),
        }
    }

    fn reject(&self, variant: usize, rejection: Rejection) {
        self.rejected_by.fetch_min(variant, Ordering::Relaxed);
        let mut known = lock(&self.rejection);
        // A database that turns out to be broken says nothing, whatever was read from it before.
        let counts = |(earlier, _): &(usize, Rejection)| {
            variant < *earlier || variant == *earlier && rejection.state == super::State::GoldError
        };
        if known.as_ref().is_none_or(counts) {
            *known = Some((variant, rejection));
        }
    }
}

//! A gold and its predictions on one variant of their database.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use super::compare::{Rejection, Runner};
use super::golds::Key;
use super::{DatabaseSchemas, Job, Resources, lock};
use crate::exec::digest::Digest;
use crate::exec::sandbox::{Database, Failure};
use crate::exec::suite::Suite;
use crate::sql::canonical::canonicalize;
use crate::sql::rewrite;

/// A gold and what is to be compared with it.
pub(super) struct Gold<'a> {
    pub(super) suite: &'a Arc<Suite>,
    schema: Option<&'a DatabaseSchemas>,
    text: String,
    ordered: bool,
    /// Its canonical form, if it has one.
    form: OnceLock<Option<String>>,
    /// Whether it returned a row on any variant so far.
    pub(super) returned: AtomicBool,
    pub(super) candidates: Vec<Candidate>,
}

/// A distinct prediction for a gold.
pub(super) struct Candidate {
    text: String,
    /// Its canonical form, if it has one.
    form: OnceLock<Option<String>>,
    /// The first job that has it.
    pub(super) job: usize,
    /// How many jobs have it.
    pub(super) jobs: u64,
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
            schema: job.schema,
            ordered: rewrite::is_ordered(&text),
            text,
            form: OnceLock::new(),
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
            let schema = self.shared_schema(candidates, variant, database);
            let mut runner =
                Runner::new(database, &resources.limits, self.ordered).running_to_end(resources.run_to_end);
            let key = Key::new(content, &self.text, self.ordered, &resources.limits);
            match resources.golds.find(key, &mut runner, &self.text, found) {
                Err(failure) => reject_all(candidates, variant, &failure),
                Ok(gold) => {
                    if gold.rows > 0 {
                        self.returned.store(true, Ordering::Relaxed);
                    }
                    let mut known = Known { own: schema.and_then(|schema| self.form(schema)), others: Vec::new() };
                    for candidate in candidates.iter().filter(is_open) {
                        current.store(candidate.job, Ordering::Relaxed);
                        let form = schema.and_then(|schema| candidate.form(schema));
                        if let Some(rejection) = self.rejection(candidate, form, &gold, &mut runner, &mut known) {
                            candidate.reject(variant, rejection);
                        }
                    }
                }
            }
            resources.progress.executions.fetch_add(runner.executions, Ordering::Relaxed);
        }
        resources.progress.done.fetch_add(candidates.iter().map(|candidate| candidate.jobs).sum(), Ordering::Relaxed);
    }

    /// The schema, if there are predictions whose forms may be compared on a variant, and it is that of the variant too.
    fn shared_schema(
        &self,
        candidates: &[Candidate],
        variant: usize,
        database: &mut Database,
    ) -> Option<&'a DatabaseSchemas> {
        let is_of_use = variant > 0 && candidates.iter().any(|candidate| candidate.text != self.text);
        self.schema
            .filter(|schema| is_of_use && database.definitions().is_ok_and(|own| schema.definitions == Some(own)))
    }

    /// Why the database of `runner` rejects a prediction; `None` where it does not.
    fn rejection<'f>(
        &self,
        candidate: &Candidate,
        form: Option<&'f str>,
        gold: &Digest,
        runner: &mut Runner<'_>,
        known: &mut Known<'f>,
    ) -> Option<Rejection> {
        // A query means the same as itself; most of a good model's predictions end here.
        if candidate.text == self.text || form.is_some() && form == known.own {
            return None;
        }
        let Some(form) = form else { return runner.compare(gold, &self.text, &candidate.text) };
        if let Some((_, rejection)) = known.others.iter().find(|(other, _)| *other == form) {
            return rejection.clone();
        }
        let rejection = runner.compare(gold, &self.text, &candidate.text);
        known.others.push((form, rejection.clone()));
        rejection
    }

    fn form(&self, schema: &DatabaseSchemas) -> Option<&str> {
        self.form.get_or_init(|| canonicalize(&self.text, Some(&schema.canonical)).ok()).as_deref()
    }

    /// Notes that a variant cannot be read: predictions cannot be judged there.
    pub(super) fn fail(&self, candidates: Range<usize>, variant: usize, failure: &Failure) {
        reject_all(&self.candidates[candidates], variant, failure);
    }
}

/// What canonical forms say of predictions on a variant whose schema is that of the first: queries of the same form return
/// the same. The first variant is left to the queries themselves, since most that are wrong go no further, and a form
/// takes some microseconds.
struct Known<'a> {
    /// The form of the gold.
    own: Option<&'a str>,
    /// Forms of predictions and what came of them.
    others: Vec<(&'a str, Option<Rejection>)>,
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
            form: OnceLock::new(),
            job,
            jobs: 0,
            rejected_by: AtomicUsize::new(usize::MAX),
            rejection: Mutex::new(None),
        }
    }

    fn form(&self, schema: &DatabaseSchemas) -> Option<&str> {
        self.form.get_or_init(|| canonicalize(&self.text, Some(&schema.canonical)).ok()).as_deref()
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

//! A batch of jobs: sorted so that equal queries run once, cut into units, and put together as verdicts.
//!
//! A unit is some golds on one variant of a database. Units are handed out in the order of the variants, and a
//! prediction that one variant rejects is never run on a later one. Still every verdict names the *first* variant that
//! rejects it: what is known of a later variant does not keep an earlier one from being tried.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::compare::{Rejection, Runner};
use super::{Databases, Job, Prediction, Progress, Protocol, State, Verdict, lock};
use crate::error::{Error, Result};
use crate::exec::sandbox::{Database, Failure, Limits};
use crate::exec::suite::Suite;
use crate::sql::rewrite;

/// The distinct golds of a batch, with the distinct predictions for each.
pub(super) struct Batch<'a> {
    golds: Vec<Gold<'a>>,
    /// Where the prediction of each job is: gold and candidate. `None` for a job without a query.
    places: Vec<Option<(usize, usize)>>,
    protocol: Protocol,
    /// The first defect of ours that showed.
    defect: Mutex<Option<Error>>,
}

/// A gold and what is to be compared with it.
struct Gold<'a> {
    suite: &'a Arc<Suite>,
    text: String,
    ordered: bool,
    /// Whether it returned a row on any variant so far.
    returned: AtomicBool,
    candidates: Vec<Candidate>,
}

/// A distinct prediction for a gold.
struct Candidate {
    text: String,
    /// The first job that has it.
    job: usize,
    /// How many jobs have it.
    jobs: u64,
    /// Index of the first variant known to reject it; `usize::MAX` while there is none.
    rejected_by: AtomicUsize,
    rejection: Mutex<Option<(usize, Rejection)>>,
}

/// Some golds on one variant of their database.
pub(super) struct Unit {
    variant: usize,
    golds: Arc<[usize]>,
}

/// Golds of a unit: enough to pay for opening the database, few enough to leave work for other threads.
const UNIT_GOLDS: usize = 32;

/// The text that is executed for a query, by the official rules.
fn executed_text(sql: &str, protocol: Protocol) -> String {
    let sql = rewrite::join_operators(sql);
    let sql = if protocol.keep_distinct { sql } else { rewrite::remove_distinct(&sql).into_owned().into() };
    rewrite::fix_current_year(&sql).into_owned()
}

impl<'a> Batch<'a> {
    pub(super) fn plan(jobs: &[Job<'a>], protocol: Protocol) -> Self {
        let mut golds: Vec<Gold<'a>> = Vec::new();
        let mut gold_index: HashMap<(*const Suite, String), usize> = HashMap::new();
        let mut candidate_index: HashMap<(usize, String), usize> = HashMap::new();
        let mut place = |(index, job): (usize, &Job<'a>)| {
            let Prediction::Sql(prediction) = job.prediction else { return None };
            let prediction = executed_text(&rewrite::replace_placeholders(prediction), protocol);
            let text = executed_text(job.gold, protocol);
            let gold = *gold_index.entry((Arc::as_ptr(job.suite), text)).or_insert_with_key(|(_, text)| {
                let ordered = rewrite::is_ordered(text);
                golds.push(Gold {
                    suite: job.suite,
                    text: text.clone(),
                    ordered,
                    returned: AtomicBool::new(false),
                    candidates: Vec::new(),
                });
                golds.len() - 1
            });
            let candidates = &mut golds[gold].candidates;
            let candidate = *candidate_index.entry((gold, prediction)).or_insert_with_key(|(_, text)| {
                candidates.push(Candidate {
                    text: text.clone(),
                    job: index,
                    jobs: 0,
                    rejected_by: AtomicUsize::new(usize::MAX),
                    rejection: Mutex::new(None),
                });
                candidates.len() - 1
            });
            candidates[candidate].jobs += 1;
            Some((gold, candidate))
        };
        let places = jobs.iter().enumerate().map(&mut place).collect();
        Self { golds, places, protocol, defect: Mutex::new(None) }
    }

    /// How many pairs of prediction and database there are to settle.
    pub(super) fn pairs(&self) -> u64 {
        let jobs = |gold: &Gold<'_>| gold.candidates.iter().map(|candidate| candidate.jobs).sum::<u64>();
        self.golds.iter().map(|gold| jobs(gold) * gold.suite.files().len() as u64).sum()
    }

    /// The work, first variants first.
    pub(super) fn units(&self) -> Vec<Unit> {
        let mut by_suite: HashMap<*const Suite, usize> = HashMap::new();
        let mut suites: Vec<(&Suite, Vec<usize>)> = Vec::new();
        for (index, gold) in self.golds.iter().enumerate() {
            let suite = *by_suite.entry(Arc::as_ptr(gold.suite)).or_insert_with(|| {
                suites.push((gold.suite, Vec::new()));
                suites.len() - 1
            });
            suites[suite].1.push(index);
        }
        let chunks: Vec<(&Suite, Arc<[usize]>)> = suites
            .iter()
            .flat_map(|(suite, golds)| golds.chunks(UNIT_GOLDS).map(|chunk| (*suite, Arc::from(chunk))))
            .collect();
        let most = chunks.iter().map(|(suite, _)| suite.files().len()).max().unwrap_or(0);
        (0..most)
            .flat_map(|variant| {
                let on_it = chunks.iter().filter(move |(suite, _)| variant < suite.files().len());
                on_it.map(move |(_, golds)| Unit { variant, golds: Arc::clone(golds) })
            })
            .collect()
    }

    /// Does a unit. What it finds is kept with the candidates.
    pub(super) fn work(&self, unit: &Unit, databases: &Databases, cancel: &Arc<AtomicBool>, progress: &Progress) {
        let suite = self.golds[unit.golds[0]].suite;
        let done = AtomicUsize::new(0);
        let run = AssertUnwindSafe(|| {
            let opened = databases.with(&suite.files()[unit.variant], cancel, |database| {
                for &gold in &*unit.golds {
                    if cancel.load(Ordering::Relaxed) {
                        return;
                    }
                    self.golds[gold].compare(unit.variant, database, &self.protocol.limits, progress);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
            if let Err(failure) = opened {
                unit.golds.iter().for_each(|&gold| self.golds[gold].fail(unit.variant, &failure));
            }
        });
        if let Err(panic) = catch_unwind(run) {
            let gold = &self.golds[unit.golds[done.load(Ordering::Relaxed).min(unit.golds.len() - 1)]];
            let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            let index = gold.candidates.first().map_or(0, |candidate| candidate.job);
            lock(&self.defect).get_or_insert(Error::Internal { index, db_id: suite.name(0), message });
        }
    }

    /// The verdicts, when all units are done.
    pub(super) fn verdicts(self, jobs: &[Job<'_>]) -> Result<Vec<Verdict>> {
        if let Some(defect) = lock(&self.defect).take() {
            return Err(defect);
        }
        let verdict = |(place, job): (&Option<(usize, usize)>, &Job<'_>)| {
            let databases = job.suite.files().len();
            let Some((gold, candidate)) = *place else {
                let (state, detail) = match job.prediction {
                    Prediction::Missing => (State::Missing, "no prediction"),
                    _ => (State::SqlError, "the prediction is not valid UTF-8"),
                };
                let detail = Some(detail.to_owned());
                return Verdict { execution: Some(false), state, databases, failed_on: None, detail };
            };
            match &*lock(&self.golds[gold].candidates[candidate].rejection) {
                None if !self.protocol.credit_empty && !self.golds[gold].returned.load(Ordering::Relaxed) => {
                    let detail = Some("the gold returns nothing on any database, which earns no credit".to_owned());
                    Verdict { execution: Some(false), state: State::Scored, databases, failed_on: None, detail }
                }
                None => {
                    Verdict { execution: Some(true), state: State::Scored, databases, failed_on: None, detail: None }
                }
                Some((variant, rejection)) => Verdict {
                    execution: (rejection.state != State::GoldError).then_some(false),
                    state: rejection.state,
                    databases,
                    failed_on: Some(job.suite.name(*variant)),
                    detail: Some(rejection.detail.clone()),
                },
            }
        };
        Ok(self.places.iter().zip(jobs).map(verdict).collect())
    }
}

impl Gold<'_> {
    /// Runs the gold on a variant, and every prediction that no earlier variant rejects.
    fn compare(&self, variant: usize, database: &mut Database, limits: &Limits, progress: &Progress) {
        let is_open = |candidate: &&Candidate| candidate.rejected_by.load(Ordering::Relaxed) > variant;
        if self.candidates.iter().any(|candidate| is_open(&candidate)) {
            let mut runner = Runner { database, limits, ordered: self.ordered, executions: 0 };
            match runner.gold(&self.text) {
                Err(failure) => self.fail(variant, &failure),
                Ok(gold) => {
                    if gold.rows > 0 {
                        self.returned.store(true, Ordering::Relaxed);
                    }
                    for candidate in self.candidates.iter().filter(is_open) {
                        // A query means the same as itself; most of a good model's predictions end here.
                        if candidate.text != self.text
                            && let Some(rejection) = runner.compare(&gold, &self.text, &candidate.text)
                        {
                            candidate.reject(variant, rejection);
                        }
                    }
                }
            }
            progress.executions.fetch_add(runner.executions, Ordering::Relaxed);
        }
        progress.done.fetch_add(self.candidates.iter().map(|candidate| candidate.jobs).sum(), Ordering::Relaxed);
    }

    /// Notes that the gold fails on a variant: its predictions cannot be judged there.
    fn fail(&self, variant: usize, failure: &Failure) {
        if let Some(rejection) = Rejection::from_failure(failure) {
            for candidate in &self.candidates {
                let detail = format!("gold: {}", rejection.detail);
                candidate.reject(variant, Rejection { state: State::GoldError, detail });
            }
        }
    }
}

impl Candidate {
    fn reject(&self, variant: usize, rejection: Rejection) {
        self.rejected_by.fetch_min(variant, Ordering::Relaxed);
        let mut known = lock(&self.rejection);
        if known.as_ref().is_none_or(|(earlier, _)| variant < *earlier) {
            *known = Some((variant, rejection));
        }
    }
}

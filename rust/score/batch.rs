//! A batch of jobs: sorted so that equal queries run once, cut into units, and put together as verdicts.
//!
//! A unit of execution is some golds on some variants of a database, in their order. A prediction that one variant rejects is
//! never run on a later one of the unit or of those handed out behind it. Still every verdict names the *first* variant that
//! rejects it: what is known of a later variant does not keep an earlier one from being tried.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use super::compare::Rejection;
use super::exact::{self, ExactVerdict};
use super::gold::{Candidate, Gold, Place};
use super::plug;
use super::queue::{Block, PARTS, Queue, Slice, Unit};
use super::{
    Job, Metrics, Prediction, Protocol, Resources, Stage, State, Verdict, executed_prediction, executed_text, lock,
};
use crate::error::{Error, Result, caught};
use crate::exec::sandbox::{self, Database, SQL_BYTES};
use crate::exec::suite::Suite;

/// The jobs of a batch, and the distinct golds of those to be executed, with the distinct predictions for each.
pub(super) struct Batch<'a> {
    jobs: &'a [Job<'a>],
    metrics: Metrics,
    /// What exact match says of each job.
    exact: Vec<OnceLock<ExactVerdict>>,
    /// What came of each job with values plugged in.
    plugged: Vec<OnceLock<plug::Outcome>>,
    golds: Vec<Gold<'a>>,
    /// Where the prediction of each job is: gold and candidate. `None` for a job without a query.
    places: Vec<Option<(usize, usize)>>,
    protocol: Protocol,
    /// The first defect of ours that showed.
    defect: Mutex<Option<Error>>,
}

/// Jobs of a unit of exact match, each of some microseconds.
const UNIT_JOBS: usize = 64;

/// Predictions of a unit: enough to pay for getting at the database, few enough to leave work for other threads.
const UNIT_PREDICTIONS: usize = 32;

/// Does `work` for a job; a panic in it is a defect of ours, which must not go further.
fn guarded<T>(index: usize, suite: &Suite, work: impl FnOnce() -> T) -> Result<T> {
    caught(work).map_err(|message| Error::Internal { index, db_id: suite.name(0), message })
}

impl<'a> Batch<'a> {
    pub(super) fn plan(jobs: &'a [Job<'a>], metrics: Metrics, protocol: Protocol) -> Result<Self> {
        let mut golds: Vec<Gold<'a>> = Vec::new();
        let mut gold_index: HashMap<(*const Suite, String), usize> = HashMap::new();
        let mut candidate_index: HashMap<(usize, String), usize> = HashMap::new();
        // Golds come once for each sample of predictions, and samples are often the same.
        let [mut gold_texts, mut prediction_texts]: [HashMap<&str, String>; 2] = Default::default();
        let mut place = |(index, job): (usize, &Job<'a>)| {
            let Prediction::Sql(prediction) = job.prediction else { return None };
            if !metrics.execution || protocol.plug_value || prediction.len() > SQL_BYTES {
                return None;
            }
            let text = prediction_texts.entry(prediction).or_insert_with(|| executed_prediction(prediction, protocol));
            let prediction = text.clone();
            let text = gold_texts.entry(job.gold).or_insert_with(|| executed_text(job.gold, protocol)).clone();
            let gold = *gold_index.entry((Arc::as_ptr(job.suite), text)).or_insert_with_key(|(_, text)| {
                golds.push(Gold::new(job, text.clone()));
                golds.len() - 1
            });
            let candidates = &mut golds[gold].candidates;
            let candidate = *candidate_index.entry((gold, prediction)).or_insert_with_key(|(_, text)| {
                candidates.push(Candidate::new(index, text.clone()));
                candidates.len() - 1
            });
            candidates[candidate].jobs += 1;
            Some((gold, candidate))
        };
        let mut planned = |(index, job): (usize, &Job<'a>)| guarded(index, job.suite, || place((index, job)));
        let places = jobs.iter().enumerate().map(&mut planned).collect::<Result<_>>()?;
        let exact = jobs.iter().map(|_| OnceLock::new()).collect();
        let plugged = jobs.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { jobs, metrics, exact, plugged, golds, places, protocol, defect: Mutex::new(None) })
    }

    /// How many pairs of prediction and database there are to settle.
    pub(super) fn pairs(&self) -> u64 {
        let jobs = |gold: &Gold<'_>| gold.candidates.iter().map(|candidate| candidate.jobs).sum::<u64>();
        let executed: u64 = self.golds.iter().map(|gold| jobs(gold) * gold.suite.files().len() as u64).sum();
        executed + self.plugs().count() as u64
    }

    /// The jobs that get values plugged in.
    fn plugs(&self) -> impl Iterator<Item = usize> {
        let wanted = self.metrics.execution && self.protocol.plug_value;
        (0..self.jobs.len()).filter(move |_| wanted)
    }

    /// The work, in the order in which it is handed out. If it is `followed`, units that take long are cut.
    pub(super) fn queue(&self, threads: usize, followed: bool) -> Queue {
        let starts = (0..self.jobs.len()).step_by(UNIT_JOBS);
        let matches = starts.map(|start| Unit::Match(start..(start + UNIT_JOBS).min(self.jobs.len())));
        let mut by_suite: HashMap<*const Suite, usize> = HashMap::new();
        let mut suites: Vec<(usize, Vec<usize>)> = Vec::new();
        for (index, gold) in self.golds.iter().enumerate() {
            let suite = *by_suite.entry(Arc::as_ptr(gold.suite)).or_insert_with(|| {
                suites.push((gold.suite.files().len(), Vec::new()));
                suites.len() - 1
            });
            suites[suite].1.push(index);
        }
        let blocks = suites.iter().enumerate().flat_map(|(suite, (variants, golds))| {
            let slices = self.slices(golds, *variants).into_iter();
            slices.map(move |slices| Block { suite, variants: 0..*variants, slices: slices.into() })
        });
        Queue::new(matches.chain(self.plugs().map(Unit::Plug)), blocks, threads, followed)
    }

    /// The predictions of golds, in portions for a unit each; larger ones where there are variants to be cut into units too.
    fn slices(&self, golds: &[usize], variants: usize) -> Vec<Vec<Slice>> {
        let most = if variants > PARTS { UNIT_PREDICTIONS * PARTS } else { UNIT_PREDICTIONS };
        let mut units = vec![Vec::new()];
        let mut room = most;
        for &gold in golds {
            let mut start = 0;
            let all = self.golds[gold].candidates.len();
            while start < all {
                if room == 0 {
                    units.push(Vec::new());
                    room = most;
                }
                let end = all.min(start + room);
                room -= end - start;
                if let Some(unit) = units.last_mut() {
                    unit.push(Slice { gold, candidates: start..end });
                }
                start = end;
            }
        }
        units
    }

    /// Does a unit. What it finds is kept here.
    pub(super) fn work(&self, unit: &Unit, queue: &Queue, resources: &Resources<'_>) {
        let Resources { cancel, progress, .. } = resources;
        // The job that is being worked on, to be named should it panic.
        let current = AtomicUsize::new(match unit {
            Unit::Match(jobs) => jobs.start,
            Unit::Plug(index) => *index,
            Unit::Execute(Block { slices, .. }) => {
                let Slice { gold, candidates } = &slices[0];
                self.golds[*gold].candidates[candidates.start].job
            }
        });
        let run = || match unit {
            Unit::Match(jobs) => {
                for index in jobs.clone() {
                    current.store(index, Ordering::Relaxed);
                    let found = exact::judge(&self.jobs[index], self.metrics.exact);
                    self.exact[index].get_or_init(|| found);
                }
            }
            Unit::Plug(index) => {
                let found = plug::judge(&self.jobs[*index], self.protocol, resources);
                // What a query that was cancelled seems to return says nothing.
                if let Some(found) = found.filter(|_| !cancel.load(Ordering::Relaxed)) {
                    self.plugged[*index].get_or_init(|| found);
                }
                progress.done.fetch_add(1, Ordering::Relaxed);
            }
            Unit::Execute(block) => {
                let started = Instant::now();
                for variant in block.variants.clone() {
                    if cancel.load(Ordering::Relaxed) {
                        return;
                    }
                    let done = self.execute(variant, &block.slices, resources, &current, || queue.is_long(started));
                    if done < block.slices.len() || queue.is_long(started) {
                        queue.put_back(block, variant, done);
                        return;
                    }
                }
            }
        };
        if let Err(mut defect) = guarded(0, self.jobs[0].suite, run) {
            if let Error::Internal { index, db_id, .. } = &mut defect {
                *index = current.load(Ordering::Relaxed);
                *db_id = self.jobs[*index].suite.name(0);
            }
            lock(&self.defect).get_or_insert(defect);
        }
    }

    /// Runs golds and predictions on a variant, the next one only while it `is_long` not. `current` gets the job that is
    /// worked on. Returns how many slices are through with the variant, at least one.
    fn execute(
        &self,
        variant: usize,
        slices: &[Slice],
        resources: &Resources<'_>,
        current: &AtomicUsize,
        is_long: impl Fn() -> bool,
    ) -> usize {
        let Resources { databases, cancel, .. } = resources;
        let file = &self.golds[slices[0].gold].suite.files()[variant];
        let mut found = Vec::new();
        let mut done = 0;
        let compare = |database: &mut Database, content: u128| {
            for Slice { gold, candidates } in slices {
                if cancel.load(Ordering::Relaxed) || done > 0 && is_long() {
                    return;
                }
                let place = Place { variant, database, content, found: &mut found };
                self.golds[*gold].compare(candidates.clone(), place, resources, current);
                done += 1;
            }
        };
        let opened = if self.golds[slices[0].gold].suite.files().len() > 1 {
            databases.with_variant(file, cancel, compare)
        } else {
            databases.with(file, cancel, compare)
        };
        match opened {
            Ok(()) => resources.golds.keep(&found),
            Err(failure) => {
                // Where it could not be opened none is through, and all of them fail.
                done = if done == 0 { slices.len() } else { done };
                for Slice { gold, candidates } in &slices[..done] {
                    self.golds[*gold].fail(candidates.clone(), variant, &failure);
                }
            }
        }
        // What a query that was cancelled seems to return says nothing.
        if !cancel.load(Ordering::Relaxed) {
            for Slice { gold, candidates } in &slices[..done] {
                self.golds[*gold].pass(candidates.clone());
            }
        }
        done
    }

    /// The verdicts, when all units are done.
    pub(super) fn verdicts(self) -> Result<Vec<Verdict>> {
        if let Some(defect) = lock(&self.defect).take() {
            return Err(defect);
        }
        Ok((0..self.jobs.len()).map(|index| self.verdict(index)).collect())
    }

    /// The jobs of which all is known, with their verdicts, except those that were `told`.
    pub(super) fn settled(&self, told: &mut [bool]) -> impl Iterator<Item = (usize, Verdict)> {
        told.iter_mut().enumerate().filter(|(index, told)| !**told && self.is_settled(*index)).map(|(index, told)| {
            *told = true;
            (index, self.verdict(index))
        })
    }

    fn is_settled(&self, index: usize) -> bool {
        let job = &self.jobs[index];
        let is_executed = match self.places[index] {
            Some((gold, candidate)) => self.golds[gold].is_settled(candidate),
            None if self.metrics.execution && self.protocol.plug_value => {
                let runs = matches!(job.prediction, Prediction::Sql(text) if text.len() <= SQL_BYTES);
                !runs || self.plugged[index].get().is_some()
            }
            None => true,
        };
        is_executed && self.exact[index].get().is_some()
    }

    fn verdict(&self, index: usize) -> Verdict {
        Verdict {
            databases: self.jobs[index].suite.files().len(),
            exact: self.exact[index].get().cloned().unwrap_or_default(),
            ..self.execution(index)
        }
    }

    /// The part of a verdict that is about execution.
    fn execution(&self, index: usize) -> Verdict {
        let job = &self.jobs[index];
        let scored = Verdict {
            execution: Some(true),
            state: State::Scored,
            stage: Some(Stage::RightResult),
            databases: 0,
            failed_on: None,
            detail: None,
            is_capped: false,
            exact: ExactVerdict::default(),
        };
        let wrong = |state, detail: &str| Verdict {
            execution: self.metrics.execution.then_some(false),
            state,
            stage: self.metrics.execution.then_some(Stage::Nothing),
            detail: Some(detail.to_owned()),
            ..scored.clone()
        };
        let judged = |rejection: Option<&(usize, Rejection)>, returned: bool| match rejection {
            None if !self.protocol.credit_empty && !returned => {
                let detail = "the gold returns nothing on any database, which earns no credit";
                Verdict { stage: scored.stage, ..wrong(State::Scored, detail) }
            }
            None => scored.clone(),
            Some((variant, rejection)) => Verdict {
                execution: (rejection.state != State::GoldError).then_some(false),
                stage: (rejection.state != State::GoldError).then_some(rejection.stage),
                failed_on: Some(job.suite.name(*variant)),
                ..wrong(rejection.state, &rejection.detail)
            },
        };
        if let Some(outcome) = self.plugged[index].get() {
            let verdict = judged(outcome.rejection.as_ref(), outcome.returned);
            return Verdict { is_capped: outcome.is_capped, ..verdict };
        }
        if let Some((gold, candidate)) = self.places[index] {
            let gold = &self.golds[gold];
            let returned = gold.returned.load(Ordering::Relaxed);
            return judged(lock(&gold.candidates[candidate].rejection).as_ref(), returned);
        }
        match job.prediction {
            Prediction::Missing => wrong(State::Missing, "no prediction"),
            Prediction::Undecodable => wrong(State::SqlError, "the prediction is not valid UTF-8"),
            Prediction::Sql(text) if self.metrics.execution => wrong(State::TooLarge, &sandbox::too_long(text)),
            Prediction::Sql(_) => Verdict { execution: None, stage: None, ..scored },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::exec::sandbox::Limits;
    use crate::score::Progress;
    use crate::score::databases::Databases;
    use crate::score::golds::Golds;

    #[test]
    fn units_cover_all_variants_whatever_the_number_of_threads() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..61 {
            std::fs::write(folder.path().join(format!("{number}.sqlite")), b"").unwrap();
        }
        let suite = Arc::new(Suite::at(folder.path()).unwrap());
        let golds: Vec<String> = (0..300).map(|number| format!("SELECT {number}")).collect();
        let job = |gold| Job { gold, prediction: Prediction::Sql("SELECT 1"), suite: &suite, schema: Err("none") };
        let jobs: Vec<_> = golds.iter().map(|gold| job(gold)).collect();
        let metrics = Metrics { execution: true, exact: false };
        let batch = Batch::plan(&jobs, metrics, Protocol::default()).unwrap();
        for threads in [1, 2, 16] {
            let mut seen = vec![0; golds.len() * suite.files().len()];
            let mut largest = 0;
            batch.queue(threads, false).work_off(|unit| {
                let Unit::Execute(Block { variants, slices, .. }) = unit else { return ControlFlow::Continue(()) };
                largest = largest.max(variants.len() * slices.len());
                for (variant, slice) in variants.flat_map(|variant| slices.iter().map(move |slice| (variant, slice))) {
                    assert_eq!(slice.candidates, 0..1);
                    seen[slice.gold * suite.files().len() + variant] += 1;
                }
                ControlFlow::Continue(())
            });
            assert!(seen.iter().all(|&times| times == 1));
            assert!(threads == 1 || largest * 2 * threads < seen.len(), "{threads} threads");
        }
    }

    #[test]
    fn a_panic_becomes_an_error_that_names_the_item() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.sqlite");
        std::fs::write(&file, b"").unwrap();
        let suite = Arc::new(Suite::at(&file).unwrap());
        let nothing: Vec<usize> = Vec::new();
        let error = guarded(7, &suite, || nothing[1]).unwrap_err().to_string();
        assert!(
            error.starts_with("internal error while scoring item 7 (database `shop.sqlite`): index out"),
            "{error}"
        );
        assert_eq!(guarded(7, &suite, || 1).unwrap(), 1);

        // In units of work: where exact match has no place for a verdict, and where a suite has no such variant.
        let job = |prediction| Job {
            gold: "SELECT a FROM t",
            prediction: Prediction::Sql(prediction),
            suite: &suite,
            schema: Err("none"),
        };
        let jobs = [job("SELECT 1"), job("SELECT 2"), job("SELECT 3")];
        let metrics = Metrics { execution: true, exact: true };
        let (databases, golds) = (Databases::default(), Golds::default());
        let (cancel, progress) = (Arc::default(), Progress::default());
        let limits = Limits::default();
        let resources = Resources {
            databases: &databases,
            golds: &golds,
            limits,
            run_to_end: false,
            cancel: &cancel,
            progress: &progress,
        };
        let slices = Arc::from([Slice { gold: 0, candidates: 0..1 }]);
        let block = Block { suite: 0, variants: 9..10, slices };
        for (unit, index) in [(Unit::Match(0..3), 2), (Unit::Execute(block), 0)] {
            let mut batch = Batch::plan(&jobs, metrics, Protocol::default()).unwrap();
            batch.exact.truncate(2);
            batch.work(&unit, &batch.queue(1, false), &resources);
            let error = batch.verdicts().unwrap_err();
            assert!(matches!(&error, Error::Internal { index: found, .. } if *found == index), "{error}");
            assert!(error.hint().is_some());
        }
    }
}

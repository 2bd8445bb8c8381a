//! A prediction without values: tried with every value of its gold in every slot, until one way holds everywhere.

use std::sync::atomic::Ordering;

use super::compare::{Rejection, Runner};
use super::golds::Key;
use super::{Job, Prediction, Protocol, Resources, State, executed_text};
use crate::exec::digest::Digest;
use crate::exec::sandbox::{Failure, SQL_BYTES};
use crate::spider::values::Plugged;
use crate::sql::rewrite;

/// Most ways that are tried for one prediction. The product of values and slots has no bound of its own.
const QUERIES: usize = 100_000;

/// What came of a prediction.
pub(super) struct Outcome {
    /// Which variant rejects the prediction as it stands and why, if no way holds everywhere.
    pub(super) rejection: Option<(usize, Rejection)>,
    /// Whether ways were left untried.
    pub(super) is_capped: bool,
    /// Whether the gold returned a row on any variant that was tried.
    pub(super) returned: bool,
}

/// Tries a prediction as it stands, then with values of the gold.
pub(super) fn judge(job: &Job<'_>, protocol: Protocol, resources: &Resources<'_>) -> Option<Outcome> {
    let Prediction::Sql(prediction) = job.prediction else { return None };
    if prediction.len() > SQL_BYTES {
        return None;
    }
    let gold = executed_text(job.gold, protocol);
    let prediction = rewrite::replace_placeholders(prediction);
    let mut trial = Trial {
        job,
        resources,
        gold: &gold,
        ordered: rewrite::is_ordered(&gold),
        golds: vec![None; job.suite.files().len()],
        steps: 0,
    };
    let as_it_stands = trial.rejection(&executed_text(&prediction, protocol));
    let mut outcome = Outcome { rejection: as_it_stands, is_capped: false, returned: false };
    let is_judged = |rejection: &Rejection| rejection.state != State::GoldError;
    if outcome.rejection.as_ref().is_some_and(|(_, rejection)| is_judged(rejection)) {
        // The official tool plugs values into the texts that it has prepared for execution, but for the current year.
        let prepare = |sql| rewrite::prepare(sql, protocol.keep_distinct);
        let plugged = Plugged::new(&prepare(job.gold), &prepare(&prediction));
        let queries = plugged.iter().flat_map(Plugged::queries);
        for (index, query) in queries.enumerate() {
            if resources.cancel.load(Ordering::Relaxed) {
                return None;
            }
            if index >= QUERIES || trial.steps >= protocol.limits.steps {
                outcome.is_capped = true;
                break;
            }
            if trial.rejection(&rewrite::fix_current_year(&query)).is_none() {
                outcome.rejection = None;
                break;
            }
        }
    }
    outcome.returned = trial.golds.iter().flatten().any(|gold| gold.rows > 0);
    Some(outcome)
}

struct Trial<'a> {
    job: &'a Job<'a>,
    resources: &'a Resources<'a>,
    gold: &'a str,
    ordered: bool,
    /// The gold's digest on each variant that was tried.
    golds: Vec<Option<Digest>>,
    /// Steps of all predictions so far.
    steps: u64,
}

impl Trial<'_> {
    /// The first variant that rejects `query`, and why.
    fn rejection(&mut self, query: &str) -> Option<(usize, Rejection)> {
        (0..self.golds.len()).find_map(|variant| {
            let rejection = match self.run(variant, query) {
                Ok(rejection) => rejection,
                Err(failure) => Rejection::of_gold(&failure),
            };
            rejection.map(|rejection| (variant, rejection))
        })
    }

    fn run(&mut self, variant: usize, query: &str) -> Result<Option<Rejection>, Failure> {
        let Resources { databases, golds, limits, run_to_end, cancel, progress } = self.resources;
        let mut found = Vec::new();
        let result = databases.with(&self.job.suite.files()[variant], cancel, |database, content| {
            let mut runner = Runner::new(database, limits, self.ordered).running_to_end(*run_to_end);
            let gold = if let Some(gold) = self.golds[variant] {
                gold
            } else {
                let key = Key::new(content, self.gold, self.ordered, limits);
                *self.golds[variant].insert(golds.find(key, &mut runner, self.gold, &mut found)?)
            };
            runner.steps = 0;
            let rejection = if query == self.gold { None } else { runner.compare(&gold, self.gold, query) };
            // A text that fails takes no step, but time to be read.
            self.steps += runner.steps + query.len() as u64;
            progress.executions.fetch_add(runner.executions, Ordering::Relaxed);
            Ok(rejection)
        })?;
        golds.keep(&found);
        result
    }
}

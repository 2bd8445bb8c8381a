//! Exact match and hardness of jobs, as the official driver has them.

use serde::{Deserialize, Serialize};

use super::compare::shortened;
use super::{Job, Prediction};
use crate::spider::{ExactMatch, Hardness, Partial, hardness, parse};
use crate::sql::canonical::{self, canonicalize};
use crate::sql::rewrite;

/// What exact match says of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct ExactVerdict {
    /// How hard the gold is; `None` if the grammar rejects it.
    pub hardness: Option<Hardness>,
    /// Whether the prediction is an exact match; `None` if that was not asked for, or the grammar rejects the gold.
    pub exact: Option<bool>,
    /// Whether the canonical forms of prediction and gold match, along with `exact`.
    pub canonical_exact: Option<bool>,
    /// The ten partial scores, along with `exact`.
    pub partial: Option<[Partial; 10]>,
    /// Why the grammar rejects the prediction, which is then compared as an empty query.
    pub rejected: Option<String>,
    /// Why the grammar rejects the gold.
    pub gold_rejected: Option<String>,
}

impl ExactVerdict {
    /// Where there is nothing to compare by.
    pub(super) fn without_schema(reason: &str) -> Self {
        Self { gold_rejected: Some(shortened(reason)), ..Self::default() }
    }
}

/// Grades the gold of a job, and where `compared` its prediction.
pub(super) fn judge(job: &Job<'_>, compared: bool) -> ExactVerdict {
    let schema = match job.schema {
        Ok(schema) => schema,
        Err(reason) => return ExactVerdict::without_schema(reason),
    };
    let canonical = &schema.canonical;
    let schema = &schema.exact;
    let gold = match parse(job.gold, schema) {
        Ok(gold) => gold,
        Err(rejection) => return ExactVerdict { gold_rejected: Some(rejection.to_string()), ..Default::default() },
    };
    let hardness = Some(hardness(&gold));
    if !compared {
        return ExactVerdict { hardness, ..Default::default() };
    }
    let (prediction, canonical_exact) = match job.prediction {
        Prediction::Missing => (Err("no prediction".to_owned()), false),
        Prediction::Undecodable => (Err("not valid UTF-8".to_owned()), false),
        Prediction::Sql(sql) => {
            let sql = rewrite::replace_placeholders(sql);
            // Operators are joined for execution only; the canonical form is that of the query that is executed.
            let forms = [job.gold, &sql].map(|sql| canonical_form(&rewrite::join_operators(sql), canonical));
            let [gold, prediction] = forms.map(|form| parse(&form, schema));
            let matches = gold.is_ok_and(|gold| ExactMatch::compare(prediction.as_ref().ok(), &gold, schema).exact);
            (parse(&sql, schema).map_err(|rejection| shortened(&rejection.to_string())), matches)
        }
    };
    let found = ExactMatch::compare(prediction.as_ref().ok(), &gold, schema);
    ExactVerdict {
        hardness,
        exact: Some(found.exact),
        canonical_exact: Some(canonical_exact),
        partial: Some(found.partial),
        rejected: prediction.err(),
        gold_rejected: None,
    }
}

/// The canonical form of a query, or the query itself if it has none.
fn canonical_form(sql: &str, schema: &canonical::Schema) -> String {
    canonicalize(sql, Some(schema)).unwrap_or_else(|_| sql.to_owned())
}

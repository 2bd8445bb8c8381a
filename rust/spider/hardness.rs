//! How hard a gold query is: the official `eval_hardness`.
//!
//! Three counts decide. The first is of clauses, joined tables, `or` and `like`; the second of queries in conditions and
//! set operations; the third of four things that there may be more than one of. The combinations that the official
//! rules forget are `extra`.
//!
//! # Beyond the official verdicts
//!
//! Where two conditions stand without a word between them, a later `and` or `or` may come to stand where the official
//! program looks for a condition, and it crashes. Here such a word is a condition that has no query and no `like`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::query::{Aggregate, ColumnUnit, Comparison, ConditionItem, Conditions, Query};

/// The official levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Hardness {
    /// `easy`
    Easy,
    /// `medium`
    Medium,
    /// `hard`
    Hard,
    /// `extra`
    Extra,
}

impl Hardness {
    /// The official name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Hardness::Easy => "easy",
            Hardness::Medium => "medium",
            Hardness::Hard => "hard",
            Hardness::Extra => "extra",
        }
    }
}

impl fmt::Display for Hardness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Grades a query as it was parsed.
#[must_use]
pub fn hardness(query: &Query) -> Hardness {
    match (clauses(query), nested(query), others(query)) {
        (0..=1, 0, 0) => Hardness::Easy,
        (0..=1, 0, 0..=2) | (0..=2, 0, 0..=1) => Hardness::Medium,
        (0..=2, 0, 3..) | (3, 0, 0..=2) | (0..=1, 0..=1, 0) => Hardness::Hard,
        _ => Hardness::Extra,
    }
}

/// `count_component1`
fn clauses(query: &Query) -> usize {
    let present = [!query.filter.is_empty(), !query.group_by.is_empty(), query.order_by.is_some(), query.limit];
    let is_like =
        |item: &&ConditionItem| item.as_condition().is_some_and(|condition| condition.comparison == Comparison::Like);
    present.into_iter().filter(|&present| present).count()
        + query.tables.len().saturating_sub(1)
        + query
            .conditions()
            .into_iter()
            .map(|conditions| {
                conditions.connectors().filter(|&item| *item == ConditionItem::Or).count()
                    + conditions.units().filter(is_like).count()
            })
            .sum::<usize>()
}

/// `count_component2`
fn nested(query: &Query) -> usize {
    let in_conditions = query
        .conditions()
        .into_iter()
        .flat_map(Conditions::units)
        .filter_map(ConditionItem::as_condition)
        .map(|condition| condition.queries().count())
        .sum::<usize>();
    in_conditions + usize::from(query.set_operation.is_some())
}

/// `count_others`: of aggregates, selected values, items of `where` and grouped columns, how many there are two or more
/// of.
///
/// What counts as an aggregate is decided by whatever stands first in a tuple: in a condition that is whether it is
/// negated, and of a word in `having` it is its first letter.
fn others(query: &Query) -> usize {
    let is_aggregate = |unit: &ColumnUnit| unit.aggregate != Aggregate::None;
    let counts = |item: &&ConditionItem| item.as_condition().is_none_or(|condition| condition.negated);
    let ordered = query.order_by.iter().flat_map(|order| &order.values);
    let aggregates = query.select.iter().filter(|item| item.aggregate != Aggregate::None).count()
        + query.filter.units().filter(counts).count()
        + query.group_by.iter().filter(|unit| is_aggregate(unit)).count()
        + ordered.flat_map(|value| [Some(value.left), value.right]).flatten().filter(is_aggregate).count()
        + query.having.0.iter().filter(counts).count();
    [aggregates, query.select.len(), query.filter.0.len(), query.group_by.len()]
        .into_iter()
        .filter(|&count| count > 1)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spider::{Schema, parse};

    fn level(sql: &str) -> &'static str {
        let schema = Schema::new([("t", vec!["a", "b", "c"]), ("u", vec!["a", "d"])]);
        hardness(&parse(sql, &schema).unwrap()).name()
    }

    #[test]
    fn levels_follow_the_three_counts() {
        assert_eq!(level("select a from t"), "easy");
        assert_eq!(level("select a from t where a = 1"), "easy");
        assert_eq!(level("select a , b from t where a = 1"), "medium");
        assert_eq!(level("select a from t where a = 1 group by b"), "medium");
        assert_eq!(level("select a , b from t where a = 1 and b = 2 group by a , b"), "hard");
        assert_eq!(level("select t.a from t join u where b = 1 order by b"), "hard");
        assert_eq!(level("select a from t where a in ( select a from u )"), "hard");
        assert_eq!(level("select a from t union select a from u"), "hard");
        assert_eq!(level("select a , b from t where a in ( select a from u )"), "extra");
    }

    // The rules name no level for two clauses, nothing nested and exactly two others.
    #[test]
    fn a_forgotten_combination_is_extra() {
        assert_eq!(level("select a , b from t where a = 1 and b = 2 order by c"), "extra");
    }

    // `has_agg` looks at the first element of a tuple, which in a condition is `not_op`.
    #[test]
    fn a_negated_condition_counts_as_an_aggregate() {
        assert_eq!(level("select count ( * ) from t where a = 1"), "easy");
        assert_eq!(level("select count ( * ) from t where a not in ( 1 )"), "medium");
    }

    // `count_agg(sql['having'])` sees the connectors too, whose first letter is not 0.
    #[test]
    fn a_word_in_having_counts_as_an_aggregate() {
        assert_eq!(level("select a from t group by a having a = 1 and b = 1"), "easy");
        assert_eq!(level("select a from t group by a having a = 1 and b = 1 or c = 1"), "medium");
        assert_eq!(level("select max ( a ) from t group by a having a = 1 and b = 1"), "medium");
    }

    #[test]
    fn or_and_like_count_in_on_as_well() {
        assert_eq!(level("select t.a from t join u on b = 1"), "easy");
        assert_eq!(level("select t.a from t join u on b = 1 or b like 1"), "hard");
    }

    // `len(sql['where']) > 1` counts a trailing connector.
    #[test]
    fn a_trailing_connector_counts_as_a_condition() {
        assert_eq!(level("select a from t where a = 1"), "easy");
        assert_eq!(level("select a from t where a = 1 and"), "medium");
    }

    // The official program crashes on these.
    #[test]
    fn connectors_in_the_place_of_conditions_have_a_level() {
        assert_eq!(level("select a from t where a = 1 b = 2 and c = 3"), "medium");
    }
}

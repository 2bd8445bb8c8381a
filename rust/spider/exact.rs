//! Comparing a prediction with a gold query: the official `Evaluator`.
//!
//! Both trees are first rebuilt (values dropped, foreign keys folded), then compared component by component. A component
//! is all or nothing: where the official rows say accuracy, recall and F1, the three are equal and 0 or 1. An exact
//! match is a match of all ten components and of the tables, whose join conditions are compared by their keywords only.
//!
//! The official `eval_sel` empties the gold query's select list while it counts. Nothing reads the list after that in
//! the same comparison, so it is without effect as long as a gold query is used once; here it can be used again.
//!
//! # Beyond the official verdicts
//!
//! The official program crashes here, and would end its run; the answer is always what comparing the trees gives:
//!
//! * Two different queries in one `from`, with all components equal: Python cannot sort them. Here the tables are
//!   compared as multisets without an order.
//! * A condition missing between connectors, or a connector between conditions, so that an `and` or `or` stands at an
//!   even index of a condition list: it cannot be rebuilt. Here it stays what it is and equals only the same word.
//! * A condition with a query at an odd index of `where`: it cannot be put in a set. Here it can.
//! * Trees that are both nested so deeply that comparing them exhausts Python's stack, for example 250 set operations.

use serde::{Deserialize, Serialize};

use super::query::{
    Comparison, Condition, ConditionItem, Conditions, Direction, Query, SelectItem, SetOperator, Table, ValueUnit,
};
use super::rebuild::rebuilt;
use super::schema::Schema;

/// The official components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// `select`: aggregates and columns.
    Select,
    /// `select(no AGG)`: the same without the outer aggregates.
    SelectNoAggregate,
    /// `where`: conditions, whatever their order.
    Where,
    /// `where(no OP)`: their left sides.
    WhereNoOperator,
    /// `group(no Having)`: columns of `group by` without their tables, whatever their order.
    GroupNoHaving,
    /// `group`: `group by` in order, and `having`.
    Group,
    /// `order`: `order by` in order, and whether there is a limit.
    Order,
    /// `and/or`: which of the two words occur in `where`.
    AndOr,
    /// `IUEN`: the arms of set operations.
    SetOperations,
    /// `keywords`: which keywords occur.
    Keywords,
}

impl Component {
    /// All of them in the official order.
    pub const ALL: [Component; 10] = [
        Component::Select,
        Component::SelectNoAggregate,
        Component::Where,
        Component::WhereNoOperator,
        Component::GroupNoHaving,
        Component::Group,
        Component::Order,
        Component::AndOr,
        Component::SetOperations,
        Component::Keywords,
    ];

    /// The official name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Component::Select => "select",
            Component::SelectNoAggregate => "select(no AGG)",
            Component::Where => "where",
            Component::WhereNoOperator => "where(no OP)",
            Component::GroupNoHaving => "group(no Having)",
            Component::Group => "group",
            Component::Order => "order",
            Component::AndOr => "and/or",
            Component::SetOperations => "IUEN",
            Component::Keywords => "keywords",
        }
    }
}

/// How one component compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Partial {
    /// Whether it matches: the official accuracy, recall and F1 are all 1 if it does, else all 0.
    pub matches: bool,
    /// How many items the gold query has; of [`Component::AndOr`] it is the prediction's, unless they match.
    pub label_total: usize,
    /// How many items the prediction has; of [`Component::AndOr`] it is the gold query's, unless they match.
    pub pred_total: usize,
}

impl Partial {
    /// The official `get_scores`.
    fn new(totals: Totals, matched: usize) -> Partial {
        let Totals { label: label_total, pred: pred_total } = totals;
        Partial { matches: pred_total == label_total && matched == pred_total, label_total, pred_total }
    }

    /// Accuracy, recall, F1, `label_total` and `pred_total`, as the official rows have them.
    #[must_use]
    pub fn row(&self) -> [usize; 5] {
        let score = usize::from(self.matches);
        [score, score, score, self.label_total, self.pred_total]
    }
}

#[derive(Clone, Copy)]
struct Totals {
    label: usize,
    pred: usize,
}

/// The official verdict on one prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactMatch {
    /// Whether the prediction is an exact match.
    pub exact: bool,
    /// The components, in the order of [`Component::ALL`].
    pub partial: [Partial; 10],
}

impl ExactMatch {
    /// Compares a prediction with a gold query; both must have been parsed with this schema, foreign keys or not.
    ///
    /// A prediction that was rejected is `None` and is compared as an empty query, as in the official driver.
    #[must_use]
    pub fn compare(prediction: Option<&Query>, gold: &Query, schema: &Schema) -> ExactMatch {
        let prediction = prediction.map_or_else(Query::default, |query| rebuilt(query, schema));
        let gold = rebuilt(gold, schema);
        Comparer { schema }.exact_match(&prediction, &gold)
    }

    /// The score of one component.
    #[must_use]
    pub fn component(&self, component: Component) -> Partial {
        self.partial[component as usize]
    }
}

struct Comparer<'a> {
    schema: &'a Schema,
}

impl Comparer<'_> {
    /// `eval_exact_match`
    fn exact_match(&self, pred: &Query, label: &Query) -> ExactMatch {
        let [select, select_no_aggregate] = select(pred, label);
        let [filter, filter_no_operator] = filter(pred, label);
        let partial = [
            select,
            select_no_aggregate,
            filter,
            filter_no_operator,
            self.group_no_having(pred, label),
            group(pred, label),
            order(pred, label),
            and_or(pred, label),
            self.set_operations(pred, label),
            keywords(pred, label),
        ];
        // With no table in the gold query the official program does not look at the prediction's.
        let exact = partial.iter().all(|partial| partial.matches)
            && (label.tables.is_empty() || same_tables(&pred.tables, &label.tables));
        ExactMatch { exact, partial }
    }

    /// `eval_group`
    fn group_no_having(&self, pred: &Query, label: &Query) -> Partial {
        let columns = |query: &Query| -> Vec<_> {
            query.group_by.iter().map(|unit| self.schema.column_part(unit.column)).collect()
        };
        let (pred, label) = (columns(pred), columns(label));
        Partial::new(Totals { label: label.len(), pred: pred.len() }, common(&pred, &label, |a, b| a == b))
    }

    /// `eval_IUEN`: the two arms count only where both queries have the same operator.
    fn set_operations(&self, pred: &Query, label: &Query) -> Partial {
        let totals = Totals {
            label: usize::from(label.set_operation.is_some()),
            pred: usize::from(pred.set_operation.is_some()),
        };
        let matches = match (&pred.set_operation, &label.set_operation) {
            (Some((pred_operator, pred)), Some((label_operator, label))) if pred_operator == label_operator => {
                self.exact_match(pred, label).exact
            }
            _ => false,
        };
        Partial::new(totals, usize::from(matches))
    }
}

/// How many items of `pred` find an equal one in `label` that no earlier item has taken.
fn common<T>(pred: &[T], label: &[T], equal: impl Fn(&T, &T) -> bool) -> usize {
    let mut free: Vec<&T> = label.iter().collect();
    pred.iter()
        .filter(|item| {
            let found = free.iter().position(|other| equal(item, other));
            found.map(|index| free.swap_remove(index)).is_some()
        })
        .count()
}

/// `eval_sel`
fn select(pred: &Query, label: &Query) -> [Partial; 2] {
    let totals = Totals { label: label.select.len(), pred: pred.select.len() };
    let count = |equal: fn(&SelectItem, &SelectItem) -> bool| common(&pred.select, &label.select, equal);
    [Partial::new(totals, count(|a, b| a == b)), Partial::new(totals, count(|a, b| a.value == b.value))]
}

/// `eval_where`
fn filter(pred: &Query, label: &Query) -> [Partial; 2] {
    fn left_side(item: &ConditionItem) -> Option<&ValueUnit> {
        item.as_condition().map(|condition: &Condition| &condition.value)
    }
    let pred: Vec<&ConditionItem> = pred.filter.units().collect();
    let label: Vec<&ConditionItem> = label.filter.units().collect();
    let totals = Totals { label: label.len(), pred: pred.len() };
    [
        Partial::new(totals, common(&pred, &label, |a, b| a == b)),
        Partial::new(totals, common(&pred, &label, |a, b| left_side(a) == left_side(b))),
    ]
}

/// `eval_having`
fn group(pred: &Query, label: &Query) -> Partial {
    let totals =
        Totals { label: usize::from(!label.group_by.is_empty()), pred: usize::from(!pred.group_by.is_empty()) };
    let columns = |query: &Query| query.group_by.iter().map(|unit| unit.column).collect::<Vec<_>>();
    let matches =
        totals.label == 1 && totals.pred == 1 && columns(pred) == columns(label) && pred.having == label.having;
    Partial::new(totals, usize::from(matches))
}

/// `eval_order`
fn order(pred: &Query, label: &Query) -> Partial {
    let totals = Totals { label: usize::from(label.order_by.is_some()), pred: usize::from(pred.order_by.is_some()) };
    let matches = label.order_by.is_some() && pred.order_by == label.order_by && pred.limit == label.limit;
    Partial::new(totals, usize::from(matches))
}

/// `eval_and_or`: the driver reads the two totals of different sets the wrong way round.
fn and_or(pred: &Query, label: &Query) -> Partial {
    let (pred, label) = (connectors(pred), connectors(label));
    if pred.len() == label.len() && pred.iter().all(|item| label.contains(item)) {
        return Partial::new(Totals { label: 1, pred: 1 }, 1);
    }
    Partial::new(Totals { label: pred.len(), pred: label.len() }, 0)
}

/// The set of what stands between the conditions of `where`.
fn connectors(query: &Query) -> Vec<&ConditionItem> {
    let mut set: Vec<&ConditionItem> = Vec::new();
    for item in query.filter.connectors() {
        if !set.contains(&item) {
            set.push(item);
        }
    }
    set
}

/// The tables as a multiset; a table that is a query is equal as a tree, literals included.
fn same_tables(pred: &[Table], label: &[Table]) -> bool {
    pred.len() == label.len() && common(pred, label, |a, b| a == b) == label.len()
}

/// `eval_keywords`
fn keywords(pred: &Query, label: &Query) -> Partial {
    let (pred, label) = (keyword_set(pred), keyword_set(label));
    let count = |set: u16| set.count_ones() as usize;
    Partial::new(Totals { label: count(label), pred: count(pred) }, count(pred & label))
}

/// `get_keywords`: one bit for each keyword. What connects conditions counts in `on` and `having` too.
fn keyword_set(query: &Query) -> u16 {
    let units = || query.conditions().into_iter().flat_map(Conditions::units);
    let compares = |comparison| {
        units().filter_map(ConditionItem::as_condition).any(|condition| condition.comparison == comparison)
    };
    let set_operator = query.set_operation.as_ref().map(|(operator, _)| *operator);
    let direction = query.order_by.as_ref().map(|order| order.direction);
    [
        !query.filter.is_empty(),
        !query.group_by.is_empty(),
        !query.having.is_empty(),
        direction.is_some(),
        direction == Some(Direction::Ascending),
        direction == Some(Direction::Descending),
        query.limit,
        set_operator == Some(SetOperator::Except),
        set_operator == Some(SetOperator::Union),
        set_operator == Some(SetOperator::Intersect),
        query.conditions().into_iter().any(|conditions| conditions.connectors().any(|item| *item == ConditionItem::Or)),
        // Whether the first element of a tuple is true; that of a word is a letter, and is.
        units().any(|item| item.as_condition().is_none_or(|condition| condition.negated)),
        compares(Comparison::In),
        compares(Comparison::Like),
    ]
    .into_iter()
    .enumerate()
    .fold(0, |set, (bit, present)| set | u16::from(present) << bit)
}

#[cfg(test)]
mod tests;

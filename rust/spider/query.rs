//! The tree that the official grammar makes of a query.

use super::schema::Identifier;

/// A query, or one side of a set operation.
///
/// Two queries are equal where the official program's dictionaries are: everything counts, literals and `distinct` too,
/// and a number that is not a number equals nothing.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Query {
    /// `select distinct`.
    pub distinct: bool,
    /// What is selected.
    pub select: Vec<SelectItem>,
    /// The tables of `from`, joined.
    pub tables: Vec<Table>,
    /// The conditions of every `on` together.
    pub on: Conditions,
    /// The conditions of `where`.
    pub filter: Conditions,
    /// The columns of `group by`.
    pub group_by: Vec<ColumnUnit>,
    /// The conditions of `having`.
    pub having: Conditions,
    /// `order by`, which may have no values.
    pub order_by: Option<OrderBy>,
    /// Whether there is a `limit`. The official program reads its number as 1 whatever it is.
    pub limit: bool,
    /// The set operation and its right side, which may have a set operation itself.
    pub set_operation: Option<(SetOperator, Box<Query>)>,
}

impl Query {
    /// The conditions of `on`, `where` and `having`, in the order in which the official program looks at them.
    pub(super) fn conditions(&self) -> [&Conditions; 3] {
        [&self.on, &self.filter, &self.having]
    }
}

/// The official `AGG_OPS`; there is an aggregate called `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// No aggregate, or one that is written `none(...)`.
    None,
    /// `max`
    Max,
    /// `min`
    Min,
    /// `count`
    Count,
    /// `sum`
    Sum,
    /// `avg`
    Avg,
}

/// The official `UNIT_OPS`; there is an operator called `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// One column only, or two with the word `none` between them.
    None,
    /// `-`
    Minus,
    /// `+`
    Plus,
    /// `*`
    Times,
    /// `/`
    Divide,
}

/// The official `WHERE_OPS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `not` in the place of an operator: in `a not not 1`.
    Not,
    /// `between`
    Between,
    /// `=`
    Equal,
    /// `>`
    Greater,
    /// `<`
    Less,
    /// `>=`
    GreaterEqual,
    /// `<=`
    LessEqual,
    /// `!=`
    NotEqual,
    /// `in`
    In,
    /// `like`
    Like,
    /// `is`, with a column or a value behind it
    Is,
    /// `exists`, between a column and a value
    Exists,
}

/// The official `SQL_OPS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOperator {
    /// `intersect`
    Intersect,
    /// `except`
    Except,
    /// `union`
    Union,
}

/// A direction of `order by`, the same for all its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `asc`, and the default
    Ascending,
    /// `desc`
    Descending,
}

/// The official `col_unit`: a column, perhaps in an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnUnit {
    /// The aggregate round the column.
    pub aggregate: Aggregate,
    /// The column.
    pub column: Identifier,
    /// `distinct` before the column.
    pub distinct: bool,
}

/// The official `val_unit`: one column, or two and an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueUnit {
    /// The operator between the columns.
    pub operator: Arithmetic,
    /// The first column.
    pub left: ColumnUnit,
    /// The second column.
    pub right: Option<ColumnUnit>,
}

/// One value of a select list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectItem {
    /// The aggregate round the value.
    pub aggregate: Aggregate,
    /// The value.
    pub value: ValueUnit,
}

/// The official `table_unit`.
#[derive(Clone, Debug, PartialEq)]
pub enum Table {
    /// A table of the database.
    Named(Identifier),
    /// A query in the place of a table.
    Query(Box<Query>),
}

/// What a condition compares with.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A string literal with its quotation marks.
    Literal(Box<str>),
    /// A column.
    Column(ColumnUnit),
    /// A query.
    Query(Box<Query>),
}

/// The official `cond_unit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// `not` before the operator.
    pub negated: bool,
    /// The operator.
    pub comparison: Comparison,
    /// The left side.
    pub value: ValueUnit,
    /// The right side; nothing once values have been dropped.
    pub first: Option<Value>,
    /// The upper bound of `between`.
    pub second: Option<Value>,
}

impl Condition {
    /// The values on the right side that are queries.
    pub(super) fn queries(&self) -> impl Iterator<Item = &Query> {
        [&self.first, &self.second].into_iter().filter_map(|value| match value {
            Some(Value::Query(query)) => Some(&**query),
            _ => None,
        })
    }
}

/// A condition, or a word between two.
#[derive(Clone, Debug, PartialEq)]
pub enum ConditionItem {
    /// A condition.
    Condition(Condition),
    /// `and`
    And,
    /// `or`
    Or,
}

impl ConditionItem {
    pub(super) fn as_condition(&self) -> Option<&Condition> {
        match self {
            ConditionItem::Condition(condition) => Some(condition),
            ConditionItem::And | ConditionItem::Or => None,
        }
    }
}

/// Conditions and the words between them, in the order in which they are written.
///
/// The grammar does not insist on a word between two conditions, nor on a condition behind a word. The official
/// program tells one from the other by position alone: what is at an even index counts as a condition, what is at an odd
/// one as a connector.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Conditions(pub Vec<ConditionItem>);

impl Conditions {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The items that count as conditions.
    pub(super) fn units(&self) -> impl Iterator<Item = &ConditionItem> {
        self.0.iter().step_by(2)
    }

    /// The items that count as connectors.
    pub(super) fn connectors(&self) -> impl Iterator<Item = &ConditionItem> {
        self.0.iter().skip(1).step_by(2)
    }
}

/// `order by`.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderBy {
    /// The last direction that is written.
    pub direction: Direction,
    /// What to order by.
    pub values: Vec<ValueUnit>,
}

//! What is done to both trees before they are compared: the official `rebuild_sql_val` and `rebuild_sql_col`.
//!
//! Two walks over a tree, neither of which reaches all of it:
//!
//! * Values on right sides are dropped, queries there excepted, and in those queries and in the arms of set operations
//!   again. A query in `from` keeps its values.
//! * Columns of left sides and of `select`, `group by` and `order by` are folded by foreign key, and `distinct` is
//!   dropped. That reaches the arms of set operations, which fold by the tables of the *first* arm's `from`, but no query
//!   in `from` or on a right side.
//!
//! What a condition list has at an odd index is a connector to the official program, so where two conditions stand
//! without a word between them, one of them keeps its values and its columns.

use super::query::{
    ColumnUnit, Condition, ConditionItem, Conditions, OrderBy, Query, SelectItem, Table, Value, ValueUnit,
};
use super::schema::{Folding, Schema};

/// A copy of a query as the official program compares it with another.
pub(super) fn rebuilt(query: &Query, schema: &Schema) -> Query {
    let tables = query.tables.iter().filter_map(|table| match table {
        Table::Named(table) => Some(*table),
        Table::Query(_) => None,
    });
    Rebuild { folding: Some(schema.folding(tables)) }.query(query)
}

struct Rebuild<'a> {
    /// `None` in queries on right sides, where only values are dropped.
    folding: Option<Folding<'a>>,
}

impl Rebuild<'_> {
    fn query(&self, query: &Query) -> Query {
        let folds = self.folding.is_some();
        Query {
            distinct: query.distinct && !folds,
            select: query
                .select
                .iter()
                .map(|item| SelectItem { aggregate: item.aggregate, value: self.value_unit(item.value) })
                .collect(),
            tables: query.tables.clone(),
            on: self.conditions(&query.on),
            filter: self.conditions(&query.filter),
            group_by: query.group_by.iter().map(|&unit| self.column_unit(unit)).collect(),
            having: self.conditions(&query.having),
            order_by: query.order_by.as_ref().map(|order| OrderBy {
                direction: order.direction,
                values: order.values.iter().map(|&unit| self.value_unit(unit)).collect(),
            }),
            limit: query.limit,
            set_operation: query
                .set_operation
                .as_ref()
                .map(|(operator, query)| (*operator, Box::new(self.query(query)))),
        }
    }

    fn conditions(&self, conditions: &Conditions) -> Conditions {
        let item = |(index, item): (usize, &ConditionItem)| match item {
            ConditionItem::Condition(condition) if index % 2 == 0 => {
                ConditionItem::Condition(self.condition(condition))
            }
            item => item.clone(),
        };
        Conditions(conditions.0.iter().enumerate().map(item).collect())
    }

    fn condition(&self, condition: &Condition) -> Condition {
        let query = |value: &Option<Value>| match value {
            Some(Value::Query(query)) => Some(Value::Query(Box::new(Rebuild { folding: None }.query(query)))),
            _ => None,
        };
        Condition {
            negated: condition.negated,
            comparison: condition.comparison,
            value: self.value_unit(condition.value),
            first: query(&condition.first),
            second: query(&condition.second),
        }
    }

    fn value_unit(&self, unit: ValueUnit) -> ValueUnit {
        ValueUnit {
            operator: unit.operator,
            left: self.column_unit(unit.left),
            right: unit.right.map(|unit| self.column_unit(unit)),
        }
    }

    fn column_unit(&self, unit: ColumnUnit) -> ColumnUnit {
        match &self.folding {
            Some(folding) => ColumnUnit { column: folding.fold(unit.column), distinct: false, ..unit },
            None => unit,
        }
    }
}

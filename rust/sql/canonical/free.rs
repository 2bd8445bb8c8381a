//! Whether the result of a query is the same in whatever order SQLite visits the rows of its tables.
//!
//! Some rewritings keep the rows, but let SQLite use another index and so find them in another order. That shows in the
//! ties of `ORDER BY`, in what `LIMIT` cuts off, in sums of floats, in `group_concat`, in columns outside of aggregates,
//! in which of several equal values `DISTINCT`, `GROUP BY`, `min` and `max` keep (`1` or `1.0`, `a` or `A`), and in the
//! first row that stands for a query in the place of a value.

use super::tree::{Expr, Item, Part, Query, Relation};

/// Whether the rows of the result, as a bag, depend on no order of rows.
pub(super) fn is_free(query: &Query) -> bool {
    let [arm] = &query.arms[..] else { return false };
    let select = &arm.select;
    let simple = query.order.is_empty()
        && query.limit.is_none()
        && !select.distinct
        && select.group.is_empty()
        && select.having.is_none();
    simple
        && (is_count(query) || !select.expressions().any(Expr::has_aggregate))
        && select.from.iter().all(|source| match &source.relation {
            Relation::Table(_) => true,
            Relation::Query(query) => is_free(query),
        })
        && select.expressions().all(has_free_queries)
}

/// Whether all columns are counts.
fn is_count(query: &Query) -> bool {
    let count = |item: &Item| match item {
        Item::Expr { expr: Expr::Call { function, .. }, .. } => function == "count",
        _ => false,
    };
    query.arms[0].select.items.iter().all(count)
}

fn has_free_queries(expr: &Expr) -> bool {
    let is_value = matches!(expr, Expr::Query(_));
    expr.parts().iter().all(|part| match part {
        Part::Expr(expr) => has_free_queries(expr),
        Part::Query(query) => is_free(query) && (!is_value || is_count(query)),
    })
}

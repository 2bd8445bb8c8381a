//! Which conditions stand in `ON` and which in `WHERE`.
//!
//! SQLite adds the `ON` of inner joins to the `WHERE` before it does anything with either, so that a condition means the
//! same in both. The canonical form has those that equate columns of two tables in `ON`, at the first place where both
//! tables are known, and those that compare with anything but a column in `WHERE`. What is between them, such as
//! `T1.a < T2.b`, may be meant as either and stays. So do the tables in their order: the official metric does not look at
//! it, and SQLite may return rows in another order if it changes.

use super::tree::{Expr, Join, Operator, Select};

/// Moves conditions to where they belong, if all joins are inner joins.
pub(super) fn arrange(select: &mut Select, is_free: bool) {
    if is_free {
        for source in &mut select.from {
            if source.join == Join::Cross {
                source.join = Join::Inner;
            }
        }
    }
    let others = select.from.get(1..).unwrap_or_default();
    if others.is_empty() || others.iter().any(|source| source.join != Join::Inner) {
        return;
    }
    // As SQLite lines them up.
    let conditions = || select.filter.iter().chain(select.from.iter().filter_map(|source| source.on.as_ref()));
    let before: Vec<&Expr> = conditions().flat_map(conjuncts).collect();
    // Of a conjunction with a constant that is false SQLite drops the rest unseen, even a name that is an error.
    if before.iter().any(|conjunct| is_constant(conjunct)) {
        return;
    }
    // Into a disjunction nothing can go without parentheses.
    let is_open = !matches!(select.filter, Some(Expr::Or(_)));
    let mut on: Vec<Vec<&Expr>> = select.from.iter().map(|_| Vec::new()).collect();
    let mut filter = Vec::new();
    for (position, source) in select.from.iter().enumerate() {
        for conjunct in source.on.iter().flat_map(conjuncts) {
            match join_position(conjunct, select) {
                Some(place) => on[place].push(conjunct),
                None if is_open && is_filter(conjunct) => filter.push(conjunct),
                None => on[position].push(conjunct),
            }
        }
    }
    for conjunct in select.filter.iter().flat_map(conjuncts) {
        match join_position(conjunct, select) {
            Some(place) => on[place].push(conjunct),
            None => filter.push(conjunct),
        }
    }
    // Where the order of rows can show, so can that of conditions, by which SQLite decides between plans. And `EXISTS` in
    // WHERE becomes a join to it, in ON it does not.
    let is_same = before.iter().eq(filter.iter().chain(on.iter().flatten()));
    if !is_free && (!is_same || before.iter().any(|conjunct| conjunct.has_query())) {
        return;
    }
    let joined = |conjuncts: Vec<&Expr>| Expr::and(conjuncts.into_iter().cloned().collect());
    let (filter, on): (_, Vec<_>) = (joined(filter), on.into_iter().map(joined).collect());
    select.filter = filter;
    for (source, on) in select.from.iter_mut().zip(on) {
        source.on = on;
    }
}

fn conjuncts(condition: &Expr) -> &[Expr] {
    match condition {
        Expr::And(operands) => operands,
        other => std::slice::from_ref(other),
    }
}

fn is_constant(expr: &Expr) -> bool {
    !expr.has_query() && !expr.any(&mut |expr| matches!(expr, Expr::Column { .. } | Expr::Name { .. }))
}

/// For a condition that equates columns of two tables of this `FROM`: the place of the later one.
fn join_position(conjunct: &Expr, select: &Select) -> Option<usize> {
    let Expr::Binary(Operator::Equal, left, right) = conjunct else { return None };
    let place = |expr: &Expr| match expr {
        Expr::Column { table, .. } => select.from.iter().position(|source| source.id == *table),
        _ => None,
    };
    let (left, right) = (place(left)?, place(right)?);
    (left != right).then(|| left.max(right))
}

/// Whether a condition is no comparison of columns, and needs no parentheses among others.
fn is_filter(conjunct: &Expr) -> bool {
    match conjunct {
        Expr::Or(_) => false,
        Expr::Binary(_, left, right) => !matches!(
            (&**left, &**right),
            (Expr::Column { .. } | Expr::Name { .. }, Expr::Column { .. } | Expr::Name { .. })
        ),
        _ => true,
    }
}

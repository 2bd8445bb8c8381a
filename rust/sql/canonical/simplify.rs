//! One form for what can be said in several ways: the one that the official grammar has, if it has any.

use super::joins;
use super::tree::{Arguments, Expr, Item, Operator, PartMut, Query, Relation, Select};

/// Longest list that is spelled out as comparisons.
const LIST: usize = 50;

/// Most comparisons in conditions whose parentheses are multiplied out.
const EXPANDED: usize = 16;

/// Simplifies a whole statement; `is_free` as [`is_free`](super::free::is_free) has it.
pub(super) fn simplify(query: &mut Query, is_free: bool) {
    Simplifier { is_free }.query(query);
}

pub(super) struct Simplifier {
    /// Whether SQLite may visit rows in another order afterwards.
    pub(super) is_free: bool,
}

impl Simplifier {
    fn query(&self, query: &mut Query) {
        for arm in &mut query.arms {
            self.select(&mut arm.select);
        }
        for term in &mut query.order {
            self.value(&mut term.expr);
        }
    }

    fn select(&self, select: &mut Select) {
        for item in &mut select.items {
            if let Item::Expr { expr, .. } = item {
                self.value(expr);
            }
        }
        for source in &mut select.from {
            if let Relation::Query(query) = &mut source.relation {
                self.query(query);
            }
            source.on = source.on.take().map(|on| self.condition(on));
        }
        select.filter = select.filter.take().map(|filter| self.condition(filter));
        joins::arrange(select, self.is_free);
        select.having = select.having.take().map(|having| self.condition(having));
        if self.is_free {
            // Only now is it certain which conditions stand alone.
            for source in &mut select.from {
                source.on = source.on.take().map(|on| spell(on, Context::Alone));
            }
            select.filter = select.filter.take().map(|filter| multiply_out(spell(filter, Context::Alone)));
            select.having = select.having.take().map(|having| spell(having, Context::Alone));
        }
        for term in &mut select.group {
            self.value(term);
        }
    }

    /// An expression whose value counts, not only whether it is true.
    fn value(&self, expr: &mut Expr) {
        for part in expr.parts_mut() {
            match part {
                PartMut::Expr(expr) => self.value(expr),
                PartMut::Query(query) => self.query(query),
            }
        }
        if !self.is_free {
            return;
        }
        match expr {
            // A literal has no affinity and no collation, so it may stand on either side.
            Expr::Binary(operator, left, right) if left.is_literal() && !right.is_literal() => {
                if let Some(mirrored) = operator.mirrored() {
                    *operator = mirrored;
                    std::mem::swap(left, right);
                }
            }
            // SQLite gives elements no affinity, which literals have none of either.
            Expr::In { negated, operand, list } if list.len() == 1 && list[0].is_literal() => {
                let operator = if *negated { Operator::NotEqual } else { Operator::Equal };
                let operand = std::mem::replace(&mut **operand, Expr::Null);
                *expr = Expr::Binary(operator, Box::new(operand), Box::new(list.swap_remove(0)));
            }
            _ => {}
        }
    }

    /// An expression of which only counts whether it is true.
    fn condition(&self, expr: Expr) -> Expr {
        match expr {
            Expr::And(operands) => {
                let operands = operands.into_iter().map(|operand| self.condition(operand));
                Expr::and(operands.collect()).unwrap_or(Expr::Null)
            }
            Expr::Or(operands) => {
                let operands = operands.into_iter().map(|operand| self.condition(operand));
                Expr::or(operands.collect()).unwrap_or(Expr::Null)
            }
            Expr::Not(operand) if self.is_free => self.negated(*operand),
            Expr::Not(operand) => Expr::Not(Box::new(self.condition(*operand))),
            mut other => {
                self.value(&mut other);
                other
            }
        }
    }

    /// `NOT operand`, without the `NOT` where the operand has a negation of its own.
    fn negated(&self, mut operand: Expr) -> Expr {
        let turned = |operands: Vec<Expr>| operands.into_iter().map(|operand| Expr::Not(Box::new(operand))).collect();
        match &mut operand {
            Expr::Binary(operator, ..) => {
                if let Some(negation) = operator.negated() {
                    *operator = negation;
                    return self.condition(operand);
                }
            }
            Expr::IsNull { negated, .. }
            | Expr::In { negated, .. }
            | Expr::InQuery { negated, .. }
            | Expr::Between { negated, .. }
            | Expr::Like { negated, .. }
            | Expr::Exists { negated, .. } => {
                *negated = !*negated;
                return self.condition(operand);
            }
            _ => {}
        }
        match operand {
            Expr::And(operands) => self.condition(Expr::Or(turned(operands))),
            Expr::Or(operands) => self.condition(Expr::And(turned(operands))),
            Expr::Not(operand) => self.condition(*operand),
            other => Expr::Not(Box::new(self.condition(other))),
        }
    }
}

/// What a condition is an operand of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Alone,
    And,
    Or,
    Not,
}

/// Spells out the lists in a condition wherever that needs no parentheses.
fn spell(expr: Expr, context: Context) -> Expr {
    match expr {
        Expr::And(operands) => {
            let operands = operands.into_iter().map(|operand| spell(operand, Context::And));
            Expr::and(operands.collect()).unwrap_or(Expr::Null)
        }
        Expr::Or(operands) => {
            let operands = operands.into_iter().map(|operand| spell(operand, Context::Or));
            Expr::or(operands.collect()).unwrap_or(Expr::Null)
        }
        Expr::Not(operand) => Expr::Not(Box::new(spell(*operand, Context::Not))),
        Expr::In { negated, .. } => match context {
            Context::Alone | Context::Or => spell_out(expr),
            Context::And if negated => spell_out(expr),
            _ => expr,
        },
        other => other,
    }
}

/// `a IN (1, 2)` as `a = 1 OR a = 2`, and `a NOT IN (1, 2)` as `a != 1 AND a != 2`, where the official grammar can say
/// that.
fn spell_out(list: Expr) -> Expr {
    match list {
        Expr::In { negated, operand, list } if can_be_spelled_out(&operand, &list) => {
            let operator = if negated { Operator::NotEqual } else { Operator::Equal };
            let comparisons: Vec<Expr> =
                list.into_iter().map(|element| Expr::Binary(operator, operand.clone(), Box::new(element))).collect();
            if negated { Expr::And(comparisons) } else { Expr::Or(comparisons) }
        }
        other => other,
    }
}

fn can_be_spelled_out(operand: &Expr, list: &[Expr]) -> bool {
    let simple = match operand {
        Expr::Column { .. } | Expr::Name { .. } => true,
        Expr::Call { arguments: Arguments::Star, .. } => operand.is_aggregate(),
        Expr::Call { arguments: Arguments::List(arguments), .. } => {
            operand.is_aggregate() && matches!(arguments[..], [Expr::Column { .. } | Expr::Name { .. }])
        }
        _ => false,
    };
    simple && (2..=LIST).contains(&list.len()) && list.iter().all(Expr::is_literal)
}

/// A condition as alternatives without parentheses, where that does not make it much longer.
fn multiply_out(expr: Expr) -> Expr {
    match expr {
        Expr::Or(operands) => {
            let operands = operands.into_iter().map(multiply_out).collect();
            Expr::or(operands).unwrap_or(Expr::Null)
        }
        Expr::And(operands) => {
            let factors: Vec<Vec<Expr>> = operands.iter().map(alternatives).collect();
            let arms = factors.iter().fold(1_usize, |arms, factor| arms.saturating_mul(factor.len()));
            let repeats = |factor: &Vec<Expr>| arms > factor.len() && factor.iter().any(Expr::has_query);
            let length =
                factors.iter().map(|factor| arms.saturating_mul(longest(factor))).fold(0, usize::saturating_add);
            if arms == 1 || length > EXPANDED || factors.iter().any(repeats) {
                return Expr::And(operands);
            }
            let mut products = vec![Vec::new()];
            for factor in factors {
                products = products
                    .iter()
                    .flat_map(|product: &Vec<Expr>| {
                        factor.iter().map(|alternative| {
                            let mut product = product.clone();
                            product.push(alternative.clone());
                            product
                        })
                    })
                    .collect();
            }
            let products = products.into_iter().filter_map(Expr::and).map(multiply_out);
            Expr::or(products.collect()).unwrap_or(Expr::Null)
        }
        other => other,
    }
}

fn longest(factor: &[Expr]) -> usize {
    let length = |expr: &Expr| match expr {
        Expr::And(operands) => operands.len(),
        _ => 1,
    };
    factor.iter().map(length).max().unwrap_or(1)
}

/// The operands of a disjunction.
fn alternatives(expr: &Expr) -> Vec<Expr> {
    match expr {
        Expr::Or(operands) => operands.clone(),
        list @ Expr::In { negated: false, .. } => match spell_out(list.clone()) {
            Expr::Or(operands) => operands,
            other => vec![other],
        },
        other => vec![other.clone()],
    }
}

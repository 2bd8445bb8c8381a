//! One form for what can be said in several ways: the one that the official grammar has, if it has any.

use super::free::is_free;
use super::joins;
use super::tree::{Arguments, Expr, Item, Operator, PartMut, Query, Relation, Select};

/// Longest list that is spelled out as comparisons.
const LIST: usize = 50;

/// Most comparisons in conditions whose parentheses are multiplied out.
const EXPANDED: usize = 16;

/// Simplifies a whole statement.
pub(super) fn simplify(query: &mut Query) {
    let simplifier = Simplifier { is_free: is_free(query) };
    simplifier.query(query, false);
}

pub(super) struct Simplifier {
    /// Whether SQLite may visit rows in another order afterwards.
    pub(super) is_free: bool,
}

impl Simplifier {
    /// Simplifies a query, of which SQLite may make a part of the query around it if `is_merged`.
    fn query(&self, query: &mut Query, is_merged: bool) {
        for arm in &mut query.arms {
            // One condition more, and SQLite expects fewer rows, and may begin with another table.
            let splits = self.is_free || !is_merged && arm.select.from.len() < 2;
            self.select(&mut arm.select, Freedom { splits, alternatives: self.is_free });
        }
        for term in &mut query.order {
            self.value(&mut term.expr);
        }
    }

    fn select(&self, select: &mut Select, freedom: Freedom) {
        for item in &mut select.items {
            if let Item::Expr { expr, .. } = item {
                self.value(expr);
            }
        }
        for source in &mut select.from {
            if let Relation::Query(query) = &mut source.relation {
                self.query(query, true);
            }
            source.on = source.on.take().map(|on| self.condition(on));
        }
        select.filter = select.filter.take().map(|filter| self.condition(filter));
        joins::arrange(select, self.is_free);
        // Only now is it certain which conditions stand alone.
        for source in &mut select.from {
            source.on = source.on.take().map(|on| spell(on, Context::Alone, freedom));
        }
        select.filter = select.filter.take().map(|filter| spell(filter, Context::Alone, freedom));
        if self.is_free {
            select.filter = select.filter.take().map(multiply_out);
        }
        for term in &mut select.group {
            self.value(term);
        }
        select.having = select.having.take().map(|having| spell(self.condition(having), Context::Alone, freedom));
    }

    /// An expression whose value counts, not only whether it is true.
    fn value(&self, expr: &mut Expr) {
        let is_exists = matches!(expr, Expr::Exists { .. });
        for part in expr.parts_mut() {
            match part {
                PartMut::Expr(expr) => self.value(expr),
                PartMut::Query(query) => self.query(query, is_exists),
            }
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
            Expr::Not(operand) => self.negated(*operand),
            mut other => {
                self.value(&mut other);
                other
            }
        }
    }

    /// `NOT operand`, without the `NOT` where the operand has a negation of its own.
    ///
    /// SQLite can use an index for what comes out of some, and then finds rows in another order.
    fn negated(&self, mut operand: Expr) -> Expr {
        match &mut operand {
            Expr::Binary(operator, ..) => {
                let negation = operator.negated().filter(|_| self.is_free || *operator == Operator::Equal);
                if let Some(negation) = negation {
                    *operator = negation;
                    return self.condition(operand);
                }
            }
            Expr::IsNull { negated, .. }
            | Expr::In { negated, .. }
            | Expr::InQuery { negated, .. }
            | Expr::Between { negated, .. }
            | Expr::Like { negated, .. }
            | Expr::Exists { negated, .. }
                if self.is_free || !*negated =>
            {
                *negated = !*negated;
                return self.condition(operand);
            }
            _ => {}
        }
        match operand {
            Expr::And(operands) if self.is_free => {
                let operands = operands.into_iter().map(|operand| Expr::Not(Box::new(operand)));
                self.condition(Expr::Or(operands.collect()))
            }
            Expr::Or(operands) if self.is_free => {
                let operands = operands.into_iter().map(|operand| Expr::Not(Box::new(operand)));
                self.condition(Expr::And(operands.collect()))
            }
            Expr::Not(operand) if self.is_free => self.condition(*operand),
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

/// Which lists may be spelled out. SQLite reads `a = 1 OR a = 2` as `a IN (1, 2)` where that is a whole condition; what
/// else it does can make it begin with another table or index.
#[derive(Clone, Copy)]
struct Freedom {
    /// What becomes several conditions: SQLite then expects fewer rows.
    splits: bool,
    /// What is an alternative among others.
    alternatives: bool,
}

/// Spells out the lists in a condition wherever that needs no parentheses.
fn spell(expr: Expr, context: Context, freedom: Freedom) -> Expr {
    match expr {
        Expr::And(operands) => {
            let operands = operands.into_iter().map(|operand| spell(operand, Context::And, freedom));
            Expr::and(operands.collect()).unwrap_or(Expr::Null)
        }
        Expr::Or(operands) => {
            let operands = operands.into_iter().map(|operand| spell(operand, Context::Or, freedom));
            Expr::or(operands.collect()).unwrap_or(Expr::Null)
        }
        Expr::Not(operand) => Expr::Not(Box::new(spell(*operand, Context::Not, freedom))),
        Expr::In { negated, .. } => match context {
            Context::Alone if !negated || freedom.splits => spell_out(expr),
            Context::And if negated && freedom.splits => spell_out(expr),
            Context::Or if freedom.alternatives => spell_out(expr),
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

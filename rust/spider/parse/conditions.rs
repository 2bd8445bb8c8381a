//! Conditions of `on`, `where` and `having`, and what they compare with.

use super::super::number::float;
use super::super::query::{ColumnUnit, Comparison, Condition, ConditionItem, Conditions, Value, ValueUnit};
use super::super::rejection::Reason;
use super::super::words::Kind;
use super::{Parsed, Parser, ends_tables, reject};

impl<'a> Parser<'a> {
    /// `parse_condition`
    pub(super) fn conditions(&mut self, caller: usize, scope: &[&'a str]) -> Parsed<Conditions> {
        let frame = self.call(caller)?;
        let mut conditions = Vec::new();
        while self.at < self.end {
            let value = self.condition_value(frame, scope)?;
            self.need("a comparison")?;
            let negated = self.skip(Kind::Not);
            let Some(comparison) = comparison(self.need("a comparison")?) else {
                return self.no_comparison();
            };
            self.at += 1;
            let first = self.right_side(frame, scope, comparison)?;
            let second = if comparison == Comparison::Between {
                self.expect(Kind::And, "`and`")?;
                Some(self.value(frame, scope)?)
            } else {
                None
            };
            let condition = Condition { negated, comparison, value, first: Some(first), second };
            conditions.push(ConditionItem::Condition(condition));
            match self.peek() {
                Some(kind) if ends_tables(kind) || kind.joins() => break,
                Some(Kind::And) => {
                    conditions.push(ConditionItem::And);
                    self.at += 1;
                }
                Some(Kind::Or) => {
                    conditions.push(ConditionItem::Or);
                    self.at += 1;
                }
                _ => {}
            }
        }
        Ok(Conditions(conditions))
    }

    /// The left side of a condition.
    fn condition_value(&mut self, frame: usize, scope: &[&'a str]) -> Parsed<ValueUnit> {
        let start = self.peek();
        let unit = self.value_unit(frame, scope);
        if unit.is_err() {
            let construct = match (start, self.peek()) {
                (Some(Kind::Not | Kind::Exists), _) => "`not` or `exists` before a condition",
                (Some(Kind::LeftParenthesis), Some(kind))
                    if comparison(kind).is_some() || kind == Kind::LeftParenthesis =>
                {
                    "a condition in parentheses"
                }
                _ => return unit,
            };
            return self.reject(Reason::Construct(construct));
        }
        unit
    }

    /// The first word behind the left side is no comparison.
    fn no_comparison<T>(&self) -> Parsed<T> {
        let found = self.text(self.at);
        self.reject(if found.len() > 1 && found.starts_with(['=', '-', '+', '/', '|']) {
            Reason::Glued(found.into())
        } else {
            Reason::Unexpected { expected: "a comparison", found: found.into() }
        })
    }

    /// The right side of a condition, with reasons for what is commonly written there and not in the grammar.
    fn right_side(&mut self, frame: usize, scope: &[&'a str], comparison: Comparison) -> Parsed<Value> {
        let start = self.at;
        let value = self.value(frame, scope);
        if value.is_err() {
            let nested = self.words.kind(start + 1) == Some(Kind::Select);
            let construct = match (comparison, self.words.kind(start)) {
                (Comparison::Less, Some(Kind::Greater)) => "`<>`, only `!=`,",
                (Comparison::Is, Some(Kind::Not | Kind::Other)) => "`is null`",
                (Comparison::In, Some(Kind::LeftParenthesis)) if !nested && self.next_is(Kind::Comma) => {
                    "a list of values"
                }
                _ => return value,
            };
            // Each of them starts with the comparison.
            return reject(self.words, start - 1, Reason::Construct(construct));
        }
        value
    }

    /// `parse_value`
    fn value(&mut self, caller: usize, scope: &[&'a str]) -> Parsed<Value> {
        let frame = self.call(caller)?;
        let start = self.at;
        self.need("a value")?;
        let parenthesised = self.skip(Kind::LeftParenthesis);
        let value = match self.need("a value")? {
            Kind::Select => Value::Query(self.query(self.call(frame)?)?),
            Kind::Literal => {
                self.at += 1;
                Value::Literal(self.text(self.at - 1).into())
            }
            _ => match float(self.text(self.at)) {
                Some(number) => {
                    self.at += 1;
                    Value::Number(number)
                }
                None => Value::Column(self.column_and_rest(frame, scope, start)?),
            },
        };
        if parenthesised {
            self.expect(Kind::RightParenthesis, "`)`")?;
        }
        Ok(value)
    }

    /// A column on the right side and whatever follows it up to the next word that ends a value. The column is read from
    /// `start`, an opening parenthesis included, and nothing that ends a value is in its sight.
    fn column_and_rest(&mut self, frame: usize, scope: &[&'a str], start: usize) -> Parsed<ColumnUnit> {
        let ends = |kind: Kind| {
            matches!(kind, Kind::Comma | Kind::RightParenthesis | Kind::And) || kind.starts_clause() || kind.joins()
        };
        let rest = (self.at..self.end).find(|&index| self.words.kind(index).is_some_and(ends)).unwrap_or(self.end);
        let end = std::mem::replace(&mut self.end, rest);
        self.at = start;
        let unit = self.column_unit(frame, scope);
        self.end = end;
        let unit = unit?;
        self.at = rest;
        Ok(unit)
    }
}

fn comparison(kind: Kind) -> Option<Comparison> {
    Some(match kind {
        Kind::Not => Comparison::Not,
        Kind::Between => Comparison::Between,
        Kind::Equal => Comparison::Equal,
        Kind::Greater => Comparison::Greater,
        Kind::Less => Comparison::Less,
        Kind::GreaterEqual => Comparison::GreaterEqual,
        Kind::LessEqual => Comparison::LessEqual,
        Kind::NotEqual => Comparison::NotEqual,
        Kind::In => Comparison::In,
        Kind::Like => Comparison::Like,
        Kind::Is => Comparison::Is,
        Kind::Exists => Comparison::Exists,
        _ => return None,
    })
}
